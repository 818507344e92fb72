//! `dispatch`: one pass, its elements, its rows and its telemetry.

use conveyor_model::Timestamp;
use serde_json::Value;

use crate::harness::{START, World, on_both_engines};

fn enqueue(world: &World, command: &str, task: &str, message: &str) -> String {
    let queued = world.json(&[command, task, "--message", message, "--json"]);
    queued["command_id"].as_str().unwrap().to_owned()
}

fn once(world: &World, more: &[&str]) -> Value {
    let mut arguments = vec!["dispatch", "--once", "--json"];
    arguments.extend(more);
    world.json(&arguments)
}

/// A completion event of a worker, as `ingest` writes it.
fn complete(world: &World, task: &str, at: &str, message: &str) {
    let place: usize = world.scalar("select count(*) from codex_events").parse().unwrap();
    let turn = place + 1;
    world.sql(&format!(
        "insert into codex_events (session_id, timestamp, type, subtype, payload_json, byte_offset, ingested_at) \
         values ('session-{task}-w', '{at}', 'event_msg', 'task_complete', \
         '{{\"duration_ms\":154,\"last_agent_message\":\"{message}\",\"turn_id\":\"turn-{turn}\",\"type\":\"task_complete\"}}', \
         {place}, '{at}')"
    ));
}

