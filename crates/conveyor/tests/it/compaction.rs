//! `request-worker-compact`, `compact-worker`.

use conveyor_testkit::fake_codex::{FakeCodex, Mode};
use serde_json::{Value, json};

use crate::declarations::events;
use crate::harness::{Ran, World, on_both_engines, on_sqlite};
use crate::panes::put_into;

/// Task `demo`, bound, whose contract permits it and whose worker left a handoff.
fn permitted(world: &World) {
    world.bind("demo");
    world.json(&["manager-config", "demo", "--allow-worker-compact-clear"]);
    world.json(&["handoff", "demo", "--summary", "Parser done.\nDate tests are open."]);
}

/// The worker, in a terminal with a fake Codex.
fn in_terminal(world: &World) -> FakeCodex<'_> {
    let fake = FakeCodex::start(&world.tmux, "codex-demo", world.dir());
    put_into(world, "demo-worker", "codex-demo");
    let rollout = fake.rollout().display().to_string();
    world.sql(&format!("update sessions set codex_session_path = '{rollout}' where name = 'demo-worker'"));
    fake
}

fn request(world: &World, more: &[&str]) -> Ran {
    world.run(&[&["request-worker-compact", "demo"], more].concat())
}

/// The newest command's state, error, payload and result.
fn command(world: &World) -> (String, String, Value, Value) {
    let value = |column: &str| {
        world.scalar(&format!("select coalesce({column}, '') from commands order by rowid desc limit 1"))
    };
    let parsed = |column: &str| serde_json::from_str(&value(column)).unwrap();
    (value("state"), value("error"), parsed("payload_json"), parsed("result_json"))
}

#[test]
fn a_dry_run_is_recorded_in_full() {
    on_both_engines(|world| {
        permitted(world);
        put_into(world, "demo-worker", "codex-demo");
        world.sql(
            "insert into managers (id, name, task_id, tmux_session, state, codex_args_json, started_at) \
             values ('manager-old', 'old', 'task-demo', 't', 'ready', '[]', '2026-06-11T12:00:00Z')",
        );
        world.json(&["record-decision", "demo", "nudge", "--reason", "tidy"]);
        let done = request(world, &["--decision-id", "1", "--strict-decisions", "--dry-run"]);
        assert_eq!((done.code, done.stderr.as_str()), (0, ""));
        insta::assert_snapshot!("compact_dry_run", world.normal(&done.stdout));
        insta::assert_snapshot!("compact_dry_run_events", events(world));
        insta::assert_snapshot!("compact_dry_run_telemetry", world.telemetry());
        let (state, error, _, result) = command(world);
        assert_eq!((state.as_str(), error.as_str()), ("succeeded", ""));
        assert_eq!(result, done.json());
        assert_eq!(
            world.scalar("select type || ' ' || manager_id from commands"),
            "request_worker_compact manager-old"
        );
        let cleared = request(world, &["--clear", "--dry-run", "--message", "m"]).json();
        assert_eq!(
            (&cleared["slash_command"], &cleared["send_text"], &cleared["message"]),
            (&json!("/clear"), &json!("/clear"), &json!("m"))
        );
        assert_eq!(cleared["manager_decision"]["warnings"], json!(["missing_decision_id"]), "only recorded");
        let prompted = request(world, &["--clear", "--prompt-only", "--dry-run"]).json();
        assert_eq!(
            (&prompted["slash_command"], &prompted["send_text"]),
            (&json!(null), &prompted["message"])
        );
    });
}

/// The words of a command line as a shell takes them.
fn words(line: &str) -> Vec<String> {
    let script = format!("for word in {line}; do printf '%s\\0' \"$word\"; done");
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{line}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_terminator('\0').map(ToOwned::to_owned).collect()
}

/// Runs the commands that stand between backticks in a text; gives how many there are.
fn run_all(world: &World, text: &str) -> usize {
    let commands: Vec<&str> =
        text.split('`').skip(1).step_by(2).filter(|part| part.starts_with("conveyor ")).collect();
    for command in &commands {
        let words = words(command);
        let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        // A test's server is not reached by the URL without password that texts show.
        let ran = if world.is_sqlite() {
            world.run_plain(&arguments)
        } else {
            world.run(&arguments[..arguments.len() - 2])
        };
        assert_eq!(ran.code, 0, "{command}: {}", ran.stderr);
    }
    commands.len()
}

