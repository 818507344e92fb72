//! `stop`: real tmux, a fake Codex, and servers that do not answer.

use std::time::Duration;

use conveyor_testkit::fake_codex::{FakeCodex, Mode};
use serde_json::json;

use crate::harness::{World, on_both_engines, on_sqlite};
use crate::panes::{self, is_there, put_into};
use crate::terminals::{directory, file, session, start, worker};

/// Generous, because other tests use the machine, too.
const LIMIT: Duration = Duration::from_secs(30);

/// A session whose terminal has a fake Codex that writes its rollout.
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

/// Something else on the server, so that it outlives what is stopped. Its name begins like others.
fn bystander(world: &World) {
    start(world, "codex-abc", "exec sleep 600");
}

fn stop_events(world: &World) -> String {
    let events = world
        .column("select type || ' ' || payload_json from events where type like 'session_stop%' order by id");
    world.normal(&events.join("\n"))
}

#[test]
fn a_worker_is_stopped_once() {
    on_both_engines(|world| {
        bystander(world);
        worker(world, "a", &json!({ "name": "a" }));
        start(world, "codex-a", "exec sleep 600");
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
        let ran = world.run(&["stop", "a"]);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "stopped a\n", ""));
        assert!(!is_there(world, "codex-a") && is_there(world, "codex-abc"));
        assert_eq!(world.scalar("select state from workers where name = 'a'"), "stopped");
        let again = world.run(&["stop", "a", "--message", "nobody hears this"]);
        assert_eq!(
            (again.code, again.stdout.as_str(), again.stderr.as_str()),
            (0, "a was not running\n", "")
        );
        insta::assert_snapshot!("stop_worker_log", file(world, "a", "events.jsonl"));
    });
}

#[test]
fn a_worker_of_which_nothing_is_known_is_stopped_without_its_message() {
    on_sqlite(|world| {
        bystander(world);
        worker(world, "old", &json!({ "name": "old" }));
        let _fake = FakeCodex::start(&world.tmux, "codex-old", world.dir());
        let ran = world.run(&["stop", "old", "--message", "bye"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "stopped old\n"));
        insta::assert_snapshot!("stop_unproven", ran.stderr);
        let log = file(world, "old", "events.jsonl");
        assert!(log.contains("\"message_sent\":false") && log.contains("\"killed_session\":true"), "{log}");

        let fake = FakeCodex::start(&world.tmux, "codex-old", &world.dir().join("again"));
        let ran = world.run(&["stop", "old", "--message", "bye", "--typing-guard", "off"]);
        assert_eq!(
            (ran.code, ran.stderr.lines().count()),
            (0, 1),
            "one line warns of doing without: {}",
            ran.stderr
        );
        assert!(ran.stderr.contains("the typing guard is off"), "{}", ran.stderr);
        drop(fake);
    });
}

#[test]
fn a_session_hears_the_message_and_is_gone() {
    on_both_engines(|world| {
        let fake = stage(world);
        bystander(world);
        world.advance(1_500);
        let ran = world.run(&["stop", "demo-worker", "--message", "push what you have"]);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "stopped demo-worker\n", ""));
        assert_eq!(fake.told(), ["push what you have"]);
        assert!(!is_there(world, "codex-demo") && is_there(world, "codex-abc"));
        let row = "select state || ' ' || last_heartbeat_at from sessions where name = 'demo-worker'";
        assert_eq!(world.scalar(row), "gone 2026-06-11T12:00:01Z");
        assert_eq!(world.scalar("select state from bindings"), "active", "the binding is left alone");
        insta::assert_snapshot!("stop_session_events", stop_events(world));
        let again = world.run(&["stop", "demo-worker"]);
        assert_eq!((again.code, again.stdout.as_str()), (0, "demo-worker was not running\n"));
        insta::assert_snapshot!("stop_session_log", file(world, "demo-worker", "events.jsonl"));
    });
}

#[test]
fn a_refused_message_stops_nobody_from_stopping() {
    on_both_engines(|world| {
        let fake = stage(world);
        bystander(world);
        fake.behave(Mode::Busy);
        let ran = world.run(&["stop", "demo-worker", "--message", "hurry"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "stopped demo-worker\n"));
        insta::assert_snapshot!("stop_refused_message", ran.stderr);
        assert!(fake.told().is_empty());
        assert!(stop_events(world).contains("\"message_sent\":false"), "{}", stop_events(world));
        assert_eq!(world.scalar("select state from sessions where name = 'demo-worker'"), "gone");
    });
}

#[test]
fn a_turn_that_does_not_end_keeps_the_session() {
    on_sqlite(|world| {
        world.bind("demo");
        let home = world.dir().join("home");
        let rollout = home.join("sessions/2026/06/11/rollout-x.jsonl");
        world.sql(&format!(
            "update sessions set codex_session_path = '{}' where name = 'demo-worker'",
            rollout.display()
        ));
        put_into(world, "demo-worker", "codex-demo");
        panes::show(world, "codex-demo", "x");
        let control = home.join("app-server-control");
        std::fs::create_dir_all(&control).unwrap();
        let socket = control.join("app-server-control.sock");
        let server = std::os::unix::net::UnixListener::bind(socket).unwrap();
        let ran = world.run(&["stop", "demo-worker"]);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.lines().count()), (1, "", 1), "{}", ran.stderr);
        assert!(ran.stderr.contains("\"demo-worker\" was not ended"), "{}", ran.stderr);
        assert!(is_there(world, "codex-demo"));
        assert_eq!(world.scalar("select state from sessions where name = 'demo-worker'"), "active");
        drop(server);
        assert_eq!(world.run(&["stop", "demo-worker"]).stdout, "stopped demo-worker\n");
    });
}

