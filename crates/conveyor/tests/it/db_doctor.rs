//! `db-doctor`.

use serde_json::{Value, json};

use crate::harness::{World, on_both_engines, on_sqlite};
use crate::panes;
use crate::terminals;

fn examined(world: &World, code: u8) -> Value {
    let ran = world.run(&["db-doctor"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (code, ""), "{}", ran.stdout);
    serde_json::from_str(&ran.stdout).unwrap()
}

fn check(report: &Value, name: &str) -> Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no check {name}")).clone()
}

/// The report with what depends on the machine replaced.
fn shown(world: &World) -> String {
    let report = examined(world, 0);
    let version = check(&report, "engine")["version"].as_str().unwrap().to_owned();
    world.normal(&world.run(&["db-doctor", "--json"]).stdout).replace(&version, "[VERSION]")
}

#[test]
fn a_healthy_ledger() {
    on_both_engines(|world| {
        let name = if world.is_sqlite() { "db_doctor_sqlite" } else { "db_doctor_postgres" };
        insta::assert_snapshot!(name, shown(world));
        let before = world.dump();
        examined(world, 0);
        assert_eq!(world.dump(), before, "it writes nothing");
        insta::assert_snapshot!("db_doctor_surplus", world.refused(&["db-doctor", "x"]));
    });
}

/// The report of `--live` without the other checks.
fn live(world: &World, code: u8, arguments: &[&str]) -> Value {
    let ran = world.run(&[&["db-doctor", "--live"], arguments].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (code, ""), "{}", ran.stdout);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    json!({ "check": check(&report, "live_reconcile"), "live_reconcile": report["live_reconcile"] })
}

#[test]
fn a_ledger_that_agrees_with_the_machine() {
    on_both_engines(|world| {
        world.bind("demo");
        let pid = std::process::id();
        world.sql(&format!("update sessions set pid = {pid}"));
        world.sql("update sessions set tmux_session = 'agent' where role = 'worker'");
        terminals::start(world, "agent", "exec cat");
        panes::put_into(world, "demo-worker", "agent");
        let ask = |format: &str| world.tmux.tmux(["list-panes", "-t", "=agent:", "-F", format]);
        let (pane, process) = (ask("#{pane_id}"), ask("#{pane_pid}"));
        world.sql(&format!("update sessions set tmux_pane_id = '{}' where role = 'worker'", pane.trim()));
        let before = world.dump();
        let shown = serde_json::to_string_pretty(&live(world, 0, &[])).unwrap();
        insta::assert_snapshot!(
            "db_doctor_live",
            shown.replace(&pid.to_string(), "[PID]").replace(process.trim(), "[PID]")
        );
        assert_eq!(world.dump(), before, "it writes nothing");
    });
}

#[test]
fn drift_is_named_in_order() {
    on_both_engines(|world| {
        world.bind("demo");
        // No process has this number.
        world.sql("update sessions set pid = 2147483647, tmux_pane_id = '%77'");
        world.sql("update sessions set tmux_session = 'agent' where role = 'manager'");
        world.sql("update sessions set tmux_session = 'age' where role = 'worker'");
        terminals::start(world, "agent", "exec cat");
        world.json(&["enqueue-nudge-worker", "demo", "--message", "hi", "--json"]);
        let found = live(world, 1, &[]);
        insta::assert_snapshot!("db_doctor_drift", serde_json::to_string_pretty(&found).unwrap());
    });
}

