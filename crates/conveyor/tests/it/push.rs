//! `dispatch` for receivers in terminals: real tmux and a fake Codex.

use std::time::Duration;

use conveyor::Environment;
use conveyor_testkit::fake_codex::{FakeCodex, Mode};
use conveyor_testkit::wait;
use serde_json::{Value, json};

use crate::harness::{START, World, on_both_engines, on_sqlite};
use crate::panes::put_into;

/// A fake Codex as the terminal of a session.
fn seat<'w>(world: &'w World, session: &str) -> FakeCodex<'w> {
    let terminal = format!("codex-{session}");
    let fake = FakeCodex::start(&world.tmux, &terminal, world.dir());
    put_into(world, session, &terminal);
    world.sql(&format!(
        "update sessions set codex_session_path = '{}' where name = '{session}'",
        fake.rollout().display()
    ));
    fake
}

/// A bound worker in a terminal.
fn stage(world: &World) -> FakeCodex<'_> {
    world.bind("demo");
    seat(world, "demo-worker")
}

fn enqueue(world: &World, command: &str, message: &str) -> String {
    world.advance(1);
    let queued = world.json(&[command, "demo", "--message", message, "--json"]);
    queued["command_id"].as_str().unwrap().to_owned()
}

fn nudge(world: &World, message: &str) -> String {
    enqueue(world, "enqueue-nudge-worker", message)
}

fn once(world: &World, more: &[&str]) -> Vec<Value> {
    let mut arguments = vec!["dispatch", "--once", "--json"];
    arguments.extend(more);
    world.json(&arguments)["processed"].as_array().unwrap().clone()
}

#[track_caller]
fn said(elements: &[Value], expected: &[(&str, Value)]) {
    let told: Vec<_> =
        elements.iter().map(|e| (e["state"].as_str().unwrap(), e["native"]["reason"].clone())).collect();
    assert_eq!(told, expected, "{elements:?}");
}

fn states(world: &World) -> Vec<String> {
    world.column("select state || ' ' || attempts from commands order by created_at, rowid")
}

/// Ends the turn that runs, and waits until that is in the record.
fn end_turn(world: &World, fake: &FakeCodex<'_>) {
    let ended = || std::fs::read_to_string(fake.rollout()).unwrap().matches("task_complete").count();
    let before = ended();
    fake.finish();
    wait::until(Duration::from_secs(5), "the end of the turn", || ended() > before);
    // The moment at which a release is noted.
    world.advance(1_000);
}

/// The volatile parts of an element: what depends on the machine.
fn steady(mut element: Value) -> Value {
    if element["native"]["seen_ms"].is_number() {
        element["native"]["seen_ms"] = "[MS]".into();
    }
    element
}

#[test]
fn a_nudge_becomes_one_turn_of_an_idle_worker() {
    on_both_engines(|world| {
        let fake = stage(world);
        nudge(world, "Run the tests");
        let elements = once(world, &[]);
        assert_eq!(fake.told(), ["Run the tests"]);
        insta::assert_json_snapshot!("push_delivered", steady(elements[0].clone()));
        insta::assert_snapshot!(
            "push_delivered_rows",
            world
                .dump_of(&["commands", "command_attempts", "routed_notifications"])
                .replace(&format!("seen_ms\\\":{}", elements[0]["native"]["seen_ms"]), "seen_ms\\\":[MS]")
        );
        let row = "select stage || ' ' || purpose || ' ' || mode || ' ' || (seen_at is not null) || ' ' || \
                   (notification_id = 1) || ' ' || (attempt_id = 1) from deliveries";
        let truth = if world.is_sqlite() { "1" } else { "true" };
        assert_eq!(world.scalar(row), format!("seen nudge typed {truth} {truth} {truth}"));
        assert!(once(world, &[]).is_empty(), "it is done once");
        let events = world.column("select event_type from telemetry_events order by rowid");
        assert_eq!(
            events,
            [
                "command_created",
                "dispatch_command_claimed",
                "dispatch_command_attempted",
                "dispatch_command_succeeded",
                "dispatch_signal_routed"
            ]
        );
        assert_eq!(world.json(&["worker-inbox", "demo", "--json"])["items"].as_array().unwrap().len(), 1);
    });
}

