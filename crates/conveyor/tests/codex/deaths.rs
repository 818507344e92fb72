//! What dies while a session is being started, and what is said about it afterwards.

use std::os::unix::fs::PermissionsExt as _;

use conveyor_testkit::wait;

use super::stage::{LIMIT, Lab, Stage, ran};

#[test]
fn a_codex_that_ends_at_its_start_is_not_registered_and_leaves_nothing() {
    let Some(lab) = Lab::shared() else { return };
    let stage = Stage::new(lab, "dying");
    // A program before the real one: everything works but attaching a terminal.
    let place = stage.project.join("bin");
    std::fs::create_dir(&place).unwrap();
    let real = lab.home.program();
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
