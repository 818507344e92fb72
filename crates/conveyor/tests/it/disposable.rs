//! `create-disposable-binding`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::harness::{World, on_both_engines, on_sqlite};

/// Every file and directory below the test's directory that is not the ledger, with its content.
fn files(world: &World) -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.push((path.clone(), String::new()));
                walk(&path, found);
            } else if !path.to_str().unwrap().contains("ledger.db") {
                found.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(world.dir(), &mut found);
    found.sort();
    found
}

#[test]
fn all_of_it_in_one_call() {
    on_both_engines(|world| {
        let ran = world.run(&[
            "create-disposable-binding",
            "my task",
            "--session-dir",
            "s",
            "--worker-codex-app-thread-id",
            "tw",
            "--worker-codex-app-thread-title",
            "Worker",
            "--manager-codex-app-thread-id",
            "tm",
            "--json",
        ]);
        insta::assert_snapshot!("disposable_json", world.normal(&ran.stdout));
        let written =
            files(world).iter().map(|(path, text)| format!("{} {text}", path.display())).collect::<String>();
        insta::assert_snapshot!("disposable_files", world.normal(&written));
        let events =
            world.column("select type || ' ' || task_id || ' ' || payload_json from events order by id");
        insta::assert_snapshot!("disposable_events", events.join("\n"));
        let sessions = world.column(
            "select name || ' ' || role || ' ' || state || ' ' || pid || ' ' || cwd || ' ' || codex_session_id \
             from sessions order by rowid",
        );
        let cwd = world.dir().display();
        assert_eq!(
            sessions,
            [
                format!("my task-worker worker active 4711 {cwd} codex-my-task-worker"),
                format!("my task-manager manager active 4711 {cwd} codex-my-task-manager"),
            ]
        );
        assert_eq!(world.scalar("select count(*) from telemetry_events"), "0");
        assert_eq!(world.scalar("select count(*) from runs"), "0");
    });
}

#[test]
fn a_text_for_people() {
    on_both_engines(|world| {
        let ran = world.run(&["create-disposable-binding", "demo", "--session-dir", "s"]);
        insta::assert_snapshot!("disposable_text", world.normal(&ran.stdout));
    });
}

#[test]
fn every_command_it_prints_can_be_run() {
    on_both_engines(|world| {
        let made = world.json(&["create-disposable-binding", "it's a demo", "--json"]);
        world.json(&["enqueue-nudge-worker", "it's a demo", "--message", "go", "--json"]);
        world.json(&["dispatch", "--once", "--json"]);
        let run = |command: &serde_json::Value| {
            let command = command.as_str().unwrap();
            let command = command.strip_prefix("conveyor ").unwrap_or_else(|| panic!("{command}"));
            let quoted = command.replace(r#"'"'"'"#, "\u{1}");
            let mut words = Vec::new();
            for (index, part) in quoted.split('\'').enumerate() {
                match index % 2 {
                    0 => words.extend(part.split_whitespace().map(ToOwned::to_owned)),
                    _ => words.push(part.replace('\u{1}', "'")),
                }
            }
            world.run_plain(&words.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let beats = &made["heartbeat_recommendations"];
        for command in [
            &beats["manager"]["poll_command"],
            &beats["worker"]["poll_command"],
            &beats["status_command"],
            &beats["wakeup_plan_command"],
            &made["worker"]["communication"]["poll_command"],
        ] {
            let ran = run(command);
            assert_eq!(ran.code, 0, "{command}: {}", ran.stderr);
        }
        let again = run(&made["replay_commands"][0]);
        assert!(again.stderr.contains("is bound already"), "{}", again.stderr);
        world.json(&["unbind", "--task", "it's a demo"]);
        assert_eq!(run(&made["replay_commands"][0]).json()["task"]["created"], false);
    });
}

#[test]
fn the_default_directory_lies_beside_the_ledger_or_in_the_state_root() {
    on_both_engines(|world| {
        let made = world.json(&["create-disposable-binding", "demo", "--cwd", "x/..", "--json"]);
        let base =
            if world.is_sqlite() { world.dir().to_owned() } else { world.dir().join(".codex-workers") };
        let expected = base.join("disposable-sessions/rollout-demo-worker.jsonl");
        assert_eq!(made["worker"]["rollout_path"], expected.to_str().unwrap());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&expected), mode(expected.parent().unwrap())), (0o600, 0o700));
        assert_eq!(world.scalar("select distinct cwd from sessions"), world.dir().to_str().unwrap());
        // What was written is a rollout that can be read.
        assert_eq!(world.json(&["ingest", "demo-worker"])["new_events"], 1);
    });
}

