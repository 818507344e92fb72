//! `session-nudge`, `session-interrupt`, `nudge`, `interrupt`: real tmux and a fake Codex.

use conveyor::Environment;
use conveyor_testkit::fake_codex::{FakeCodex, Mode};
use serde_json::Value;

use crate::harness::{Ran, World, on_both_engines, on_sqlite};
use crate::panes::{captured, put_into};

/// A bound worker in a terminal with a fake Codex.
fn stage(world: &World) -> FakeCodex<'_> {
    world.bind("demo");
    let fake = FakeCodex::start(&world.tmux, "codex-demo", world.dir());
    put_into(world, "demo-worker", "codex-demo");
    world.sql(&format!(
        "update sessions set codex_session_path = '{}' where name = 'demo-worker'",
        fake.rollout().display()
    ));
    fake
}

fn nudge(world: &World, more: &[&str]) -> Ran {
    let mut arguments = vec!["session-nudge", "demo-worker"];
    arguments.extend(more);
    world.run(&arguments)
}

/// A refusal: exit 3, one line, the object with this reason, nothing typed.
#[track_caller]
fn refused(fake: &FakeCodex<'_>, ran: &Ran, rule: u64, reason: &str) {
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    let object: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (object["guard"]["rule"].as_u64(), object["guard"]["reason"].as_str()),
        (Some(rule), Some(reason)),
        "{object}"
    );
    assert_eq!((object["retryable"].as_bool(), object["forced"].as_bool()), (Some(true), Some(false)));
    assert_eq!(fake.told(), Vec::<String>::new(), "nothing became a turn");
}

#[test]
fn an_idle_worker_gets_the_text_as_one_turn() {
    on_both_engines(|world| {
        let fake = stage(world);
        let sent = nudge(world, &["Run the tests"]).json();
        assert_eq!(fake.told(), ["Run the tests"]);
        assert_eq!(sent["delivery"]["stage"], "seen");
        assert_eq!(sent["delivery"]["turn_id"], "turn");
        assert_eq!(
            (sent["target"].as_str(), sent["text"].as_str()),
            (Some("codex-demo"), Some("Run the tests"))
        );
        assert_eq!(
            world.scalar("select stage || ' ' || mode || ' ' || body_bytes from deliveries"),
            "seen typed 13"
        );
        assert_eq!(world.scalar("select state || ' ' || confidence from session_states"), "idle inferred");
        let event = world.scalar("select payload_json from events where type = 'session_nudged'");
        let event: Value = serde_json::from_str(&event).unwrap();
        assert_eq!((event["success"].as_bool(), event["text_length"].as_u64()), (Some(true), Some(13)));
        assert!(!world.telemetry().contains("Run the tests"), "the text is in no record");
        assert!(world.telemetry().contains("session_nudge_succeeded [info, workerctl] task=task-demo"));
        assert_eq!(world.tmux.tmux(["list-buffers"]), "", "no buffer stays behind");
    });
}

#[test]
fn any_text_arrives_as_it_is() {
    on_sqlite(|world| {
        let fake = stage(world);
        let long = "line of many\n".repeat(400) + "the end";
        let texts = [
            "-n \"$(touch x)\" `y` \\ ; #{pane_id} %",
            "ä 漢字 🎉 done",
            "first\n\nsecond\tpart",
            long.as_str(),
            "semi;",
        ];
        for text in texts {
            let ran = nudge(world, &[text]);
            assert_eq!(ran.code, 0, "{text:?}: {}{}", ran.stdout, ran.stderr);
        }
        assert_eq!(fake.told(), texts);
        let line = world.refused(&["session-nudge", "demo-worker", "\u{1b}[201~rm -rf"]);
        assert!(line.contains("U+001B"), "{line}");
        let line = world.refused(&["session-nudge", "demo-worker", ""]);
        assert!(line.contains("--force"), "{line}");
    });
}

#[test]
fn a_running_turn_refuses() {
    on_both_engines(|world| {
        let fake = stage(world);
        fake.behave(Mode::Busy);
        let ran = nudge(world, &["hello", "--json"]);
        refused(&fake, &ran, 4, "busy");
        let quiet = nudge(world, &["hello"]);
        assert_eq!((quiet.code, quiet.stdout.as_str()), (3, ""));
        assert!(quiet.stderr.contains("demo-worker") && quiet.stderr.contains("busy"), "{}", quiet.stderr);
        assert!(world.telemetry().contains("session_nudge_failed [warning, workerctl]"));
        let event = world.column("select payload_json from events where type = 'session_nudged'");
        assert!(event.iter().all(|event| event.contains("\"error_type\":\"TargetNotReady\"")));
        assert_eq!(world.scalar("select count(*) from deliveries"), "0", "nothing was sent");
    });
}

