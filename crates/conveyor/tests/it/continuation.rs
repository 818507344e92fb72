//! `continuation`: proposals and reviews.

use serde_json::{Value, json};

use crate::harness::{World, on_both_engines};

/// Task `demo`, bound, whose manager may have reviews made.
pub fn with_contract(world: &World) {
    world.bind("demo");
    world.sql(
        "insert into manager_configs (task_id, recipe_name, supervision_mode, guidelines_json, acceptance_criteria_json, \
         reference_paths_json, permissions_json, tools_json, epilogues_json, created_at, updated_at) values \
         ('task-demo', 'nudge-whats-next', 'guided', '[]', '[\"Fast\"]', '[]', '{\"context\":[\"spawn_reviewer\"]}', \
         '[\"true\"]', '[\"draft-pr\",\"record-handoff\"]', '2026-06-11T11:00:00Z', '2026-06-11T11:00:00Z')",
    );
}

pub fn propose(world: &World, side: &str, turn: &str, payload: &str) -> Value {
    let arguments = ["continuation", "demo", "--submit", side, "--from-stdin", "--correlation-id", turn];
    world.run_fed(payload, &arguments).json()
}

fn review(change: impl Fn(&mut Value)) -> String {
    let mut payload = json!({
        "agreement": "compatible",
        "verdict": "amend",
        "rationale": "Measuring is missing",
        "addendum": "Measure",
        "ignored": true,
        "subagent_run": {
            "reviewer_session_id": "r1", "manager_session_id": "m1", "manager_rollout_access": false,
            "allowed_context": ["task", "diff"], "duration_ms": 7, "status": "succeeded",
        },
    });
    change(&mut payload);
    payload.to_string()
}

fn events(world: &World) -> String {
    let rows = world.column(
        "select type || ' actor=' || actor || ' corr=' || coalesce(correlation_id, '-') || ' at=' || created_at || ' ' \
         || payload_json from events where type <> 'task_created' order by id",
    );
    rows.join("\n")
}

#[test]
fn proposals_and_a_review() {
    on_both_engines(|world| {
        with_contract(world);
        let first = world.run_fed(
            "{\"next\": \"Write\", \"b\": 1.0}",
            &["continuation", "demo", "--submit", "worker", "--from-stdin"],
        );
        insta::assert_snapshot!("continuation_worker", first.stdout);
        let turn = first.json()["correlation_id"].as_str().unwrap().to_owned();
        world.advance(2000);
        assert_eq!(propose(world, "manager", &turn, "{\"next\": \"Measure\"}")["revision"], 1);
        assert_eq!(propose(world, "manager", &turn, "{\"next\": \"Measure first\"}")["revision"], 2);
        // Revisions count over all turns of a side.
        assert_eq!(propose(world, "worker", "other", "{}")["revision"], 2);
        let reviewed = world.run_fed(
            &review(|_| {}),
            &["continuation", "demo", "--review", "--from-stdin", "--correlation-id", &turn],
        );
        insta::assert_snapshot!("continuation_review", reviewed.stdout);
        insta::assert_snapshot!("continuation_events", events(world));
        insta::assert_snapshot!("continuation_telemetry", world.telemetry());
        let listed = world.run(&["continuation", "demo", "--list", "--include-payload"]);
        insta::assert_snapshot!("continuation_list", listed.stdout);
    });
}

#[test]
fn the_manager_reads_what_the_worker_proposes_only_after_its_own() {
    on_both_engines(|world| {
        with_contract(world);
        propose(world, "worker", "k1", "{\"secret\": 1}");
        propose(world, "worker", "k2", "{\"secret\": 2}");
        propose(world, "manager", "k2", "{\"own\": 2}");
        let shown = |arguments: &[&str]| {
            let mut all = vec!["continuation", "demo", "--list"];
            all.extend(arguments);
            let listed = world.json(&all);
            let rows = listed["continuations"].as_array().unwrap().clone();
            rows.iter()
                .map(|row| row.get("payload").map_or("redacted".into(), Value::to_string))
                .collect::<Vec<_>>()
        };
        assert_eq!(shown(&[]), ["redacted"; 3]);
        let all = ["{\"secret\":1}", "{\"secret\":2}", "{\"own\":2}"];
        for role in ["all", "worker", "reviewer"] {
            assert_eq!(shown(&["--include-content", "--as-role", role]), all);
        }
        assert_eq!(shown(&["--include-payload", "--as-role", "manager"]), ["redacted", all[1], all[2]]);
        let turn = |id| ["--as-role", "manager", "--include-payload", "--correlation-id", id];
        assert_eq!(shown(&turn("k2")), all[1..]);
        assert_eq!(shown(&["--as-role", "manager", "--correlation-id", "k1"]), ["redacted"]);
        let mut arguments = vec!["continuation", "demo", "--list"];
        arguments.extend(turn("k1"));
        assert_eq!(
            world.refused(&arguments),
            "manager cannot read worker continuation payload before submitting manager continuation"
        );
    });
}

