//! `app-loop-status`, and the situations that all app commands are tested in.

use crate::harness::{World, on_both_engines};

/// Task `demo` with both sessions in an app, both just alive, and a dispatcher that watches.
pub fn alive(world: &World) {
    world.bind("demo");
    for (role, side) in [("manager", "m"), ("worker", "w")] {
        world.sql(&format!(
            "update sessions set codex_app_thread_id = 'thread-{role}', codex_app_thread_title = 'Demo {role}', \
             last_heartbeat_at = '2026-06-11T12:00:00Z' where id = 'session-demo-{side}'"
        ));
    }
    dispatcher_beat(world, "dispatch-local", "2026-06-11T12:00:00Z", false);
}

/// The heartbeat of a watching dispatcher.
pub fn dispatcher_beat(world: &World, id: &str, at: &str, dry_run: bool) {
    world.sql(&format!(
        "insert into telemetry_events (id, timestamp, actor, event_type, severity, summary, correlation_json, \
         attributes_json) values ('beat-{id}-{at}', '{at}', 'dispatch', 'dispatch_watch_heartbeat', 'info', 's', \
         '{{\"dispatcher_id\":\"{id}\",\"iteration\":1}}', '{{\"dry_run\":{dry_run},\"processed_count\":0}}')"
    ));
}

/// Sets a side's last life sign.
pub fn beat(world: &World, side: &str, at: &str) {
    world.sql(&format!("update sessions set last_heartbeat_at = '{at}' where id = 'session-demo-{side}'"));
}

/// Situation C: nobody ever seen or long gone, no threads, no dispatcher.
pub fn asleep(world: &World) {
    world.bind("demo");
    world.sql("update sessions set last_heartbeat_at = null where id = 'session-demo-m'");
    beat(world, "w", "2026-06-11T11:00:00Z");
}

fn status(world: &World, options: &[&str]) -> serde_json::Value {
    world.json(&[&["app-loop-status", "demo", "--json"], options].concat())
}

#[test]
fn all_healthy() {
    on_both_engines(|world| {
        alive(world);
        world.advance(1500);
        let before = world.dump();
        let json = world.run(&["app-loop-status", "demo", "--json"]).stdout;
        insta::assert_snapshot!("app_status_a", world.normal(&json));
        insta::assert_snapshot!("app_status_a_text", world.run(&["app-loop-status", "task-demo"]).stdout);
        assert_eq!(world.dump(), before, "a verdict writes nothing");
    });
}

#[test]
fn nobody_there() {
    on_both_engines(|world| {
        asleep(world);
        let json = world.run(&["app-loop-status", "demo", "--json"]).stdout;
        insta::assert_snapshot!("app_status_c", world.normal(&json));
        insta::assert_snapshot!("app_status_c_text", world.run(&["app-loop-status", "demo"]).stdout);
    });
}

#[test]
fn an_empty_side_is_reported() {
    on_both_engines(|world| {
        alive(world);
        world.sql("update bindings set manager_session_id = null");
        let reply = status(world, &[]);
        insta::assert_snapshot!("app_status_e", world.normal(&format!("{:#}", reply["manager"])));
        assert_eq!(reply["next_actions"][0]["kind"], "wake_manager");
        let text = world.run(&["app-loop-status", "demo"]).stdout;
        assert!(text.contains("Manager: (no session), missing"), "{text}");
    });
}

#[test]
fn leases_end_after_the_limit_in_whole_seconds() {
    on_both_engines(|world| {
        alive(world);
        world.advance(180_999);
        let at_limit = status(world, &[]);
        assert_eq!(
            (&at_limit["ok"], &at_limit["worker"]["lease"]["age_seconds"]),
            (&true.into(), &180.into())
        );
        world.advance(1);
        let after = status(world, &[]);
        let states = ["dispatch", "manager", "worker"].map(|part| match part {
            "dispatch" => after[part]["state"].clone(),
            _ => after[part]["lease"]["state"].clone(),
        });
        assert_eq!(states, ["stale", "stale", "stale"]);
        assert_eq!(status(world, &["--stale-after", "181.5"])["ok"], true);
    });
}

#[test]
fn the_limit_is_echoed_as_it_was_meant() {
    on_both_engines(|world| {
        alive(world);
        for (given, shown, ok) in
            [("0", "0", true), ("0.5", "0.5", true), ("5.0", "5", true), ("1e2", "100", true)]
        {
            let reply = status(world, &["--stale-after", given]);
            assert_eq!(reply["worker"]["lease"]["stale_after_seconds"].to_string(), shown);
            assert_eq!(reply["ok"], ok, "{given}");
        }
        world.advance(1000);
        assert_eq!(status(world, &["--stale-after", "0.5"])["ok"], false);
    });
}