#[test]
fn a_busy_worker_gets_its_messages_later_one_per_turn_in_order() {
    on_both_engines(|world| {
        let fake = stage(world);
        fake.behave(Mode::Slow);
        nudge(world, "first");
        said(&once(world, &[]), &[("delivered", json!(null))]);
        let second = nudge(world, "second");
        nudge(world, "third");
        let parked = once(world, &[]);
        said(&parked, &[("parked", json!("order")), ("parked", json!("busy"))]);
        insta::assert_json_snapshot!("push_parked", parked[1]);
        assert_eq!(states(world), ["succeeded 1", "pending 0", "pending 0"]);
        assert_eq!(world.scalar("select count(*) from routed_notifications"), "1", "none before its turn");
        assert!(once(world, &[]).is_empty(), "not due");
        world.advance(15_000);
        assert!(once(world, &[]).is_empty(), "the same reasons are not said twice");
        let told = "select count(*) from telemetry_events where event_type = 'delivery_parked'";
        assert_eq!(world.scalar(told), "2");

        // Its end is read from the rollout, and the next one goes at once, long before it is due.
        end_turn(world, &fake);
        let elements = once(world, &["--ingest"]);
        let delivered: Vec<&Value> = elements.iter().filter(|e| e["state"] == "delivered").collect();
        assert!(matches!(delivered.as_slice(), [one] if one["command_id"] == second), "{elements:?}");
        assert_eq!(fake.told(), ["first", "second"]);
        world.advance(1_000);
        once(world, &["--ingest"]);
        assert_eq!(fake.told(), ["first", "second", "third"]);
        assert_eq!(states(world), ["succeeded 1", "succeeded 1", "succeeded 1"]);
    });
}

#[test]
fn an_open_dialog_gets_no_key() {
    on_sqlite(|world| {
        let fake = stage(world);
        fake.behave(Mode::Approval);
        let before = fake.screen();
        nudge(world, "y");
        said(&once(world, &[]), &[("parked", json!("waiting_approval"))]);
        assert_eq!(fake.screen(), before);
        assert!(!fake.approved() && fake.told().is_empty());
        assert_eq!(world.scalar("select reason from deliveries"), "waiting_approval");
        assert_eq!(world.scalar("select parked_reason from commands"), "waiting_approval");
        world.advance(60_000);
        assert!(once(world, &[]).is_empty());
        assert!(!fake.approved());
    });
}

#[test]
fn a_draft_keeps_the_message_waiting_and_is_kept() {
    on_sqlite(|world| {
        let fake = stage(world);
        fake.type_keys("half a thought");
        fake.until_shown("half a thought");
        nudge(world, "hello");
        said(&once(world, &[]), &[("parked", json!("draft"))]);
        assert!(fake.screen().contains("half a thought"));
        // Whoever wrote it sends it.
        world.tmux.tmux(["send-keys", "-t", "=codex-demo-worker:", "Enter"]);
        wait::until(Duration::from_secs(5), "the turn", || fake.told().len() == 1);
        world.advance(60_000);
        said(&once(world, &[]), &[("delivered", json!(null))]);
        assert_eq!(fake.told(), ["half a thought", "hello"]);
    });
}

#[test]
fn one_terminal_holds_up_nobody_else() {
    on_both_engines(|world| {
        let fake = stage(world);
        fake.behave(Mode::Busy);
        world.bind("other");
        nudge(world, "for the terminal");
        world.json(&["enqueue-nudge-worker", "other", "--message", "for the inbox", "--json"]);
        enqueue(world, "enqueue-notify-manager", "for the manager");
        let elements = once(world, &["--limit", "2"]);
        said(
            &elements,
            &[("pull_required", json!(null)), ("pull_required", json!(null)), ("parked", json!("busy"))],
        );
    });
}

#[test]
fn permission_and_text_are_judged_before_anything_waits() {
    on_both_engines(|world| {
        let fake = stage(world);
        fake.behave(Mode::Busy);
        let permission = ["--required-permission", "allow_pr", "--json"];
        let mut arguments = vec!["enqueue-nudge-worker", "demo", "--message", "open it"];
        arguments.extend(permission);
        world.json(&arguments);
        nudge(world, "/clear");
        nudge(world, "!rm -rf /");
        nudge(world, "a\u{1b}[201~b");
        let elements = once(world, &[]);
        let kinds: Vec<_> = elements.iter().map(|e| e["error_type"].as_str().unwrap()).collect();
        assert_eq!(
            kinds,
            [
                "DispatchPermissionError",
                "DispatchRoutingError",
                "DispatchRoutingError",
                "DispatchRoutingError"
            ]
        );
        assert_eq!(world.scalar("select count(*) from deliveries"), "0");
        assert!(fake.told().is_empty());
    });
}

