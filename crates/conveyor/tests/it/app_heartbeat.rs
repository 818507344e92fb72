//! `app-heartbeat`.

use crate::app_loop::{alive, asleep};
use crate::harness::on_both_engines;

#[test]
fn a_heartbeat_renews_the_lease_and_says_what_is_next() {
    on_both_engines(|world| {
        alive(world);
        world.sql("delete from telemetry_events");
        world.advance(200_900);
        let json = world.run(&["app-heartbeat", "demo", "--role", "worker", "--json"]).stdout;
        insta::assert_snapshot!("app_heartbeat", world.normal(&json));
        insta::assert_snapshot!("app_heartbeat_telemetry", world.telemetry());
        let stored = "select last_heartbeat_at from sessions where id = 'session-demo-w'";
        assert_eq!(world.scalar(stored), "2026-06-11T12:03:20Z", "whole seconds");
        assert_eq!(
            world.scalar("select last_heartbeat_at from sessions where id = 'session-demo-m'"),
            "2026-06-11T12:00:00Z"
        );
        let text = world.run(&["app-heartbeat", "demo", "--role=manager"]).stdout;
        insta::assert_snapshot!("app_heartbeat_text", world.normal(&text));
        let status = world.json(&["app-loop-status", "demo", "--json"]);
        assert_eq!(status["manager"]["lease"]["age_seconds"], 0);
    });
}

#[test]
fn heartbeats_of_both_sides_leave_only_the_dispatcher_missing() {
    on_both_engines(|world| {
        asleep(world);
        let first =
            world.json(&["app-heartbeat", "demo", "--role", "manager", "--stale-after", "0.5", "--json"]);
        assert_eq!(first["status"]["manager"]["lease"]["state"], "healthy");
        assert_eq!(first["status"]["manager"]["lease"]["stale_after_seconds"], 0.5);
        assert_eq!(first["status"]["worker"]["lease"]["state"], "stale");
        let second =
            world.json(&["app-heartbeat", "demo", "--role", "worker", "--dispatcher-id", "mine", "--json"]);
        let actions = second["status"]["next_actions"].as_array().unwrap();
        assert_eq!((actions.len(), &actions[0]["kind"]), (1, &"start_dispatch".into()));
        assert!(actions[0]["prompt"].as_str().unwrap().contains("--dispatcher-id 'mine'"));
    });
}

#[test]
fn heartbeat_refusals() {
    on_both_engines(|world| {
        for task in ["demo", "ended", "empty", "gone", "swapped"] {
            world.bind(task);
        }
        world.sql(
            "update bindings set state = 'ended' where id = 'binding-ended';
             update bindings set worker_session_id = null where id = 'binding-empty';
             update sessions set state = 'gone' where id = 'session-gone-w';
             update sessions set role = 'manager' where id = 'session-swapped-w'",
        );
        let cases: &[&[&str]] = &[
            &["app-heartbeat"],
            &["app-heartbeat", "--role", "worker"],
            &["app-heartbeat", "demo"],
            &["app-heartbeat", "demo", "--role", "operator"],
            &["app-heartbeat", "nothing", "--role", "worker"],
            &["app-heartbeat", "ended", "--role", "worker"],
            &["app-heartbeat", "empty", "--role", "worker"],
            &["app-heartbeat", "gone", "--role", "worker"],
            &["app-heartbeat", "swapped", "--role", "worker"],
            &["app-heartbeat", "demo", "--role", "worker", "--stale-after", "-1"],
            &["app-heartbeat", "demo", "--role", "worker", "--dispatcher-id"],
            &["app-heartbeat", "demo", "--role", "worker", "--thread-id", "x"],
        ];
        let said: Vec<String> =
            cases.iter().map(|case| format!("{}\n  {}", case.join(" "), world.refused(case))).collect();
        insta::assert_snapshot!("app_heartbeat_refusals", said.join("\n"));
    });
}