#[test]
fn a_message_begins_a_turn_and_the_next_one_waits_for_its_end() {
    on_sqlite(|world| {
        let fake = stage(world);
        fake.behave(Mode::Slow);
        nudge(world, &["work for long"]).json();
        fake.until_shown("esc to interrupt");
        let ran = nudge(world, &["hurry up", "--json"]);
        assert_eq!(ran.code, 3, "{}", ran.stderr);
        assert!(ran.stdout.contains("\"busy\""), "{}", ran.stdout);
        fake.finish();
        conveyor_testkit::wait::until(std::time::Duration::from_secs(5), "the end of the turn", || {
            !fake.screen().contains("esc to interrupt")
        });
        // The agent has only just written something: that it is quiet is waited for.
        nudge(world, &["go on"]).json();
        assert_eq!(fake.told(), ["work for long", "go on"]);
    });
}

#[test]
fn an_open_dialog_is_not_answered() {
    on_sqlite(|world| {
        let fake = stage(world);
        fake.behave(Mode::Approval);
        let before = fake.screen();
        refused(&fake, &nudge(world, &["y", "--json"]), 4, "waiting_approval");
        // Even if the agent's record says idle: the screen may veto.
        std::fs::write(
            fake.rollout(),
            std::fs::read_to_string(fake.rollout()).unwrap().replace("task_started", "task_complete"),
        )
        .unwrap();
        fake.quieten();
        refused(&fake, &nudge(world, &["y", "--json"]), 5, "dialog");
        assert_eq!(fake.screen(), before);
        assert!(!fake.approved());
        let interrupt = world.run(&["session-interrupt", "demo-worker", "--json"]);
        refused(&fake, &interrupt, 5, "dialog");
        assert!(!fake.approved() && !fake.escaped());
    });
}

#[test]
fn somebodys_draft_stays_as_it_is() {
    on_sqlite(|world| {
        let fake = stage(world);
        fake.type_keys("half a thou");
        fake.until_shown("half a thou");
        refused(&fake, &nudge(world, &["hello", "--json"]), 5, "draft");
        assert!(fake.screen().contains("half a thou"));
        fake.type_keys("ght");
        fake.until_shown("half a thought");
    });
}

#[test]
fn a_shell_a_mode_and_a_missing_terminal_refuse() {
    on_sqlite(|world| {
        let fake = stage(world);
        world.tmux.tmux(["copy-mode", "-t", "=codex-demo:"]);
        refused(&fake, &nudge(world, &["hello", "--json"]), 2, "pane_in_mode");
        world.tmux.tmux(["send-keys", "-t", "=codex-demo:", "-X", "cancel"]);
        // A process that is in no pane proves none.
        world.sql("update sessions set pid = 1 where name = 'demo-worker'");
        refused(&fake, &nudge(world, &["hello", "--json"]), 1, "unproven");

        world.tmux.tmux(["new-session", "-d", "-s", "codex-shell", "-x", "80", "-y", "20", "exec sh"]);
        put_into(world, "demo-worker", "codex-shell");
        refused(&fake, &nudge(world, &["echo hello > typed", "--json"]), 3, "shell");
        world.tmux.tmux(["new-session", "-d", "-s", "codex-other", "exec sleep 600"]);
        put_into(world, "demo-worker", "codex-other");
        let ran = nudge(world, &["hello", "--json"]);
        refused(&fake, &ran, 3, "unproven");
        assert!(
            ran.stderr.contains("--force") && ran.stderr.contains("CONVEYOR_TYPING_GUARD=off"),
            "{}",
            ran.stderr
        );

        put_into(world, "demo-worker", "codex-gone");
        world.sql("update sessions set pid = 2147483647 where name = 'demo-worker'");
        let gone = nudge(world, &["hello", "--json"]);
        assert_eq!((gone.code, gone.stdout.as_str()), (2, ""), "{}", gone.stderr);
        assert!(gone.stderr.contains("codex-gone") && gone.stderr.contains("not running"));
        let unknown = world.run(&["session-nudge", "nobody", "hello"]);
        assert_eq!(unknown.code, 2);
        assert!(world.telemetry().contains("session_nudge_failed [error, workerctl]"));
        world.sql("update sessions set tmux_session = null where name = 'demo-worker'");
        let outside = nudge(world, &["hello", "--dry-run"]);
        assert_eq!(outside.code, 2);
        assert!(outside.stderr.contains("outside tmux"), "{}", outside.stderr);
    });
}

