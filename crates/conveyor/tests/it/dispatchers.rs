//! Whether a dispatcher runs: what it leaves behind when it ends, and who believes what of it.

use std::time::Duration;

use conveyor::Environment;
use conveyor_testkit::wait;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{World, on_both_engines};
use crate::watch::{Process, watching};
use crate::{app_loop, spawn};

const LIMIT: Duration = Duration::from_secs(30);

/// The newest event of a type, its correlation or attributes.
fn newest(world: &World, event_type: &str, column: &str) -> Value {
    let texts = world.column(&format!(
        "select {column} from telemetry_events where event_type = '{event_type}' order by rowid desc limit 1"
    ));
    texts.first().map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
}

/// What the newest mark says of the run that gave the newest life sign.
fn mark(world: &World) -> String {
    let (beat, end) = (
        newest(world, "dispatch_watch_heartbeat", "correlation_json"),
        newest(world, "dispatch_watch_ended", "correlation_json"),
    );
    assert!(beat["incarnation"]["pid"].is_u64() && beat["incarnation"]["host"].is_string(), "{beat}");
    assert_eq!(beat["incarnation"], end["incarnation"]);
    assert_eq!(beat["dispatcher_id"], end["dispatcher_id"]);
    newest(world, "dispatch_watch_ended", "attributes_json")["reason"].as_str().unwrap().to_owned()
}

fn judged(world: &World, options: &[&str]) -> Value {
    world.json(&[&["app-loop-status", "demo", "--json"], options].concat())["dispatch"].clone()
}

#[test]
fn every_orderly_end_leaves_a_mark() {
    on_both_engines(|world| {
        world.bind("demo");
        for (signal, reason) in [(Signal::TERM, "stopped"), (Signal::INT, "stopped")] {
            let watch = watching(world, &["--interval", "3600"]);
            assert_eq!(judged(world, &[])["state"], "healthy");
            watch.signal(signal);
            assert_eq!(watch.end().0, Some(0));
            assert_eq!(mark(world), reason);
            let dispatch = judged(world, &[]);
            assert_eq!((&dispatch["state"], &dispatch["has_ended"]), (&json!("stale"), &json!(true)));
            world.sql("delete from telemetry_events");
        }
        world.json(&["dispatch", "--watch", "--watch-iterations", "2", "--interval", "0", "--json"]);
        assert_eq!(mark(world), "iterations");
        let status = world.json(&["app-loop-status", "demo", "--json"]);
        assert_eq!(status["next_actions"][0]["reason"], "dispatcher dispatch-local has ended");

        // What waiting does not cure.
        world.sql("delete from telemetry_events");
        let watch = watching(world, &["--interval", "1"]);
        world.sql("alter table bindings rename to elsewhere");
        let (code, _, stderr) = watch.end();
        world.sql("alter table elsewhere rename to bindings");
        assert_eq!((code, stderr.lines().count()), (Some(2), 1), "{stderr}");
        assert_eq!(mark(world), "error");

        world.sql("delete from telemetry_events");
        let watch = watching(world, &["--interval", "3600", "--exit-when-unbound"]);
        assert_eq!(world.json(&["finish-task", "demo"])["dispatcher_stopped"], true);
        assert_eq!(watch.end().0, Some(0));
        assert_eq!(mark(world), "unbound");
    });
}

#[test]
fn a_run_that_ended_says_nothing_of_another_one() {
    on_both_engines(|world| {
        world.bind("demo");
        let _goes_on = watching(world, &["--interval", "1"]);
        let ends =
            Process::start(world, &["dispatch", "--watch", "--watch-iterations", "3", "--interval", "1"]);
        assert_eq!(ends.end().0, Some(0));
        assert_eq!(
            world.scalar("select count(*) from telemetry_events where event_type = 'dispatch_watch_ended'"),
            "1"
        );
        assert_eq!(judged(world, &[])["state"], "healthy");
    });
}

