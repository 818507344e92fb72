//! Typing into a terminal, broken off at each step: whatever dies, a message is typed at most once,
//! and delivered only if the agent has a turn of it. Real tmux, a fake Codex, real processes.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use conveyor_testkit::fake_codex::FakeCodex;
use conveyor_testkit::{TmuxServer, wait};

use crate::process::Ran;
use crate::world::World;

/// What becomes of a message whose dispatcher dies at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It arrives, typed once.
    Arrives,
    /// Nothing was typed; it is given up, because nobody could know.
    Nowhere,
    /// It stands in the composer, where a person must look.
    InComposer,
}

/// Every step, and how it ends.
const STEPS: [(&str, End); 9] = [
    ("push.looked", End::Arrives),
    ("push.begun", End::Nowhere),
    ("typing.loaded", End::Nowhere),
    ("typing.pasted", End::InComposer),
    ("typing.entering", End::InComposer),
    ("typing.entered", End::Arrives),
    ("push.typed", End::Arrives),
    ("push.settled", End::Arrives),
    ("push.searched", End::Arrives),
];

/// Whether this suite dies at a point.
pub fn dies_at(point: &str) -> bool {
    STEPS.iter().any(|(step, _)| *step == point)
}

/// Who gets the message.
#[derive(Clone, Copy, Debug)]
enum Receiver {
    /// The worker a nudge.
    Worker,
    /// The manager a completion.
    Manager,
}

impl Receiver {
    fn name(self) -> &'static str {
        match self {
            Self::Worker => "ada-worker",
            Self::Manager => "ada-manager",
        }
    }
}

struct Scene<'w> {
    world: &'w World,
    tmux: &'w TmuxServer,
    receiver: Receiver,
}

impl Scene<'_> {
    fn dispatch(&self, fault: Option<&str>) -> Ran {
        let dir = self.tmux.dir().display().to_string();
        let mut environment = vec![("TMUX_TMPDIR", dir.as_str())];
        environment.extend(fault.map(|fault| ("CONVEYOR_FAULT", fault)));
        let arguments = ["dispatch", "--once", "--ingest", "--limit", "100", "--json"];
        self.world.start_with(&arguments, &environment).finish()
    }

    fn dies(&self, point: &str) {
        let ran = self.dispatch(Some(point));
        assert_eq!(ran.status.signal(), Some(6), "{point} was never passed: {}", ran.told());
    }

    /// Brings about a further message.
    fn send(&self, number: usize) {
        match self.receiver {
            Receiver::Worker => {
                let text = format!("message {number}");
                self.world.run(&["enqueue-nudge-worker", "ada", "--message", &text]).expect_ok();
            }
            Receiver::Manager => self.world.add_turn("ada", number),
        }
    }

    /// Lets all leases lapse and everything be due.
    fn age(&self) {
        let past = "2020-01-01T00:00:00Z";
        self.world.sql(&format!(
            "update deliveries set lease_expires_at = '{past}' where lease_expires_at is not null; \
             update deliveries set next_check_at = '{past}' where next_check_at is not null; \
             update commands set claim_expires_at = '{past}' where state = 'attempted'; \
             update commands set available_at = '{past}' where state = 'pending' and available_at is not null; \
             update routed_notifications set claim_expires_at = '{past}' where state = 'pending' \
             and claim_expires_at is not null"
        ));
    }

    /// The states of the notifications, and what they say of their effects.
    fn told(&self) -> Vec<String> {
        self.world.texts(&format!(
            "select state || ' ' || side_effect_started || side_effect_completed from routed_notifications \
             where target_session_id = (select id from sessions where name = '{}') order by id",
            self.receiver.name()
        ))
    }

    fn commands(&self) -> Vec<String> {
        self.world.texts("select state from commands order by created_at")
    }
}

fn on_every_step(world: fn() -> Option<World>, receiver: Receiver) {
    for (point, end) in STEPS {
        let Some(world) = world() else { return };
        let tmux = TmuxServer::new();
        die_at(&Scene { world: &world, tmux: &tmux, receiver }, point, end);
    }
}

fn die_at(scene: &Scene<'_>, point: &str, end: End) {
    let Scene { world, tmux, receiver } = scene;
    world.bind("ada");
    let fake = FakeCodex::start(tmux, "codex-ada", world.dir());
    let name = receiver.name();
    world.sql(&format!(
        "update sessions set tmux_session = 'codex-ada', codex_session_path = '{}', codex_session_id = 'fake', \
         last_ingest_offset = null, pid = {} where name = '{name}'",
        fake.rollout().display(),
        fake.pid()
    ));
    scene.send(1);
    if point == "push.searched" {
        scene.dies("typing.entered");
        scene.age();
    }
    scene.dies(point);
    let what = format!("{point} to {receiver:?} on {}", world.name());
    wait::until(Duration::from_secs(5), "the turn of what was entered", || {
        end != End::Arrives || point == "push.looked" || fake.told().len() == 1
    });

    // Others look after it, at first while its claim holds, then when that has lapsed.
    for _ in 0..3 {
        scene.dispatch(None).expect_ok();
        scene.age();
    }
    let arrived = usize::from(end == End::Arrives);
    assert_eq!(fake.told().len(), arrived, "{what}: {:?}", fake.told());
    let expected = if end == End::Arrives { "delivered 11" } else { "failed 10" };
    assert_eq!(scene.told(), [expected], "{what}");
    if matches!(receiver, Receiver::Worker) {
        let expected = if end == End::Arrives { "succeeded" } else { "failed" };
        assert_eq!(scene.commands(), [expected], "{what}");
        assert_eq!(world.text("select attempts from commands").unwrap(), "1", "{what}");
    }
    let stage = world.text("select stage from deliveries").unwrap();
    let expected = match end {
        End::Arrives => "seen",
        End::Nowhere => "failed",
        End::InComposer => "unknown",
    };
    assert_eq!(stage, expected, "{what}");

    // The next one goes, unless somebody has to clear the composer first.
    scene.send(2);
    for _ in 0..3 {
        scene.dispatch(None).expect_ok();
        scene.age();
    }
    if end == End::InComposer {
        assert!(fake.told().is_empty(), "{what}");
        tmux.tmux(["send-keys", "-t", "=codex-ada:", "-N", "600", "BSpace"]);
        // As soon as it has drawn all that.
        wait::until(Duration::from_secs(60), "the next turn", || {
            scene.age();
            scene.dispatch(None).expect_ok();
            !fake.told().is_empty()
        });
    }
    assert_eq!(fake.told().len(), arrived + 1, "{what}: {:?}", fake.told());
    assert_eq!(scene.told().last().map(String::as_str), Some("delivered 11"), "{what}");
}

#[test]
fn chaos_of_aborts_while_a_nudge_is_typed_on_sqlite() {
    on_every_step(|| Some(World::sqlite()), Receiver::Worker);
}

#[test]
fn chaos_of_aborts_while_a_nudge_is_typed_on_postgres() {
    on_every_step(World::postgres, Receiver::Worker);
}

#[test]
fn chaos_of_aborts_while_a_completion_is_typed_on_sqlite() {
    on_every_step(|| Some(World::sqlite()), Receiver::Manager);
}

#[test]
fn chaos_of_aborts_while_a_completion_is_typed_on_postgres() {
    on_every_step(World::postgres, Receiver::Manager);
}
