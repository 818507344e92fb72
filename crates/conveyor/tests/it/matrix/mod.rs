//! Every command that touches a terminal × everything that can have happened to terminals since the
//! worker was registered. Where the recorded process lives, the command reaches the recorded pane;
//! else it touches nothing. Every other pane runs a witness that records bytes and signals.

mod cells;
mod older;
mod situations;
mod stage;

use cells::{CLOSING, Cell, LOOKING};
use situations::Situation;
use stage::Stage;

/// What a situation allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The recorded process lives in the recorded pane: the command reaches it.
    Reaches,
    /// It does not: nothing is typed into, stored, or ended.
    Untouched,
}

/// Runs every command in one situation: those that leave the worker in place one after the other,
/// those that end it each on a stage of its own.
fn check(situation: &Situation) {
    run(situation, LOOKING);
    for cell in CLOSING {
        run(situation, &[*cell]);
    }
}

fn run(situation: &Situation, cells: &[Cell]) {
    Stage::with(situation, |stage| {
        for (name, cell) in cells {
            stage.begin(name);
            cell(stage);
            stage.check_witnesses();
        }
    });
}

macro_rules! situations {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() {
            check(&situations::$name());
        }
    )* };
}

situations! {
    as_registered renamed moved_to_another_session shared_by_a_group linked_and_its_session_closed
    split zoomed_on_a_neighbour another_window_in_front swapped_with_a_neighbour
    made_among_hooks shown_by_a_tiny_client on_another_server
    namesake pane_dead program_replaced server_restarted_with_the_same_ids
}