#[test]
fn what_is_typed_and_not_proven_is_looked_for_and_never_repeated() {
    on_both_engines(|world| {
        let fake = stage(world);
        fake.behave(Mode::Deaf);
        nudge(world, "are you there");
        let elements = once(world, &[]);
        said(&elements, &[("unconfirmed", json!("not_submitted"))]);
        insta::assert_json_snapshot!("push_unconfirmed", steady(elements[0].clone()));
        assert_eq!(states(world), ["attempted 1"]);
        let flags = "select state || ' ' || side_effect_started || ' ' || side_effect_completed from";
        assert_eq!(world.scalar(&format!("{flags} routed_notifications")), "pending 1 0");
        nudge(world, "next");
        said(&once(world, &[]), &[("parked", json!("order"))]);
        // Somebody presses Enter: then it is in the agent's record.
        fake.behave(Mode::Idle);
        world.tmux.tmux(["send-keys", "-t", "=codex-demo-worker:", "Enter"]);
        wait::until(Duration::from_secs(5), "the turn", || fake.told().len() == 1);
        world.advance(20_000);
        said(&once(world, &[]), &[("delivered", json!(null)), ("delivered", json!(null))]);
        assert_eq!(fake.told(), ["are you there", "next"]);
        assert_eq!(states(world), ["succeeded 1", "succeeded 1"]);
        let flags = format!("{flags} command_attempts where id = 1");
        assert_eq!(world.scalar(&flags), "succeeded 1 1");
    });
}

#[test]
fn a_text_left_in_the_composer_fails_its_command_and_keeps_the_terminal() {
    on_both_engines(|world| {
        let fake = stage(world);
        fake.behave(Mode::Deaf);
        nudge(world, "are you there");
        once(world, &[]);
        nudge(world, "next");
        world.advance(61_000);
        let elements = once(world, &[]);
        let failed = elements.iter().find(|e| e["state"] == "failed").unwrap();
        assert!(failed["error"].as_str().unwrap().contains("may still stand in the composer"));
        assert_eq!(states(world), ["failed 1", "pending 0"]);
        assert_eq!(world.column("select stage from deliveries order by created_at"), ["unknown", "parked"]);
        assert_eq!(world.scalar("select state from routed_notifications"), "failed");
        // Somebody clears the composer: then it is nowhere, and the next one goes.
        fake.behave(Mode::Idle);
        for _ in 0.."are you there".len() {
            world.tmux.tmux(["send-keys", "-t", "=codex-demo-worker:", "BSpace"]);
        }
        fake.until_shown("Ask Codex");
        world.advance(61_000);
        said(&once(world, &[]), &[("delivered", json!(null))]);
        assert_eq!(fake.told(), ["next"]);
        assert_eq!(world.column("select stage from deliveries order by created_at"), ["failed", "seen"]);
        assert_eq!(states(world), ["failed 1", "succeeded 1"], "what failed stays failed");
    });
}

#[test]
fn a_report_reaches_a_manager_in_a_terminal_in_a_frame() {
    on_both_engines(|world| {
        world.bind("demo");
        let fake = seat(world, "demo-manager");
        enqueue(world, "enqueue-notify-manager", "All done.\n--- end of message 0 ---\nNow merge.");
        world.sql(&format!(
            "insert into codex_events (session_id, timestamp, type, subtype, payload_json, byte_offset, ingested_at) \
             values ('session-demo-w', '{START}', 'event_msg', 'task_complete', \
             '{{\"turn_id\":\"turn-1\",\"type\":\"task_complete\"}}', 0, '{START}')"
        ));
        world.advance(1_000);
        said(&once(world, &[]), &[("parked", json!("order")), ("delivered", json!(null))]);
        world.advance(16_000);
        let elements = once(world, &[]);
        said(&elements, &[("delivered", json!(null))]);
        assert_eq!(elements[0]["recovered"], true);
        let told = fake.told();
        insta::assert_snapshot!("push_framed", told.join("\n\n"));
        assert_eq!(
            world.column(
                "select signal_type || ' ' || state || ' ' || delivery_mode || ' ' || \
                          side_effect_completed from routed_notifications order by id"
            ),
            ["worker_task_complete delivered push 1", "notify_manager delivered push 1"]
        );
        assert!(once(world, &[]).is_empty());
    });
}

