//! `list`, `status`, `update-status`, `events`, `import-compat`: workers of the state root.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use conveyor::Environment;
use serde_json::json;

use crate::harness::{World, on_both_engines, on_sqlite};
use crate::terminals::{directory, file, session, show, worker};

fn write(world: &World, name: &str, file: &str, text: &str) {
    fs::create_dir_all(directory(world, name)).unwrap();
    fs::write(directory(world, name).join(file), text).unwrap();
}

#[test]
fn workers_are_listed_in_order_of_their_directories() {
    on_both_engines(|world| {
        for json in [false, true] {
            let all = if json { &["list", "--json"][..] } else { &["list"] };
            assert_eq!(world.run(all).stdout, if json { "[]\n" } else { "" }, "no state root yet");
        }
        assert!(!world.dir().join(".codex-workers").exists() && !world.file().exists(), "nothing is made");
        worker(world, "b", &json!({ "name": "renamed" }));
        worker(world, "a", &json!({}));
        write(world, "c", "status.json", r#"{"state":"dreaming","current_task":"x\ty","blocker":7}"#);
        write(world, "d", "events.jsonl", "");
        write(world, "e", "notes.txt", "no worker");
        show(world, "codex-a", "02-idle-new.txt");
        show(world, "codex-bb", "02-idle-new.txt");
        world.json(&[
            "update-status",
            "a",
            "--state",
            "editing",
            "--current-task",
            "t",
            "--next-action",
            "n",
        ]);
        let before = world.dump();
        insta::assert_snapshot!("list_text", world.run(&["list"]).stdout);
        insta::assert_snapshot!("list_json", world.run(&["list", "--json"]).stdout);
        assert_eq!(world.dump(), before);
        insta::assert_snapshot!("list_surplus", world.refused(&["list", "a"]));
        write(world, "a", "status.json", "{");
        assert!(world.refused(&["list"]).contains("a/status.json"), "although the ledger knows better");
    });
}

#[test]
fn a_report_reaches_ledger_status_and_log() {
    on_both_engines(|world| {
        worker(world, "a", &json!({ "cwd": "/srv", "identity_token": "t-1", "tmux_pane_id": "%3" }));
        let ran = world.run(&[
            "update-status",
            "a",
            "--state",
            "blocked",
            "--current-task",
            "Do X",
            "--next-action",
            "y",
            "--blocker",
            "b",
        ]);
        insta::assert_snapshot!("update_status", ran.stdout);
        assert_eq!(file(world, "a", "status.json"), ran.stdout);
        world.advance(1_000);
        let again = ["update-status", "a", "--state", "done", "--current-task", "Do X", "--next-action", "-"];
        assert_eq!(world.json(&again)["blocker"], json!(null));
        insta::assert_snapshot!("update_status_log", file(world, "a", "events.jsonl"));
        insta::assert_snapshot!("update_status_rows", world.dump_of(&["workers", "statuses", "events"]));
        let mode =
            |name: &str| fs::metadata(directory(world, "a").join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("status.json"), mode("events.jsonl")), (0o600, 0o600));
        assert_eq!(world.run(&["events", "a"]).stdout, file(world, "a", "events.jsonl"));
    });
}

#[test]
fn refused_reports_leave_nothing_behind() {
    on_both_engines(|world| {
        world.run(&["tasks"]);
        let rest = ["--current-task", "t", "--next-action", "n"];
        let with = |first: &[&str]| world.refused(&[first, &rest].concat());
        let refused = [
            with(&["update-status", "nobody", "--state", "done"]),
            with(&["update-status", "a b", "--state", "done"]),
            with(&["update-status", "a", "--state", "dreaming"]),
            world.refused(&["update-status", "a"]),
        ];
        insta::assert_snapshot!("update_status_refusals", refused.join("\n"));
        assert!(!world.dir().join(".codex-workers").exists());
        worker(world, "a", &json!({ "tmux_session": "shared" }));
        worker(world, "b", &json!({ "tmux_session": "shared" }));
        assert_eq!(world.run(&[&["update-status", "a", "--state", "done"][..], &rest].concat()).code, 0);
        insta::assert_snapshot!("update_status_taken", with(&["update-status", "b", "--state", "done"]));
        assert!(!directory(world, "b").join("status.json").exists());
    });
}

