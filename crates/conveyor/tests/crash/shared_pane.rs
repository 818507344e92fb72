//! A terminal that two ledgers and two names share, and whoever types there is frozen or killed. Real
//! tmux, a fake Codex, real processes.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use conveyor_testkit::fake_codex::FakeCodex;
use conveyor_testkit::{TmuxServer, wait};
use rustix::process::Signal;

use crate::process::{Process, Ran};
use crate::world::World;

/// A lock lapses after half a minute.
const LIMIT: Duration = Duration::from_secs(120);

/// Ledgers whose worker `ada-worker`, also called `alias`, is in the same terminal.
struct Scene<'t> {
    tmux: &'t TmuxServer,
    fake: FakeCodex<'t>,
    mine: World,
    other: World,
}

impl<'t> Scene<'t> {
    fn new(tmux: &'t TmuxServer, mine: World) -> Self {
        let other = World::sqlite();
        let fake = FakeCodex::start(tmux, "codex-ada", mine.dir());
        for world in [&mine, &other] {
            world.bind("ada");
            world.sql(&format!(
                "update sessions set tmux_session = 'codex-ada', codex_session_path = '{}', \
                 codex_session_id = 'fake', last_ingest_offset = null, pid = {} where name = 'ada-worker'",
                fake.rollout().display(),
                fake.pid()
            ));
            world.sql(
                "insert into sessions (id, name, role, identity_token, tmux_session, codex_session_path, \
                 codex_session_id, pid, cwd, registered_at, state) select 'session-alias', 'alias', role, \
                 'token-alias', tmux_session, codex_session_path, codex_session_id, pid, cwd, registered_at, state \
                 from sessions where name = 'ada-worker'",
            );
        }
        Self { tmux, fake, mine, other }
    }

    fn start(&self, world: &World, name: &str, text: &str, fault: &[(&str, &str)]) -> Process {
        let dir = self.tmux.dir().display().to_string();
        let mut environment = vec![("TMUX_TMPDIR", dir.as_str())];
        environment.extend(fault);
        world.start_with(&["session-nudge", name, text, "--json"], &environment)
    }

    fn nudge(&self, world: &World, name: &str, text: &str) -> Ran {
        self.start(world, name, text, &[]).finish()
    }

    #[track_caller]
    fn refused(&self, world: &World, name: &str, reasons: &[&str]) {
        let ran = self.nudge(world, name, "in between");
        assert_eq!(ran.status.code(), Some(3), "{}", ran.told());
        let object = ran.parsed().unwrap();
        let reason = object["guard"]["reason"].as_str().unwrap().to_owned();
        assert!(reasons.contains(&reason.as_str()), "{reason}: {}", ran.told());
    }

    #[track_caller]
    fn until_sent(&self, world: &World, name: &str, text: &str) {
        wait::until(LIMIT, text, || self.nudge(world, name, text).status.code() == Some(0));
    }

    /// A person empties the composer.
    fn clear(&self) {
        self.tmux.tmux(["send-keys", "-t", "=codex-ada:", "-N", "100", "BSpace"]);
        self.fake.until_shown("Ask Codex");
    }

    fn buffers(&self) -> String {
        self.tmux.tmux(["list-buffers"])
    }
}

#[test]
fn a_frozen_owner_presses_no_enter_when_another_has_the_terminal() {
    for mine in World::each() {
        let tmux = TmuxServer::new();
        let scene = Scene::new(&tmux, mine);
        let frozen = scene.start(
            &scene.mine,
            "ada-worker",
            "of the frozen one",
            &[("CONVEYOR_FREEZE", "typing.entering")],
        );
        wait::until(LIMIT, "the freeze", || frozen.slot().is_stopped());
        scene.fake.until_shown("of the frozen one");
        scene.refused(&scene.other, "ada-worker", &["order", "draft"]);
        scene.refused(&scene.mine, "alias", &["order", "draft"]);
        scene.clear();
        // Only its lock stands in the way now, and that lapses.
        scene.refused(&scene.other, "alias", &["order"]);
        scene.until_sent(&scene.other, "ada-worker", "of the other one");
        // A person's draft, which a late Enter would send.
        scene.fake.type_keys("half a thought");
        scene.fake.until_shown("half a thought");
        assert!(frozen.slot().signal(Signal::CONT));
        let woken = frozen.finish();
        assert_eq!(woken.status.code(), Some(4), "{}", woken.told());
        assert_eq!(scene.fake.told(), ["of the other one"]);
        assert!(scene.fake.screen().contains("half a thought"), "{}", scene.fake.screen());
        assert_eq!(scene.buffers(), "");
        // Whoever has cleared the composer lets the next one through, under any name.
        scene.clear();
        scene.until_sent(&scene.mine, "alias", "the next one");
        assert_eq!(scene.fake.told(), ["of the other one", "the next one"]);
    }
}

#[test]
fn an_owner_that_dies_before_enter_leaves_its_text_to_nobody_else() {
    for (mine, point) in World::each().into_iter().zip(["typing.pasted", "typing.entering"]) {
        let tmux = TmuxServer::new();
        let scene = Scene::new(&tmux, mine);
        let dead =
            scene.start(&scene.mine, "ada-worker", "of the dead one", &[("CONVEYOR_FAULT", point)]).finish();
        assert_eq!(dead.status.signal(), Some(6), "{point} was never passed: {}", dead.told());
        for (world, name) in [(&scene.mine, "alias"), (&scene.other, "ada-worker"), (&scene.other, "alias")] {
            scene.refused(world, name, &["order", "draft"]);
        }
        assert!(scene.fake.screen().contains("of the dead one"), "{}", scene.fake.screen());
        scene.clear();
        scene.until_sent(&scene.other, "alias", "of the other one");
        scene.until_sent(&scene.mine, "alias", "of my other name");
        assert_eq!(scene.fake.told(), ["of the other one", "of my other name"]);
        assert_eq!(scene.buffers(), "");
    }
}

#[test]
fn a_buffer_of_somebody_who_died_does_not_stay() {
    let tmux = TmuxServer::new();
    let scene = Scene::new(&tmux, World::sqlite());
    let dead = scene
        .start(&scene.mine, "ada-worker", "never pasted", &[("CONVEYOR_FAULT", "typing.loaded")])
        .finish();
    assert_eq!(dead.status.signal(), Some(6), "{}", dead.told());
    assert_eq!(scene.buffers().lines().count(), 1, "{}", scene.buffers());
    scene.until_sent(&scene.other, "alias", "of the other one");
    assert_eq!(scene.buffers(), "");
    assert_eq!(scene.fake.told(), ["of the other one"]);
}