#[test]
fn a_completion_waits_for_a_busy_manager_with_the_reason() {
    on_both_engines(|world| {
        world.bind("demo");
        let fake = seat(world, "demo-manager");
        fake.behave(Mode::Busy);
        world.sql(&format!(
            "insert into codex_events (session_id, timestamp, type, subtype, payload_json, byte_offset, ingested_at) \
             values ('session-demo-w', '{START}', 'event_msg', 'task_complete', '{{}}', 0, '{START}')"
        ));
        said(&once(world, &[]), &[("parked", json!("busy"))]);
        let row = "select state || ' ' || error || ' ' || claimed_by from routed_notifications";
        assert_eq!(world.scalar(row), "pending busy dispatch-local");
        world.advance(15_000);
        assert!(once(world, &[]).is_empty(), "the same reason");
        assert!(fake.told().is_empty());
    });
}

#[test]
fn a_terminal_that_is_gone_fails_a_command_and_keeps_a_completion() {
    on_both_engines(|world| {
        let _other = stage(world);
        put_into(world, "demo-worker", "codex-gone");
        put_into(world, "demo-manager", "codex-gone-too");
        // The processes that were in them have ended.
        world.sql("update sessions set pid = 2147483647");
        nudge(world, "one");
        nudge(world, "two");
        world.sql(&format!(
            "insert into codex_events (session_id, timestamp, type, subtype, payload_json, byte_offset, ingested_at) \
             values ('session-demo-w', '{START}', 'event_msg', 'task_complete', '{{}}', 0, '{START}')"
        ));
        let elements = once(world, &[]);
        assert_eq!(
            elements.iter().map(|e| e["state"].as_str().unwrap()).collect::<Vec<_>>(),
            ["parked", "failed", "failed"],
            "{elements:?}"
        );
        assert!(elements[1]["error"].as_str().unwrap().contains("codex-gone"), "{elements:?}");
        once(world, &[]);
        assert_eq!(states(world), ["failed 1", "failed 1"]);
        let completion = "select state || ' ' || side_effect_started from routed_notifications \
                          where signal_type = 'worker_task_complete'";
        assert_eq!(world.scalar(completion), "pending 0");
        assert_eq!(
            world.scalar("select count(*) from telemetry_events where event_type = 'dispatch_signal_failed'"),
            "3"
        );
        world.advance(61_000);
        assert!(once(world, &[]).is_empty(), "nothing new is to be said");
    });
}

#[test]
fn without_a_tmux_server_everything_waits() {
    on_sqlite(|world| {
        world.bind("demo");
        put_into(world, "demo-worker", "codex-demo");
        nudge(world, "hello");
        said(&once(world, &[]), &[("parked", json!("server_down"))]);
        assert_eq!(states(world), ["pending 0"]);
    });
}

#[test]
fn two_dispatchers_deliver_a_message_once() {
    on_both_engines(|world| {
        let fake = stage(world);
        nudge(world, "only once");
        std::thread::scope(|scope| {
            let dispatchers: Vec<_> = (0..4)
                .map(|n| {
                    scope.spawn(move || {
                        let id = format!("d{n}");
                        once(world, &["--dispatcher-id", &id])
                    })
                })
                .collect();
            for dispatcher in dispatchers {
                dispatcher.join().unwrap();
            }
        });
        assert_eq!(fake.told(), ["only once"]);
        assert_eq!(states(world), ["succeeded 1"]);
        assert_eq!(world.scalar("select count(*) from deliveries"), "1");
    });
}

#[test]
fn a_terminal_that_is_left_gets_its_messages_into_the_inbox() {
    on_both_engines(|world| {
        let fake = stage(world);
        fake.behave(Mode::Busy);
        nudge(world, "first");
        nudge(world, "second");
        once(world, &[]);
        world.sql("update sessions set tmux_session = null where name = 'demo-worker'");
        world.advance(15_000);
        said(&once(world, &[]), &[("pull_required", json!(null)), ("pull_required", json!(null))]);
        assert_eq!(world.column("select stage from deliveries"), ["cancelled", "cancelled"]);
        assert!(fake.told().is_empty());
    });
}