#[test]
fn an_existing_task_and_gone_sessions_are_taken() {
    on_both_engines(|world| {
        world.bind("t");
        world.json(&["unbind", "--task", "t"]);
        world.sql("update tasks set state = 'done'; update sessions set state = 'gone'");
        let id = world.scalar("select id from tasks");
        let made = world.json(&[
            "create-disposable-binding",
            &id,
            "--worker",
            "t-worker",
            "--manager",
            "t-manager",
            "--goal",
            "ignored",
            "--json",
        ]);
        assert_eq!((&made["task"]["created"], &made["task"]["name"]), (&false.into(), &"t".into()));
        assert_eq!(world.scalar("select state || goal from tasks"), "managedg");
        assert_eq!(made["worker"]["id"], "session-t-w");
        assert_eq!(world.column("select state from sessions"), ["active", "active"]);
        let poll = made["worker"]["communication"]["poll_command"].as_str().unwrap();
        assert!(poll.starts_with("conveyor worker-inbox 't' "), "{poll}");
    });
}

#[test]
fn refusals_leave_nothing_behind() {
    on_both_engines(|world| {
        world.bind("t");
        let rollout = world.dir().join("s/rollout-x-worker.jsonl");
        std::fs::create_dir(world.dir().join("s")).unwrap();
        std::fs::write(&rollout, "mine\n").unwrap();
        std::fs::create_dir(world.dir().join("s/rollout-x-manager.jsonl")).unwrap();
        std::fs::write(world.dir().join("file"), "").unwrap();
        let before = files(world);
        let create = |arguments: &[&str]| {
            let said =
                world.refused(&[&["create-disposable-binding", "--session-dir", "s"], arguments].concat());
            assert_eq!(files(world), before, "{arguments:?}");
            world.normal(&said)
        };
        let said = [
            create(&[]),
            create(&[""]),
            create(&[" "]),
            create(&["x", "--worker", " "]),
            create(&["x", "--worker", "same name", "--manager", "same-name"]),
            create(&["t"]),
            create(&["x", "--worker", "t-worker"]),
            create(&["x", "--manager", "t-manager"]),
            create(&["x", "--worker", "t-manager"]),
            create(&["x"]),
            create(&["x", "--session-dir", "file/below"]),
            create(&["x", "--template", "visual_diff_loop"]),
        ];
        insta::assert_snapshot!("disposable_refusals", said.join("\n"));
    });
}

#[test]
fn a_transaction_that_fails_puts_the_files_back() {
    on_sqlite(|world| {
        let made = ["create-disposable-binding", "demo", "--session-dir", "s/deep", "--json"];
        world.run(&["tasks", "--create", "other", "--goal", "g"]);
        world.sql("create trigger no before insert on bindings begin select raise(abort, 'not today'); end");
        assert!(world.refused(&made).contains("not today"));
        assert_eq!(files(world), [], "directories too");

        std::fs::create_dir_all(world.dir().join("s/deep")).unwrap();
        std::fs::write(world.dir().join("s/deep/rollout-demo-worker.jsonl"), "mine\n").unwrap();
        let before = files(world);
        world.refused(&made);
        assert_eq!(files(world), before);
        world.sql("drop trigger no");
        world.json(&made);
        assert_eq!(files(world).len(), 4, "two directories, two rollouts, nothing else");
    });
}

#[test]
fn of_parallel_calls_one_wins_and_its_files_stay() {
    on_both_engines(|world| {
        world.run(&["tasks", "--create", "demo", "--goal", "g"]);
        let codes: Vec<u8> = std::thread::scope(|scope| {
            let create = || world.run(&["create-disposable-binding", "demo", "--session-dir", "s"]).code;
            let running: Vec<_> = (0..4).map(|_| scope.spawn(create)).collect();
            running.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
        assert_eq!(world.scalar("select count(*) from bindings"), "1");
        assert!(world.dir().join("s/rollout-demo-worker.jsonl").exists());
        assert!(world.dir().join("s/rollout-demo-manager.jsonl").exists());
    });
}