#[test]
fn a_life_sign_that_tells_no_run_counts_by_its_age() {
    on_both_engines(|world| {
        app_loop::alive(world);
        world.sql(
            "insert into telemetry_events (id, timestamp, actor, event_type, severity, summary, correlation_json, \
             attributes_json) values ('end', '2026-06-11T12:00:00.500Z', 'dispatch', 'dispatch_watch_ended', 'info', \
             's', '{\"dispatcher_id\":\"dispatch-local\"}', '{}')",
        );
        assert_eq!(judged(world, &[])["state"], "healthy");
        world.advance(181_000);
        assert_eq!(judged(world, &[])["state"], "stale");
    });
}

/// Arguments of a pair whose names end in `tag`.
fn pair(tag: &str) -> Vec<String> {
    let named = |name: &str| format!("{name}{tag}");
    let (task, worker, manager) = (named("demo"), named("w"), named("m"));
    ["pair", "--task", &task, "--task-goal", "g", "--worker-name", &worker, "--manager-name", &manager]
        .into_iter()
        .chain(["--cwd", "project", "--timeout-seconds", "30"])
        .map(str::to_owned)
        .collect()
}

fn paired(world: &World, environment: &Environment, tag: &str) -> Value {
    let arguments = pair(tag);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    world.run_in(environment, &arguments).json()["dispatch"].clone()
}

#[test]
fn a_pair_right_after_a_finished_one_gets_a_dispatcher_of_its_own() {
    on_both_engines(|world| {
        let environment = Environment {
            executable: Some(env!("CARGO_BIN_EXE_conveyor").into()),
            ..spawn::environment(world)
        };
        let finish = |tag: &str| {
            let task = format!("demo{tag}");
            world.json(&["finish-task", &task, "--stop-worker", "--stop-manager"])["dispatcher_stopped"]
                .clone()
        };
        let beats = || {
            world
                .scalar("select count(*) from telemetry_events where event_type = 'dispatch_watch_heartbeat'")
        };
        world.run(&["tasks"]);
        let mut before = Value::Null;
        for tag in ["1", "2"] {
            let seen = beats();
            let started = paired(world, &environment, tag);
            assert_eq!(started["started"], true, "{started}");
            assert_ne!(started["pid"], before);
            before = started["pid"].clone();
            wait::until(LIMIT, "a life sign", || beats() != seen);
            assert_eq!(session_of(&before), before.as_u64(), "its session is its own");
            if tag == "2" {
                // One that runs is not started a second time.
                let beside = paired(world, &environment, "3");
                assert_eq!((&beside["started"], &beside["pid"]), (&json!(false), &Value::Null));
                assert_eq!(finish("3"), json!(null), "the other task is bound");
            }
            assert_eq!(finish(tag), json!(true));
        }
    });
}

/// The session of a process.
fn session_of(pid: &Value) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')')?.1.split_whitespace().nth(3)?.parse().ok()
}

#[test]
fn nobody_relies_on_a_dispatcher_that_moves_a_part_or_ends_by_itself() {
    on_both_engines(|world| {
        let environment = Environment {
            executable: Some(env!("CARGO_BIN_EXE_conveyor").into()),
            ..spawn::environment(world)
        };
        world.bind("demo");
        let partial = watching(world, &["--type", "notify_manager"]);
        assert_eq!(judged(world, &[])["state"], "healthy");
        assert_eq!(paired(world, &environment, "1")["started"], true);
        drop(partial);
        world.run(&["finish-task", "demo1", "--stop-worker", "--stop-manager"]);
        assert_eq!(world.json(&["finish-task", "demo"])["dispatcher_stopped"], true);
    });
}

/// Between the look that finds nothing bound and the mark, somebody binds and relies on the dispatcher.
#[test]
#[cfg(feature = "fault-points")]
fn what_is_bound_while_a_dispatcher_ends_is_served() {
    on_both_engines(|world| {
        world.run(&["tasks"]);
        let watch = ["dispatch", "--watch", "--exit-when-unbound", "--json"];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let delivered = "select count(*) from routed_notifications where state = 'delivered'";
                wait::until(LIMIT, "the message", || world.scalar(delivered) == "1");
                world.sql("update bindings set state = 'ended'");
            });
            let bind = || {
                world.bind("demo");
                world.run(&["enqueue-nudge-worker", "demo", "--message", "m"]);
            };
            let (ran, ()) = world.meanwhile("dispatch.before_heartbeat", || world.run(&watch), bind);
            assert_eq!(ran.json()["processed_total"], 1);
        });
    });
}