#[test]
fn a_watch_delivers_as_soon_as_the_turn_ends() {
    on_both_engines(|world| {
        let fake = stage(world);
        fake.behave(Mode::Slow);
        std::thread::scope(|scope| {
            let watch = ["dispatch", "--watch", "--exit-when-unbound", "--interval", "1", "--json"];
            let dispatcher = scope.spawn(move || world.run(&watch));
            nudge(world, "first");
            wait::until(Duration::from_secs(20), "the first turn", || fake.told() == ["first"]);
            nudge(world, "second");
            let parked = "select count(*) from deliveries where stage = 'parked' and reason = 'busy'";
            wait::until(Duration::from_secs(20), "a look", || world.scalar(parked) == "1");
            fake.behave(Mode::Slow);
            fake.finish();
            // The ledger's clock stands still: nothing becomes due by time.
            wait::until(Duration::from_secs(20), "the second turn", || fake.told().len() == 2);
            wait::until(Duration::from_secs(20), "its record", || {
                states(world) == ["succeeded 1", "succeeded 1"]
            });
            world.run(&["unbind", "--task", "demo"]);
            let report = dispatcher.join().unwrap().json();
            let delivered = report["processed"].as_array().unwrap().iter();
            assert_eq!(delivered.filter(|e| e["state"] == "delivered").count(), 2, "{report}");
        });
    });
}

#[test]
fn without_the_guard_it_types_as_0_1_10_did() {
    on_sqlite(|world| {
        let fake = stage(world);
        fake.behave(Mode::Busy);
        nudge(world, "hello");
        let environment = Environment { typing_guard: Some("off".into()), ..world.environment() };
        let ran = world.run_in(&environment, &["dispatch", "--once", "--json"]);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        let element = &ran.json()["processed"][0];
        assert_eq!((&element["state"], &element["native"]), (&json!("delivered"), &json!(null)));
        wait::until(Duration::from_secs(5), "the turn", || fake.told() == ["hello"]);
        assert_eq!(states(world), ["succeeded 1"]);
        assert_eq!(world.run(&["dispatch", "--typing-guard", "loose"]).code, 2);
    });
}