#[test]
fn a_server_that_does_not_answer_is_passed_over_by_force_only() {
    on_both_engines(|world| {
        bystander(world);
        world.bind("demo");
        let home = world.dir().join("home");
        let rollout = home.join("sessions/2026/06/11/rollout-x.jsonl");
        world.sql(&format!(
            "update sessions set codex_session_path = '{}' where name = 'demo-worker'",
            rollout.display()
        ));
        put_into(world, "demo-worker", "codex-demo");
        panes::show(world, "codex-demo", "x");
        let control = home.join("app-server-control");
        std::fs::create_dir_all(&control).unwrap();
        let _frozen =
            std::os::unix::net::UnixListener::bind(control.join("app-server-control.sock")).unwrap();
        let refused = world.run(&["finish-task", "demo", "--stop-worker"]);
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""));
        assert!(is_there(world, "codex-demo"));
        let closed = world.json(&["finish-task", "demo", "--stop-worker", "--force"]);
        assert_eq!(
            (&closed["background"], &closed["killed_worker"]),
            (&json!("unknown"), &json!(true)),
            "{closed}"
        );
        assert!(!is_there(world, "codex-demo"));
        let told =
            world.scalar("select attributes_json from telemetry_events where event_type = 'task_finished'");
        assert!(told.contains("\"background\":\"unknown\""), "{told}");
    });
}

/// What a file says, once it says something.
fn written(file: &std::path::Path) -> String {
    conveyor_testkit::wait::some(LIMIT, "a written file", || {
        std::fs::read_to_string(file).ok().filter(|text| text.ends_with('\n'))
    })
}

fn is_running(pid: &str) -> bool {
    conveyor_agents::processes::is_alive(pid.trim().parse().unwrap())
}

fn kill(pid: &str) {
    let killed = std::process::Command::new("kill").args(["-9", pid.trim()]).status().unwrap();
    assert!(killed.success());
}

#[test]
fn a_process_that_outlives_its_terminal_is_named_and_nothing_is_claimed() {
    on_both_engines(|world| {
        bystander(world);
        world.bind("demo");
        put_into(world, "demo-worker", "codex-demo");
        let pid = world.dir().join("pid");
        let deaf = format!("trap '' HUP TERM; echo $$ > '{}'; while :; do sleep 0.1; done", pid.display());
        start(world, "codex-demo", &deaf);
        let pid = written(&pid);
        let ran = world.run(&["stop", "demo-worker"]);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.lines().count()), (1, "", 1), "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("process {} ", pid.trim())), "{}", ran.stderr);
        assert!(is_running(&pid), "it got no signal from us");
        assert!(!is_there(world, "codex-demo"));
        assert_eq!(world.scalar("select state from sessions where name = 'demo-worker'"), "active");
        kill(&pid);
        let ran = world.run(&["stop", "demo-worker"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "demo-worker was not running\n"));
        assert_eq!(world.scalar("select state from sessions where name = 'demo-worker'"), "gone");
    });
}

/// An agent in a shell that a person uses: what the agent has started ends with it, what the person has
/// started does not, wherever either of them has put it.
#[test]
fn in_a_persons_shell_only_what_the_agent_has_started_ends() {
    on_sqlite(|world| {
        bystander(world);
        world.bind("demo");
        put_into(world, "demo-worker", "codex-demo");
        let file = |name: &str| world.dir().join(name);
        let deaf = |name: &str| {
            let line =
                format!("trap \"\" HUP; echo $$ > {}; while :; do sleep 0.1; done", file(name).display());
            format!("setsid sh -c '{line}' </dev/null >/dev/null 2>&1 &")
        };
        let agent = file("bin");
        std::fs::create_dir(&agent).unwrap();
        let agent = agent.join("codex");
        std::fs::write(&agent, format!("#!/bin/sh\n{}\nwhile :; do sleep 0.1; done\n", deaf("agents")))
            .unwrap();
        std::process::Command::new("chmod").arg("+x").arg(&agent).status().unwrap();
        world.tmux.tmux([
            "new-session",
            "-d",
            "-s",
            "codex-demo",
            "-x",
            "200",
            "-y",
            "50",
            "env",
            "sh",
            "-i",
        ]);
        // The pane's process is the shell, as in a terminal that a person has opened.
        let type_line = |line: &str| {
            world.tmux.tmux(["send-keys", "-t", "=codex-demo:", "-l", line]);
            world.tmux.tmux(["send-keys", "-t", "=codex-demo:", "Enter"]);
        };
        type_line(&deaf("persons"));
        let persons = written(&file("persons"));
        type_line(&agent.display().to_string());
        let agents = written(&file("agents"));
        let ran = world.run(&["stop", "demo-worker"]);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "stopped demo-worker\n", ""));
        assert!(!is_running(&agents), "the agent's work goes on");
        assert!(is_running(&persons), "a person's program was ended");
        kill(&persons);
    });
}

#[test]
fn refusals() {
    on_both_engines(|world| {
        session(world, "app", None);
        worker(world, "a", &json!({ "name": "a" }));
        let said = [
            world.refused(&["stop"]),
            world.refused_with(1, &world.environment(), &["stop", "a b"]),
            world.refused(&["stop", "app"]),
            world.refused(&["stop", "a", "--json"]),
            world.refused(&["stop", "a", "--message", "\u{1b}[201~rm"]),
            world.refused_with(1, &world.environment(), &["stop", "nobody"]),
        ];
        insta::assert_snapshot!("stop_refusals", said.join("\n"));
        assert!(!directory(world, "app").exists() && !directory(world, "a").join("events.jsonl").exists());
        let denied = crate::legacy::broken_tmux(world, "echo 'Operation not permitted' >&2; exit 1");
        insta::assert_snapshot!("stop_denied", world.refused_with(1, &denied, &["stop", "a"]));
    });
}