#[test]
fn status_says_what_is_reported_and_what_the_terminal_does() {
    on_both_engines(|world| {
        let config = json!({ "startup": "ready", "startup_reason": "r", "tmux_session": "codex-a" });
        worker(world, "a", &config);
        write(
            world,
            "a",
            "status.json",
            r#"{"state":"planning","current_task":"Do X","next_action":"y","blocker":"b","last_update":"2026-01-01T12:00:00Z"}"#,
        );
        insta::assert_snapshot!("status_stopped", world.run(&["status", "a"]).stdout);
        assert!(!world.is_sqlite() || !world.file().exists(), "no ledger is made for a look");
        show(world, "codex-a", "06-working.txt");
        let unseen = world.json(&["status", "a", "--no-refresh"]);
        assert_eq!((&unseen["running"], &unseen["terminal_captured_at"]), (&json!(true), &json!(null)));
        insta::assert_snapshot!("status_running", world.run(&["status", "a", "--json"]).stdout);
        assert_eq!(world.scalar("select count(*) from transcript_captures"), "1");
        session(world, "w", None);
        insta::assert_snapshot!("status_without_terminal", world.run(&["status", "w"]).stdout);
        insta::assert_snapshot!("status_unknown", world.refused(&["status", "nobody"]));
    });
}

