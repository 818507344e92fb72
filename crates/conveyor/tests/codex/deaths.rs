//! What dies while a session is being started, and what is said about it afterwards.

use std::os::unix::fs::PermissionsExt as _;

use conveyor_agents::codex::State;
use conveyor_testkit::wait;

use super::stage::{COMPOSER, LIMIT, Lab, Stage, ran};

#[test]
fn a_codex_that_ends_at_its_start_is_not_registered_and_leaves_nothing() {
    let Some(lab) = Lab::shared() else { return };
    let stage = Stage::new(lab, "dying");
    // A program before the real one: everything works but attaching a terminal.
    let place = stage.project.join("bin");
    std::fs::create_dir(&place).unwrap();
    let real = conveyor_testkit::codex::binary().unwrap();
    let script = format!(
        "#!/bin/sh\ncase $1 in resume) echo 'Error: out of luck' >&2; exit 1 ;; esac\nexec {} \"$@\"\n",
        real.display()
    );
    std::fs::write(place.join("codex"), script).unwrap();
    std::fs::set_permissions(place.join("codex"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = stage.command(&["start-worker", "--name", "w", "--timeout-seconds", "60"]);
    let path =
        command.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value).unwrap().to_owned();
    let mut places = vec![place];
    places.extend(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(places).unwrap());
    let died = ran(command);
    assert_eq!((died.code, died.stdout.as_str()), (Some(1), ""), "{}", died.stderr);
    assert!(died.stderr.contains("Error: out of luck"), "{}", died.stderr);
    assert!(stage.sessions().is_empty());
    assert_eq!(stage.scalar("select count(*) from sessions"), "0");
    assert_eq!(stage.column("select type from events order by id").last().unwrap(), "session_spawn_ended");
    // The name is free.
    stage.json(&["start-worker", "--name", "w", "--timeout-seconds", "60"]);
}

/// Conveyor is killed between the terminal and the registration.
#[cfg(feature = "fault-points")]
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
            stage.until_shown("codex-w", COMPOSER);
            assert_eq!(stage.json(&["session-nudge", "w", "still there?"])["delivery"]["stage"], "seen");
        } else {
            assert_eq!(again.code, Some(0), "{}", again.stderr);
            assert!(again.stderr.contains("was cut off"), "{}", again.stderr);
        }
        assert!(stage.json(&["reconcile"]).get("spawn_intents").is_none());
    }
}

/// Conveyor is killed when the session is registered, before its first message.
#[cfg(feature = "fault-points")]
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
#[cfg(feature = "fault-points")]
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
        assert_eq!(ran(command).code, None, "killed at {point}");
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
#[cfg(feature = "fault-points")]
fn shell_words(line: &str) -> Vec<String> {
    let output = std::process::Command::new("/bin/sh")
        .args(["-c", &format!("for word in {line}; do printf '%s\\n' \"$word\"; done")])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(ToOwned::to_owned).collect()
}

#[test]
fn the_worker_dies_and_nobody_takes_it_for_alive() {
    let Some(lab) = Lab::shared() else { return };
    let stage = Stage::new(lab, "mortal");
    let started = stage.json(&["start-worker", "--name", "w", "--timeout-seconds", "60"]);
    // Codex is killed in its terminal, which goes with it.
    let pid = i32::try_from(started["pid"].as_i64().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    wait::until(LIMIT, "the end of the terminal", || stage.sessions().is_empty());
    let refused = stage.run(&["session-nudge", "w", "hello"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("not running"), "{}", refused.stderr);
    let dead = stage.json(&["reconcile"]);
    assert_eq!(dead["dead_pid_sessions"][0]["name"], "w");
}
