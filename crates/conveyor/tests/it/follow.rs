//! Following the rollouts of bound sessions, as a watching dispatcher does.

use std::path::PathBuf;

use conveyor_core::ingest::{Follower, Pass};
use conveyor_core::{Cx, RandomIds, ServerChoice, Tmux};
use conveyor_store::{Access, Db, Location, OpenOptions};

use crate::harness::{World, on_both_engines};
use crate::rollouts::{append, expected, message, meta, register, stored};

pub fn context(world: &World) -> Cx {
    let ledger = world.ledger();
    let location = match ledger.starts_with("postgres://") {
        true => Location::server(&ledger).unwrap(),
        false => Location::File(PathBuf::from(ledger)),
    };
    let (clock, ids) = (world.clock.clone(), std::sync::Arc::new(RandomIds));
    let options = OpenOptions {
        clock,
        ids,
        machine: conveyor_model::Machine::default(),
        server_password: None,
        password_file: None,
    };
    let db = Db::open(&location, Access::Write, options).unwrap();
    let tmux = Tmux::new("tmux", ServerChoice::Directory(world.tmux.dir().to_owned()));
    Cx { db, cwd: world.dir().to_owned(), parent_pid: 1, tmux }
}

/// A bound task whose worker has begun a rollout.
fn bound(world: &World, task: &str) -> PathBuf {
    world.bind(task);
    let path = world.dir().join(format!("{task}-worker.jsonl"));
    append(&path, meta(task));
    append(&world.dir().join(format!("{task}-manager.jsonl")), "");
    path
}

fn warnings(world: &World) -> String {
    world.scalar("select count(*) from telemetry_events where event_type = 'codex_events_ingest_failed'")
}

#[test]
fn growth_is_stored_and_stillness_costs_no_write() {
    on_both_engines(|world| {
        let path = bound(world, "demo");
        let (mut cx, mut follower) = (context(world), Follower::new());
        assert_eq!(follower.pass(&mut cx).unwrap(), Pass { new_events: 1, more: true, ..Pass::default() });
        assert!(follower.has_news());
        assert_eq!(follower.pass(&mut cx).unwrap(), Pass::default());
        let before = world.dump();
        append(&path, "{\"type\":");
        assert!(follower.has_news(), "the file grew");
        assert_eq!(follower.pass(&mut cx).unwrap(), Pass::default(), "but no line is complete");
        assert!(!follower.has_news(), "half a line is not looked at twice");
        assert_eq!(world.dump(), before, "nothing was written");
        append(&path, "\"x\"}\n");
        assert_eq!(follower.pass(&mut cx).unwrap().new_events, 1);
        assert_eq!(stored(world, "demo-worker").len(), 2);
        let heartbeats = "select count(*) from sessions where last_heartbeat_at = '2026-06-11T12:00:00.000Z'";
        world.advance(60_000);
        assert_eq!(world.scalar(heartbeats), "2", "following is no life sign");
    });
}

#[test]
fn a_long_history_comes_batch_by_batch() {
    on_both_engines(|world| {
        let path = bound(world, "demo");
        append(&path, message(&"x".repeat(1000)).repeat(9000));
        let (mut cx, mut follower) = (context(world), Follower::new());
        let mut passes = 0;
        while follower.pass(&mut cx).unwrap().more {
            passes += 1;
        }
        assert_eq!(passes, 3);
        assert_eq!(stored(world, "demo-worker"), expected(&std::fs::read(&path).unwrap()));
    });
}

#[test]
fn a_rollout_that_cannot_be_read_is_reported_once_and_stops_nobody() {
    on_both_engines(|world| {
        let (bad, good) = (bound(world, "bad"), bound(world, "good"));
        let (mut cx, mut follower) = (context(world), Follower::new());
        while follower.pass(&mut cx).unwrap().more {}
        std::fs::write(&bad, "{}\n").unwrap();
        append(&good, message("one"));
        let pass = follower.pass(&mut cx).unwrap();
        assert_eq!((pass.refused, pass.new_events), (1, 1));
        let shown = "select summary || ' ' || severity || ' ' || task_id from telemetry_events \
                     where event_type = 'codex_events_ingest_failed'";
        insta::assert_snapshot!("follow_refused", world.scalar(shown));
        append(&bad, "{}\n");
        while follower.pass(&mut cx).unwrap().more {}
        assert_eq!(warnings(world), "1", "the same trouble of the same file");
        std::fs::remove_file(&bad).unwrap();
        assert!(follower.has_news());
        assert_eq!(follower.pass(&mut cx).unwrap().refused, 1, "now it is gone");
        assert!(!follower.has_news());
        append(&bad, meta("bad") + &message("two"));
        while follower.pass(&mut cx).unwrap().more {}
        assert_eq!(warnings(world), "2", "a file with the known first line counts as moved");
        assert_eq!(stored(world, "bad-worker").len(), 2);
    });
}

#[test]
fn what_others_do_to_sessions_is_taken_up() {
    on_both_engines(|world| {
        let path = bound(world, "demo");
        let (mut cx, mut follower) = (context(world), Follower::new());
        while follower.pass(&mut cx).unwrap().more {}
        append(&path, message("one"));
        world.json(&["ingest", "demo-worker"]);
        while follower.pass(&mut cx).unwrap().more {}
        assert_eq!(stored(world, "demo-worker").len(), 2);
        let other = world.dir().join("other.jsonl");
        append(&other, meta("other"));
        register(world, "demo-worker", Some(&other));
        while follower.pass(&mut cx).unwrap().more {}
        assert_eq!(stored(world, "demo-worker").len(), 3, "the rollout of the new registration");
        world.sql("update bindings set state = 'ended', ended_at = 't'");
        append(&other, message("two"));
        assert_eq!(follower.pass(&mut cx).unwrap(), Pass::default(), "bound no more");
        assert!(!follower.has_news());
    });
}
