//! `session-inbox`, `manager-inbox`, `worker-inbox`.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{World, on_both_engines, on_sqlite};

/// A delivered message, put into an inbox behind the program's back; waiters are told.
fn deliver(world: &World, task: &str, signal: &str, key: &str, created_at: &str, payload: &str) {
    let (source, target) =
        if signal == "nudge_worker" || signal == "continue_iteration" { ("m", "w") } else { ("w", "m") };
    world.sql(&format!(
        "insert into routed_notifications (task_id, binding_id, correlation_id, source_session_id, \
         target_session_id, signal_type, dedupe_key, created_at, delivered_at, delivery_mode, state, payload_json) \
         values ('task-{task}', 'binding-{task}', 'correlation-{key}', 'session-{task}-{source}', \
         'session-{task}-{target}', '{signal}', '{key}', '{created_at}', '{created_at}', 'pull_required', \
         'delivered', '{payload}');"
    ));
    if !world.is_sqlite() {
        world.sql("select pg_notify('conveyor_' || current_schema(), '')");
    }
}

fn nudge(world: &World, key: &str, second: u32) {
    let at = format!("2026-06-11T11:59:{second:02}.000Z");
    deliver(world, "demo", "nudge_worker", key, &at, &format!(r#"{{"message":"do {key}\nand stop"}}"#));
}

fn keys(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["dedupe_key"].as_str().unwrap()).collect()
}

#[test]
fn looking_changes_nothing() {
    on_both_engines(|world| {
        world.bind("demo");
        nudge(world, "b", 2);
        nudge(world, "a", 1);
        nudge(world, "c", 2);
        let before = world.dump();
        insta::assert_snapshot!(
            "inbox_list",
            world.normal(&world.run(&["worker-inbox", "demo", "--json"]).stdout)
        );
        insta::assert_snapshot!("inbox_list_text", world.run(&["worker-inbox", "demo"]).stdout);
        insta::assert_snapshot!("inbox_empty_text", world.run(&["manager-inbox", "task-demo"]).stdout);
        let by_name = world.json(&["session-inbox", "demo-worker", "--json", "--limit", "2"]);
        assert_eq!(keys(&by_name["items"]), ["a", "b"]);
        assert_eq!(by_name.get("task"), None, "a session's inbox belongs to no task");
        let least = world.json(&["session-inbox", "demo-worker", "--json", "--limit", "0"]);
        assert_eq!(keys(&least["items"]), ["a"]);
        assert_eq!(world.dump(), before);
    });
}

#[test]
fn consuming_takes_the_first_message_with_its_event() {
    on_both_engines(|world| {
        world.bind("demo");
        nudge(world, "b", 2);
        nudge(world, "a", 1);
        world.advance(250);
        let taken = world.run(&["worker-inbox", "demo", "--consume-next", "--json"]);
        insta::assert_snapshot!("inbox_consume", world.normal(&taken.stdout));
        let text = world.run(&["session-inbox", "demo-worker", "--consume-next"]).stdout;
        insta::assert_snapshot!("inbox_consume_text", text);
        insta::assert_snapshot!("inbox_consume_telemetry", world.telemetry());
        let heartbeats = "select count(*) from sessions where last_heartbeat_at = '2026-06-11T12:00:00.000Z'";
        assert_eq!(world.scalar(heartbeats), "2", "reading an inbox is no heartbeat");
        let nothing = world.json(&["worker-inbox", "demo", "--consume-next", "--json"]);
        assert_eq!((&nothing["consumed"], &nothing["items"]), (&Value::Null, &serde_json::json!([])));
        assert_eq!(world.scalar("select count(*) from telemetry_events"), "2");
        assert_eq!(world.scalar("select count(*) from telemetry_events_fts"), "2");
    });
}

#[test]
fn only_delivered_and_unconsumed_messages_are_in_an_inbox() {
    on_both_engines(|world| {
        world.bind("demo");
        for (second, key) in ["pending", "failed", "suppressed", "consumed", "pushed"].into_iter().enumerate()
        {
            nudge(world, key, second as u32);
        }
        world.sql(
            "update routed_notifications set state = dedupe_key where dedupe_key in \
             ('pending', 'failed', 'suppressed');
             update routed_notifications set consumed_at = created_at where dedupe_key = 'consumed';
             update routed_notifications set delivery_mode = 'push', side_effect_started = 1, \
             side_effect_completed = 1 where dedupe_key = 'pushed'",
        );
        let reply = world.json(&["worker-inbox", "demo", "--consume-next", "--json"]);
        assert_eq!(reply["consumed"]["dedupe_key"], "pushed");
        assert_eq!(reply["consumed"]["side_effect_completed"], true);
        assert_eq!(reply["items"], serde_json::json!([]));
    });
}

#[test]
fn an_inbox_belongs_to_the_session_across_its_tasks() {
    on_both_engines(|world| {
        world.bind("old");
        deliver(world, "old", "nudge_worker", "early", "2026-06-11T11:00:00Z", "{}");
        world.sql(
            "update bindings set state = 'ended';
             insert into tasks (id, name, goal, state, created_at, updated_at) values \
             ('task-new', 'new', 'g', 'managed', '2026-06-11T11:30:00Z', '2026-06-11T11:30:00Z');
             insert into bindings (id, task_id, worker_session_id, manager_session_id, state, created_at) values \
             ('binding-new', 'task-new', 'session-old-w', 'session-old-m', 'active', '2026-06-11T11:30:00Z');
             update sessions set state = 'gone'",
        );
        let reply = world.json(&["worker-inbox", "new", "--json"]);
        assert_eq!(reply["task"]["id"], "task-new");
        assert_eq!(reply["items"][0]["task_name"], "old");
        let gone = world.json(&["session-inbox", "old-worker", "--consume-next", "--json"]);
        assert_eq!(gone["consumed"]["task_id"], "task-old", "whatever the session's state");
    });
}

fn run_with(world: &World, metadata: &str) {
    world.sql(&format!(
        "insert into runs (id, task_id, name, status, started_at, metadata_json) \
         values ('run-1', 'task-demo', 'nightly', 'finished', '2026-06-11T11:00:00Z', '{metadata}')"
    ));
}

#[test]
fn consuming_a_continuation_advances_its_loop() {
    on_both_engines(|world| {
        world.bind("demo");
        run_with(world, r#"{"kind":"ralph_loop","current_iteration":1,"max_iterations":"3","ratio":1.0}"#);
        let payload = r#"{"message":"go on","ralph_loop":{"run_id":"run-1","requested_iteration":2}}"#;
        deliver(world, "demo", "continue_iteration", "go", "2026-06-11T11:59:00Z", payload);
        let reply = world.json(&["worker-inbox", "demo", "--consume-next", "--json"]);
        assert_eq!(reply["consumed"]["signal_type"], "continue_iteration");
        assert_eq!(
            world.scalar("select metadata_json from runs"),
            r#"{"current_iteration":2,"kind":"ralph_loop","max_iterations":"3","ratio":1.0}"#
        );
        insta::assert_snapshot!("inbox_advance_telemetry", world.telemetry());
        let of_run = "select run_id from telemetry_events where event_type = 'ralph_loop_iteration_advanced'";
        assert_eq!(world.scalar(of_run), "run-1");
    });
}

#[test]
fn a_continuation_that_fits_no_loop_is_consumed_without_advancing() {
    let bounds = r#"{"current_iteration":1,"max_iterations":3}"#;
    let cases = [
        (bounds, r#"{"ralph_loop":{"run_id":"run-1","requested_iteration":1}}"#, "not ahead"),
        (bounds, r#"{"ralph_loop":{"run_id":"run-1","requested_iteration":4}}"#, "beyond the end"),
        (bounds, r#"{"ralph_loop":{"run_id":"run-2","requested_iteration":2}}"#, "unknown run"),
        (bounds, r#"{"ralph_loop":{"run_id":"run-other","requested_iteration":2}}"#, "run of another task"),
        (bounds, r#"{"ralph_loop":{"run_id":"run-1"}}"#, "no iteration"),
        (bounds, r#"{"ralph_loop":{"run_id":7,"requested_iteration":2}}"#, "no run"),
        (bounds, r#"{"message":"x"}"#, "no loop"),
        (
            r#"{"max_iterations":3}"#,
            r#"{"ralph_loop":{"run_id":"run-1","requested_iteration":2}}"#,
            "no bounds",
        ),
        (r#"[1]"#, r#"{"ralph_loop":{"run_id":"run-1","requested_iteration":2}}"#, "no metadata"),
    ];
    on_both_engines(|world| {
        world.bind("demo");
        world.bind("other");
        run_with(world, bounds);
        world.sql(&format!(
            "insert into runs (id, task_id, name, status, started_at, metadata_json) \
             values ('run-other', 'task-other', 'nightly', 'active', '2026-06-11T11:00:00Z', '{bounds}')"
        ));
        for (metadata, payload, what) in cases {
            world.sql(&format!("update runs set metadata_json = '{metadata}' where id = 'run-1'"));
            deliver(world, "demo", "continue_iteration", what, "2026-06-11T11:59:00Z", payload);
            let reply = world.json(&["worker-inbox", "demo", "--consume-next", "--json"]);
            assert_eq!(reply["consumed"]["dedupe_key"], what);
            assert_eq!(world.scalar("select metadata_json from runs where id = 'run-1'"), metadata, "{what}");
        }
        assert_eq!(world.scalar("select metadata_json from runs where id = 'run-other'"), bounds);
        let advanced = "select count(*) from telemetry_events where event_type <> 'dispatch_inbox_consumed'";
        assert_eq!(world.scalar(advanced), "0");
    });
}

#[test]
fn a_wait_that_ends_in_vain_says_so() {
    on_both_engines(|world| {
        world.bind("demo");
        let waited = |options: &[&str]| {
            let mut arguments = vec!["worker-inbox", "demo", "--json"];
            arguments.extend(options);
            world.json(&arguments)["wait"].clone()
        };
        let expected = |elapsed: f64, enabled: bool, polls: u64, timeout: f64| {
            serde_json::json!({
                "elapsed_seconds": conveyor_model::json::number(elapsed),
                "enabled": enabled,
                "interval_seconds": 2,
                "poll_count": polls,
                "timed_out": enabled,
                "timeout_seconds": conveyor_model::json::number(timeout),
            })
        };
        assert_eq!(waited(&[]), expected(0.0, false, 1, 30.0));
        assert_eq!(waited(&["--wait", "--timeout", "0"]), expected(0.0, true, 1, 0.0));
        assert_eq!(waited(&["--consume-next", "--wait", "--timeout", "0.0"]), expected(0.0, true, 1, 0.0));
        assert_eq!(waited(&["--consume-next", "--wait", "--timeout", "0.3"]), expected(0.3, true, 2, 0.3));
        assert_eq!(waited(&["--wait", "--timeout", "0.3"]), expected(0.3, true, 2, 0.3));
        let often = waited(&["--wait", "--timeout", "0.3", "--interval", "0.05"]);
        assert!((3..=8).contains(&often["poll_count"].as_u64().unwrap()), "{often}");
        let text = world.run(&["worker-inbox", "demo", "--wait", "--timeout", "0"]).stdout;
        assert_eq!(text, "Inbox of worker demo-worker (task demo)\nNothing pending after waiting.\n");
    });
}

#[test]
fn something_there_ends_a_wait_at_once() {
    on_both_engines(|world| {
        world.bind("demo");
        nudge(world, "a", 1);
        for consume in [&[][..], &["--consume-next"]] {
            let mut arguments = vec!["worker-inbox", "demo", "--json", "--wait", "--timeout", "60"];
            arguments.extend(consume);
            let reply = world.json(&arguments);
            assert_eq!(
                (&reply["wait"]["poll_count"], &reply["wait"]["timed_out"]),
                (&1.into(), &false.into())
            );
        }
    });
}

/// Runs `arguments` in a thread while `meanwhile` happens, some time after the wait began.
fn while_waiting(world: &World, arguments: &[&str], meanwhile: impl FnOnce()) -> Value {
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| world.json(arguments));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!waiter.is_finished(), "it does not wait");
        meanwhile();
        waiter.join().unwrap()
    })
}

#[test]
fn an_arriving_message_wakes_a_waiting_inbox() {
    on_both_engines(|world| {
        world.bind("demo");
        // Neither the interval nor the timeout can be what ends these waits.
        let wait = ["worker-inbox", "demo", "--json", "--wait", "--timeout", "60", "--interval", "60"];
        let looked = while_waiting(world, &wait, || nudge(world, "a", 1));
        let consuming = [&wait[..], &["--consume-next"]].concat();
        assert_eq!(keys(&looked["items"]), ["a"]);
        world.json(&["worker-inbox", "demo", "--consume-next", "--json"]);
        let taken = while_waiting(world, &consuming, || nudge(world, "b", 2));
        assert_eq!(taken["consumed"]["dedupe_key"], "b");
        for reply in [looked, taken] {
            let wait = &reply["wait"];
            assert_eq!(wait["timed_out"], false);
            assert!(wait["elapsed_seconds"].as_f64().unwrap() < 20.0, "{wait}");
            assert!(wait["poll_count"].as_u64().unwrap() <= 4, "{wait}");
        }
    });
}

#[test]
fn a_wait_goes_on_after_commits_that_bring_it_nothing() {
    on_both_engines(|world| {
        world.bind("demo");
        let wait = [
            "worker-inbox",
            "demo",
            "--json",
            "--consume-next",
            "--wait",
            "--timeout",
            "60",
            "--interval",
            "60",
        ];
        let taken = while_waiting(world, &wait, || {
            for key in ["x", "y", "z"] {
                deliver(world, "demo", "notify_manager", key, "2026-06-11T11:00:00Z", "{}");
            }
            nudge(world, "mine", 1);
        });
        assert_eq!(taken["consumed"]["dedupe_key"], "mine");
    });
}

#[test]
fn a_wait_lives_through_a_broken_connection() {
    on_both_engines(|world| {
        if world.is_sqlite() {
            return;
        }
        world.bind("demo");
        let ledger = format!("{}&application_name=broken-inbox", world.ledger());
        let wait = [
            "worker-inbox",
            "demo",
            "--json",
            "--consume-next",
            "--wait",
            "--timeout",
            "60",
            "--path",
            &ledger,
        ];
        let ran = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| world.run_plain(&wait));
            std::thread::sleep(Duration::from_millis(300));
            for key in ["first", "second"] {
                world.sql(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'broken-inbox'",
                );
                std::thread::sleep(Duration::from_millis(600));
                if key == "second" {
                    nudge(world, key, 1);
                }
            }
            waiter.join().unwrap()
        });
        assert_eq!(ran.json()["consumed"]["dedupe_key"], "second");
        assert_eq!(ran.stderr.lines().count(), 2, "one line per outage: {}", ran.stderr);
        assert!(ran.stderr.contains("waiting for it to come back"), "{}", ran.stderr);
    });
}

#[test]
fn many_consumers_get_every_message_exactly_once() {
    const CONSUMERS: usize = 8;
    const MESSAGES: usize = 200;
    on_both_engines(|world| {
        world.bind("demo");
        let rows: Vec<String> = (0..MESSAGES)
            .map(|n| {
                format!(
                    "('task-demo', 'binding-demo', 'c', 'session-demo-m', 'session-demo-w', 'nudge_worker', \
                     'key-{n:03}', '2026-06-11T11:00:00.{n:03}Z', '2026-06-11T11:00:00Z', 'pull_required', \
                     'delivered', '{{}}')"
                )
            })
            .collect();
        world.sql(&format!(
            "insert into routed_notifications (task_id, binding_id, correlation_id, source_session_id, \
             target_session_id, signal_type, dedupe_key, created_at, delivered_at, delivery_mode, state, \
             payload_json) values {}",
            rows.join(", ")
        ));
        let taken = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..CONSUMERS {
                scope.spawn(|| {
                    let mut mine = Vec::new();
                    loop {
                        let reply =
                            world.json(&["worker-inbox", "demo", "--consume-next", "--json", "--limit", "1"]);
                        match reply["consumed"]["dedupe_key"].as_str() {
                            Some(key) => mine.push(key.to_owned()),
                            // On a server the rest may be in other hands and still come back.
                            None if reply["items"].as_array().unwrap().is_empty() => break,
                            None => {}
                        }
                    }
                    assert!(mine.is_sorted(), "one consumer sees the order: {mine:?}");
                    taken.lock().unwrap().extend(mine);
                });
            }
        });
        let mut taken = taken.into_inner().unwrap();
        taken.sort();
        let all: Vec<String> = (0..MESSAGES).map(|n| format!("key-{n:03}")).collect();
        assert_eq!(taken, all);
        let receipts = "select count(*) from telemetry_events where event_type = 'dispatch_inbox_consumed'";
        assert_eq!(world.scalar(receipts), MESSAGES.to_string());
    });
}

#[test]
fn inbox_refusals() {
    on_both_engines(|world| {
        world.bind("demo");
        world.bind("ended");
        world.bind("empty");
        world.sql(
            "update bindings set state = 'ended' where id = 'binding-ended';
             update bindings set manager_session_id = null where id = 'binding-empty'",
        );
        let cases: &[&[&str]] = &[
            &["session-inbox"],
            &["manager-inbox"],
            &["worker-inbox", "--json"],
            &["session-inbox", "nobody"],
            &["manager-inbox", "nothing"],
            &["worker-inbox", "ended", "--consume-next"],
            &["manager-inbox", "empty"],
            &["worker-inbox", "demo", "--wait", "--timeout", "-1"],
            &["worker-inbox", "demo", "--wait", "--timeout", "soon"],
            &["worker-inbox", "demo", "--timeout", "Infinity"],
            &["worker-inbox", "demo", "--timeout"],
            &["worker-inbox", "demo", "--interval", "0"],
            &["worker-inbox", "demo", "--interval", "-0.5"],
            &["worker-inbox", "demo", "--limit", "-1"],
            &["worker-inbox", "demo", "--limit", "1.5"],
            &["worker-inbox", "demo", "another"],
            &["worker-inbox", "demo", "--role", "worker"],
            &["session-inbox", "demo-worker", "--dry-run"],
        ];
        let said: Vec<String> =
            cases.iter().map(|case| format!("{}\n  {}", case.join(" "), world.refused(case))).collect();
        insta::assert_snapshot!("inbox_refusals", said.join("\n"));
    });
}

#[test]
fn an_old_ledger_is_listed_as_it_is_and_gets_our_additions_when_consuming() {
    on_sqlite(|world| {
        world.bind("demo");
        world.sql(
            "drop index conveyor_tasks_name; delete from conveyor_schema where name = 'conveyor_tasks_name'",
        );
        nudge(world, "a", 1);
        let indexes = "select count(*) from sqlite_master where name = 'conveyor_tasks_name'";
        assert_eq!(keys(&world.json(&["worker-inbox", "demo", "--json"])["items"]), ["a"]);
        assert_eq!(world.scalar(indexes), "0");
        let taken = world.json(&["worker-inbox", "demo", "--json", "--consume-next"]);
        assert_eq!(taken["consumed"]["dedupe_key"], "a");
        assert_eq!(world.scalar(indexes), "1");
    });
}
