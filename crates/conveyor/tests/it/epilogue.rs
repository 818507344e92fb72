//! `epilogue`: closing steps.

use serde_json::Value;

use crate::continuation::{propose, with_contract};
use crate::harness::{World, on_both_engines};

fn configure(world: &World, steps: &str, tools: &str) {
    world.sql(&format!("update manager_configs set epilogues_json = '{steps}', tools_json = '{tools}'"));
    world.sql(&format!("update sessions set cwd = '{}'", world.dir().display()));
}

const ALL: &str = "[\"run-tools\",\"draft-pr\",\"subagent-review\",\"record-handoff\"]";

fn last(world: &World, step: &str) -> Value {
    let report = world.json(&["epilogue", "demo", "--step", step, "--json"]);
    report["runs"].as_array().unwrap().last().unwrap().clone()
}

#[test]
fn steps_are_run_and_recorded() {
    on_both_engines(|world| {
        with_contract(world);
        configure(world, "[\"draft-pr\",\"record-handoff\"]", "[]");
        let failed = world.run(&["epilogue", "demo", "--step", "record-handoff", "--correlation-id", "c1"]);
        assert_eq!(failed.code, 0, "{}", failed.stderr);
        insta::assert_snapshot!("epilogue_failed_text", failed.stdout);
        world.advance(2000);
        world.json(&["epilogue", "demo", "--step", "draft-pr", "--json"]);
        world.sql(
            "insert into worker_handoffs (task_id, summary, next_steps_json, payload_json, created_at) values \
             ('task-demo', 'Half done', '[]', '{}', '2026-06-11T12:00:00Z')",
        );
        world.json(&["epilogue", "demo", "--step", "record-handoff", "--status"]);
        insta::assert_snapshot!("epilogue_status", world.run(&["epilogue", "demo", "--status"]).stdout);
        let list = world.run(&["epilogue", "demo", "--list"]).stdout;
        assert_eq!(list, world.run(&["epilogue", "demo", "--status", "--json"]).stdout);
        insta::assert_snapshot!(
            "epilogue_events",
            world
                .column(
                    "select coalesce(correlation_id, '-') || ' ' || actor || ' ' || payload_json from events \
             where type = 'epilogue_step_recorded' order by id",
                )
                .join("\n")
        );
    });
}

#[test]
fn a_task_without_contract_has_no_steps() {
    on_both_engines(|world| {
        world.bind("demo");
        let report = world.json(&["epilogue", "demo", "--status"]);
        assert_eq!(
            (&report["status"]["ok"], &report["status"]["steps"]),
            (&true.into(), &Value::Array(vec![]))
        );
    });
}

#[test]
fn tools_are_asked_for_their_version() {
    on_both_engines(|world| {
        with_contract(world);
        configure(world, ALL, "[]");
        assert_eq!(last(world, "run-tools")["result"]["tool_count"], 0);
        let script = world.dir().join("tool");
        std::fs::write(
            &script,
            "#!/bin/sh\nread line && exit 9\necho \"$1 $(pwd)\"; printf '%2000s' x >&2; exit 0\n",
        )
        .unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let tools = |list: &[&str]| configure(world, ALL, &serde_json::to_string(list).unwrap());
        let tool = format!("{} run --all", script.display());
        tools(&[&tool, "verification.run_tests", "cat.x"]);
        let run = last(world, "run-tools");
        assert_eq!(run["state"], "failed");
        assert_eq!(run["error"], "configured tool not found: cat.x");
        let answers = run["result"]["tools"].as_array().unwrap();
        assert_eq!(answers.len(), 2);
        assert_eq!(
            answers[0]["stdout"],
            format!("--version {}\n", world.dir().canonicalize().unwrap().display())
        );
        assert_eq!(answers[0]["stderr"].as_str().unwrap().len(), 1000);
        assert_eq!(
            answers[1],
            serde_json::json!({"returncode": null, "skipped": true, "stderr": "", "stdout": "",
                "tool": "verification.run_tests"})
        );
        tools(&["false", "true"]);
        let run = last(world, "run-tools");
        assert_eq!(run["error"], "configured tool failed version check: false");
        assert_eq!(run["result"]["tools"].as_array().unwrap().len(), 1);
        assert!(run["result"].get("tool_count").is_none());
        tools(&["true"]);
        assert_eq!(last(world, "run-tools")["state"], "succeeded");
    });
}

#[test]
fn a_review_must_be_recorded_whatever_it_says() {
    on_both_engines(|world| {
        with_contract(world);
        configure(world, ALL, "[]");
        assert_eq!(
            last(world, "subagent-review")["error"],
            "subagent-review requires a recorded continuation review"
        );
        propose(world, "worker", "k", "{}");
        propose(world, "manager", "k", "{}");
        let review = "{\"agreement\": \"divergent\", \"verdict\": \"stop\", \"rationale\": \"no\", \"subagent_run\": \
                      {\"reviewer_session_id\": \"r\", \"manager_session_id\": \"m\", \"manager_rollout_access\": false}}";
        world
            .run_fed(review, &["continuation", "demo", "--review", "--from-stdin", "--correlation-id", "k"])
            .json();
        let run = last(world, "subagent-review");
        assert_eq!(run["state"], "succeeded");
        assert_eq!(run["result"]["verdict"], "stop");
        assert_eq!(run["result"]["operator_routing_required"], true);
    });
}

#[test]
fn refusals() {
    on_both_engines(|world| {
        with_contract(world);
        configure(world, "[\"draft-pr\"]", "[]");
        let refusals: Vec<String> = [
            &["epilogue", "demo"][..],
            &["epilogue", "nobody", "--list"],
            &["epilogue", "demo", "--step", "run-tools"],
            &["epilogue", "demo", "--step", "nonsense"],
            &["epilogue", "demo", "--list", "--correlation-id", "c"],
        ]
        .iter()
        .map(|arguments| world.refused(arguments))
        .collect();
        insta::assert_snapshot!("epilogue_refusals", refusals.join("\n"));
    });
}