fn states(report: &Value) -> Vec<String> {
    report["processed"].as_array().unwrap().iter().map(|e| e["state"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn messages_reach_both_inboxes_with_all_their_rows() {
    on_both_engines(|world| {
        world.bind("demo");
        enqueue(world, "enqueue-nudge-worker", "demo", "Run the tests");
        world.advance(10);
        enqueue(world, "enqueue-notify-manager", "demo", "Done");
        let ran = world.run(&["dispatch", "--json"]);
        insta::assert_snapshot!("dispatch_pull", ran.stdout);
        insta::assert_snapshot!("dispatch_pull_telemetry", world.telemetry());
        insta::assert_snapshot!(
            "dispatch_pull_commands",
            world.run(&["commands", "--attempts", "--json"]).stdout
        );
        let notifications = world.column(
            "select signal_type || ' ' || state || ' ' || delivery_mode || ' ' || dedupe_key || ' ' || payload_json \
             from routed_notifications order by id",
        );
        insta::assert_snapshot!("dispatch_pull_notifications", notifications.join("\n"));
        assert_eq!(once(world, &[])["processed_count"], 0, "everything is done once");
        assert_eq!(world.run(&["dispatch"]).stdout, "Processed 0 item(s).\n");
    });
}

#[test]
fn a_pass_that_finds_nothing_writes_nothing() {
    on_both_engines(|world| {
        world.bind("demo");
        once(world, &[]);
        let before = world.dump();
        once(world, &[]);
        assert_eq!(world.dump(), before);
    });
}

#[test]
fn queue_order_is_the_order_of_enqueueing_and_the_limit_holds() {
    on_both_engines(|world| {
        world.bind("a");
        world.bind("b");
        let mut queued = Vec::new();
        for n in 0..25 {
            let task = if n % 3 == 0 { "a" } else { "b" };
            // Several within one millisecond: then the order of insertion decides, not the random id.
            world.advance(n % 2);
            queued.push(enqueue(world, "enqueue-nudge-worker", task, &format!("message {n}")));
        }
        let first = once(world, &["--limit", "7"]);
        assert_eq!(first["processed_count"], 7);
        once(world, &["--limit", "100"]);
        assert_eq!(world.column("select command_id from routed_notifications order by id"), queued);
        assert_eq!(once(world, &["--limit", "0"])["processed_count"], 0);
    });
}

#[test]
fn refusals_before_side_effects_fail_the_command_alone() {
    on_both_engines(|world| {
        world.json(&["tasks", "--create", "unbound", "--goal", "g"]);
        world.bind("demo");
        enqueue(world, "enqueue-nudge-worker", "unbound", "hello?");
        world.json(&[
            "enqueue-nudge-worker",
            "demo",
            "--message",
            "open it",
            "--required-permission",
            "allow_pr",
            "--json",
        ]);
        let broken = enqueue(world, "enqueue-nudge-worker", "demo", "x");
        world.sql(&format!(
            "update commands set payload_json = '{{\"message\":\" \"}}' where id = '{broken}'"
        ));
        enqueue(world, "enqueue-nudge-worker", "demo", "still works");
        insta::assert_snapshot!("dispatch_refusals", world.run(&["dispatch", "--json"]).stdout);
        assert_eq!(world.scalar("select count(*) from routed_notifications"), "1");
    });
}

#[test]
fn a_granted_permission_lets_the_message_through() {
    on_both_engines(|world| {
        world.bind("demo");
        world.sql(&format!(
            "insert into manager_configs (task_id, supervision_mode, guidelines_json, acceptance_criteria_json, \
             reference_paths_json, permissions_json, created_at, updated_at) values ('task-demo', 'guided', '[]', \
             '[]', '[]', '{{\"repo\":[\"open_pr\"]}}', '{START}', '{START}')"
        ));
        for permission in ["allow_pr", "repo.push_branch"] {
            let nudge =
                ["enqueue-nudge-worker", "demo", "--message", "m", "--required-permission", permission];
            world.run(&nudge);
        }
        let report = once(world, &[]);
        assert_eq!(states(&report), ["pull_required", "failed"]);
        let check =
            serde_json::json!({"allowed": true, "configured": true, "required_permission": "allow_pr"});
        assert_eq!(report["processed"][0]["permission_check"], check);
        assert_eq!(report["processed"][1]["error_type"], "DispatchPermissionError");
        assert_eq!(
            world.scalar(
                "select count(*) from telemetry_events where event_type = 'dispatch_command_permission_checked'"
            ),
            "2"
        );
    });
}

#[test]
fn a_terminal_receiver_parks_the_item_and_never_gets_keys() {
    on_both_engines(|world| {
        world.bind("demo");
        world.sql("update sessions set tmux_session = 'codex-demo' where id = 'session-demo-w'");
        let parked = enqueue(world, "enqueue-nudge-worker", "demo", "first");
        enqueue(world, "enqueue-notify-manager", "demo", "other way");
        let report = once(world, &["--limit", "1"]);
        insta::assert_json_snapshot!("dispatch_parked", report);
        assert_eq!(world.scalar(&format!("select attempts from commands where id = '{parked}'")), "0");
        assert_eq!(world.scalar("select count(*) from routed_notifications"), "1", "only the manager's");
        assert_eq!(once(world, &[])["processed_count"], 0, "not due before a minute has passed");

        world.advance(60_000);
        assert_eq!(once(world, &[])["processed_count"], 0, "the same reason is not said twice");
        let said = "select count(*) from telemetry_events where event_type = 'delivery_parked'";
        assert_eq!(world.scalar(said), "1");

        // Reachable by inbox now: what waited longest goes first, at once.
        world.sql("update sessions set tmux_session = null where id = 'session-demo-w'");
        world.advance(1_000);
        let second = enqueue(world, "enqueue-nudge-worker", "demo", "second");
        once(world, &[]);
        let order = world.column(
            "select command_id from routed_notifications where signal_type = 'nudge_worker' order by id",
        );
        assert_eq!(order, [parked, second]);
    });
}

#[test]
fn a_lapsed_claim_is_no_attempt_until_the_fifth() {
    on_both_engines(|world| {
        world.bind("demo");
        let id = enqueue(world, "enqueue-nudge-worker", "demo", "m");
        let claim_and_die = || {
            let expiry =
                world.column("select claim_expires_at from commands where claim_expires_at is not null");
            assert!(expiry.is_empty());
            world.sql(&format!(
                "update commands set state = 'attempted', attempts = attempts + 1, claimed_by = 'dead', \
                 claimed_at = '{START}', claim_expires_at = '2026-06-11T12:00:00Z' where id = '{id}'; \
                 insert into command_attempts (command_id, correlation_id, dispatcher_id, started_at, state) \
                 values ('{id}', 'c', 'dead', '{START}', 'running')"
            ));
        };
        world.advance(5_000);
        claim_and_die();
        let report = once(world, &["--limit", "1"]);
        insta::assert_json_snapshot!("dispatch_requeued", report);
        for _ in 0..4 {
            claim_and_die();
            once(world, &["--limit", "1"]);
        }
        let row =
            world.column("select state || ' ' || attempts || ' ' || lapses || ' ' || error from commands");
        insta::assert_snapshot!("dispatch_five_lapses", row.join("\n"));
        assert_eq!(world.scalar("select count(*) from command_attempts where state = 'abandoned'"), "5");
    });
}

#[test]
fn a_claim_that_lapsed_after_its_effect_began_is_never_repeated() {
    on_both_engines(|world| {
        world.bind("demo");
        let id = enqueue(world, "enqueue-nudge-worker", "demo", "m");
        world.sql(&format!(
            "update commands set state = 'attempted', attempts = 1, claimed_by = 'dead', claimed_at = '{START}', \
             claim_expires_at = '2026-06-11T12:00:00Z' where id = '{id}'; \
             insert into command_attempts (command_id, correlation_id, dispatcher_id, started_at, state, \
             side_effect_started) values ('{id}', 'c', 'dead', '{START}', 'running', 1)"
        ));
        world.advance(1);
        insta::assert_json_snapshot!("dispatch_ambiguous", once(world, &[]));
        assert_eq!(world.scalar("select count(*) from routed_notifications"), "0");
        assert_eq!(world.scalar("select state from commands"), "failed");
    });
}

#[test]
fn leases_are_compared_as_instants_whatever_their_precision() {
    on_both_engines(|world| {
        world.bind("demo");
        let id = enqueue(world, "enqueue-nudge-worker", "demo", "m");
        // As text, `12:00:00Z` stands behind `12:00:00.500Z`; as an instant it is earlier.
        world.clock.set(Timestamp::parse("2026-06-11T12:00:00.500Z").unwrap());
        world
            .sql(&format!("update commands set available_at = '2026-06-11T12:00:00.501Z' where id = '{id}'"));
        assert_eq!(once(world, &[])["processed_count"], 0);
        world.sql(&format!("update commands set available_at = '2026-06-11T12:00:00Z' where id = '{id}'"));
        assert_eq!(once(world, &[])["processed_count"], 1);
    });
}

#[test]
fn completions_are_routed_once_oldest_first() {
    on_both_engines(|world| {
        world.bind("demo");
        complete(world, "demo", "2026-06-11T12:00:01.000Z", "first");
        complete(world, "demo", "2026-06-11T12:00:02.000Z", "second");
        insta::assert_snapshot!("dispatch_completion", world.run(&["dispatch", "--json"]).stdout);
        insta::assert_snapshot!("dispatch_completion_telemetry", world.telemetry());
        let payload = world.column("select payload_json from routed_notifications order by id");
        insta::assert_snapshot!("dispatch_completion_payload", payload.join("\n"));
        assert_eq!(once(world, &[])["processed_count"], 0);
        assert_eq!(world.scalar("select routed_event_id from sessions where id = 'session-demo-w'"), "2");
    });
}

#[test]
fn a_turn_is_announced_once_however_often_it_is_told_of() {
    on_both_engines(|world| {
        world.bind("demo");
        let told = |offset: i64, turn: &str| {
            world.sql(&format!(
                "insert into codex_events (session_id, timestamp, type, subtype, payload_json, byte_offset, ingested_at) \
                 values ('session-demo-w', '{START}', 'event_msg', 'task_complete', '{turn}', {offset}, '{START}')"
            ));
            let elements = once(world, &[])["processed"].as_array().unwrap().clone();
            elements.iter().map(|element| element["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(told(0, r#"{"turn_id":"a"}"#), ["pull_required"]);
        assert_eq!(told(1, r#"{"turn_id":"a"}"#), ["suppressed"], "told again");
        assert_eq!(told(2, r#"{"turn_id":"b"}"#), ["pull_required"], "the next one");
        assert_eq!(told(3, r#"{"turn_id":"a","duration_ms":1}"#), ["suppressed"], "much later");
        // Of these nobody knows whether they are one.
        for (offset, nameless) in ["{}", "{}", r#"{"turn_id":""}"#, r#"{"turn_id":7}"#].iter().enumerate() {
            assert_eq!(told(10 + offset as i64, nameless), ["pull_required"], "{nameless}");
        }
        assert_eq!(world.scalar("select count(*) from routed_notifications"), "6");
        assert!(once(world, &[])["processed"].as_array().unwrap().is_empty());
        assert!(world.telemetry().contains("the end of this turn was announced already"));
    });
}

#[test]
fn a_type_selects_what_moves() {
    on_both_engines(|world| {
        world.bind("demo");
        enqueue(world, "enqueue-nudge-worker", "demo", "m");
        enqueue(world, "enqueue-notify-manager", "demo", "m");
        complete(world, "demo", START, "done");
        let kinds = |report: &Value| {
            let kind =
                |e: &Value| e["command_type"].as_str().or(e["signal_type"].as_str()).unwrap().to_owned();
            report["processed"].as_array().unwrap().iter().map(kind).collect::<Vec<_>>()
        };
        let dry = once(world, &["--dry-run"]);
        assert_eq!(kinds(&dry), ["nudge_worker", "notify_manager", "worker_task_complete"]);
        assert_eq!(kinds(&once(world, &["--type", "worker_task_complete"])), ["worker_task_complete"]);
        assert_eq!(kinds(&once(world, &["--type", "notify_manager"])), ["notify_manager"]);
        assert_eq!(kinds(&once(world, &[])), ["nudge_worker"]);
    });
}

#[test]
fn a_dry_run_says_and_does_not() {
    on_both_engines(|world| {
        world.bind("demo");
        enqueue(world, "enqueue-nudge-worker", "demo", "m");
        complete(world, "demo", START, "done");
        let before = world.dump();
        insta::assert_snapshot!("dispatch_dry_run", world.run(&["dispatch", "--dry-run", "--json"]).stdout);
        assert_eq!(world.dump(), before);
    });
}

#[test]
fn a_waiting_completion_of_an_unbound_worker_is_routed_once_it_is_bound() {
    on_both_engines(|world| {
        world.bind("demo");
        world.sql("update bindings set state = 'ended', ended_at = '2026-06-11T12:00:00.000Z'");
        complete(world, "demo", START, "early");
        assert_eq!(once(world, &[])["processed_count"], 0);
        world.sql("update bindings set state = 'active', ended_at = null");
        assert_eq!(states(&once(world, &[])), ["pull_required"]);
    });
}

#[test]
fn a_completion_for_a_terminal_manager_waits_and_is_recovered() {
    on_both_engines(|world| {
        world.bind("demo");
        world.sql("update sessions set tmux_session = 'codex-m' where id = 'session-demo-m'");
        complete(world, "demo", START, "done");
        assert_eq!(states(&once(world, &[])), ["parked"]);
        assert_eq!(once(world, &[])["processed_count"], 0);
        world.sql("update sessions set tmux_session = null where id = 'session-demo-m'");
        world.advance(61_000);
        let report = once(world, &[]);
        assert_eq!(report["processed"][0]["recovered"], true);
        assert_eq!(states(&report), ["pull_required"]);
        assert_eq!(
            world.scalar("select state || coalesce(error, '') from routed_notifications"),
            "delivered"
        );
    });
}

#[test]
fn a_half_done_push_of_a_completion_is_given_up() {
    on_both_engines(|world| {
        world.bind("demo");
        complete(world, "demo", START, "done");
        once(world, &[]);
        world.sql(
            "update routed_notifications set state = 'pending', delivery_mode = 'push', side_effect_started = 1, \
             delivered_at = null, claimed_by = 'dead', claim_expires_at = '2026-06-11T12:00:30Z'",
        );
        assert_eq!(once(world, &[])["processed_count"], 0, "its claim still holds");
        world.advance(30_000);
        insta::assert_json_snapshot!("dispatch_given_up", once(world, &[]));
    });
}

#[test]
fn a_notification_that_exists_already_is_reused() {
    on_both_engines(|world| {
        world.bind("demo");
        let id = enqueue(world, "enqueue-nudge-worker", "demo", "m");
        once(world, &[]);
        // As after a requeue by an older program: the command is pending, its notification is there.
        world.sql(&format!("update commands set state = 'pending', attempts = 0 where id = '{id}'"));
        let report = once(world, &[]);
        assert_eq!(report["processed"][0]["deduplicated"], true);
        assert_eq!(report["processed"][0]["notification_id"], 1);
        assert_eq!(world.scalar("select count(*) from routed_notifications"), "1");
    });
}

#[test]
fn a_bounded_watch_beats_once_an_iteration() {
    on_both_engines(|world| {
        world.bind("demo");
        enqueue(world, "enqueue-nudge-worker", "demo", "m");
        let watch = ["dispatch", "--watch", "--watch-iterations", "3", "--interval", "0", "--json"];
        insta::assert_snapshot!("dispatch_watch", world.run(&watch).stdout);
        let beats = world.column(
            "select correlation_json || attributes_json || timestamp from telemetry_events \
             where event_type = 'dispatch_watch_heartbeat' order by rowid",
        );
        let host = conveyor_agents::processes::host_name();
        let steady = beats.join("\n").replace(&format!("\"host\":\"{host}\""), "\"host\":\"[HOST]\"");
        let steady = steady.replace(&format!("\"pid\":{}", std::process::id()), "\"pid\":\"[PID]\"");
        insta::assert_snapshot!("dispatch_heartbeats", steady);
    });
}

#[test]
fn refusals_of_the_command_line() {
    on_both_engines(|world| {
        world.bind("demo");
        insta::assert_snapshot!("dispatch_once_and_watch", world.refused(&["dispatch", "--once", "--watch"]));
        insta::assert_snapshot!("dispatch_type", world.refused(&["dispatch", "--type", "wake"]));
        insta::assert_snapshot!(
            "dispatch_later_type",
            world.refused(&["dispatch", "--type", "continue_iteration"])
        );
        insta::assert_snapshot!("dispatch_interval", world.refused(&["dispatch", "--interval", "soon"]));
        insta::assert_snapshot!("dispatch_limit", world.refused(&["dispatch", "--limit", "-1"]));
        insta::assert_snapshot!("dispatch_positional", world.refused(&["dispatch", "demo"]));
    });
}
