//! Conveyor is killed between the steps of a start: what is left is explained and can be completed.

use conveyor_agents::codex::State;

use super::stage::{Lab, Stage, ran};

/// Conveyor is killed between the terminal and the registration.
#[test]
fn what_a_killed_start_left_is_explained_and_can_be_registered() {
    let Some(lab) = Lab::shared() else { return };
    for (point, thread, terminal) in [
        ("spawn.intended", false, false),
        ("spawn.thread_made", true, false),
        ("spawn.terminal_started", true, true),
    ] {
        let stage = Stage::new(lab, &format!("killed-{}", point.replace('.', "-")));
        let mut command = stage.command(&["start-worker", "--name", "w", "--timeout-seconds", "60"]);
        command.env("CONVEYOR_FAULT", point);
        assert_eq!(ran(command).code, None, "killed at {point}");
        assert_eq!(stage.scalar("select count(*) from sessions"), "0");
        assert_eq!(stage.sessions().len(), usize::from(terminal), "{point}");

        let report = stage.json(&["reconcile"]);
        let left = &report["spawn_intents"][0];
        assert_eq!(
            (left["name"].as_str(), left["terminal_alive"].as_bool()),
            (Some("w"), Some(terminal)),
            "{report}"
        );
        assert_eq!(left["thread_id"].is_string(), thread, "{report}");

        let again = stage.run(&["start-worker", "--name", "w", "--timeout-seconds", "60"]);
        if terminal {
            assert_eq!(again.code, Some(1), "{}", again.stderr);
            assert!(
                again.stderr.contains("was cut off") && again.stderr.contains("kill-session"),
                "{}",
                again.stderr
            );
            // The advice works: the line that registers it does.
            let register = left["commands"][0].as_str().unwrap();
            let words: Vec<String> = shell_words(register);
            let words: Vec<&str> = words[1..].iter().map(String::as_str).collect();
            let registered = ran(stage.plain_command(&words)).json();
            assert_eq!(registered["codex_session_id"], left["thread_id"]);
            stage.until("w", State::Idle);
            stage.until_ready("codex-w");
            assert_eq!(stage.json(&["session-nudge", "w", "still there?"])["delivery"]["stage"], "seen");
        } else {
            assert_eq!(again.code, Some(0), "{}", again.stderr);
            assert!(again.stderr.contains("was cut off"), "{}", again.stderr);
        }
        assert!(stage.json(&["reconcile"]).get("spawn_intents").is_none());
    }
}

/// Conveyor is killed when the session is registered, before its first message.
#[test]
fn a_start_that_was_killed_after_the_registration_left_a_whole_session() {
    let Some(lab) = Lab::shared() else { return };
    let stage = Stage::new(lab, "killed-registered");
    let mut command =
        stage.command(&["start-worker", "--name", "w", "--task", "build", "--timeout-seconds", "60"]);
    command.env("CONVEYOR_FAULT", "spawn.registered");
    assert_eq!(ran(command).code, None);
    assert_eq!(stage.scalar("select state from sessions where name = 'w'"), "active");
    assert!(stage.json(&["reconcile"]).get("spawn_intents").is_none());
    // Nothing was said to it, and it can be told.
    let thread = stage.thread_of("w");
    assert!(lab.client().turns(&thread, 10).unwrap().is_empty());
    assert_eq!(stage.json(&["session-nudge", "w", "build"])["delivery"]["stage"], "seen");
}

/// A pair is killed between its steps: what was achieved stays, each step that is missing can be
/// done by its own command, and nothing is there twice.
#[test]
fn a_pair_that_was_killed_between_its_steps_can_be_completed() {
    let Some(lab) = Lab::shared() else { return };
    const PAIR: [&str; 14] = [
        "pair",
        "--task",
        "t",
        "--task-goal",
        "build",
        "--manager-acceptance",
        "it is round",
        "--worker-name",
        "w",
        "--manager-name",
        "m",
        "--timeout-seconds",
        "60",
        "--no-dispatch",
    ];
    for (point, sessions) in [
        ("pair.begun", 0),
        ("pair.seeded", 0),
        ("pair.worker_started", 1),
        ("pair.manager_started", 2),
        ("pair.bound", 2),
    ] {
        let stage = Stage::new(lab, &format!("killed-{}", point.replace('.', "-")));
        let mut command = stage.command(&PAIR);
        command.env("CONVEYOR_FAULT", point);
        let killed = ran(command);
        assert_eq!(killed.code, None, "killed at {point}: {}", killed.stderr);
        assert_eq!(stage.sessions().len(), sessions, "{point}");
        assert_eq!(stage.scalar("select count(*) from sessions"), sessions.to_string(), "{point}");

        let again = stage.run(&PAIR);
        assert_eq!(again.code, Some(i32::from(sessions > 0)), "{point}: {}", again.stderr);
        if sessions > 0 {
            let told = if point == "pair.bound" {
                "is bound already"
            } else {
                "conveyor start-manager --name 'm' --task 't'"
            };
            assert!(again.stderr.contains(told), "{}", again.stderr);
        }
        if sessions == 1 {
            stage.json(&["start-manager", "--name", "m", "--task", "t", "--timeout-seconds", "60"]);
        }
        if matches!(point, "pair.worker_started" | "pair.manager_started") {
            stage.json(&["bind", "--task", "t", "--worker", "w", "--manager", "m"]);
        }
        if sessions > 0 {
            assert_eq!(stage.json(&["session-nudge", "w", "build"])["delivery"]["stage"], "seen", "{point}");
        }
        assert_eq!(stage.scalar("select count(*) from bindings where state = 'active'"), "1", "{point}");
        assert_eq!(stage.scalar("select count(*) from acceptance_criteria"), "1", "{point}");
        assert_eq!(stage.sessions().len(), 2, "{point}");
    }
}

/// Splits a generated command line as a shell does.
fn shell_words(line: &str) -> Vec<String> {
    let output = std::process::Command::new("/bin/sh")
        .args(["-c", &format!("for word in {line}; do printf '%s\\n' \"$word\"; done")])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(ToOwned::to_owned).collect()
}
