//! Terminals that older programs recorded: by the name of a tmux session, perhaps a pane, perhaps a
//! process. And what is recorded where we are not.

use conveyor::Environment;
use conveyor_model::Machine;
use conveyor_testkit::fake_codex::FakeCodex;
use conveyor_testkit::witness::Witness;
use serde_json::{Value, json};

use crate::harness::{World, on_both_engines, on_sqlite};
use crate::panes::{self, is_there};
use crate::terminals::worker;

const GONE: &str = "2147483647";

/// Task `demo` whose worker is a fake Codex, known by what `columns` sets.
fn known_by(world: &World, columns: &str) {
    let columns = format!("tmux_session = 'codex-demo', {columns}");
    world.sql(&format!("update sessions set {columns} where name = 'demo-worker'"));
}

fn stage(world: &World) -> FakeCodex<'_> {
    world.bind("demo");
    let fake = FakeCodex::start(&world.tmux, "codex-demo", world.dir());
    let rollout = fake.rollout().display().to_string();
    world.sql(&format!("update sessions set codex_session_path = '{rollout}' where name = 'demo-worker'"));
    fake
}

fn in_front(world: &World) -> Witness<'_> {
    Witness::start(&world.tmux, world.dir(), "in front", &["new-window", "-t", "=codex-demo:"])
}

/// The exit code of a capture, and whether it shows the worker.
fn captured(world: &World) -> (u8, bool) {
    let ran = world.run(&["capture", "demo-worker", "--include-content"]);
    assert!(!ran.stdout.contains("witness"), "{}", ran.stdout);
    (ran.code, ran.stdout.contains("OpenAI Codex"))
}

#[test]
fn a_process_tells_the_pane_wherever_it_is() {
    on_both_engines(|world| {
        let fake = stage(world);
        let witness = in_front(world);
        for known in [
            format!("pid = {}", fake.pid()),
            format!("pid = {}, tmux_pane_id = '{}'", fake.pid(), fake.pane()),
        ] {
            known_by(world, &known);
            assert_eq!(captured(world), (0, true), "{known}");
            world.json(&["session-nudge", "demo-worker", &known]);
            assert_eq!(fake.told().last(), Some(&known));
            fake.quieten();
        }
        world.tmux.tmux(["rename-session", "-t", "=codex-demo", "renamed"]);
        assert_eq!(captured(world), (0, true));
        assert_eq!(world.run(&["stop", "demo-worker"]).stdout, "stopped demo-worker\n");
        assert!(is_there(world, "renamed"));
        assert_eq!(witness.troubles(), "");
    });
}

#[test]
fn a_process_that_has_ended_takes_its_terminal_with_it() {
    on_both_engines(|world| {
        let fake = stage(world);
        for known in [format!("pid = {GONE}"), format!("pid = {GONE}, tmux_pane_id = '{}'", fake.pane())] {
            known_by(world, &known);
            assert_eq!(captured(world).0, 2, "{known}");
            assert_eq!(
                world.run(&["stop", "demo-worker"]).stdout,
                "demo-worker was not running\n",
                "{known}"
            );
        }
        assert!(is_there(world, "codex-demo") && fake.told().is_empty());
    });
}

#[test]
fn without_a_process_a_pane_counts_where_it_was_recorded() {
    on_both_engines(|world| {
        let fake = stage(world);
        let witness = in_front(world);
        known_by(world, &format!("pid = null, tmux_pane_id = '{}'", fake.pane()));
        assert_eq!(captured(world), (0, true));
        world.tmux.tmux(["rename-session", "-t", "=codex-demo", "renamed"]);
        assert_eq!(captured(world).0, 2, "it may be anybody's by now");
        assert_eq!(world.run(&["stop", "demo-worker"]).stdout, "demo-worker was not running\n");
        assert!(is_there(world, "renamed"));
        assert_eq!(witness.troubles(), "");
    });
}

#[test]
fn a_process_in_no_pane_proves_none() {
    on_both_engines(|world| {
        let fake = stage(world);
        // As that of a container, or of something behind ssh.
        let mut elsewhere = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        known_by(world, &format!("pid = {}", elsewhere.id()));
        let refused = world.run(&["session-nudge", "demo-worker", "hello", "--json"]);
        let object: Value = serde_json::from_str(&refused.stdout).unwrap();
        assert_eq!((refused.code, &object["guard"]["reason"]), (3, &json!("unproven")), "{object}");
        assert!(fake.told().is_empty());
        // Which of two panes is its is not known: neither is ended.
        let witness = in_front(world);
        let stopped = world.run(&["stop", "demo-worker"]);
        assert_eq!((stopped.code, stopped.stdout.as_str()), (1, ""), "{}", stopped.stderr);
        assert!(stopped.stderr.contains("--pid"), "{}", stopped.stderr);
        assert_eq!(world.scalar("select state from sessions where name = 'demo-worker'"), "active");
        assert_eq!(witness.troubles(), "");
        elsewhere.kill().unwrap();
        elsewhere.wait().unwrap();
    });
}

