//! `cycle`.

use serde_json::json;

use crate::harness::{World, on_both_engines};
use crate::panes;
use crate::rollouts::{append, message, meta};

/// A line of a rollout about a turn.
fn event(at: &str, fields: &str) -> String {
    format!(r#"{{"timestamp":"2026-06-11T{at}Z","type":"event_msg","payload":{{{fields}}}}}"#) + "\n"
}

fn write(world: &World, lines: &[String]) {
    append(&world.dir().join("demo-worker.jsonl"), lines.concat());
}

/// Task `demo`, bound; its worker has finished a turn.
fn finished_turn(world: &World) {
    world.bind("demo");
    let completion = r#""type":"task_complete","turn_id":"t1","last_agent_message":"done","duration_ms":22,"completed_at":1"#;
    write(world, &[meta("codex-demo-w"), message("go"), event("11:59:00.500", completion)]);
}

fn spans(world: &World) -> String {
    let rows = world.column(
        "select phase || ' ' || state || ' ' || coalesce(error_type, '-') || ' ' || coalesce(run_id, '-') || ' ' || \
         started_at || ' ' || completed_at || ' ' || attributes_json from manager_cycle_spans order by id",
    );
    world.normal(&rows.join("\n"))
}

#[test]
fn an_idle_worker_in_an_app() {
    on_both_engines(|world| {
        finished_turn(world);
        world.sql(
            "insert into runs (id, task_id, name, status, started_at, metadata_json) \
             values ('run-1', 'task-demo', 'r', 'active', '2026-06-11T11:00:00Z', '{}')",
        );
        world.advance(750);
        let ran = world.run(&["cycle", "demo"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        insta::assert_snapshot!("cycle", world.normal(&ran.stdout));
        insta::assert_snapshot!("cycle_spans", spans(world));
        insta::assert_snapshot!("cycle_telemetry", world.telemetry());
        assert_eq!(world.scalar("select count(*) from manager_cycle_spans where duration_ms >= 0"), "6");
        assert_eq!(
            world.scalar("select last_heartbeat_at from sessions where id = 'session-demo-w'"),
            "2026-06-11T12:00:00.750Z",
            "a cycle renews the worker's lease"
        );
        let stored: serde_json::Value =
            serde_json::from_str(&world.scalar("select status_json from manager_cycles")).unwrap();
        let mut printed = ran.json();
        for field in ["cycle_id", "cycle_started_at", "cycle_completed_at"] {
            printed.as_object_mut().unwrap().remove(field).unwrap();
        }
        assert_eq!(printed, stored);
        let row = "select state || ' ' || started_at || ' ' || completed_at || ' ' || coalesce(error, '-') from manager_cycles";
        assert_eq!(world.scalar(row), "succeeded 2026-06-11T12:00:00Z 2026-06-11T12:00:00.750Z -");
        assert_eq!(world.json(&["divergences", "demo"]), json!([]), "nothing notable");
    });
}

#[test]
fn the_state_follows_the_newest_step() {
    on_both_engines(|world| {
        world.bind("demo");
        write(world, &[meta("codex-demo-w")]);
        let expect = |line: Option<String>, state: &str, age: serde_json::Value| {
            write(world, line.as_slice());
            let report = world.json(&["cycle", "demo"]);
            assert_eq!((&report["state"], &report["staleness_seconds"]), (&json!(state), &age));
            report
        };
        expect(None, "unknown", json!(null));
        expect(Some(event("11:59:50", r#""type":"task_started""#)), "busy", json!(10));
        let report =
            expect(Some(event("11:59:55", r#""type":"agent_message","message":"x""#)), "busy", json!(10));
        assert_eq!(report["last_event_subtype"], "agent_message");
        expect(Some(event("11:59:57", r#""type":"turn_aborted","reason":"interrupted""#)), "idle", json!(3));
        expect(Some(message("again")), "busy", json!(13_917_598));
        let report = expect(Some(event("12:00:01", r#""type":"task_complete""#)), "idle", json!(0));
        assert_eq!(report["task_completed"], true, "an event of the future has no age below 0");
    });
}

#[test]
fn the_manager_gets_its_inbox_of_this_binding() {
    on_both_engines(|world| {
        finished_turn(world);
        world.bind("other");
        for task in ["demo", "other"] {
            world.json(&["enqueue-notify-manager", task, "--message", "x", "--json"]);
            world.json(&["enqueue-nudge-worker", task, "--message", "x", "--json"]);
        }
        world.json(&["dispatch", "--once", "--json"]);
        assert_eq!(world.json(&["cycle", "demo"])["consumed_dispatch_notifications"], 1);
        let consumed = "select target_session_id || ' ' || consumed_manager_cycle_id || ' ' || consumed_at \
                        from routed_notifications where consumed_at is not null";
        assert_eq!(world.column(consumed), ["session-demo-m 1 2026-06-11T12:00:00.000Z"]);
        assert_eq!(world.json(&["cycle", "demo"])["consumed_dispatch_notifications"], 0);
    });
}

#[test]
fn the_contract_comes_along() {
    on_both_engines(|world| {
        finished_turn(world);
        contract(world);
        let report = world.json(&["cycle", "demo"]);
        let shown = serde_json::to_string_pretty(&report["manager_context"]).unwrap();
        insta::assert_snapshot!("cycle_context", world.normal(&shown));
        let span = "select attributes_json from manager_cycle_spans where phase = 'load_manager_context'";
        insta::assert_snapshot!("cycle_context_span", world.scalar(span));
    });
}

/// A configuration with current acknowledgements, criteria in each state, a handoff.
fn contract(world: &World) {
    let at = "2026-06-11T11:00:00Z";
    world.sql(&format!(
        "insert into manager_configs (task_id, supervision_mode, guidelines_json, acceptance_criteria_json, \
         reference_paths_json, permissions_json, require_acks, revision, created_at, updated_at) values \
         ('task-demo', 'guided', '[\"be kind\"]', '[]', '[]', '{{\"allow_pr\": true}}', 1, 3, '{at}', '{at}'); \
         insert into worker_handoffs (task_id, worker_session_id, summary, next_steps_json, payload_json, created_at) \
         values ('task-demo', 'session-demo-w', 's', '[\"next\"]', '{{}}', '{at}')"
    ));
    for (role, revision) in [("worker", 3), ("manager", 3)] {
        world.sql(&format!(
            "insert into task_acknowledgements (task_id, binding_id, role, payload_json, revision, \
             manager_config_revision, created_at) \
             values ('task-demo', 'binding-demo', '{role}', '{{\"ready\": true}}', 1, {revision}, '{at}')"
        ));
    }
    for status in ["proposed", "accepted", "satisfied", "deferred", "rejected"] {
        world.sql(&format!(
            "insert into acceptance_criteria (task_id, criterion, status, source, evidence_json, created_at, updated_at) \
             values ('task-demo', 'is {status}', '{status}', 'worker_proposed', '{{}}', '{at}', '{at}')"
        ));
    }
}

#[test]
fn criteria_that_are_all_put_off_are_asked_for() {
    on_both_engines(|world| {
        finished_turn(world);
        contract(world);
        world.sql("update acceptance_criteria set status = 'deferred'");
        let advice = &world.json(&["cycle", "task-demo"])["manager_context"]["criteria_negotiation"];
        assert_eq!(
            (&advice["needed"], &advice["reason"]),
            (&json!(true), &json!("no_current_task_criteria"))
        );
    });
}

#[test]
fn missing_or_outdated_acknowledgements_fail_the_cycle() {
    on_both_engines(|world| {
        finished_turn(world);
        contract(world);
        world.json(&["enqueue-notify-manager", "demo", "--message", "x", "--json"]);
        world.json(&["dispatch", "--once", "--json"]);
        world.sql(
            "update task_acknowledgements set manager_config_revision = 2 where role = 'worker'; \
             delete from task_acknowledgements where role = 'manager'",
        );
        let ran = world.run(&["cycle", "demo"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
        insta::assert_snapshot!("cycle_acks", ran.stderr);
        insta::assert_snapshot!("cycle_acks_spans", spans(world));
        let row = "select state || ' ' || error || ' ' || status_json from manager_cycles";
        insta::assert_snapshot!("cycle_acks_row", world.scalar(row));
        let telemetry = world.telemetry();
        insta::assert_snapshot!("cycle_acks_telemetry", telemetry.lines().last().unwrap());
        let waiting = "select count(*) from routed_notifications where consumed_at is null";
        assert_eq!(world.scalar(waiting), "1", "the inbox is untouched");
        assert_eq!(world.scalar("select count(*) from codex_events"), "3", "what was read stays");
    });
}

#[test]
fn acknowledgements_given_before_the_first_binding_count_for_it() {
    on_both_engines(|world| {
        finished_turn(world);
        world.json(&["manager-config", "demo", "--require-acks"]);
        world.run_fed("{}", &["worker-ack", "demo", "--from-stdin"]).json();
        world.run_fed("{}", &["manager-ack", "demo", "--from-stdin"]).json();
        let cycle = || world.run(&["cycle", "demo"]);
        assert_eq!(cycle().code, 0);
        world.json(&["manager-config", "demo", "--objective", "changed"]);
        assert_eq!(cycle().stderr.split(": ").nth(1), Some("worker, manager"), "they are out of date");
        world.sql("update task_acknowledgements set manager_config_revision = 2, binding_id = null");
        assert_eq!(cycle().code, 0);
        world.run(&["unbind", "--task", "demo"]);
        world.advance(1);
        world.json(&["bind", "--task", "demo", "--worker", "demo-worker", "--manager", "demo-manager"]);
        assert_eq!(cycle().code, 2, "a second binding wants its own");
    });
}

#[test]
fn a_rollout_that_cannot_be_read_fails_the_cycle() {
    on_both_engines(|world| {
        world.bind("demo");
        let ran = world.run(&["cycle", "demo"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
        insta::assert_snapshot!("cycle_no_rollout", world.normal(&ran.stderr));
        insta::assert_snapshot!("cycle_no_rollout_spans", spans(world));
        assert_eq!(world.scalar("select state from manager_cycles"), "failed");
    });
}

#[test]
fn refusals() {
    on_both_engines(|world| {
        world.json(&["tasks", "--create", "free", "--goal", "g"]);
        let said = [
            world.refused(&["cycle"]),
            world.refused(&["cycle", "nope"]),
            world.refused(&["cycle", "free"]),
            world.refused(&["cycle", "free", "--busy-wait-seconds", "-1"]),
            world.refused(&["cycle", "free", "x"]),
            world.refused(&["divergences", "nope"]),
            world.refused(&["divergences", "free", "--limit", "x"]),
        ];
        insta::assert_snapshot!("cycle_refusals", said.join("\n"));
    });
}

#[test]
fn a_dialog_on_the_terminal_is_notable_at_once() {
    on_both_engines(|world| {
        finished_turn(world);
        panes::put_into(world, "demo-worker", "codex-demo-worker");
        panes::show(world, "codex-demo-worker", &panes::recorded("04-approval.txt"));
        let report = world.json(&["cycle", "demo"]);
        assert_eq!(report["notable_pane_pattern"], "approval_prompt");
        insta::assert_json_snapshot!("cycle_dialog", report["pane_signal"]);
        world.tmux.tmux(["kill-session", "-t", "=codex-demo-worker"]);
        let report = world.json(&["cycle", "demo"]);
        insta::assert_json_snapshot!("cycle_no_terminal", report["pane_signal"]);
        let states = "select state from manager_cycle_spans where phase = 'capture_pane_signal' order by id";
        assert_eq!(world.column(states), ["succeeded", "degraded"]);

        let shown = world.json(&["divergences", "demo"]);
        let patterns: Vec<_> =
            shown.as_array().unwrap().iter().map(|one| &one["notable_pane_pattern"]).collect();
        assert_eq!(patterns, [&json!("tmux_session_missing"), &json!("approval_prompt")], "newest first");
        assert_eq!(shown[0]["status"]["pane_signal"], report["pane_signal"]);
        let newest = world.json(&["divergences", "demo", "--limit", "1"]);
        assert_eq!(newest.as_array().unwrap().as_slice(), &shown.as_array().unwrap()[..1]);
        assert_eq!(world.json(&["divergences", "demo", "--limit", "0"]), json!([]));
    });
}

#[cfg(feature = "fault-points")]
#[test]
fn a_cycle_whose_binding_ends_before_it_begins_records_nothing() {
    on_both_engines(|world| {
        finished_turn(world);
        let cycle = || world.run(&["cycle", "demo"]);
        let ends = || world.json(&["finish-task", "demo", "--reason", "done"]);
        let (ran, _) = world.meanwhile("cycle.looked", cycle, ends);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
        assert!(ran.stderr.contains("demo") && ran.stderr.lines().count() == 1, "{}", ran.stderr);
        assert_eq!(world.scalar("select count(*) from manager_cycles"), "0");
    });
}

#[cfg(feature = "fault-points")]
#[test]
fn a_worker_that_moves_meanwhile_is_looked_at_where_it_is() {
    on_both_engines(|world| {
        finished_turn(world);
        panes::put_into(world, "demo-worker", "codex-before");
        panes::show(world, "codex-before", &panes::recorded("04-approval.txt"));
        panes::show(world, "codex-after", &panes::recorded("02-idle-new.txt"));
        let cycle = || world.json(&["cycle", "demo"]);
        let moves = || panes::put_into(world, "demo-worker", "codex-after");
        let (report, ()) = world.meanwhile("cycle.looked", cycle, moves);
        assert_eq!(
            (&report["pane_signal"]["captured"], &report["notable_pane_pattern"]),
            (&json!(true), &json!(null))
        );
    });
}

#[test]
fn a_quiet_terminal_is_captured_without_a_finding() {
    on_both_engines(|world| {
        finished_turn(world);
        panes::put_into(world, "demo-worker", "codex-demo-worker");
        panes::show(world, "codex-demo-worker", &panes::recorded("02-idle-new.txt"));
        let signal = world.json(&["cycle", "demo"])["pane_signal"].clone();
        assert_eq!(
            signal,
            json!({
                "captured": true, "classifier": null, "degraded": false, "notable_pattern": null,
                "reason": "pane captured", "status_age_seconds": 60,
            })
        );
    });
}

#[test]
fn running_work_is_suspicious_once_it_is_silent() {
    on_both_engines(|world| {
        world.bind("demo");
        write(world, &[meta("codex-demo-w"), event("11:58:00", r#""type":"task_started""#)]);
        panes::put_into(world, "demo-worker", "codex-demo-worker");
        panes::show(world, "codex-demo-worker", &panes::recorded("06-working.txt"));
        let pattern = |seconds: &str| {
            world.json(&["cycle", "demo", "--busy-wait-seconds", seconds])["notable_pane_pattern"].clone()
        };
        assert_eq!(pattern("121"), json!(null));
        assert_eq!(pattern("120"), json!("long_running_interruptible"));
        let progress: Vec<String> = (0..10).map(|_| event("11:59:59", r#""type":"token_count""#)).collect();
        write(world, &progress);
        assert_eq!(pattern("120"), json!(null), "ten events came in");
    });
}