#[test]
fn what_is_typed_and_not_proven_is_unconfirmed_and_never_repeated() {
    on_both_engines(|world| {
        let fake = stage(world);
        fake.behave(Mode::Deaf);
        let ran = nudge(world, &["are you there"]);
        assert_eq!(ran.code, 4, "{}{}", ran.stdout, ran.stderr);
        let sent: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(
            (&sent["delivery"]["stage"], &sent["delivery"]["reason"]),
            (&"unknown".into(), &"not_submitted".into())
        );
        assert!(fake.screen().contains("are you there") && fake.told().is_empty());

        // The text still stands there: nothing more is typed.
        fake.behave(Mode::Idle);
        refused(&fake, &nudge(world, &["second", "--json"]), 5, "draft");
        // Somebody sends it; then its fate is known and the next one goes.
        world.tmux.tmux(["send-keys", "-t", "=codex-demo:", "Enter"]);
        conveyor_testkit::wait::until(std::time::Duration::from_secs(5), "the turn", || {
            fake.told().len() == 1
        });
        nudge(world, &["second"]).json();
        assert_eq!(fake.told(), ["are you there", "second"]);
        assert_eq!(world.column("select stage from deliveries order by created_at, rowid"), ["seen", "seen"]);
    });
}

#[test]
fn a_message_whose_sender_died_is_looked_up_before_the_next_one() {
    on_both_engines(|world| {
        let fake = stage(world);
        nudge(world, &["first"]).json();
        let left_behind = |until: &str, more: &str| {
            world.sql(&format!(
                "update deliveries set stage = 'sending', lease_expires_at = '{until}' {more} \
                 where created_at = (select max(created_at) from deliveries)"
            ));
            world.advance(1_000);
        };
        // Its sender may still be at it: nothing is typed beside it.
        left_behind("2030-01-01T00:00:00Z", "");
        let ran = nudge(world, &["second", "--json"]);
        assert_eq!(ran.code, 3, "{}", ran.stderr);
        assert!(ran.stdout.contains("\"order\""), "{}", ran.stdout);
        // It died; the agent's own record has the message.
        left_behind("2020-01-01T00:00:00Z", "");
        nudge(world, &["second"]).json();
        // It died before it typed: the message is neither in the record nor in the composer.
        left_behind(
            "2020-01-01T00:00:00Z",
            ", external_json = replace(external_json, 'text_sha256\":\"', 'text_sha256\":\"x')",
        );
        nudge(world, &["third"]).json();
        assert_eq!(fake.told(), ["first", "second", "third"], "nothing is typed twice");
        let stages =
            world.column("select stage || ' ' || coalesce(reason, '-') from deliveries order by created_at");
        assert_eq!(stages, ["seen -", "failed proven_absent", "seen -"]);
    });
}

#[test]
fn a_text_that_does_not_show_is_not_entered() {
    on_sqlite(|world| {
        let fake = stage(world);
        fake.behave(Mode::Blind);
        let ran = nudge(world, &["hello"]);
        assert_eq!(ran.code, 4);
        assert!(ran.stdout.contains("paste_not_visible"), "{}", ran.stdout);
        assert!(fake.told().is_empty(), "no Enter was pressed");
    });
}

#[test]
fn force_is_explicit_and_recorded() {
    on_sqlite(|world| {
        let fake = stage(world);
        fake.behave(Mode::Busy);
        let sent = nudge(world, &["stop that", "--force"]).json();
        assert_eq!(sent["forced"]["reason"], "busy");
        assert_eq!(fake.told(), ["stop that"]);
        let event = world.scalar("select payload_json from events where type = 'session_nudged'");
        assert!(event.contains("\"forced\":true") && event.contains("\"verdict\":\"unsafe\""), "{event}");
        assert!(world.telemetry().contains("\"forced\":true"));
    });
}

#[test]
fn without_the_guard_it_types_as_it_did() {
    on_sqlite(|world| {
        let fake = stage(world);
        fake.behave(Mode::Busy);
        let sent = nudge(world, &["hello", "--typing-guard", "off"]);
        assert_eq!((sent.code, sent.stderr.lines().count()), (0, 1), "{}", sent.stderr);
        assert!(sent.json().get("delivery").is_none());
        conveyor_testkit::wait::until(std::time::Duration::from_secs(5), "the turn", || {
            fake.told() == ["hello"]
        });
        let environment =
            |value: &str| Environment { typing_guard: Some(value.into()), ..world.environment() };
        let off = world.run_in(&environment("off"), &["session-nudge", "demo-worker", "again"]);
        assert_eq!(off.code, 0, "{}", off.stderr);
        let strict = world
            .run_in(&environment("off"), &["session-nudge", "demo-worker", "x", "--typing-guard", "strict"]);
        assert!(!strict.stderr.contains("guard is off"), "{}", strict.stderr);
        assert_eq!(world.run_in(&environment("no"), &["session-nudge", "demo-worker", "x"]).code, 2);
    });
}