#[test]
fn a_worker_of_the_state_root_is_its_recorded_pane() {
    on_sqlite(|world| {
        panes::show(world, "codex-a", "the worker");
        let pane = world.tmux.tmux(["list-panes", "-t", "=codex-a:", "-F", "#{pane_id}"]);
        let config = json!({ "name": "a", "identity_token": "t", "tmux_pane_id": pane.trim() });
        worker(world, "a", &config);
        let witness =
            Witness::start(&world.tmux, world.dir(), "in front", &["new-window", "-t", "=codex-a:"]);
        let shown = world.run(&["capture", "a", "--include-content"]);
        assert!(shown.stdout.starts_with("the worker"), "{}", shown.stdout);
        assert_eq!(world.json(&["status", "a"])["running"], true);
        assert_eq!(world.run(&["stop", "a"]).stdout, "stopped a\n");
        assert!(is_there(world, "codex-a"), "the other window is the user's");
        assert_eq!(world.run(&["stop", "a"]).stdout, "a was not running\n");
        let listed = world.run(&["list", "--json"]).stdout;
        assert!(listed.contains("\"running\":false") || listed.contains("\"running\": false"), "{listed}");
        assert_eq!(witness.troubles(), "");
    });
}

fn machine(host: &str, boot: &str, namespace: &str) -> Machine {
    Machine { host_id: Some(host.into()), boot_id: Some(boot.into()), pid_namespace: Some(namespace.into()) }
}

/// Who asks: on this machine, in this run of it, with this table of processes.
fn at(world: &World, host: &str, boot: &str, namespace: &str) -> Environment {
    Environment { machine: machine(host, boot, namespace), ..world.environment() }
}

#[test]
fn what_is_recorded_elsewhere_is_left_alone() {
    on_both_engines(|world| {
        let fake = stage(world);
        let here = at(world, "h", "b", "n");
        let rollout = fake.rollout().display().to_string();
        let pid = fake.pid();
        let words = ["register-worker", "--name", "demo-worker", "--pid", &pid, "--codex-session", &rollout];
        world.run_in(&here, &[&words[..], &["--tmux-session", "codex-demo"]].concat()).json();
        for table in ["sessions", "session_endpoints"] {
            let row =
                format!("select host_id || boot_id || pid_namespace from {table} where host_id is not null");
            assert_eq!(world.scalar(&row), "hbn", "{table}");
        }
        assert_eq!(world.run_in(&here, &["capture", "demo-worker"]).code, 0);
        // Another machine, and another container on the same one, in which the pid means another process.
        world.sql(&format!("update sessions set pid = {GONE} where name = 'demo-worker'"));
        for elsewhere in [at(world, "g", "b", "n"), at(world, "h", "b", "other")] {
            let run = |words: &[&str]| world.run_in(&elsewhere, words);
            let report = run(&["reconcile", "--apply"]).json();
            assert!(!report["dead_pid_sessions"].to_string().contains("demo-worker"), "{report}");
            let live = run(&["db-doctor", "--live"]);
            let live: Value = serde_json::from_str(&live.stdout).unwrap();
            assert_eq!(live["live_reconcile"]["results"][0]["worker"]["live"], json!(null));
            assert_eq!(run(&["cycle", "demo"]).json()["worker_alive"], true, "that it died is not known");
            let stopped = run(&["stop", "demo-worker"]);
            assert_eq!((stopped.code, stopped.stdout.as_str()), (1, ""), "{}", stopped.stderr);
            assert_ne!(run(&["capture", "demo-worker"]).code, 0);
            world.advance(1_000);
            run(&["enqueue-nudge-worker", "demo", "--message", "wait for it", "--json"]).json();
            let dispatched = run(&["dispatch", "--once", "--type", "nudge_worker", "--json"]).json();
            assert!(!dispatched.to_string().contains("\"failed\""), "{dispatched}");
            let states = world.column("select distinct state from commands");
            assert_eq!(states, ["pending"], "its messages wait for who can deliver them");
            assert_eq!(world.scalar("select state from sessions where name = 'demo-worker'"), "active");
        }
        assert!(fake.told().is_empty());
        assert!(is_there(world, "codex-demo"));
        // The same machine, started anew: what ran on it is gone, whatever has its pids now.
        world.sql("update sessions set pid = 1 where name = 'demo-worker'");
        let rebooted = at(world, "h", "later", "n");
        assert_eq!(world.run_in(&rebooted, &["cycle", "demo"]).json()["worker_alive"], false);
        assert_eq!(world.run_in(&rebooted, &["stop", "demo-worker"]).stdout, "demo-worker was not running\n");
        assert!(is_there(world, "codex-demo"));
    });
}