#[test]
fn managers_of_older_versions_are_warned_of() {
    on_both_engines(|world| {
        world.bind("demo");
        world.sql("update sessions set tmux_session = 'm' where role = 'manager'");
        world.sql("update sessions set pid = 1, tmux_session = null where role = 'worker'");
        world.sql(
            "insert into managers (id, name, task_id, tmux_session, state, codex_args_json, started_at) \
             values ('manager-1', 'old', 'task-demo', 'codex-old', 'ready', '[]', 't')",
        );
        let none = live(world, 1, &[]);
        assert_eq!(
            none["live_reconcile"]["results"][0]["drift"],
            json!(["manager_missing"]),
            "the old one wins"
        );
        terminals::start(world, "codex-old", "exec cat");
        let never = live(world, 0, &[]);
        assert_eq!(never["live_reconcile"]["manager_liveness_warnings"][0]["reason"], "manager_never_seen");
        world.sql("update managers set last_seen_at = '2026-06-11T11:50:00.500Z'");
        insta::assert_snapshot!(
            "db_doctor_warning",
            serde_json::to_string_pretty(&live(world, 0, &[])).unwrap()
        );
        let patient = live(world, 0, &["--manager-stale-seconds", "600"]);
        assert_eq!(patient["live_reconcile"]["manager_liveness_warnings"], json!([]));
        insta::assert_snapshot!(
            "db_doctor_stale_seconds",
            world.refused(&["db-doctor", "--live", "--manager-stale-seconds", "-1"])
        );
    });
}

#[test]
fn what_is_missing_is_named_and_not_repaired() {
    on_both_engines(|world| {
        world.run(&["tasks"]);
        world.sql("drop index statuses_worker_id");
        world.sql("drop index routed_notifications_consumed_cycle");
        world.sql(if world.is_sqlite() {
            "drop trigger events_no_delete"
        } else {
            "drop trigger events_no_delete on events"
        });
        world.sql("drop table budgets");
        for _ in 0..2 {
            let report = examined(world, 1);
            assert_eq!(report["ok"], false);
            assert_eq!(check(&report, "required_tables")["missing"], json!(["budgets"]));
            assert_eq!(check(&report, "required_indexes")["missing"], json!(["statuses_worker_id"]));
            assert_eq!(check(&report, "required_triggers")["missing"], json!(["events_no_delete"]));
        }
    });
}

#[test]
fn rows_that_point_nowhere_are_listed() {
    on_sqlite(|world| {
        world.run(&["tasks"]);
        world.sql(
            "pragma foreign_keys = off; insert into bindings (id, task_id, state, created_at) \
             values ('b', 'no task', 'ended', 't')",
        );
        let report = examined(world, 1);
        let found = check(&report, "foreign_key_check");
        assert_eq!(found["ok"], false);
        let violation = &found["violations"][0];
        assert_eq!(
            (&violation["table"], &violation["parent"], &violation["rowid"]),
            (&json!("bindings"), &json!("tasks"), &json!(1))
        );
    });
}

#[test]
fn newer_files_are_judged_by_their_own_list() {
    on_sqlite(|world| {
        world.run(&["tasks"]);
        world.sql("pragma user_version = 26");
        let report = examined(world, 1);
        assert_eq!((&report["user_version"], &report["schema_version"]), (&json!(26), &json!(24)));
        let missing = check(&report, "required_tables")["missing"].as_array().unwrap().len();
        assert_eq!(missing, 7, "campaigns and set-up bundles");
    });
}

#[test]
fn a_ledger_without_record_of_versions_has_version_null() {
    on_sqlite(|world| {
        world.run(&["tasks"]);
        world.sql("drop table schema_migrations");
        let report = examined(world, 1);
        assert_eq!(report["schema_version"], Value::Null);
        assert_eq!(check(&report, "schema_version")["ok"], false);
        assert_eq!(check(&report, "required_tables")["missing"], json!(["schema_migrations"]));
    });
}

#[test]
fn what_is_no_database_is_refused_and_left_alone() {
    on_sqlite(|world| {
        let text = "no database at all, but long enough to be looked at as if it were one. ".repeat(20);
        std::fs::write(world.file(), &text).unwrap();
        let ran = world.run(&["db-doctor"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
        insta::assert_snapshot!("db_doctor_no_database", world.normal(&ran.stderr));
        assert_eq!(std::fs::read_to_string(world.file()).unwrap(), text);
    });
}
