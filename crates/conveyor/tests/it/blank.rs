//! Texts that say nothing: white space and characters that nobody sees.

use serde_json::json;

use crate::harness::on_both_engines;

const BLANK: [&str; 6] = [" ", "\n\t", "\u{feff}", "\u{200b}\u{200d}", "\u{ad}\u{2060} ", "\u{a0}\u{85}"];

#[test]
fn a_blank_message_is_refused_by_every_command_that_sends_one() {
    on_both_engines(|world| {
        world.bind("demo");
        let commands: [&[&str]; 11] = [
            &["enqueue-nudge-worker", "demo", "--message"],
            &["enqueue-notify-manager", "demo", "--message"],
            &["session-nudge", "demo-worker"],
            &["session-nudge", "--force", "demo-worker"],
            &["session-nudge", "--dry-run", "demo-worker"],
            &["nudge", "demo-worker"],
            &["session-interrupt", "demo-worker", "--followup"],
            &["finish-task", "demo", "--stop-worker", "--message"],
            &["stop-task", "demo", "--stop-worker", "--message"],
            &["stop", "demo-worker", "--message"],
            &["start-worker", "--name", "w", "--task"],
        ];
        for command in commands {
            for text in BLANK {
                let line = world.refused(&[command, &[text]].concat());
                assert!(line.contains("blank") || line.contains("empty"), "{command:?} {text:?}: {line}");
            }
        }
        let pair = ["pair", "--task", "t", "--worker-name", "w", "--manager-name", "m"];
        for option in ["--task-prompt", "--task-goal"] {
            let line = world.refused(&[&pair[..], &[option, "\u{200b}"]].concat());
            assert!(line.contains("blank"), "{line}");
        }
    });
}

#[test]
fn names_and_permissions_that_say_nothing_are_refused() {
    on_both_engines(|world| {
        world.bind("demo");
        for text in BLANK {
            world.refused(&[
                "create-disposable-binding",
                text,
                "--worker-session",
                "w",
                "--manager-session",
                "m",
            ]);
            world.refused(&["enqueue-nudge-worker", "demo", "--message", "m", "--required-permission", text]);
            // An answer that only leaves out.
            let cleared = world.json(&[
                "manager-config",
                "demo",
                "--tool",
                text,
                "--tool",
                "git diff",
                "--acceptance",
                text,
            ]);
            assert_eq!(cleared["tools"], json!(["git diff"]), "{text:?}");
            assert_eq!(world.scalar("select count(*) from acceptance_criteria"), "0", "{text:?}");
        }
        // White space around what is said does not count, invisible characters inside do not hide it.
        let kept = world.json(&["manager-config", "demo", "--tool", "\u{feff} make \u{85}"]);
        assert_eq!(kept["tools"], json!(["make"]));
    });
}

#[test]
fn a_queued_message_that_says_nothing_fails() {
    on_both_engines(|world| {
        world.bind("demo");
        let queued = world.json(&["enqueue-nudge-worker", "demo", "--message", "m", "--json"]);
        let id = queued["command_id"].as_str().unwrap();
        world.sql(&format!(
            "update commands set payload_json = '{{\"message\":\"\u{200b}\u{feff}\"}}' where id = '{id}'"
        ));
        let said = world.json(&["dispatch", "--once", "--json"]);
        assert_eq!(said["processed"][0]["state"], "failed");
    });
}
