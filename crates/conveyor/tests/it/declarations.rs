//! `record-decision`, `handoff`, `worker-ack`, `manager-ack`.

use serde_json::{Value, json};

use crate::harness::{World, on_both_engines, on_sqlite};

pub(crate) fn events(world: &World) -> String {
    let rows = world.column(
        "select type || ' ' || coalesce(correlation_id, '-') || ' ' || coalesce(manager_id, '-') || ' ' || \
         coalesce(command_id, '-') || ' ' || payload_json from events order by id",
    );
    world.normal(&rows.join("\n"))
}

/// Runs a command eight times at once; gives what each printed.
pub(crate) fn eight_at_once(run: impl Fn(usize) -> Value + Sync) -> Vec<Value> {
    let run = &run;
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8).map(|number| scope.spawn(move || run(number))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    })
}

#[test]
fn a_decision() {
    on_both_engines(|world| {
        world.bind("demo");
        world.sql(
            "insert into manager_cycles (id, task_id, started_at, state) \
             values (7, 'task-demo', '2026-06-11T12:00:00Z', 'succeeded'); \
             insert into managers (id, name, task_id, tmux_session, state, codex_args_json, started_at) \
             values ('manager-old', 'old', 'task-demo', 't', 'ready', '[]', '2026-06-11T12:00:00Z')",
        );
        world.advance(1_999);
        let decided = world.json(&[
            "record-decision",
            "demo",
            "nudge",
            "--reason",
            "tidy",
            "--cycle-id",
            "7",
            "--payload-json",
            r#"{"b": 1.0, "a": [null]}"#,
        ]);
        insta::assert_json_snapshot!("decision", decided);
        let plain = world.json(&["record-decision", "demo", "wait", "--reason", "-1 is fine"]);
        assert_eq!((&plain["id"], &plain["payload"]), (&json!(2), &json!({})));
        insta::assert_snapshot!("decision_events", events(world));
        assert_eq!(world.telemetry(), "");
        let said = [
            world.refused(&["record-decision"]),
            world.refused(&["record-decision", "demo"]),
            world.refused(&["record-decision", "demo", "guess", "--reason", "r"]),
            world.refused(&["record-decision", "demo", "wait"]),
            world.refused(&["record-decision", "demo", "wait", "--reason", ""]),
            world.refused(&["record-decision", "demo", "wait", "--reason", "r", "--payload-json", "[1]"]),
            world.refused(&["record-decision", "demo", "wait", "--reason", "r", "--payload-json", "{x"]),
            world.refused(&["record-decision", "nope", "wait", "--reason", "r"]),
            world.refused(&["record-decision", "demo", "wait", "--reason", "r", "--cycle-id", "8"]),
            world.refused(&["record-decision", "demo", "wait", "--reason", "r", "--cycle-id", "x"]),
            world.refused(&["record-decision", "demo", "wait", "--reason", "r", "--dry-run"]),
            world.refused(&["record-decision", "demo", "wait", "more", "--reason", "r"]),
        ];
        insta::assert_snapshot!("decision_refusals", said.join("\n"));
    });
}

#[test]
fn a_handoff() {
    on_both_engines(|world| {
        world.bind("demo");
        world.json(&["tasks", "--create", "free", "--goal", "g"]);
        let saved = world.json(&[
            "handoff",
            "demo",
            "--summary",
            "grün\nzweite Zeile",
            "--next-step",
            "b",
            "--next-step",
            "a",
            "--payload-json",
            r#"{"z": 1, "a": 2}"#,
        ]);
        insta::assert_json_snapshot!("handoff", saved);
        let unbound = world.json(&["handoff", "free", "--summary", "s"]);
        assert_eq!((&unbound["worker_session_id"], &unbound["next_steps"]), (&json!(null), &json!([])));
        insta::assert_snapshot!("handoff_telemetry", world.telemetry());
        insta::assert_snapshot!("handoff_events", events(world));
        let said = [
            world.refused(&["handoff"]),
            world.refused(&["handoff", "demo"]),
            world.refused(&["handoff", "demo", "--summary"]),
            world.refused(&["handoff", "demo", "--summary", "s", "--payload-json", "\"x\""]),
            world.refused(&["handoff", "nope", "--summary", "s"]),
            world.refused(&["handoff", "demo", "--summary", "s", "--reason", "r"]),
        ];
        insta::assert_snapshot!("handoff_refusals", said.join("\n"));
    });
}

