//! `app-wakeup-plan`, `app-wakeup-dispatch`, `app-wakeup-record-delivery`.

use serde_json::{Value, json};

use crate::app_loop::{alive, asleep, beat, dispatcher_beat};
use crate::harness::{World, on_both_engines};

/// Situation B: the worker sleeps, its thread is known.
fn worker_asleep(world: &World) {
    alive(world);
    beat(world, "w", "2026-06-11T11:00:00Z");
}

fn decided(world: &World) -> (Value, String) {
    let reply = world.json(&["app-wakeup-dispatch", "demo", "--json"]);
    let receipt = reply["receipt"]["event_id"].as_str().unwrap().to_owned();
    (reply, receipt)
}

/// Severity of the newest app event.
fn severity(world: &World) -> String {
    world.scalar(
        "select severity from telemetry_events where event_type like 'app_%' order by rowid desc limit 1",
    )
}

fn record<'a>(receipt: &'a str, role: &'a str, status: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let fixed = [
        "app-wakeup-record-delivery",
        "demo",
        "--role",
        role,
        "--dispatch-receipt",
        receipt,
        "--delivery-status",
        status,
    ];
    [&fixed, more].concat()
}

#[test]
fn a_plan_of_a_healthy_loop_is_empty() {
    on_both_engines(|world| {
        alive(world);
        let before = world.dump();
        let plan = world.json(&["app-wakeup-plan", "demo", "--json"]);
        assert_eq!((&plan["wakeups"], &plan["dispatcher"]["required"]), (&json!([]), &false.into()));
        insta::assert_snapshot!("app_plan_a_text", world.run(&["app-wakeup-plan", "demo"]).stdout);
        assert_eq!(world.dump(), before, "a plan writes nothing");
        let (reply, _) = decided(world);
        let summary = json!({
            "blocked": 0, "dispatcher_required": false, "ready_to_send": 0, "skipped": 2, "total_actions": 2
        });
        assert_eq!(reply["summary"], summary);
        assert_eq!(severity(world), "info");
        decided(world);
        let receipts =
            "select count(*) from telemetry_events where event_type = 'app_wakeup_dispatch_planned'";
        assert_eq!(world.scalar(receipts), "2", "every call writes a receipt");
    });
}

#[test]
fn a_sleeping_worker_with_a_thread() {
    on_both_engines(|world| {
        worker_asleep(world);
        world.advance(5700);
        insta::assert_snapshot!(
            "app_plan_b",
            world.normal(&world.run(&["app-wakeup-plan", "demo", "--json"]).stdout)
        );
        insta::assert_snapshot!(
            "app_plan_b_text",
            world.normal(&world.run(&["app-wakeup-plan", "demo"]).stdout)
        );
        let json = world.run(&["app-wakeup-dispatch", "demo", "--json"]).stdout;
        insta::assert_snapshot!("app_dispatch_b", world.normal(&json));
        insta::assert_snapshot!("app_dispatch_b_telemetry", world.telemetry());
        assert_eq!(severity(world), "info");
        let text = world.run(&["app-wakeup-dispatch", "demo"]).stdout;
        insta::assert_snapshot!("app_dispatch_b_text", world.normal(&text));
    });
}

#[test]
fn nobody_there_and_no_thread_known() {
    on_both_engines(|world| {
        asleep(world);
        let json = world.run(&["app-wakeup-dispatch", "demo", "--json"]).stdout;
        insta::assert_snapshot!("app_dispatch_c", world.normal(&json));
        insta::assert_snapshot!("app_dispatch_c_telemetry", world.telemetry());
        let text = world.run(&["app-wakeup-dispatch", "demo"]).stdout;
        insta::assert_snapshot!("app_dispatch_c_text", world.normal(&text));
        let plan = world.json(&["app-wakeup-plan", "demo", "--json"]);
        assert_eq!(plan["wakeups"][0]["thread"], json!({ "id": null, "title": null }));
        assert_eq!(
            plan["wakeups"][0]["prompt"],
            serde_json::from_str::<Value>(&json).unwrap()["actions"][0]["prompt"]
        );
    });
}

