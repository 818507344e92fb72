//! `register-worker`, `register-manager`.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command};

use conveyor::Environment;
use serde_json::json;

use crate::harness::{World, on_both_engines, on_sqlite};
use crate::rollouts::{append, meta};

/// A rollout in the test's directory.
fn rollout(world: &World, name: &str, text: &str) -> PathBuf {
    let path = world.dir().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    append(&path, text);
    path
}

#[test]
fn a_session_in_the_app_and_one_in_tmux() {
    on_both_engines(|world| {
        rollout(world, "s/rollout-w.jsonl", &meta("codex-w"));
        rollout(world, "m.jsonl", &meta("codex-m"));
        let app = ["register-worker", "--name", "w", "--pid", "4711", "--codex-session", "s/rollout-w.jsonl"];
        insta::assert_snapshot!("register_app", world.normal(&world.run(&app).stdout));
        let tmux = [
            "register-manager",
            "--name",
            "m",
            "--pid",
            "1e3",
            "--codex-session",
            "~/m.jsonl",
            "--cwd",
            "here",
            "--tmux-session",
            "codex-m",
            "--codex-app-thread-id",
            "t1",
            "--codex-app-thread-title",
            "My title",
            "--json",
        ];
        insta::assert_snapshot!("register_tmux", world.normal(&world.run(&tmux).stdout));
        let events = world
            .column("select type || ' ' || coalesce(task_id, '-') || payload_json from events order by id");
        insta::assert_snapshot!("register_events", events.join("\n"));
    });
}

