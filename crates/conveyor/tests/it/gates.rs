//! The gates of `finish-task` and `stop-task`.

use serde_json::{Value, json};

use crate::harness::{World, on_both_engines};

/// Runs a closing that a gate must refuse: exit 1, one line, the task as it was. Gives the line.
fn kept_open(world: &World, arguments: &[&str]) -> String {
    let ran = world.run(arguments);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{arguments:?}: {}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{arguments:?}: {}", ran.stderr);
    assert_eq!(world.scalar("select state from tasks where id = 'task-demo'"), "managed");
    assert_eq!(world.scalar("select state from bindings where id = 'binding-demo'"), "active");
    ran.stderr
}

/// As [`kept_open`], for a gate that leaves no trace.
fn kept_silently(world: &World, arguments: &[&str]) -> String {
    let before = world.dump();
    let said = kept_open(world, arguments);
    assert_eq!(world.dump(), before, "{arguments:?} wrote something");
    said
}

fn decide(world: &World, task: &str, decision: &str) -> String {
    world.json(&["record-decision", task, decision, "--reason", "r"])["id"].to_string()
}

#[test]
fn a_decision_must_stand_behind_it() {
    on_both_engines(|world| {
        world.bind("demo");
        world.bind("other");
        let (stop, wait) = (decide(world, "demo", "stop"), decide(world, "demo", "wait"));
        let foreign = decide(world, "other", "wait");
        let mut said = Vec::new();
        for command in ["finish-task", "stop-task"] {
            let strict = [command, "demo", "--strict-decisions"];
            said.push(kept_silently(world, &strict));
            for id in ["99", &wait, &foreign] {
                said.push(kept_silently(world, &[&strict[..], &["--decision-id", id]].concat()));
            }
        }
        world.sql("update manager_decisions set created_at = 'yesterday' where id = 2");
        said.push(kept_silently(world, &["stop-task", "demo", "--strict-decisions", "--decision-id", &wait]));
        world.advance(900_000);
        let strict = ["finish-task", "demo", "--strict-decisions", "--decision-id", &stop];
        world.advance(1000);
        said.push(kept_silently(world, &strict));
        insta::assert_snapshot!("gates_decisions", said.concat());
        world.clock.set(conveyor_model::Timestamp::parse(crate::harness::START).unwrap());
        world.advance(900_000);
        let closed = world.json(&strict);
        insta::assert_json_snapshot!("gates_decided", closed["manager_decision"]);
        let loose = world.json(&["stop-task", "other", "--decision-id", &stop]);
        assert_eq!(loose["manager_decision"]["warnings"], json!(["decision_task_mismatch"]), "only recorded");
        assert_eq!(loose["final_decision_id"], json!(null));
    });
}

#[test]
fn gates_are_looked_at_in_their_order_and_audits_are_recorded() {
    on_both_engines(|world| {
        world.bind("demo");
        world.json(&["manager-config", "demo", "--epilogue", "record-handoff", "--epilogue", "draft-pr"]);
        world.json(&[
            "criteria",
            "demo",
            "--add",
            "--criterion",
            "tests pass",
            "--source",
            "user_requested",
            "--status",
            "accepted",
        ]);
        world.json(&["criteria", "demo", "--add", "--criterion", "maybe", "--source", "user_requested"]);
        let finish = [
            "finish-task",
            "demo",
            "--reason",
            "done",
            "--stop-worker",
            "--require-epilogue",
            "--require-acks",
            "--require-criteria-audit",
            "--require-adversarial-proof",
            "--strict-decisions",
            "--decision-id",
        ];
        let finish = |id: &'static str| [&finish[..], &[id]].concat();
        let mut said = vec![kept_silently(world, &finish("9"))];
        let evidence =
            r#"{"evidence_type": "adversarial_check", "failure_mode": "f", "check": "c", "result": "r"}"#;
        world.json(&["criteria", "demo", "--accept", "2", "--evidence-json", evidence]);
        said.push(kept_silently(world, &finish("9")));
        world.json(&["criteria", "demo", "--satisfy", "2"]);
        said.push(kept_silently(world, &finish("9")));
        assert_eq!(decide(world, "demo", "stop"), "1");
        said.push(kept_open(world, &finish("1")));
        world.json(&["criteria", "demo", "--defer", "1"]);
        said.push(kept_open(world, &finish("1")));
        world.run_fed("{}", &["manager-ack", "demo", "--from-stdin"]).json();
        said.push(kept_open(world, &finish("1")));
        world.run_fed("{}", &["worker-ack", "demo", "--from-stdin"]).json();
        said.push(kept_open(world, &finish("1")));
        let at = "2026-06-11T11:00:00Z";
        let run = |step: &str, state: &str| {
            world.sql(&format!(
                "insert into epilogue_runs (task_id, step_name, state, started_at) values ('task-demo', '{step}', '{state}', '{at}')"
            ));
        };
        run("draft-pr", "succeeded");
        run("record-handoff", "succeeded");
        run("record-handoff", "failed");
        said.push(kept_open(world, &finish("1")));
        insta::assert_snapshot!("gates_order", said.concat());
        let commands = world.column(
            "select state || ' ' || error || ' ' || payload_json || ' ' || result_json from commands order by rowid",
        );
        insta::assert_snapshot!("gates_commands", commands.join("\n"));
        let events = world.column(
            "select payload_json from events where type = 'finish_task_failed' and command_id is not null order by id",
        );
        insta::assert_snapshot!("gates_events", events.join("\n"));
        assert_eq!(
            world.scalar("select count(*) from telemetry_events where event_type = 'command_failed'"),
            "5"
        );
        run("record-handoff", "succeeded");
        let closed = world.json(&finish("1"));
        let audits =
            json!([closed["final_audit"], closed["final_ack_audit"], closed["final_epilogue_audit"]]);
        insta::assert_json_snapshot!("gates_open", audits);
        assert_eq!(closed["unmet"], json!([]));
    });
}

fn enforced(world: &World, more: &[&str]) -> Value {
    world.json(&[&["manager-config", "demo", "--enforce-gates"], more].concat())
}

#[test]
fn a_contract_can_enforce_its_gates() {
    on_both_engines(|world| {
        world.bind("demo");
        enforced(world, &["--require-acks", "--epilogue", "record-handoff"]);
        world.json(&[
            "criteria",
            "demo",
            "--add",
            "--criterion",
            "c",
            "--source",
            "final_audit",
            "--status",
            "accepted",
        ]);
        let finish = ["finish-task", "demo"];
        let mut said = vec![kept_open(world, &finish)];
        world.json(&["criteria", "demo", "--satisfy", "1"]);
        said.push(kept_open(world, &finish));
        world.run_fed("{}", &["manager-ack", "demo", "--from-stdin"]).json();
        world.run_fed("{}", &["worker-ack", "demo", "--from-stdin"]).json();
        said.push(kept_open(world, &finish));
        insta::assert_snapshot!("gates_enforced", said.concat());
        assert_eq!(world.json(&["stop-task", "demo"])["finish"], false, "giving up stays possible");
    });
}

#[test]
fn what_a_contract_does_not_demand_it_does_not_enforce() {
    on_both_engines(|world| {
        world.bind("demo");
        enforced(world, &[]);
        let closed = world.json(&["finish-task", "demo"]);
        assert_eq!(
            (&closed["final_ack_audit"]["require_acks"], &closed["final_audit"]["require_criteria_audit"]),
            (&json!(false), &json!(true))
        );
    });
}