#[test]
fn a_missing_dispatcher_alone() {
    on_both_engines(|world| {
        alive(world);
        world.sql("delete from telemetry_events");
        dispatcher_beat(world, "dispatch-other", "2026-06-11T11:00:00Z", false);
        let options = ["app-wakeup-dispatch", "demo", "--dispatcher-id", "dispatch-local", "--json"];
        let reply = world.json(&options);
        assert_eq!(reply["status"]["next_actions"].as_array().unwrap().len(), 1);
        assert_eq!(reply["status"]["next_actions"][0].get("role"), None);
        let summary = json!({
            "blocked": 0, "dispatcher_required": true, "ready_to_send": 0, "skipped": 2, "total_actions": 2
        });
        assert_eq!((&reply["summary"], &reply["dispatcher"]["state"]), (&summary, &"missing".into()));
        assert_eq!(severity(world), "warning");
        let stale = world.json(&["app-wakeup-plan", "demo", "--json"]);
        assert_eq!(
            (&stale["dispatcher"]["state"], &stale["dispatcher"]["required"]),
            (&"stale".into(), &true.into())
        );
        assert!(stale["dispatcher"]["command"].as_str().unwrap().contains("'dispatch-other'"));
        assert_eq!(stale["wakeups"], json!([]));
    });
}

#[test]
fn a_blocked_side_is_a_warning_even_with_a_dispatcher() {
    on_both_engines(|world| {
        alive(world);
        world.sql("update bindings set manager_session_id = null");
        let (reply, _) = decided(world);
        assert_eq!(reply["actions"][0]["status"], "blocked_missing_thread");
        assert_eq!(reply["actions"][1]["status"], "skipped_healthy");
        assert_eq!(severity(world), "warning");
    });
}

#[test]
fn a_sent_prompt_is_recorded_as_often_as_it_is_said() {
    on_both_engines(|world| {
        worker_asleep(world);
        let (_, receipt) = decided(world);
        world.advance(1900);
        let sent = record(&receipt, "worker", "sent", &["--thread-id", "thread-worker"]);
        let json = world.run(&[&sent[..], &["--json"]].concat()).stdout;
        insta::assert_snapshot!("app_delivery_sent", world.normal(&json));
        assert_eq!(severity(world), "info");
        insta::assert_snapshot!("app_delivery_sent_text", world.normal(&world.run(&sent).stdout));
        insta::assert_snapshot!("app_delivery_telemetry", world.telemetry());
        let lease = world.scalar("select last_heartbeat_at from sessions where id = 'session-demo-w'");
        assert_eq!(lease, "2026-06-11T11:00:00Z", "only its own heartbeat proves that it woke");
    });
}

#[test]
fn skipped_and_blocked_sides_are_recorded_as_such() {
    on_both_engines(|world| {
        worker_asleep(world);
        let (_, receipt) = decided(world);
        let skipped = world.json(&[&record(&receipt, "manager", "skipped", &[])[..], &["--json"]].concat());
        assert_eq!(skipped["delivery"]["thread_id"], "thread-manager");
        assert_eq!(severity(world), "warning");
        world.sql("update sessions set codex_app_thread_id = null, codex_app_thread_title = null");
        let (_, receipt) = decided(world);
        // The books can be closed after the binding has ended.
        world.sql("update bindings set state = 'ended'");
        let blocked = record(&receipt, "worker", "blocked", &["--reason", "no thread", "--json"]);
        let blocked = world.json(&blocked);
        assert_eq!(blocked["delivery"]["thread_id"], Value::Null);
        assert_eq!(blocked["delivery"]["reason"], "no thread");
        assert_eq!(blocked["delivery"]["source_send_ready"], false);
        assert_eq!(severity(world), "warning");
    });
}