#[test]
fn a_helper_of_a_session_is_none() {
    on_both_engines(|world| {
        let of = |more: &str| {
            format!(
                r#"{{"timestamp":"2026-01-01T10:00:00.000Z","type":"session_meta","payload":{{"id":"x","cwd":"/srv"{more}}}}}"#
            ) + "\n"
        };
        for (number, more) in [
            r#","thread_source":"subagent""#,
            r#","thread_source":"title","source":"vscode""#,
            r#","source":{"subagent":{"thread_spawn":{"parent_thread_id":"p"}}}"#,
        ]
        .into_iter()
        .enumerate()
        {
            let path = rollout(world, &format!("helper-{number}.jsonl"), &of(more));
            let path = path.to_str().unwrap();
            for command in ["register-worker", "register-manager"] {
                let words = [command, "--name", "x", "--pid", "1", "--codex-session", path];
                let refused = world.refused_with(2, &world.environment(), &words);
                assert!(refused.contains("helper of a session"), "{refused}");
            }
        }
        for (number, more) in ["", r#","thread_source":"user","source":"vscode""#, r#","source":"exec""#]
            .into_iter()
            .enumerate()
        {
            let name = format!("own-{number}");
            let path = rollout(world, &format!("{name}.jsonl"), &of(more));
            let words = ["register-worker", "--name", &name, "--pid", "1", "--codex-session"];
            assert_eq!(world.run(&[&words[..], &[path.to_str().unwrap()]].concat()).code, 0, "{more}");
        }
    });
}

#[test]
fn registering_again_keeps_who_it_is_and_forgets_what_was_read() {
    on_both_engines(|world| {
        let first = rollout(world, "a.jsonl", &(meta("codex-a") + &meta("codex-a")));
        let first = first.to_str().unwrap();
        let worker = ["register-worker", "--name", "w", "--pid", "1"];
        world
            .json(&[&worker[..], &["--codex-session", first, "--tmux-session", "t", "--cwd", "/x"]].concat());
        world.json(&["ingest", "w"]);
        world.sql("update sessions set tmux_pane_id = '%3', routed_event_id = 2, state = 'gone'");
        assert_ne!(world.scalar("select rollout_digest from sessions"), "null");
        let kept =
            "select id || identity_token || registered_at || tmux_pane_id || routed_event_id from sessions";
        let before = world.scalar(kept);

        world.advance(5000);
        let second = rollout(world, "b.jsonl", &meta("codex-b"));
        let again = world.json(&[&worker[..], &["--codex-session", second.to_str().unwrap()]].concat());
        assert_eq!(again["cwd"], "/srv/demo", "from the rollout");
        assert_eq!(again["codex_session_id"], "codex-b");
        assert!(again["tmux_session"].is_null());
        assert_eq!(world.scalar(kept), before);
        assert_eq!(
            world.scalar("select state || last_heartbeat_at from sessions"),
            "active2026-06-11T12:00:05.000Z"
        );
        for forgotten in ["last_ingest_offset", "rollout_device", "rollout_inode", "rollout_digest"] {
            assert_eq!(world.scalar(&format!("select {forgotten} from sessions")), "null", "{forgotten}");
        }
        // The one that it had is known, once, however often it changes to and fro.
        let former = "select path from conveyor_former_rollouts order by id";
        assert_eq!(world.column(former), [first]);
        world.json(&[&worker[..], &["--codex-session", second.to_str().unwrap()]].concat());
        assert_eq!(world.column(former), [first]);
        world.json(&[&worker[..], &["--codex-session", first]].concat());
        world.json(&[&worker[..], &["--codex-session", second.to_str().unwrap()]].concat());
        assert_eq!(world.column(former), [first, second.to_str().unwrap()]);
    });
}

#[test]
fn processes_that_register_one_name_at_once_get_one_row() {
    on_both_engines(|world| {
        let path = rollout(world, "r.jsonl", &meta("codex-r"));
        let path = path.to_str().unwrap();
        world.run(&["tasks"]);
        let ids: Vec<String> = std::thread::scope(|scope| {
            let register = |pid: usize| {
                let pid = pid.to_string();
                world.json(&["register-worker", "--name", "w", "--pid", &pid, "--codex-session", path])
            };
            let running: Vec<_> = (1..=8).map(|pid| scope.spawn(move || register(pid))).collect();
            running.into_iter().map(|one| one.join().unwrap()["session_id"].to_string()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_eq!(world.scalar("select count(*) from sessions"), "1");
        assert_eq!(world.scalar("select count(*) from events where type = 'session_registered'"), "8");
    });
}

#[test]
fn refusals() {
    on_both_engines(|world| {
        let good = rollout(world, "good.jsonl", &meta("codex-w"));
        let good = good.to_str().unwrap();
        world.json(&["register-worker", "--name", "w", "--pid", "1", "--codex-session", good]);
        let said = |arguments: &[&str]| world.normal(&world.refused(arguments));
        let said: Vec<String> = [
            &["register-worker", "--pid", "1"][..],
            &["register-worker", "--name", "x"],
            &["register-worker", "--name", "x", "--pid", "one", "--codex-session", good],
            &["register-worker", "--name", "x", "--name", "y", "--pid", "1", "--codex-session", good],
            &["register-worker", "--name", " ", "--pid", "1", "--codex-session", good],
            &["register-worker", "x", "--name", "x", "--pid", "1", "--codex-session", good],
            &["register-worker", "--name", "x", "--pid", "1", "--role", "worker"],
            &["register-manager", "--name", "w", "--pid", "1", "--codex-session", good],
        ]
        .iter()
        .map(|arguments| said(arguments))
        .collect();
        insta::assert_snapshot!("register_refusals", said.join("\n"));
    });
}

#[test]
fn what_is_no_rollout_is_refused_before_a_ledger_is_made() {
    on_sqlite(|world| {
        std::fs::create_dir(world.dir().join("directory")).unwrap();
        rollout(world, "empty", "");
        rollout(world, "blank", "\n");
        rollout(world, "text", "hello\n");
        rollout(world, "other", "{\"type\":\"event_msg\",\"payload\":{}}\n");
        rollout(world, "list", "{\"type\":\"session_meta\",\"payload\":[]}\n");
        rollout(world, "no_id", "{\"type\":\"session_meta\",\"payload\":{}}\n");
        rollout(world, "number_id", "{\"type\":\"session_meta\",\"payload\":{\"id\":5}}\n");
        let files = ["missing", "directory", "empty", "blank", "text", "other", "list", "no_id", "number_id"];
        let said = files.map(|file| {
            world.normal(&world.refused(&[
                "register-worker",
                "--name",
                "w",
                "--pid",
                "1",
                "--codex-session",
                file,
            ]))
        });
        insta::assert_snapshot!("register_no_rollout", said.join("\n"));
        assert!(!world.file().exists());
    });
}

/// A process that holds the given file open.
struct Holder(Child);

impl Holder {
    fn of(file: &std::path::Path) -> Self {
        Self(Command::new("sleep").arg("60").stdin(File::open(file).unwrap()).spawn().unwrap())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn without_a_rollout_the_process_tells() {
    on_sqlite(|world| {
        let path = rollout(world, "sessions/rollout-1.jsonl", &meta("codex-1"));
        let plain = rollout(world, "plain.txt", "x");
        let register = |pid: &str| world.run(&["register-worker", "--name", "w", "--pid", pid]);
        let holder = Holder::of(&plain);
        let none = register(&holder.0.id().to_string());
        assert_eq!(none.code, 2);
        assert!(
            none.stderr.contains("first prompt") && none.stderr.contains("--codex-session"),
            "{}",
            none.stderr
        );
        let gone = register("999999999");
        assert!(
            gone.stderr.contains("999999999") && gone.stderr.contains("--codex-session"),
            "{}",
            gone.stderr
        );
        assert!(!world.file().exists());

        let holder = Holder::of(&path);
        let found = register(&holder.0.id().to_string()).json();
        assert_eq!(found["codex_session_id"], "codex-1");
        let real = path.canonicalize().unwrap();
        assert_eq!(found["codex_session_path"], real.to_str().unwrap());
    });
}

#[test]
fn a_session_that_registers_itself_is_not_dead_with_the_shell_that_did_it() {
    on_both_engines(|world| {
        for thread in ["thread-w", "thread-m"] {
            rollout(world, &format!(".codex/sessions/2026/06/11/rollout-x-{thread}.jsonl"), &meta(thread));
        }
        let inside = Environment { codex_thread_id: Some("thread-w".into()), ..world.environment() };
        let worker = world.run_in(&inside, &["register-worker", "--name", "w", "--self"]).json();
        world.json(&["register-manager", "--name", "m", "--thread-id", "thread-m"]);
        world.json(&["tasks", "--create", "t", "--goal", "g"]);
        world.json(&["bind", "--task", "t", "--worker", "w", "--manager", "m"]);
        // The shell in which the command ran has ended since.
        let mut shell = Command::new("true").spawn().unwrap();
        shell.wait().unwrap();
        world.sql(&format!("update sessions set pid = {}", shell.id()));

        let cycle = world.json(&["cycle", "t"]);
        assert_eq!((&cycle["worker_alive"], &cycle["manager_alive"]), (&json!(true), &json!(true)));
        let report = world.json(&["reconcile", "--apply"]);
        assert_eq!(report["dead_pid_sessions"], json!([]));
        let live = world.json(&["db-doctor", "--live"])["live_reconcile"].clone();
        assert_eq!((&live["ok"], &live["results"][0]["worker"]["live"]), (&json!(true), &json!(null)));

        // Registered with a process of its own, it is dead with it.
        let path = worker["codex_session_path"].as_str().unwrap();
        let pid = shell.id().to_string();
        world.json(&["register-worker", "--name", "w", "--pid", &pid, "--codex-session", path]);
        assert_eq!(world.json(&["cycle", "t"])["worker_alive"], false);
        assert_eq!(world.json(&["reconcile"])["dead_pid_sessions"][0]["name"], "w");
    });
}
