//! The commands, and what each does where it reaches the worker and where it must not.

use std::time::Duration;

use conveyor::Environment;
use conveyor_testkit::fake_codex::Mode;
use conveyor_testkit::wait;
use serde_json::{Value, json};

use super::stage::Stage;

pub type Cell = (&'static str, fn(&Stage<'_>));

/// Commands after which the worker is where it was.
pub const LOOKING: &[Cell] = &[
    ("capture", capture),
    ("transcript-capture", transcript_capture),
    ("status", status),
    ("idle-check", idle_check),
    ("cycle", cycle),
    ("list", list),
    ("doctor", doctor),
    ("db-doctor --live", db_doctor),
    ("open-worker", open_worker),
    ("session-nudge", session_nudge),
    ("nudge", nudge),
    ("queue", queue),
    ("request-worker-compact", compact),
    ("request-worker-compact --clear", clear),
    ("session-interrupt", session_interrupt),
    ("session-interrupt --key", session_interrupt_key),
    ("start-worker of the same name", start_again),
    ("register-worker", register_worker),
    ("reconcile", reconcile),
];

/// Commands that end the worker.
pub const CLOSING: &[Cell] = &[
    ("session-interrupt --key C-c", interrupt_by_c_c),
    ("stop", stop),
    ("finish-task --stop-worker", |stage| close(stage, "finish-task")),
    ("stop-task --stop-worker", |stage| close(stage, "stop-task")),
];

/// How many turns with this text the worker was given.
fn told(stage: &Stage<'_>, text: &str) -> usize {
    stage.fake.told().iter().filter(|told| *told == text).count()
}

#[track_caller]
fn is_the_workers(stage: &Stage<'_>, text: &str) {
    assert!(text.contains("OpenAI Codex"), "{}: {text}", stage.place());
    assert!(!text.contains("witness"), "{}: {text}", stage.place());
}

fn capture(stage: &Stage<'_>) {
    let words = ["capture", "demo-worker", "--include-content"];
    if stage.reaches() {
        let ran = stage.run(&words);
        assert_eq!(ran.code, 0, "{}: {}", stage.place(), ran.stderr);
        is_the_workers(stage, &ran.stdout);
    } else {
        stage.fails(&[1, 2], &words);
        assert_eq!(stage.world.scalar("select count(*) from transcript_captures"), "0", "{}", stage.place());
    }
}

fn transcript_capture(stage: &Stage<'_>) {
    let words = ["transcript-capture", "demo", "--role", "worker", "--json", "--include-content"];
    if stage.reaches() {
        let ran = stage.run(&words);
        assert_eq!(ran.code, 0, "{}: {}", stage.place(), ran.stderr);
        is_the_workers(stage, &ran.stdout);
    } else {
        stage.fails(&[1, 2], &words);
        let stored = "select count(*) from terminal_captures";
        assert_eq!(stage.world.scalar(stored), "0", "{}", stage.place());
    }
}

fn status(stage: &Stage<'_>) {
    let status = stage.json(&["status", "demo-worker"]);
    assert_eq!(status["running"], json!(stage.reaches()), "{}: {status}", stage.place());
}

fn idle_check(stage: &Stage<'_>) {
    let ran = stage.run(&["idle-check", "demo-worker"]);
    let stopped = ran.stdout.contains("\"stopped\"") || ran.code != 0;
    assert_eq!(stopped, !stage.reaches(), "{}: {}{}", stage.place(), ran.stdout, ran.stderr);
}

fn cycle(stage: &Stage<'_>) {
    let ran = stage.run(&["cycle", "demo"]);
    assert!(!ran.stdout.contains("witness"), "{}: {}", stage.place(), ran.stdout);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    assert_eq!(
        report["worker_alive"] == true,
        stage.reaches(),
        "{}: {}{}",
        stage.place(),
        ran.stdout,
        ran.stderr
    );
}

fn list(stage: &Stage<'_>) {
    stage.json(&["list", "--json"]);
}

fn doctor(stage: &Stage<'_>) {
    let _ = stage.run(&["doctor", "--json"]);
}