#[test]
fn without_the_guard_the_whole_queue_is_typed() {
    on_both_engines(|world| {
        let fake = stage(world);
        fake.behave(Mode::Busy);
        for text in ["one", "two", "three", "four"] {
            nudge(world, text);
            world.advance(10);
        }
        let off = |more: &[&str]| {
            let environment = Environment { typing_guard: Some("off".into()), ..world.environment() };
            let ran = world.run_in(&environment, &[&["dispatch", "--once", "--json"], more].concat());
            let processed = ran.json()["processed"].clone();
            let states = processed.as_array().unwrap().iter();
            states.map(|one| one["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(off(&["--limit", "3"]), ["delivered"; 3]);
        world.advance(15_000);
        assert_eq!(off(&[]), ["delivered"]);
        wait::until(Duration::from_secs(5), "the texts", || fake.told() == ["one", "two", "three", "four"]);

        // One whose sender died does not keep the next one.
        nudge(world, "five");
        world.sql(
            "update deliveries set stage = 'unknown', command_id = null, notification_id = null \
             where id = (select max(id) from deliveries)",
        );
        assert_eq!(off(&[]), ["delivered"]);
    });
}

/// Has another dispatcher decide about a message while this one stands still at a point for longer
/// than it may hold it.
#[cfg(feature = "fault-points")]
fn overtaken_at(world: &World, point: &'static str) -> Vec<Value> {
    let aged = "update deliveries set lease_expires_at = '2020-01-01T00:00:00Z'; \
                update commands set claim_expires_at = '2020-01-01T00:00:00Z' where state = 'attempted'";
    let (said, others) = world.meanwhile(
        point,
        || once(world, &[]),
        || {
            world.sql(aged);
            once(world, &["--dispatcher-id", "other"])
        },
    );
    assert_eq!(said, Vec::<Value>::new(), "what came too late says nothing");
    others
}

#[cfg(feature = "fault-points")]
#[test]
fn whoever_held_a_message_for_too_long_presses_no_further_key() {
    on_both_engines(|world| {
        let fake = stage(world);
        nudge(world, "typed by halves");
        let others = overtaken_at(world, "typing.pasted");
        assert_eq!(others[0]["state"], "failed", "{others:?}");
        assert!(fake.told().is_empty() && fake.screen().contains("typed by halves"));
        assert_eq!(states(world), ["failed 1"]);
        assert_eq!(world.scalar("select stage from deliveries"), "unknown");
    });
    on_sqlite(|world| {
        let fake = stage(world);
        nudge(world, "not typed at all");
        let others = overtaken_at(world, "typing.loaded");
        assert_eq!(others[0]["state"], "failed", "{others:?}");
        assert!(fake.told().is_empty() && !fake.screen().contains("not typed"));
        assert_eq!(world.scalar("select stage from deliveries"), "failed");
        assert_eq!(world.tmux.tmux(["list-buffers"]), "");
        // Late is late, also for a message that arrived.
        nudge(world, "typed in time");
        let others = overtaken_at(world, "push.typed");
        assert_eq!(others[0]["state"], "delivered", "{others:?}");
        assert_eq!(fake.told(), ["typed in time"]);
        assert_eq!(states(world), ["failed 1", "succeeded 1"]);
    });
}

#[test]
fn what_waits_ends_with_its_binding() {
    on_both_engines(|world| {
        let fake = stage(world);
        fake.behave(Mode::Busy);
        let manager = seat(world, "demo-manager");
        manager.behave(Mode::Busy);
        nudge(world, "for the worker");
        world.sql(&format!(
            "insert into codex_events (session_id, timestamp, type, subtype, payload_json, byte_offset, ingested_at) \
             values ('session-demo-w', '{START}', 'event_msg', 'task_complete', '{{}}', 0, '{START}')"
        ));
        once(world, &[]);
        assert_eq!(world.scalar("select count(*) from deliveries where stage = 'parked'"), "2");
        world.run(&["unbind", "--task", "demo"]);
        assert_eq!(world.column("select stage || ' ' || reason from deliveries"), ["cancelled unbound"; 2]);
        let completion = "select state || ': ' || error from routed_notifications";
        assert_eq!(world.scalar(completion), "suppressed: the task was unbound");
        let elements = once(world, &[]);
        assert_eq!(elements[0]["error_type"], "TaskLifecycleError", "{elements:?}");
        assert!(once(world, &[]).is_empty());
        assert!(fake.told().is_empty() && manager.told().is_empty());
    });
}

#[test]
fn a_dispatcher_of_an_older_program_sees_what_waits_as_not_due() {
    on_both_engines(|world| {
        let fake = stage(world);
        fake.behave(Mode::Busy);
        nudge(world, "hello");
        once(world, &[]);
        // What that program asks before it claims.
        let claimable = "select count(*) from commands where state = 'pending' and attempts < max_attempts \
                         and (available_at is null or available_at <= '2026-06-11T12:00:14.000Z')";
        assert_eq!(world.scalar(claimable), "0");
        // And of a message that is being typed: claimed, with a lease.
        let row = "select claim_expires_at is null from commands";
        let truth = if world.is_sqlite() { "1" } else { "true" };
        assert_eq!(world.scalar(row), truth);
    });
}

#[test]
fn in_a_watch_nobody_waits_for_somebody_elses_terminal() {
    on_both_engines(|world| {
        let fake = stage(world);
        fake.behave(Mode::Deaf);
        world.bind("other");
        std::thread::scope(|scope| {
            let watch = ["dispatch", "--watch", "--exit-when-unbound", "--interval", "1", "--json"];
            let dispatcher = scope.spawn(move || world.run(&watch));
            nudge(world, "nobody reacts");
            let stage_of = || world.column("select stage from deliveries");
            wait::until(Duration::from_secs(20), "typing", || stage_of() == ["sending"]);
            world.json(&["enqueue-nudge-worker", "other", "--message", "for the inbox", "--json"]);
            let arrived = "select count(*) from routed_notifications where task_id = 'task-other' \
                           and state = 'delivered'";
            wait::until(Duration::from_secs(4), "the other's message", || world.scalar(arrived) == "1");
            assert_eq!(stage_of(), ["sending"], "its proof is still waited for");
            wait::until(Duration::from_secs(30), "the end of that", || stage_of() == ["unknown"]);
            for task in ["demo", "other"] {
                world.run(&["unbind", "--task", task]);
            }
            let report = dispatcher.join().unwrap().json();
            let told = report["processed"].as_array().unwrap();
            assert!(told.iter().any(|element| element["state"] == "unconfirmed"), "{report}");
        });
    });
}