#[test]
fn deliveries_that_do_not_fit_their_decision() {
    on_both_engines(|world| {
        worker_asleep(world);
        let (_, first) = decided(world);
        world.sql("update sessions set codex_app_thread_id = null");
        let (_, second) = decided(world);
        world.bind("other");
        world.bind("odd");
        world.sql(
            "insert into telemetry_events (id, task_id, timestamp, actor, event_type, severity, summary, \
             correlation_json, attributes_json) select 'odd-' || n, 'task-odd', '2026-06-11T12:00:00Z', 'manager', \
             'app_wakeup_dispatch_planned', 'info', 's', '{}', case n when 1 then '[]' when 2 then '{\"summary\":{}}' \
             when 3 then '{\"actions\":[]}' when 4 then '{\"actions\":[],\"summary\":{\"dispatcher_required\":false}}' \
             when 5 then '{\"actions\":[{\"role\":\"worker\",\"status\":\"asleep\"}],\"summary\":\
             {\"dispatcher_required\":false}}' else '{\"actions\":[{\"role\":\"worker\",\"status\":\"ready_to_send\",\
             \"send_ready\":false,\"thread_id\":\"t\"}],\"summary\":{\"dispatcher_required\":false}}' end \
             from (select 1 as n union all select 2 union all select 3 union all select 4 union all select 5 \
             union all select 6) as numbers",
        );
        let odd = |n: u32, status: &str| {
            let receipt = format!("odd-{n}");
            let mut words: Vec<String> =
                record(&receipt, "worker", status, &["--thread-id", "t", "--reason", "why"])
                    .into_iter()
                    .map(ToOwned::to_owned)
                    .collect();
            words[1] = "odd".into();
            words
        };
        let owned = |words: Vec<&str>| words.into_iter().map(ToOwned::to_owned).collect::<Vec<String>>();
        let mut cases: Vec<Vec<String>> = vec![
            owned(record(&first, "worker", "sent", &[])),
            owned(record(&first, "worker", "sent", &["--thread-id", "other"])),
            owned(record(&first, "worker", "skipped", &[])),
            owned(record(&first, "worker", "blocked", &[])),
            owned(record(&first, "worker", "blocked", &["--reason", "busy"])),
            owned(record(&first, "manager", "sent", &["--thread-id", "thread-manager"])),
            owned(record(&first, "manager", "blocked", &[])),
            owned(record(&second, "worker", "sent", &["--thread-id", "x"])),
            owned(record(&second, "worker", "skipped", &[])),
            owned(record("telemetry-0", "worker", "skipped", &[])),
            owned(record("beat-dispatch-local-2026-06-11T12:00:00Z", "worker", "skipped", &[])),
        ];
        let mut foreign = owned(record(&first, "worker", "skipped", &[]));
        foreign[1] = "other".into();
        cases.push(foreign);
        cases.extend((1..=5).map(|n| odd(n, "sent")));
        cases.extend(["sent", "skipped", "blocked"].map(|status| odd(6, status)));
        let said: Vec<String> = cases
            .iter()
            .map(|case| {
                let words: Vec<&str> = case.iter().map(String::as_str).collect();
                format!("{}\n  {}", words.join(" "), world.refused(&words))
            })
            .collect();
        insta::assert_snapshot!("app_delivery_unfit", said.join("\n"));
    });
}

#[test]
fn delivery_refusals() {
    on_both_engines(|world| {
        worker_asleep(world);
        let fits = record("r", "worker", "sent", &[]);
        let without = |at: usize| [&fits[..at], &fits[at + 2..]].concat();
        let cases: Vec<Vec<&str>> = vec![
            [&fits[..1], &fits[2..]].concat(),
            without(2),
            without(4),
            without(6),
            record("r", "operator", "sent", &[]),
            record("r", "worker", "delivered", &[]),
            [&["app-wakeup-record-delivery", "nothing"], &fits[2..]].concat(),
            record("r", "worker", "sent", &["--stale-after", "1"]),
            record("r", "worker", "sent", &["--dispatcher-id", "d"]),
        ];
        let said: Vec<String> =
            cases.iter().map(|case| format!("{}\n  {}", case.join(" "), world.refused(case))).collect();
        insta::assert_snapshot!("app_delivery_refusals", said.join("\n"));
    });
}