#[test]
fn what_a_worker_is_asked_to_run_works() {
    on_both_engines(|world| {
        permitted(world);
        put_into(world, "demo-worker", "codex-demo");
        world.sql("update tasks set name = 'it''s' where id = 'task-demo'");
        let asked = world.json(&["request-worker-compact", "it's", "--prompt-only", "--dry-run"]);
        assert_eq!(run_all(world, asked["message"].as_str().unwrap()), 1);
        assert_eq!(world.scalar("select count(*) from worker_handoffs where task_id = 'task-demo'"), "2");
        world.sql("delete from worker_handoffs");
        world.run(&["request-worker-compact", "it's"]);
        let (.., payload, _) = command(world);
        assert_eq!(run_all(world, payload["message"].as_str().unwrap()), 1);
        assert_eq!(world.scalar("select count(*) from worker_handoffs"), "1");
    });
}

#[test]
fn a_worker_is_asked_in_its_terminal() {
    on_both_engines(|world| {
        permitted(world);
        let fake = in_terminal(world);
        let sent = request(world, &["--prompt-only"]).json();
        assert_eq!(fake.told(), [sent["message"].as_str().unwrap()]);
        let result = &sent["send_result"];
        assert_eq!(
            (&result["side_effect_started"], &result["side_effect_completed"], &result["delivery"]["stage"]),
            (&json!(true), &json!(true), &json!("seen"))
        );
        fake.behave(Mode::Busy);
        let refused = request(world, &["--prompt-only", "--message", "now", "--json"]);
        assert_eq!((refused.code, refused.stderr.lines().count()), (3, 1));
        let object: Value = serde_json::from_str(&refused.stdout).unwrap();
        assert_eq!(object["guard"]["reason"], "busy");
        let (state, error, _, result) = command(world);
        assert_eq!(
            (state.as_str(), result.get("send_result"), result.get("expected_failure")),
            ("failed", None, None)
        );
        assert!(error.contains("busy"), "{error}");
        let last = world.scalar(
            "select payload_json from events where type = 'worker_compact_request_failed' order by id desc limit 1",
        );
        assert!(last.contains("\"error_type\":\"TargetNotReady\""), "{last}");
    });
}

#[test]
fn force_is_recorded_with_what_it_overcame() {
    on_both_engines(|world| {
        permitted(world);
        let fake = in_terminal(world);
        fake.behave(Mode::Busy);
        let sent = request(world, &["--prompt-only", "--message", "now", "--force"]).json();
        assert_eq!(sent["send_result"]["forced"]["reason"], "busy");
        assert_eq!(fake.told(), ["now"]);
        let event =
            world.scalar("select payload_json from events where type = 'worker_compact_request_succeeded'");
        assert!(event.contains("\"forced\":true") && event.contains("\"verdict\":\"unsafe\""), "{event}");
        assert!(world.telemetry().contains("\"forced\":true"));
    });
}

#[test]
fn a_command_has_proofs_of_its_own() {
    on_both_engines(|world| {
        permitted(world);
        let fake = in_terminal(world);
        let sent = request(world, &[]).json();
        assert_eq!(
            (&sent["send_result"]["text"], &sent["send_result"]["delivery"]["stage"]),
            (&json!("/compact"), &json!("seen"))
        );
        assert_eq!(fake.told(), ["/compact"]);
        // No server can be asked which thread the terminal would show then.
        let refused = request(world, &["--clear", "--json"]);
        assert_eq!((refused.code, refused.stderr.lines().count()), (3, 1), "{}", refused.stderr);
        let object: Value = serde_json::from_str(&refused.stdout).unwrap();
        assert_eq!(object["guard"]["reason"], "unproven");
        assert_eq!(fake.told(), ["/compact"], "nothing was sent");
        assert_eq!(command(world).0, "failed");
    });
}

