//! What can have happened to terminals since a worker was registered.

use std::time::Duration;

use conveyor_testkit::witness::Witness;
use conveyor_testkit::{TmuxServer, wait};

use super::Outcome::{self, Reaches, Untouched};
use super::stage::{Stage, TERMINAL};
use crate::harness::World;

pub struct Situation {
    pub name: &'static str,
    /// Whether the worker's terminal is on a server that commands do not see by themselves.
    pub elsewhere: bool,
    /// Before the worker's terminal is made.
    pub before: fn(&World, &TmuxServer),
    /// After it was registered.
    pub arrange: fn(&Stage<'_>),
    pub outcome: Outcome,
}

fn situation(name: &'static str, outcome: Outcome, arrange: fn(&Stage<'_>)) -> Situation {
    Situation { name, elsewhere: false, before: |_, _| {}, arrange, outcome }
}

pub fn as_registered() -> Situation {
    situation("as registered", Reaches, |_| {})
}

pub fn renamed() -> Situation {
    situation("renamed", Reaches, |stage| {
        stage.tmux.tmux(["rename-session", "-t", &format!("={TERMINAL}"), "my work"]);
    })
}

pub fn moved_to_another_session() -> Situation {
    situation("moved", Reaches, |stage| {
        stage.witness("stays", &["new-window", "-t", &format!("={TERMINAL}:")]);
        stage.tmux.tmux(["new-session", "-d", "-s", "mine", "-x", "120", "-y", "40", "exec sleep 600"]);
        stage.tmux.tmux(["move-pane", "-d", "-s", stage.fake.pane(), "-t", "=mine:"]);
    })
}

pub fn shared_by_a_group() -> Situation {
    situation("shared", Reaches, |stage| {
        stage.tmux.tmux(["new-session", "-d", "-t", &format!("={TERMINAL}"), "-s", "second view"]);
        stage.witness("in the group", &["new-window", "-t", "=second view:"]);
    })
}

pub fn linked_and_its_session_closed() -> Situation {
    situation("linked, its session closed", Reaches, |stage| {
        stage.witness("mine", &["new-session", "-d", "-s", "mine"]);
        stage.tmux.tmux(["link-window", "-d", "-s", stage.fake.pane(), "-t", "=mine:7"]);
        stage.tmux.tmux(["kill-session", "-t", &format!("={TERMINAL}")]);
    })
}

pub fn split() -> Situation {
    situation("split", Reaches, |stage| {
        stage.witness("beside", &["split-window", "-t", stage.fake.pane()]);
    })
}

pub fn zoomed_on_a_neighbour() -> Situation {
    situation("zoomed on a neighbour", Reaches, |stage| {
        stage.witness("zoomed", &["split-window", "-Z", "-t", stage.fake.pane()]);
    })
}

pub fn another_window_in_front() -> Situation {
    situation("another window in front", Reaches, |stage| {
        stage.witness("in front", &["new-window", "-t", &format!("={TERMINAL}:")]);
    })
}

pub fn swapped_with_a_neighbour() -> Situation {
    situation("swapped with a neighbour", Reaches, |stage| {
        stage.tmux.tmux(["new-session", "-d", "-s", "mine", "-x", "100", "-y", "30", "exec sleep 600"]);
        stage.witness("swapped", &["new-window", "-t", "=mine:"]);
        stage.tmux.tmux(["swap-pane", "-s", stage.fake.pane(), "-t", &stage.last_witness()]);
    })
}

pub fn made_among_hooks() -> Situation {
    let before = |world: &World, tmux: &TmuxServer| {
        // Whatever session is made gets a window that is in front.
        let (_, shell) = Witness::prepare(world.dir(), "hooked");
        tmux.tmux(["new-session", "-d", "-s", "earlier", "exec sleep 600"]);
        let command = format!("new-window \"{shell}\"");
        tmux.tmux(["set-hook", "-g", "after-new-session", &command]);
    };
    let arrange = |stage: &Stage<'_>| {
        stage.tmux.tmux(["set-hook", "-gu", "after-new-session"]);
        let (dir, _) = Witness::prepare(stage.world.dir(), "hooked");
        stage.add(Witness::started(stage.tmux, dir));
    };
    Situation { before, ..situation("made among hooks", Reaches, arrange) }
}

pub fn shown_by_a_tiny_client() -> Situation {
    situation("shown by a tiny client", Reaches, |stage| {
        // A terminal of 40 × 12 on another server that shows the worker's session.
        let attach = format!(
            "unset TMUX; TMUX_TMPDIR='{}' exec tmux -u attach -t ={TERMINAL}",
            stage.tmux.dir().display()
        );
        let host =
            if stage.tmux.dir() == stage.elsewhere.dir() { &stage.world.tmux } else { stage.elsewhere };
        host.tmux(["new-session", "-d", "-s", "phone", "-x", "40", "-y", "12", &attach]);
        let size = || stage.tmux.tmux(["display-message", "-p", "-t", stage.fake.pane(), "#{pane_width}"]);
        wait::until(Duration::from_secs(20), "a narrow terminal", || size().trim() == "40");
    })
}

pub fn on_another_server() -> Situation {
    let arrange = |stage: &Stage<'_>| {
        let name = ["new-session", "-d", "-s", TERMINAL, "-x", "100", "-y", "30"];
        stage.witness_on(&stage.world.tmux, "namesake here", &name);
    };
    Situation { elsewhere: true, ..situation("on another server", Reaches, arrange) }
}

pub fn namesake() -> Situation {
    situation("its terminal is gone, a namesake is there", Untouched, |stage| {
        stage.tmux.tmux(["kill-session", "-t", &format!("={TERMINAL}")]);
        stage.until_worker_is_gone();
        stage.witness("namesake", &["new-session", "-d", "-s", TERMINAL, "-x", "100", "-y", "30"]);
    })
}

pub fn pane_dead() -> Situation {
    situation("its pane is dead", Untouched, |stage| {
        stage.tmux.tmux(["set-option", "-w", "-t", stage.fake.pane(), "remain-on-exit", "on"]);
        stage.witness("in front", &["new-window", "-t", &format!("={TERMINAL}:")]);
        stage.tmux.tmux(["send-keys", "-t", stage.fake.pane(), "C-c"]);
        stage.until_worker_is_gone();
    })
}

pub fn program_replaced() -> Situation {
    situation("another program in its pane", Untouched, |stage| {
        stage.witness("replacement", &["respawn-pane", "-k", "-t", stage.fake.pane()]);
        stage.until_worker_is_gone();
    })
}

pub fn server_restarted_with_the_same_ids() -> Situation {
    situation("server restarted", Untouched, |stage| {
        stage.dismiss_witnesses();
        stage.tmux.tmux(["kill-server"]);
        stage.until_worker_is_gone();
        let made = || {
            // The server that ends may still hold the socket.
            let (dir, shell) = Witness::prepare(stage.world.dir(), "restarted");
            let new = ["new-session", "-d", "-s", TERMINAL, "-x", "100", "-y", "30", &shell];
            stage.tmux.try_tmux(new).ok().map(|_| Witness::started(stage.tmux, dir))
        };
        let witness = wait::some(Duration::from_secs(20), "a new server", made);
        assert_eq!(witness.pane(), stage.fake.pane(), "tmux gives the same id again");
        stage.add(witness);
    })
}
