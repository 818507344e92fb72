//! `capture`, `idle-check`, `classify`: with real terminals, each test's own.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{START, World, on_both_engines, on_sqlite};

/// A terminal that shows a recorded screen of Codex and then echoes what is typed.
pub fn show(world: &World, tmux_session: &str, screen: &str) {
    let path = fixture(screen);
    let script = format!("stty -echo; cat '{}'; exec cat", path.display());
    start(world, tmux_session, &script);
    let last = fs::read_to_string(path).unwrap().trim_end().lines().last().unwrap().trim().to_owned();
    wait_for(world, tmux_session, &last);
}

fn fixture(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("../conveyor-agents/tests/fixtures/codex-0.169/panes").join(name)
}

/// A terminal that runs a shell script.
pub fn start(world: &World, tmux_session: &str, script: &str) {
    world.tmux.tmux(["new-session", "-d", "-s", tmux_session, "-x", "200", "-y", "50", "sh", "-c", script]);
}

pub fn wait_for(world: &World, tmux_session: &str, text: &str) {
    let target = format!("={tmux_session}:");
    conveyor_testkit::wait::until(std::time::Duration::from_secs(20), text, || {
        world.tmux.tmux(["capture-pane", "-p", "-t", &target]).contains(text)
    });
}

/// The directory of a worker in the state root.
pub fn directory(world: &World, name: &str) -> PathBuf {
    world.dir().join(".codex-workers").join(name)
}

pub fn file(world: &World, name: &str, file: &str) -> String {
    fs::read_to_string(directory(world, name).join(file)).unwrap()
}

/// A legacy worker: a directory with this configuration.
pub fn worker(world: &World, name: &str, config: &Value) {
    fs::create_dir_all(directory(world, name)).unwrap();
    fs::write(directory(world, name).join("config.json"), config.to_string()).unwrap();
}

/// A registered session with this terminal.
pub fn session(world: &World, name: &str, tmux_session: Option<&str>) {
    world.run(&["tasks"]);
    let terminal = tmux_session.map_or("null".into(), |session| format!("'{session}'"));
    world.sql(&format!(
        "insert into sessions (id, name, role, identity_token, tmux_session, pid, cwd, registered_at, state) \
         values ('session-{name}', '{name}', 'worker', 'token-{name}', {terminal}, 1, '/srv', '{START}', 'active')"
    ));
}

const CAPTURES: &[&str] = &["workers", "transcript_captures"];

#[test]
fn a_capture_is_recorded_once_for_each_content() {
    on_both_engines(|world| {
        session(world, "w", Some("agent"));
        show(world, "agent", "04-approval.txt");
        let shown = world.run(&["capture", "w"]).stdout;
        insta::assert_snapshot!("capture", world.normal(&shown));
        world.advance(5_000);
        assert_eq!(world.normal(&world.run(&["capture", "w", "--json"]).stdout), world.normal(&shown));
        world.tmux.tmux(["send-keys", "-t", "=agent:", "more", "Enter"]);
        wait_for(world, "agent", "more");
        world.advance(5_000);
        let raw = world.run(&["capture", "w", "--lines", "10", "--include-content"]);
        assert_eq!(raw.stdout, file(world, "w", "transcript.txt"));
        assert!(raw.stdout.contains("› 1. Yes, proceed (y)") && raw.stdout.ends_with("more\n"));
        insta::assert_snapshot!("capture_meta", file(world, "w", "capture-meta.json"));
        insta::assert_snapshot!("capture_rows", world.dump_of(CAPTURES));
        insta::assert_snapshot!("capture_telemetry", world.telemetry());
    });
}

#[test]
fn a_legacy_worker_is_captured_with_what_its_files_say() {
    on_both_engines(|world| {
        let config =
            json!({ "identity_token": "t-1", "cwd": "/srv", "tmux_pane_id": "%0", "tmux_session": "x" });
        worker(world, "a", &config);
        show(world, "codex-a", "02-idle-new.txt");
        let pane = world.tmux.tmux(["list-panes", "-t", "=codex-a:", "-F", "#{pane_id}"]);
        assert_eq!(pane.trim(), "%0");
        assert_eq!(world.json(&["capture", "a"])["name"], "a");
        let row = "select tmux_session || ' ' || tmux_pane_id || ' ' || identity_token || ' ' || cwd || ' ' || state \
                   from workers";
        assert_eq!(world.scalar(row), "codex-a %0 t-1 /srv active");
        // A pane that lies elsewhere is not the worker's, whoever has the name of its session.
        worker(world, "a", &json!({ "identity_token": "t-1", "cwd": "/srv", "tmux_pane_id": "%77" }));
        assert!(world.refused(&["capture", "a"]).contains("is not running"));
    });
}

#[test]
fn an_alternate_screen_is_told() {
    on_sqlite(|world| {
        session(world, "w", Some("agent"));
        start(world, "agent", "printf '\\033[?1049hother screen'; exec cat");
        wait_for(world, "agent", "other screen");
        assert_eq!(world.json(&["capture", "w"])["alternate_screen"], true);
    });
}

