//! `/compact` and `/clear` where no server of the agent can be asked: real tmux and a fake Codex.

use std::sync::Arc;

use conveyor_core::typing::{Guard, slash};
use conveyor_core::{Cx, Error, RandomIds, ServerChoice, Tmux};
use conveyor_store::{Access, Db, Location, OpenOptions};
use conveyor_testkit::fake_codex::{FakeCodex, Mode};

use crate::harness::{World, on_sqlite};
use crate::panes::put_into;

/// A bound worker in a terminal with a fake Codex, and a connection to its ledger.
fn stage(world: &World) -> (FakeCodex<'_>, Cx) {
    world.bind("demo");
    let fake = FakeCodex::start(&world.tmux, "codex-demo", world.dir());
    put_into(world, "demo-worker", "codex-demo");
    world.sql(&format!(
        "update sessions set codex_session_path = '{}' where name = 'demo-worker'",
        fake.rollout().display()
    ));
    let options = OpenOptions {
        clock: world.clock.clone(),
        ids: Arc::new(RandomIds),
        machine: conveyor_model::Machine::default(),
        server_password: None,
        password_file: None,
    };
    let db = Db::open(&Location::File(world.file()), Access::Write, options).unwrap();
    let tmux = Tmux::new("tmux", ServerChoice::Directory(world.tmux.dir().to_owned()));
    (fake, Cx { db, cwd: world.dir().to_owned(), parent_pid: 1, tmux })
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>, reason: &str) {
    match outcome {
        Err(error @ Error::TargetNotReady(_)) => {
            assert_eq!(error.exit_code(), 3);
            assert!(error.to_string().contains(reason), "{error}");
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn without_a_server_compact_is_typed_under_the_guard() {
    on_sqlite(|world| {
        let (fake, mut cx) = stage(world);
        let compacted = slash::compact(&mut cx, "demo-worker", Guard::default()).unwrap();
        assert!(compacted.unconfirmed.is_none());
        assert_eq!(compacted.sent.delivery.unwrap().stage, "seen");
        assert_eq!(compacted.sent.target, "codex-demo");
        assert_eq!(fake.told(), ["/compact"]);
        assert_eq!(world.scalar("select stage from deliveries"), "seen");
        fake.behave(Mode::Busy);
        refused(slash::compact(&mut cx, "demo-worker", Guard::default()), "busy");
        assert_eq!(fake.told().len(), 1);
    });
}

#[test]
fn a_compaction_that_does_not_begin_is_unconfirmed() {
    on_sqlite(|world| {
        let (fake, mut cx) = stage(world);
        fake.behave(Mode::Deaf);
        let compacted = slash::compact(&mut cx, "demo-worker", Guard::default()).unwrap();
        assert_eq!(compacted.unconfirmed.map(|error| error.exit_code()), Some(4));
        assert_eq!(world.scalar("select stage || ' ' || reason from deliveries"), "unknown no_proof");
        assert!(fake.told().is_empty());
    });
}

#[test]
fn without_a_server_nothing_is_cleared() {
    on_sqlite(|world| {
        let (fake, mut cx) = stage(world);
        refused(slash::clear(&mut cx, "demo-worker", Guard::default()), "unproven");
        assert!(fake.told().is_empty());
        assert_eq!(world.scalar("select state from sessions where name = 'demo-worker'"), "active");
        assert_eq!(world.scalar("select count(*) from deliveries"), "0");
        let unknown = slash::clear(&mut cx, "nobody", Guard::default());
        assert!(matches!(unknown, Err(Error::UnknownSession(_))), "{unknown:?}");
    });
}