#[test]
fn unreadable_and_future_life_signs() {
    on_both_engines(|world| {
        alive(world);
        beat(world, "m", "yesterday");
        beat(world, "w", "2027-01-01T00:00:00Z");
        let reply = status(world, &[]);
        let expected = serde_json::json!({
            "age_seconds": null, "last_heartbeat_at": "yesterday", "stale_after_seconds": 180, "state": "stale"
        });
        assert_eq!(reply["manager"]["lease"], expected);
        let lease = &reply["worker"]["lease"];
        assert_eq!((&lease["age_seconds"], &lease["state"]), (&0.into(), &"healthy".into()));
    });
}

#[test]
fn kinds_of_sessions() {
    on_both_engines(|world| {
        alive(world);
        world.sql(
            "update sessions set tmux_session = 'codex-demo' where id = 'session-demo-w';
             update sessions set tmux_session = '', codex_app_thread_id = null where id = 'session-demo-m'",
        );
        let reply = status(world, &[]);
        let kind = |role: &str| (reply[role]["session_kind"].clone(), reply[role]["receive_style"].clone());
        assert_eq!(kind("worker"), ("tmux".into(), "push".into()));
        assert_eq!(kind("manager"), ("no_tmux".into(), "pull".into()));
        assert_eq!(reply["ok"], true, "a terminal is judged by the same lease");
    });
}

#[test]
fn the_dispatcher_that_runs_is_judged_unless_one_is_named() {
    on_both_engines(|world| {
        alive(world);
        world.sql("delete from telemetry_events");
        let judged = |options: &[&str]| status(world, options)["dispatch"].to_string();
        let missing =
            |id: &str| format!(r#"{{"dispatcher_id":"{id}","last_heartbeat_at":null,"state":"missing"}}"#);
        assert_eq!(judged(&[]), missing("dispatch-local"));
        dispatcher_beat(world, "dispatch-pair", "2026-06-11T11:59:00Z", true);
        assert_eq!(judged(&[]), missing("dispatch-local"), "a dry run is no life sign");
        dispatcher_beat(world, "dispatch-old", "2026-06-11T11:00:00Z", false);
        dispatcher_beat(world, "dispatch-pair", "2026-06-11T11:58:00Z", false);
        let pair = r#"{"dispatcher_id":"dispatch-pair","last_heartbeat_at":"2026-06-11T11:58:00Z","state":"healthy"}"#;
        assert_eq!(judged(&[]), pair);
        assert_eq!(judged(&["--dispatcher-id", "dispatch-local"]), missing("dispatch-local"));
        assert_eq!(judged(&["--dispatcher-id", "other"]), missing("other"));
        dispatcher_beat(world, "dispatch-local", "2026-06-11T10:00:00Z", false);
        let local = r#"{"dispatcher_id":"dispatch-local","last_heartbeat_at":"2026-06-11T10:00:00Z","state":"stale"}"#;
        assert_eq!(judged(&[]), local, "one that ever ran under the usual name is meant");
    });
}

#[test]
fn names_are_quoted_for_a_shell() {
    on_both_engines(|world| {
        alive(world);
        world.sql("update tasks set name = 'it''s'");
        let reply = world.json(&["app-loop-status", "it's", "--dispatcher-id", "d'1", "--json"]);
        let shown = world.normal(&format!("{:#}", reply["next_actions"]));
        insta::assert_snapshot!("app_status_quoted", shown);
        let command = reply["worker"]["poll_command"].as_str().unwrap();
        assert!(
            command.starts_with(r#"conveyor app-heartbeat 'it'"'"'s' --role worker --path '/"#)
                || !world.is_sqlite()
        );
    });
}

#[test]
fn app_refusals() {
    on_both_engines(|world| {
        world.bind("demo");
        world.bind("ended");
        world.sql("update bindings set state = 'ended' where id = 'binding-ended'");
        let mut cases: Vec<Vec<&str>> = Vec::new();
        for command in ["app-loop-status", "app-wakeup-plan", "app-wakeup-dispatch"] {
            cases.push(vec![command]);
            cases.push(vec![command, "nothing"]);
            cases.push(vec![command, "ended"]);
            cases.push(vec![command, "demo", "--stale-after", "-1"]);
            cases.push(vec![command, "demo", "--role", "worker"]);
        }
        cases.extend(
            ["abc", "Infinity", "NaN"].map(|bad| vec!["app-loop-status", "demo", "--stale-after", bad]),
        );
        cases.push(vec!["app-loop-status", "demo", "--stale-after"]);
        cases.push(vec!["app-loop-status", "demo", "--stale-after", "--json"]);
        cases.push(vec!["app-loop-status", "demo", "more"]);
        let said: Vec<String> =
            cases.iter().map(|case| format!("{}\n  {}", case.join(" "), world.refused(case))).collect();
        insta::assert_snapshot!("app_refusals", said.join("\n"));
    });
}