#[test]
fn routing_to_the_operator() {
    on_both_engines(|world| {
        with_contract(world);
        propose(world, "worker", "k", "{}");
        propose(world, "manager", "k", "{}");
        let record = |change: &dyn Fn(&mut Value)| {
            let arguments = ["continuation", "demo", "--review", "--from-stdin", "--correlation-id", "k"];
            world.run_fed(&review(change), &arguments).json()
        };
        let routed = |change: &dyn Fn(&mut Value)| record(change)["operator_routing_required"].clone();
        let divergent = |payload: &mut Value| payload["agreement"] = "divergent".into();
        let failed = |payload: &mut Value| {
            payload["verdict"] = "stop".into();
            payload["subagent_run"]["status"] = "failed".into();
        };
        assert_eq!(routed(&|_| {}), false);
        assert_eq!(routed(&|payload| payload["verdict"] = "stop".into()), false);
        assert_eq!(routed(&divergent), true);
        assert_eq!(routed(&failed), true);
        world.sql("update manager_configs set nudge_on_completion = 'auto-proceed'");
        assert_eq!(routed(&divergent), false);
        assert_eq!(routed(&failed), true);
        // What is no text is kept as far as it can be.
        let odd = record(&|payload| {
            payload["rationale"] = json!({"a": 1});
            payload["addendum"] = json!(7);
        });
        assert_eq!((&odd["rationale"], &odd["addendum"]), (&json!("{\"a\":1}"), &Value::Null));
        let severities = "select severity from telemetry_events order by rowid";
        assert_eq!(
            world.column(severities),
            ["info", "warning", "warning", "warning", "info", "warning", "info"]
        );
    });
}

#[test]
fn refusals() {
    on_both_engines(|world| {
        with_contract(world);
        propose(world, "worker", "only-worker", "{}");
        propose(world, "worker", "k", "{}");
        propose(world, "manager", "k", "{}");
        let mut lines = Vec::new();
        let mut refuse = |input: &str, arguments: &[&str]| {
            let mut all = vec!["continuation"];
            all.extend(arguments);
            lines.push(world.refused_fed(input, &all));
        };
        refuse("{}", &["demo", "--submit", "boss", "--from-stdin"]);
        refuse("{}", &["demo", "--list", "--as-role", "boss"]);
        refuse("{}", &["demo", "--submit", "worker"]);
        refuse("{}", &["demo", "--review"]);
        refuse("{}", &["demo"]);
        refuse("{}", &["demo", "--submit", "worker", "--list", "--from-stdin"]);
        refuse("{}", &["demo", "--list", "--from-stdin"]);
        refuse("{}", &["demo", "--submit", "worker", "--from-stdin", "--include-payload"]);
        refuse("{}", &["nobody", "--list"]);
        refuse("{}", &["nobody", "--submit", "worker", "--from-stdin"]);
        refuse("[]", &["demo", "--submit", "worker", "--from-stdin"]);
        refuse("{", &["demo", "--submit", "worker", "--from-stdin"]);
        refuse("{}", &["demo", "--submit", "manager", "--from-stdin"]);
        refuse("{}", &["demo", "--submit", "manager", "--from-stdin", "--correlation-id", "none"]);
        refuse("{}", &["demo", "--review", "--from-stdin"]);
        let review_of = |turn| ["demo", "--review", "--from-stdin", "--correlation-id", turn];
        refuse("{}", &review_of("only-worker"));
        refuse("{}", &review_of("none"));
        refuse("{}", &review_of("k"));
        let set =
            |path: &str, value: Value| review(|payload| *payload.pointer_mut(path).unwrap() = value.clone());
        refuse(&set("/subagent_run", json!(1)), &review_of("k"));
        refuse(&set("/agreement", json!("perhaps")), &review_of("k"));
        refuse(&set("/verdict", json!(null)), &review_of("k"));
        refuse(&set("/subagent_run/reviewer_session_id", json!("")), &review_of("k"));
        refuse(&set("/subagent_run/manager_session_id", json!(null)), &review_of("k"));
        refuse(&set("/subagent_run/manager_session_id", json!("r1")), &review_of("k"));
        refuse(&set("/subagent_run/manager_rollout_access", json!("false")), &review_of("k"));
        world.sql("update manager_configs set permissions_json = '{}'");
        refuse(&review(|_| {}), &review_of("k"));
        insta::assert_snapshot!("continuation_refusals", lines.join("\n"));
    });
}

#[test]
fn simultaneous_proposals_get_revisions_of_their_own() {
    on_both_engines(|world| {
        with_contract(world);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..5).for_each(|_| drop(propose(world, "worker", "k", "{}"))));
            }
        });
        let found = world.column("select cast(revision as text) from task_continuations order by id");
        assert_eq!(found, (1..=20).map(|revision| revision.to_string()).collect::<Vec<_>>());
    });
}