#[test]
fn what_cannot_be_captured_is_refused() {
    on_both_engines(|world| {
        session(world, "w", Some("agent"));
        session(world, "pull", None);
        show(world, "agent-2", "02-idle-new.txt");
        let refused = [
            world.refused(&["capture", "w"]),
            world.refused(&["capture", "pull"]),
            world.refused(&["capture", "nobody"]),
            world.refused(&["capture", "../w"]),
            world.refused(&["capture"]),
            world.refused(&["capture", "w", "--lines", "many"]),
        ];
        insta::assert_snapshot!("capture_refusals", refused.join("\n"));
        worker(world, "broken", &json!([]));
        let broken = world.refused(&["capture", "broken"]);
        assert!(
            broken.contains("broken/config.json") && broken.contains("not a valid JSON object"),
            "{broken}"
        );
        assert!(!directory(world, "w").exists(), "nothing is left behind");
    });
}

#[test]
fn two_names_for_one_terminal_are_refused() {
    on_both_engines(|world| {
        session(world, "one", Some("agent"));
        session(world, "two", Some("agent"));
        show(world, "agent", "02-idle-new.txt");
        world.json(&["capture", "one"]);
        insta::assert_snapshot!("capture_taken", world.refused(&["capture", "two"]));
    });
}

fn verdict(world: &World, arguments: &[&str]) -> (String, String) {
    let idle = world.json(arguments);
    let text = |key: &str| idle[key].as_str().unwrap_or_default().to_owned();
    (text("health"), text("recommended_action"))
}

fn verdict_of(health: &str, action: &str) -> (String, String) {
    (health.to_owned(), action.to_owned())
}

fn report(world: &World, name: &str, state: &str) {
    let arguments = ["update-status", name, "--state", state, "--current-task", "t", "--next-action", "n"];
    assert_eq!(world.run(&arguments).code, 0);
}

#[test]
fn health_follows_reports_and_terminal() {
    on_both_engines(|world| {
        worker(world, "a", &json!({}));
        assert_eq!(verdict(world, &["idle-check", "a"]), verdict_of("stopped", "none"));
        show(world, "codex-a", "02-idle-new.txt");
        let check = ["idle-check", "a"];
        assert_eq!(verdict(world, &check), verdict_of("status_stale", "wait"));
        report(world, "a", "editing");
        assert_eq!(verdict(world, &check), verdict_of("active", "none"));
        insta::assert_snapshot!("idle_check", world.run(&check).stdout);
        world.advance(300_000);
        assert_eq!(verdict(world, &check), verdict_of("stale", "ask_for_status"));
        assert_eq!(
            verdict(world, &["idle-check", "a", "--terminal-stale-seconds", "301"]),
            verdict_of("status_stale", "wait")
        );
        report(world, "a", "editing");
        assert_eq!(verdict(world, &check), verdict_of("quiet", "wait"));
        report(world, "a", "blocked");
        assert_eq!(verdict(world, &check), verdict_of("blocked", "read_blocker"));
        report(world, "a", "done");
        assert_eq!(verdict(world, &check), verdict_of("done", "review_result"));
    });
}

#[test]
fn dialogs_on_the_screen_are_found_but_not_those_above_it() {
    on_both_engines(|world| {
        session(world, "w", Some("agent"));
        show(world, "agent", "04-approval.txt");
        let check = ["idle-check", "w", "--status-stale-seconds", "1000"];
        let found = world.json(&check);
        assert_eq!(
            (&found["health"], &found["busy_wait_pattern"]),
            (&json!("busy_wait"), &json!("approval_prompt"))
        );
        assert_eq!(found["recommended_action"], "inspect_or_approve");
        insta::assert_snapshot!("idle_check_dialog", world.run(&check).stdout);
        let rows = "select count(*) from transcript_captures";
        let before = world.scalar(rows);
        assert_eq!(verdict(world, &["idle-check", "w", "--no-refresh"]).0, "busy_wait");
        assert_eq!(world.scalar(rows), before, "nothing is recorded without a refresh");
        // The dialog scrolls away; the capture still has it in its history.
        for _ in 0..60 {
            world.tmux.tmux(["send-keys", "-t", "=agent:", "x", "Enter"]);
        }
        conveyor_testkit::wait::until(std::time::Duration::from_secs(20), "an empty screen", || {
            !world.tmux.tmux(["capture-pane", "-p", "-t", "=agent:"]).contains("proceed")
        });
        assert_eq!(world.json(&check)["busy_wait_pattern"], Value::Null);
        assert!(file(world, "w", "transcript.txt").contains("Yes, proceed"));
    });
}

#[test]
fn classify_needs_no_ledger() {
    on_sqlite(|world| {
        let file = fixture("04-approval.txt").display().to_string();
        let ran = world.run(&["classify", "--file", &file, "--status-age-seconds", "0"]);
        insta::assert_snapshot!("classify_approval", ran.stdout);
        let text = ["classify", "--text", "• Working (1m • esc to interrupt)", "--file", "none", "--json"];
        insta::assert_snapshot!("classify_text", world.run(&text).stdout);
        let young = world.json(&["classify", "--text", "esc to interrupt", "--busy-wait-seconds", "91"]);
        assert_eq!(young["busy_wait"], Value::Null);
        let refused = [
            world.refused(&["classify"]),
            world
                .refused(&["classify", "--file", "none.txt"])
                .replace(&world.dir().display().to_string(), "[DIR]"),
            world.refused(&["classify", "x", "--text", "y"]),
        ];
        insta::assert_snapshot!("classify_refusals", refused.join("\n"));
        assert!(!world.file().exists());
    });
}