#[test]
fn an_error_of_an_older_capture_is_shown_until_the_next_one() {
    on_sqlite(|world| {
        worker(world, "a", &json!({}));
        write(world, "a", "capture-meta.json", r#"{"captured_at":"2026-01-01T12:00:00Z","error":"no pane"}"#);
        let status = world.json(&["status", "a"]);
        assert_eq!(status["terminal_capture_error"], "no pane");
        assert_eq!(status["terminal_captured_at"], "2026-01-01T12:00:00Z");
        show(world, "codex-a", "02-idle-new.txt");
        assert_eq!(world.json(&["status", "a"])["terminal_capture_error"], json!(null));
    });
}

#[test]
fn a_damaged_ledger_does_not_hide_what_the_files_say() {
    on_sqlite(|world| {
        worker(world, "a", &json!({}));
        write(world, "a", "status.json", r#"{"state":"editing"}"#);
        fs::write(world.file(), "no database at all, but long enough to be looked at. ".repeat(40)).unwrap();
        assert_eq!(world.json(&["status", "a"])["state"], "editing");
        assert_eq!(world.run(&["list"]).stdout, "a\tstopped\tediting\t\n");
    });
}

/// An environment in which tmux is this script.
pub fn broken_tmux(world: &World, script: &str) -> Environment {
    let path = world.dir().join("tmux");
    let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$2\" && chmod 755 \"$2\"";
    let made = std::process::Command::new("sh").args(["-c", write, "sh", script]).arg(&path).status();
    assert!(made.unwrap().success());
    Environment { tmux: Some(path), ..world.environment() }
}

#[test]
fn trouble_with_tmux_is_part_of_the_answer() {
    on_sqlite(|world| {
        worker(world, "a", &json!({}));
        let denied = broken_tmux(world, "echo 'Operation not permitted' >&2; exit 1");
        let run = |environment: &Environment, arguments: &[&str]| world.run_in(environment, arguments);
        let status = run(&denied, &["status", "a"]);
        insta::assert_snapshot!("status_denied", status.stdout);
        let idle = run(&denied, &["idle-check", "a"]).json();
        assert_eq!((&idle["health"], &idle["terminal_fresh"]), (&json!("stopped"), &json!(false)));
        assert!(run(&denied, &["list", "--json"]).json()[0]["terminal_error"].is_string());
        let missing = Environment { tmux: Some("tmux-that-is-not-there".into()), ..world.environment() };
        assert_eq!(run(&missing, &["list", "--json"]).json()[0].get("terminal_error"), None);
        let capture = run(&missing, &["capture", "a"]);
        assert_eq!(capture.code, 2);
        insta::assert_snapshot!("capture_no_tmux", capture.stderr);
    });
}

#[test]
fn events_are_shown_as_they_were_written() {
    on_both_engines(|world| {
        let log = "{\"type\":\"b\",\"time\":\"t\",\"a\":1.0}\n\nbroken\n{\"type\":\"c\"}\n[1]\n{\"type\":\"b\",\"n\":2}";
        session(world, "w", None);
        assert_eq!(world.run(&["events", "w"]).stdout, "", "no log");
        write(world, "w", "events.jsonl", log);
        let all = world.run(&["events", "w", "--json"]);
        assert_eq!(
            all.stdout,
            "{\"a\":1,\"time\":\"t\",\"type\":\"b\"}\n{\"type\":\"c\"}\n{\"n\":2,\"type\":\"b\"}\n"
        );
        assert_eq!((all.code, all.stderr.as_str()), (0, "workerctl: 2 malformed event line(s) skipped\n"));
        let one = world.run(&["events", "w", "--type", "b", "--limit", "1"]);
        assert_eq!(one.stdout, "{\"n\":2,\"type\":\"b\"}\n");
        assert_eq!(world.run(&["events", "w", "--limit", "0"]).stdout, all.stdout);
        insta::assert_snapshot!(
            "events_refusals",
            [world.refused(&["events", "nobody"]), world.refused(&["events", "w", "--limit", "-1"])]
                .join("\n")
        );
    });
}

const IMPORTED: &[&str] = &["workers", "statuses", "transcript_captures", "events", "data_migrations"];

fn old_worker(world: &World) {
    worker(world, "a", &json!({ "cwd": "/srv", "identity_token": "t-1", "state": "stopped" }));
    write(
        world,
        "a",
        "status.json",
        r#"{"state":"dreaming","current_task":"x","last_update":"2026-01-01T12:00:00Z"}"#,
    );
    write(world, "a", "transcript.txt", "grün\n\nzwei\n");
    write(world, "a", "capture-meta.json", r#"{"changed_at":"2026-01-01T11:00:00Z"}"#);
    let log = "{\"time\":\"2026-01-01T10:00:00Z\",\"type\":\"nudge\",\"text\":\"hi\"}\n\nbroken\n{\"created_at\":\"t\"}\n";
    write(world, "a", "events.jsonl", log);
}

#[test]
fn an_import_tells_first_and_copies_each_content_once() {
    on_both_engines(|world| {
        world.run(&["tasks"]);
        old_worker(world);
        let before = world.dump();
        let shown = world.run(&["import-compat"]).stdout;
        insta::assert_snapshot!("import", world.normal(&shown));
        assert_eq!(world.dump(), before, "only told");
        let done = world.run(&["import-compat", "--apply"]).stdout;
        assert_eq!(done.replace("\"apply\": true", "\"apply\": false"), shown);
        insta::assert_snapshot!("import_rows", world.dump_of(IMPORTED));
        let again = world.json(&["import-compat", "--apply", "--worker", "a"]);
        let actions = again["workers"][0]["actions"].as_array().unwrap();
        assert_eq!(actions.len(), 1, "{actions:?}");
        assert_eq!(actions[0]["action"], "skip_invalid_event", "it is told every time");
        // A changed file is new content; the rest is not.
        write(world, "a", "status.json", r#"{"state":"done"}"#);
        let changed = world.json(&["import-compat", "--apply"]);
        assert_eq!(changed["workers"][0]["actions"][0]["action"], "insert_status");
        assert_eq!(world.scalar("select count(*) from statuses"), "2");
        assert_eq!(world.scalar("select count(*) from events"), "2");
    });
}

#[test]
fn what_the_ledger_has_already_is_marked_not_copied() {
    on_both_engines(|world| {
        worker(world, "a", &json!({}));
        world.json(&["update-status", "a", "--state", "done", "--current-task", "t", "--next-action", "n"]);
        world.json(&["import-compat", "--apply"]);
        assert_eq!(world.scalar("select count(*) from statuses"), "1");
        assert_eq!(
            world.scalar("select count(*) from data_migrations where name like 'compat:a/status.json:%'"),
            "1"
        );
    });
}

#[test]
fn a_failing_worker_leaves_nothing_and_those_before_it_stay() {
    on_both_engines(|world| {
        worker(world, "a", &json!({ "tmux_session": "shared" }));
        worker(world, "b", &json!({ "tmux_session": "shared" }));
        let ran = world.run(&["import-compat", "--apply"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
        insta::assert_snapshot!("import_taken", ran.stderr);
        assert_eq!(world.scalar("select count(*) from workers"), "1");
        assert_eq!(world.scalar("select count(*) from data_migrations where name like 'compat:b%'"), "0");
        write(world, "b", "status.json", "[]");
        assert!(world.refused(&["import-compat", "--worker", "b"]).contains("b/status.json"));
        worker(world, "b", &json!({ "name": "b/.." }));
        insta::assert_snapshot!("import_bad_name", world.refused(&["import-compat", "--worker", "b"]));
        insta::assert_snapshot!("import_bad_worker", world.refused(&["import-compat", "--worker", "b/.."]));
        let elsewhere = world.json(&["import-compat", "--root", "nowhere"]);
        assert_eq!(elsewhere["worker_count"], 0);
        insta::assert_snapshot!("import_surplus", world.refused(&["import-compat", "x"]));
    });
}
