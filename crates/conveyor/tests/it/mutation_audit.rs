//! `mutation-audit`.

use serde_json::{Value, json};

use crate::harness::{World, on_both_engines};

/// A decision of a task, made by hand; ids count from 1.
fn decide(world: &World, task: &str, decision: &str, at: &str) {
    world.sql(&format!(
        "insert into manager_decisions (task_id, decision, reason, created_at, payload_json) \
         values ('task-{task}', '{decision}', 'because', '{at}', '{{\"source\":\"test\"}}')"
    ));
}

/// A command of task `demo`, made by hand.
fn act(world: &World, id: &str, kind: &str, state: &str, at: &str, payload: &Value, result: Option<&Value>) {
    let result = result.map_or("null".to_owned(), |result| format!("'{result}'"));
    world.sql(&format!(
        "insert into commands (id, idempotency_key, created_at, updated_at, task_id, type, state, payload_json, \
         result_json) values ('{id}', '{id}', '{at}', '{at}', 'task-demo', '{kind}', '{state}', '{payload}', {result})"
    ));
}

fn warnings(world: &World, id: &str) -> Value {
    let ran = world.run(&["mutation-audit", "demo", "--json"]);
    let audit: Value = serde_json::from_str(&ran.stdout).unwrap();
    let records = audit["records"].as_array().unwrap();
    let record = records.iter().find(|record| record["command"]["id"] == id).unwrap();
    assert_eq!(record["ok"], json!(record["warnings"] == json!([])));
    record["warnings"].clone()
}

#[test]
fn a_task_on_which_nothing_was_done_is_fine() {
    on_both_engines(|world| {
        world.bind("demo");
        let ran = world.run(&["mutation-audit", "demo"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "demo\tmutations=0\twarnings=0\n"));
    });
}

#[test]
fn compaction_and_closing_go_back_to_decisions() {
    on_both_engines(|world| {
        world.bind("demo");
        decide(world, "demo", "nudge", "2026-06-11T11:00:00Z");
        let sent = json!({
            "manager_decision": { "decision": { "id": 1 }, "decision_id": 1, "ok": true, "warnings": [] },
            "permission_check": { "action": "worker_compact_clear", "allowed": true },
            "send_result": { "dry_run": true },
            "send_text": "/compact",
            "slash_command": "/compact",
            "worker_session": "demo-worker",
        });
        act(
            world,
            "c-1",
            "request_worker_compact",
            "succeeded",
            "2026-06-11T11:00:01.500Z",
            &json!({}),
            Some(&sent),
        );
        act(world, "c-2", "nudge_worker", "succeeded", "2026-06-11T11:00:02.000Z", &json!({}), None);
        assert_eq!(world.run(&["finish-task", "demo", "--reason", "done"]).code, 0);
        let ran = world.run(&["mutation-audit", "demo", "--json"]);
        assert_eq!(ran.code, 0, "{}", ran.stdout);
        insta::assert_snapshot!("mutation_audit", world.normal(&ran.stdout));
        let text = world.run(&["mutation-audit", "demo"]);
        assert_eq!(text.code, 0);
        insta::assert_snapshot!("mutation_audit_text", text.stdout);
    });
}