#[test]
fn a_dry_run_sends_nothing() {
    on_sqlite(|world| {
        let fake = stage(world);
        fake.behave(Mode::Busy);
        let sent = nudge(world, &["hello", "--dry-run"]).json();
        let flags =
            ["dry_run", "side_effect_started", "side_effect_completed"].map(|flag| sent[flag].as_bool());
        assert_eq!(flags, [Some(true), Some(false), Some(false)]);
        world.json(&["session-interrupt", "demo-worker", "--dry-run"]);
        assert!(fake.told().is_empty() && !fake.escaped());
    });
}

#[test]
fn an_interrupt_ends_a_turn_and_nothing_else() {
    on_sqlite(|world| {
        let fake = stage(world);
        let idle = world.json(&["session-interrupt", "demo-worker"]);
        assert_eq!((idle["nothing_running"].as_bool(), idle["key"].as_str()), (Some(true), Some("Escape")));
        assert!(!fake.escaped());
        let ctrl_c = world.run(&["session-interrupt", "demo-worker", "--key", "C-c", "--json"]);
        refused(&fake, &ctrl_c, 4, "idle");
        assert!(captured(world, "codex-demo").contains("Codex"), "it still runs");

        fake.behave(Mode::Busy);
        let done = world.json(&["session-interrupt", "demo-worker", "--followup", "report first"]);
        assert!(fake.escaped());
        assert_eq!((done["followup_sent"].as_bool(), done["key"].as_str()), (Some(true), Some("Escape")));
        assert_eq!(fake.told(), ["report first"]);
        assert!(world.telemetry().contains("session_interrupt_succeeded [info, workerctl]"));

        fake.type_keys("mine");
        fake.until_shown("mine");
        let refused = world.run(&["session-interrupt", "demo-worker", "--followup", "x", "--json"]);
        assert_eq!(refused.code, 3, "{}", refused.stdout);
        assert_eq!(fake.told(), ["report first"]);
    });
}

#[test]
fn nudge_and_interrupt_know_workers_of_the_state_root() {
    on_sqlite(|world| {
        let fake = stage(world);
        nudge_by_name(world, "demo-worker", &["as a session"]).json();
        assert_eq!(fake.told(), ["as a session"]);
        assert!(!world.telemetry().contains("session_nudge"), "no telemetry of nudge");
        let nobody = nudge_by_name(world, "nobody", &["hello"]);
        assert_eq!((nobody.code, nobody.stderr.lines().count()), (2, 1));
        assert!(nobody.stderr.contains("session-nudge"), "{}", nobody.stderr);
        let no_worker = world.run(&["interrupt", "demo-worker"]);
        assert_eq!(no_worker.code, 2, "{}", no_worker.stderr);

        // A worker is a directory; what it does nobody knows.
        let root = world.dir().join(".codex-workers/old");
        std::fs::create_dir_all(&root).unwrap();
        std::fs::write(root.join("config.json"), "{\"name\": \"old\"}").unwrap();
        let old = FakeCodex::start(&world.tmux, "codex-old", world.dir());
        let ran = nudge_by_name(world, "old", &["hello", "--json"]);
        refused(&old, &ran, 4, "unproven");
        let ran = nudge_by_name(world, "old", &["hello", "--force"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "sent nudge to old\n"), "{}", ran.stderr);
        let log = std::fs::read_to_string(root.join("events.jsonl")).unwrap();
        assert!(log.contains("\"message\":\"hello\"") && log.contains("\"type\":\"nudge\""), "{log}");
        let done = world.json(&["interrupt", "old", "--no-followup"]);
        assert_eq!((done["key"].as_str(), &done["followup"]), (Some("Escape"), &Value::Null));
        let told = world.run(&["interrupt", "old"]);
        assert_eq!(told.code, 3, "the follow-up is not proven safe: {}", told.stdout);
        let report: Value = serde_json::from_str(&told.stdout).unwrap();
        assert_eq!(report["followup_sent"], false);
    });
}

fn nudge_by_name(world: &World, name: &str, more: &[&str]) -> Ran {
    let mut arguments = vec!["nudge", name];
    arguments.extend(more);
    world.run(&arguments)
}