#[test]
fn acknowledgements() {
    on_both_engines(|world| {
        world.bind("demo");
        assert_eq!(world.json(&["worker-ack", "demo", "--json"]), json!(null));
        world.sql(
            "insert into manager_configs (task_id, supervision_mode, guidelines_json, acceptance_criteria_json, \
             reference_paths_json, permissions_json, revision, created_at, updated_at) values \
             ('task-demo', 'guided', '[]', '[]', '[]', '{}', 4, '2026-06-11T12:00:00Z', '2026-06-11T12:00:00Z')",
        );
        let payload = r#"{"ready_to_start": true, "goal_restatement": "g", "n": 2.0}"#;
        let ack =
            world.run_fed(payload, &["worker-ack", "demo", "--from-stdin", "--correlation-id", "k"]).json();
        insta::assert_json_snapshot!("worker_ack", ack);
        let again = world.run_fed("{}", &["worker-ack", "demo", "--from-stdin", "--json"]).json();
        assert_eq!((&again["revision"], &again["correlation_id"]), (&json!(2), &json!(null)));
        assert_eq!(world.json(&["worker-ack", "demo", "--json"]), again, "both flags: it is recorded");
        world.run(&["unbind", "--task", "demo"]);
        let manager = world.run_fed("{\"task\": \"demo\"}", &["manager-ack", "demo", "--from-stdin"]).json();
        assert_eq!((&manager["revision"], &manager["binding_id"]), (&json!(1), &json!(null)));
        insta::assert_snapshot!("ack_events", events(world));
        assert_eq!(world.telemetry(), "");
        let write = ["manager-ack", "demo", "--from-stdin"];
        let said = [
            world.refused(&["worker-ack"]),
            world.refused(&["worker-ack", "demo"]),
            world.refused(&["manager-ack", "nope", "--json"]),
            world.refused_fed("{}", &["manager-ack", "nope", "--from-stdin"]),
            world.refused_fed("", &write),
            world.refused_fed("[{}]", &write),
            world.refused_fed("{\"a\":", &write),
            world.refused_fed("{} {}", &write),
            world.refused(&["manager-ack", "demo", "--json", "--correlation-id", "k"]),
        ];
        insta::assert_snapshot!("ack_refusals", said.join("\n"));
    });
}

#[test]
fn of_eight_that_acknowledge_at_once_none_is_lost() {
    on_both_engines(|world| {
        world.bind("demo");
        let acks = eight_at_once(|number| {
            let payload = json!({ "number": number }).to_string();
            world.run_fed(&payload, &["worker-ack", "demo", "--from-stdin"]).json()
        });
        let mut revisions: Vec<i64> = acks.iter().map(|ack| ack["revision"].as_i64().unwrap()).collect();
        revisions.sort_unstable();
        assert_eq!(revisions, [1, 2, 3, 4, 5, 6, 7, 8]);
        for (number, ack) in acks.iter().enumerate() {
            assert_eq!(ack["payload"]["number"], number, "each is told of its own");
        }
        // Ids and revisions have one order.
        let stored = world.column(
            "select cast(revision as text) from task_acknowledgements where role = 'worker' order by id",
        );
        assert_eq!(stored, ["1", "2", "3", "4", "5", "6", "7", "8"]);
        assert_eq!(world.scalar("select count(*) from events where type = 'worker_ack_recorded'"), "8");
    });
}

#[test]
fn an_acknowledgement_names_the_revision_that_was_in_force() {
    on_both_engines(|world| {
        world.bind("demo");
        eight_at_once(|number| match number % 2 {
            0 => world.json(&["manager-config", "demo", "--objective", &number.to_string()]),
            _ => world.run_fed("{}", &["manager-ack", "demo", "--from-stdin"]).json(),
        });
        let mut revision = 0;
        let types = world.column(
            "select e.type || ' ' || coalesce(cast(a.manager_config_revision as text), '0') from events e \
             left join task_acknowledgements a on e.payload_json like '{\"ack_id\":' || a.id || ',%' order by e.id",
        );
        for row in &types {
            let (kind, of) = row.split_once(' ').unwrap();
            match kind {
                "manager_config_recorded" => revision += 1,
                _ => assert_eq!(of, revision.to_string(), "{types:?}"),
            }
        }
        assert_eq!((types.len(), revision), (8, 4));
    });
}

#[test]
fn of_eight_that_decide_and_hand_off_at_once_none_is_lost() {
    on_both_engines(|world| {
        world.bind("demo");
        eight_at_once(|number| match number % 2 {
            0 => world.json(&["record-decision", "demo", "wait", "--reason", &number.to_string()]),
            _ => world.json(&["handoff", "demo", "--summary", &number.to_string()]),
        });
        let reasons = world.column("select reason from manager_decisions order by reason");
        assert_eq!(reasons, ["0", "2", "4", "6"]);
        let summaries = world.column("select summary from worker_handoffs order by summary");
        assert_eq!(summaries, ["1", "3", "5", "7"]);
    });
}

#[test]
fn help_shows_how_it_is_done() {
    on_sqlite(|world| {
        for command in ["worker-ack", "manager-ack", "criteria", "manager-config"] {
            let ran = world.run_plain(&[command, "demo", "--help"]);
            assert_eq!(ran.code, 0);
            insta::assert_snapshot!(format!("help_{command}"), ran.stdout);
        }
        let help = world.run_plain(&["manager-config", "--help"]).stdout;
        for (category, actions) in conveyor_model::permissions::TAXONOMY {
            for action in *actions {
                assert!(help.contains(&format!("{category}.{action}")), "{category}.{action}");
            }
        }
    });
}