#[test]
fn what_does_not_fit_is_named_and_exits_with_1() {
    on_both_engines(|world| {
        world.bind("demo");
        world.bind("other");
        act(world, "early", "task_nudge", "succeeded", "2026-06-11T09:00:00.000Z", &json!({}), None);
        decide(world, "demo", "wait", "2026-06-11T10:00:00Z");
        decide(world, "other", "nudge", "2026-06-11T10:00:00Z");
        let named = |id: i64, warnings: Value| json!({ "manager_decision": { "decision_id": id, "warnings": warnings } });
        let of_other = json!({ "manager_decision": {
            "decision": { "decision": "nudge", "id": 2 }, "decision_id": 2, "warnings": ["decision_task_mismatch"],
        } });
        let at = "2026-06-11T10:00:00.000Z";
        for (id, kind, payload) in [
            ("d-plain", "deregister_session", json!({})),
            ("d-linked", "deregister_session", named(1, json!([]))),
            ("n-none", "task_nudge", json!({})),
            ("n-wrong", "task_nudge", named(1, json!(["decision_mismatch"]))),
            ("n-other", "task_nudge", of_other),
            ("n-text", "task_nudge", json!({ "manager_decision": { "decision_id": "1" } })),
            ("b-extend", "extend_nudge_budget", json!({ "manager_decision": { "decision": "escalate" } })),
            ("p-pause", "pause_manager", json!({ "manager_decision": { "decision": "stop" } })),
        ] {
            act(world, id, kind, "succeeded", at, &payload, None);
        }
        for (id, expected) in [
            ("early", json!(["missing_decision_metadata"])),
            ("d-plain", json!([])),
            ("d-linked", json!(["unexpected_linked_decision"])),
            ("n-none", json!(["missing_decision_metadata", "nearest_decision_unlinked"])),
            ("n-wrong", json!(["decision_mismatch", "linked_decision_incompatible"])),
            ("n-other", json!(["decision_task_mismatch"])),
            ("n-text", json!(["linked_decision_incompatible"])),
            ("b-extend", json!([])),
            ("p-pause", json!([])),
        ] {
            assert_eq!(warnings(world, id), expected, "{id}");
        }
        let text = world.run(&["mutation-audit", "demo"]);
        assert_eq!((text.code, text.stderr.as_str()), (1, ""));
        insta::assert_snapshot!("mutation_audit_warnings", text.stdout);
    });
}

#[test]
fn what_a_rule_refused_is_no_mistake() {
    on_both_engines(|world| {
        world.bind("demo");
        let at = "2026-06-11T10:00:00.000Z";
        let refused = json!({ "expected_failure": true, "failure_stage": "preflight" });
        act(world, "c-1", "request_worker_compact", "failed", at, &json!({}), Some(&refused));
        // A refusal that went through after all is one.
        act(world, "c-2", "request_worker_compact", "succeeded", at, &json!({}), Some(&refused));
        assert_eq!(warnings(world, "c-1"), json!([]));
        assert_eq!(warnings(world, "c-2"), json!(["missing_decision_metadata"]));
    });
}

#[test]
fn what_was_really_sent() {
    on_both_engines(|world| {
        world.bind("demo");
        let at = "2026-06-11T10:00:00.000Z";
        let sending = |dry_run: bool| json!({ "send_result": { "dry_run": dry_run }, "slash_command": null });
        let payload =
            json!({ "send_text": "Please prepare.", "slash_command": "/compact", "worker_session": null });
        act(world, "c-1", "request_worker_compact", "succeeded", at, &payload, Some(&sending(false)));
        act(world, "c-2", "request_worker_compact", "failed", at, &payload, Some(&sending(false)));
        act(world, "c-3", "request_worker_compact", "succeeded", at, &payload, None);
        let ran = world.run(&["mutation-audit", "demo", "--json"]);
        let audit: Value = serde_json::from_str(&ran.stdout).unwrap();
        let effects: Vec<&Value> =
            audit["records"].as_array().unwrap().iter().map(|record| &record["effect"]).collect();
        let text = "Please prepare.";
        assert_eq!(
            effects,
            [
                &json!({ "dry_run": false, "send_text": text, "sent": true, "slash_command": null }),
                &json!({ "dry_run": false, "send_text": text, "sent": false, "slash_command": null }),
                &json!({ "dry_run": false, "send_text": text, "sent": false, "slash_command": "/compact" }),
            ]
        );
    });
}

#[test]
fn refusals() {
    on_both_engines(|world| {
        world.bind("demo");
        let lines: &[&[&str]] = &[
            &["mutation-audit"],
            &["mutation-audit", "nobody"],
            &["mutation-audit", "demo", "surplus"],
            &["mutation-audit", "demo", "--dry-run"],
        ];
        let answers: Vec<String> =
            lines.iter().map(|line| format!("{}\n  {}", line.join(" "), world.refused(line))).collect();
        insta::assert_snapshot!("mutation_audit_refusals", answers.join("\n"));
    });
}