#[test]
fn without_a_guard_the_command_is_typed() {
    on_sqlite(|world| {
        permitted(world);
        let fake = in_terminal(world);
        let ran = request(world, &["--typing-guard", "off"]);
        assert_eq!(ran.json()["send_text"], "/compact");
        conveyor_testkit::wait::until(std::time::Duration::from_secs(10), "the command", || {
            fake.told() == ["/compact"]
        });
    });
}

#[test]
fn deciding_and_requesting_in_one() {
    on_both_engines(|world| {
        permitted(world);
        put_into(world, "demo-worker", "codex-demo");
        let done = world.json(&["compact-worker", "demo", "--reason", "full", "--clear", "--dry-run"]);
        assert_eq!(
            (&done["slash_command"], &done["manager_decision"]["ok"]),
            (&json!("/clear"), &json!(true))
        );
        let decision =
            "select decision || ' ' || reason || ' ' || payload_json from manager_decisions order by id";
        world.json(&["manager-config", "demo", "--permissions-json", r#"{"worker_session": ["compact"]}"#]);
        let before = world.scalar("select count(*) from commands");
        assert_eq!(before, "1");
        let ran = world.run(&["compact-worker", "demo", "--reason", "again", "--prompt-only"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
        insta::assert_snapshot!("compact_not_permitted", ran.stderr);
        insta::assert_snapshot!("compact_decisions", world.column(decision).join("\n"));
        let types = world.column("select type from events order by id desc limit 3");
        assert_eq!(
            types,
            ["worker_compact_request_failed", "manager_permission_checked", "manager_decision_recorded"]
        );
    });
}

#[test]
fn refusals_are_recorded_before_they_are_said() {
    on_both_engines(|world| {
        world.bind("demo");
        let mut said = vec![request(world, &["--strict-decisions"]).stderr];
        let (state, error, payload, result) = command(world);
        assert_eq!(state, "failed");
        assert_eq!(error.clone() + "\n", said[0]);
        assert!(payload["message"].as_str().unwrap().contains("no saved handoff"), "{payload}");
        insta::assert_json_snapshot!("compact_refused_result", result);
        said.push(request(world, &[]).stderr);
        world.json(&["manager-config", "demo", "--permit", "worker_session.clear"]);
        said.push(request(world, &[]).stderr);
        world.json(&["manager-config", "demo", "--permit", "worker_session.compact"]);
        said.push(request(world, &["--dry-run"]).stderr);
        world.json(&["handoff", "demo", "--summary", "s"]);
        // Permitted, but there is nothing to type into: no dry run of that either.
        said.push(request(world, &["--dry-run"]).stderr);
        put_into(world, "demo-worker", "codex-gone");
        said.push(request(world, &[]).stderr);
        insta::assert_snapshot!("compact_refusals", world.normal(&said.concat()));
        let states =
            world.column("select state || ' ' || coalesce(result_json, '') from commands order by rowid");
        assert!(states.iter().all(|row| row.starts_with("failed")), "{states:?}");
        let expected = states.iter().filter(|row| row.contains("\"expected_failure\":true")).count();
        assert_eq!(expected, 4, "failing to send was not expected");
        insta::assert_snapshot!("compact_refusals_events", events(world));
    });
}

#[test]
fn refusals_that_leave_no_trace() {
    on_both_engines(|world| {
        permitted(world);
        world.json(&["tasks", "--create", "free", "--goal", "g"]);
        let said = [
            world.refused(&["request-worker-compact"]),
            world.refused(&["request-worker-compact", "nope"]),
            world.refused(&["request-worker-compact", "free"]),
            world.refused(&["request-worker-compact", "demo", "--decision-id", "x"]),
            world.refused(&["request-worker-compact", "demo", "--reason", "r"]),
            world.refused(&["compact-worker", "demo"]),
            world.refused(&["compact-worker", "nope", "--reason", "r"]),
            world.refused(&["compact-worker", "demo", "--reason", "r", "--cycle-id", "9"]),
            world.refused(&["compact-worker", "demo", "--reason", "r", "--decision-id", "1"]),
        ];
        insta::assert_snapshot!("compact_silent_refusals", said.join("\n"));
    });
}
