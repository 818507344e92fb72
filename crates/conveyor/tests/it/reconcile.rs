//! `reconcile`.

use serde_json::{Value, json};

use crate::harness::{World, on_both_engines};

/// No process has it.
const NOBODY: i64 = 2_000_000_000;

/// Task `demo` whose worker's process is dead, and task `other` whose manager was deregistered by hand.
fn drifted(world: &World) {
    world.bind("demo");
    world.bind("other");
    world.sql(&format!(
        "update sessions set pid = {NOBODY} where name = 'demo-worker'; \
         update sessions set state = 'gone' where name = 'other-manager'"
    ));
}

fn without_checks(mut report: Value) -> Value {
    let health = report.as_object_mut().unwrap().remove("schema_health").unwrap();
    assert_eq!((&health["ok"], health["checks"].as_array().unwrap().is_empty()), (&json!(true), false));
    report
}

#[test]
fn nothing_is_wrong() {
    on_both_engines(|world| {
        world.bind("demo");
        let before = world.dump();
        let report = without_checks(world.json(&["reconcile"]));
        assert_eq!(report, json!({ "dangling_bindings": [], "dead_pid_sessions": [], "stuck_tasks": [] }));
        assert_eq!(world.dump(), before);
    });
}

#[test]
fn what_has_drifted_is_reported_and_repaired() {
    on_both_engines(|world| {
        drifted(world);
        let before = world.dump();
        let report = without_checks(world.json(&["reconcile"]));
        insta::assert_json_snapshot!("reconcile", report);
        assert_eq!(world.dump(), before, "a report writes nothing");

        world.advance(1500);
        let mut applied = without_checks(world.json(&["reconcile", "--apply"]));
        let repaired = applied.as_object_mut().unwrap().remove("applied").unwrap();
        assert_eq!(applied, report, "the report is the one from before");
        let marked = json!({
            "bindings_marked_invalid": ["binding-demo", "binding-other"],
            "sessions_marked_gone": ["demo-worker"],
        });
        assert_eq!(repaired, marked);
        let session = "select state || ' ' || last_heartbeat_at from sessions where name = 'demo-worker'";
        assert_eq!(world.scalar(session), "gone 2026-06-11T12:00:01Z");
        let bindings = "select state || ' ' || ended_at from bindings order by id";
        assert_eq!(world.column(bindings), ["invalid 2026-06-11T12:00:01.500Z"; 2]);
        let events =
            "select coalesce(task_id, '-') || ' ' || type || ' ' || payload_json from events order by id";
        insta::assert_snapshot!("reconcile_events", world.column(events).join("\n"));
        assert_eq!(world.column("select distinct state from tasks"), ["managed"]);

        let again = world.json(&["reconcile", "--apply"]);
        assert_eq!(again["applied"], json!({ "bindings_marked_invalid": [], "sessions_marked_gone": [] }));
    });
}

#[test]
fn disposable_sessions_have_no_process() {
    on_both_engines(|world| {
        world.json(&["create-disposable-binding", "demo", "--json"]);
        world.sql(&format!("update sessions set pid = {NOBODY}"));
        assert_eq!(world.json(&["reconcile"])["dead_pid_sessions"], json!([]));
        world.sql("update sessions set tmux_session = 't' where role = 'worker'");
        assert_eq!(world.json(&["reconcile"])["dead_pid_sessions"][0]["name"], "demo-worker");
    });
}

#[test]
fn a_task_that_nobody_observes_is_stuck() {
    on_both_engines(|world| {
        world.bind("demo");
        world.bind("never");
        for (started, completed) in
            [("2026-06-11T10:00:00Z", "'2026-06-11T10:59:59.878Z'"), ("2026-06-11T11:30:00Z", "null")]
        {
            world.sql(&format!(
                "insert into manager_cycles (task_id, started_at, completed_at, state) \
                 values ('task-demo', '{started}', {completed}, 'succeeded')"
            ));
        }
        assert_eq!(
            world.json(&["reconcile"])["stuck_tasks"],
            json!([{
                "age_seconds": 3600.122, "binding_id": "binding-demo",
                "last_cycle_at": "2026-06-11T10:59:59.878Z", "task_name": "demo",
            }])
        );
        for (option, seconds, stuck) in [
            ("--stale-cycles-seconds", "3600.122", 0),
            ("--stale-cycle-seconds", "3600.1", 1),
            ("--stale-cycles-seconds", "0", 1),
        ] {
            let report = world.json(&["reconcile", option, seconds]);
            assert_eq!(report["stuck_tasks"].as_array().unwrap().len(), stuck, "{seconds}");
        }
        world.run(&["unbind", "--task", "demo"]);
        assert_eq!(world.json(&["reconcile"])["stuck_tasks"], json!([]), "only bound tasks");
    });
}

#[test]
fn refusals() {
    on_both_engines(|world| {
        drifted(world);
        let said = [
            world.refused(&["reconcile", "demo"]),
            world.refused(&["reconcile", "--stale-cycles-seconds", "-1"]),
            world.refused(&["reconcile", "--stale-cycles-seconds", "inf"]),
            world.refused(&["reconcile", "--dry-run"]),
        ];
        insta::assert_snapshot!("reconcile_refusals", said.join("\n"));
    });
}