fn db_doctor(stage: &Stage<'_>) {
    let ran = stage.run(&["db-doctor", "--live"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    let live = &report["live_reconcile"]["results"][0]["worker"]["live"];
    assert_eq!(live == true, stage.reaches(), "{}: {}{}", stage.place(), ran.stdout, ran.stderr);
}

fn open_worker(stage: &Stage<'_>) {
    let macos = crate::open::desktop(stage.world);
    let ran = stage.world.run_in(&macos, &["open-worker", "demo", "--dry-run"]);
    assert_eq!(ran.code == 0, stage.reaches(), "{}: {}{}", stage.place(), ran.stdout, ran.stderr);
    if stage.reaches() {
        let shown = stage.sessions_that_show_it();
        assert!(shown.iter().any(|name| ran.stdout.contains(name)), "{}: {}", stage.place(), ran.stdout);
    }
}

fn session_nudge(stage: &Stage<'_>) {
    let text = "by session-nudge";
    if stage.reaches() {
        stage.json(&["session-nudge", "demo-worker", text, "--json"]);
        assert_eq!(told(stage, text), 1, "{}", stage.place());
    } else {
        stage.fails(&[1, 2, 3], &["session-nudge", "demo-worker", text]);
        stage.fails(&[1, 2, 3], &["session-nudge", "demo-worker", text, "--force"]);
        stage.fails(&[1, 2, 3], &["session-nudge", "demo-worker", text, "--typing-guard", "off"]);
    }
}

fn nudge(stage: &Stage<'_>) {
    let text = "by nudge";
    if stage.reaches() {
        stage.json(&["nudge", "demo-worker", text, "--json"]);
        assert_eq!(told(stage, text), 1, "{}", stage.place());
    } else {
        stage.fails(&[1, 2, 3], &["nudge", "demo-worker", text]);
        stage.fails(&[1, 2, 3], &["nudge", "demo-worker", text, "--force"]);
    }
}

fn queue(stage: &Stage<'_>) {
    let text = "by the queue";
    stage.json(&["enqueue-nudge-worker", "demo", "--message", text, "--json"]);
    let dispatched = stage.json(&["dispatch", "--once", "--json"]);
    let elements = dispatched["processed"].as_array().unwrap();
    let nudge = elements.iter().find(|element| element["command_type"] == "nudge_worker").unwrap();
    assert_eq!(nudge["state"] == "delivered", stage.reaches(), "{}: {dispatched}", stage.place());
    assert_eq!(told(stage, text), usize::from(stage.reaches()), "{}", stage.place());
}

fn compact(stage: &Stage<'_>) {
    let ran = stage.run(&["request-worker-compact", "demo"]);
    assert_eq!(ran.code == 0, stage.reaches(), "{}: {}{}", stage.place(), ran.stdout, ran.stderr);
    assert_eq!(told(stage, "/compact"), usize::from(stage.reaches()), "{}", stage.place());
}

/// Without a server that proves what is cleared, nothing is: what counts is that nobody else is.
fn clear(stage: &Stage<'_>) {
    stage.fails(&[1, 2, 3], &["request-worker-compact", "demo", "--clear"]);
    assert_eq!(told(stage, "/clear"), 0, "{}", stage.place());
}

fn session_interrupt(stage: &Stage<'_>) {
    let words = ["session-interrupt", "demo-worker"];
    if stage.reaches() {
        stage.fake.behave(Mode::Busy);
        stage.json(&words);
        wait::until(Duration::from_secs(20), &stage.place(), || stage.fake.escaped());
    } else {
        stage.fails(&[1, 2, 3], &words);
        stage.fails(&[1, 2, 3], &["session-interrupt", "demo-worker", "--force"]);
    }
}

fn session_interrupt_key(stage: &Stage<'_>) {
    let words = ["session-interrupt", "demo-worker", "--key", "Escape", "--force"];
    if stage.reaches() {
        stage.fake.behave(Mode::Busy);
        stage.json(&words);
    } else {
        stage.fails(&[1, 2, 3], &words);
    }
}

fn interrupt_by_c_c(stage: &Stage<'_>) {
    let words = ["session-interrupt", "demo-worker", "--key", "C-c", "--force"];
    if stage.reaches() {
        stage.fake.behave(Mode::Busy);
        stage.json(&words);
        stage.until_worker_is_gone();
    } else {
        stage.fails(&[1, 2, 3], &words);
    }
}

/// The name is taken in every situation.
fn start_again(stage: &Stage<'_>) {
    let environment: Environment = crate::start::with_codex(stage.world);
    let ran = stage.world.run_in(&environment, &["start-worker", "--name", "demo-worker", "--no-native"]);
    assert_ne!(ran.code, 0, "{}: {}", stage.place(), ran.stdout);
}

fn register_worker(stage: &Stage<'_>) {
    let pane = "select coalesce(tmux_pane_id, '-') from sessions where name = 'demo-worker'";
    if stage.reaches() {
        stage.register_worker(&stage.sessions_that_show_it()[0]);
        assert_eq!(stage.world.scalar(pane), stage.fake.pane(), "{}", stage.place());
    } else {
        let before = stage.world.scalar("select state from sessions where name = 'demo-worker'");
        assert_eq!(before, "active", "{}", stage.place());
    }
}

fn reconcile(stage: &Stage<'_>) {
    let report = stage.json(&["reconcile", "--apply"]);
    let dead = report["dead_pid_sessions"].as_array().map_or(0, Vec::len);
    assert_eq!(dead > 0, !stage.reaches(), "{}: {report}", stage.place());
}

fn stop(stage: &Stage<'_>) {
    let ran = stage.run(&["stop", "demo-worker"]);
    assert_eq!(ran.code, 0, "{}: {}", stage.place(), ran.stderr);
    let said = if stage.reaches() { "stopped demo-worker\n" } else { "demo-worker was not running\n" };
    assert_eq!(ran.stdout, said, "{}", stage.place());
    ended(stage);
}

fn close(stage: &Stage<'_>, command: &str) {
    let closed = stage.json(&[command, "demo", "--stop-worker", "--json"]);
    assert_eq!(closed["killed_worker"], json!(stage.reaches()), "{}: {closed}", stage.place());
    ended(stage);
}

/// The worker and its pane are gone.
fn ended(stage: &Stage<'_>) {
    assert!(!stage.worker_lives(), "{}", stage.place());
    if stage.reaches() {
        let panes = stage.tmux.tmux(["list-panes", "-a", "-F", "#{pane_id}"]);
        assert!(!panes.lines().any(|pane| pane == stage.fake.pane()), "{}: {panes}", stage.place());
    }
    let state = stage.world.scalar("select state from sessions where name = 'demo-worker'");
    assert_eq!(state, "gone", "{}", stage.place());
}
