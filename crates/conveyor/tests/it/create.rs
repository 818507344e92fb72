//! `create`, `start-test` where Codex has no server: real tmux, a stand-in for Codex.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use conveyor::Environment;
use conveyor_core::windows::Desktop;
use conveyor_testkit::wait;
use serde_json::{Value, json};

use crate::harness::{Ran, World, on_both_engines, on_sqlite};
use crate::panes::{captured, is_there, recorded};
use crate::start::{program, started, understood, with_codex};
use crate::terminals::{self, directory, file, worker};

/// Keeps the server alive when a worker's terminal ends.
fn bystander(world: &World) {
    terminals::start(world, "codex-abc", "exec sleep 600");
}

fn create(world: &World, environment: &Environment, arguments: &[&str]) -> Ran {
    let mut all = vec!["create"];
    all.extend(arguments);
    world.run_in(environment, &all)
}

/// A Codex that does this in its terminal.
fn with_screen(world: &World, script: &str) -> Environment {
    let environment = with_codex(world);
    let text = format!(
        "case $1 in --help) echo ' --no-alt-screen'; exit ;; --version) echo codex-cli 0.169.0; exit ;; app-server) exit 2 ;; esac\n{script}"
    );
    program(&world.dir().join("tools/codex"), &text);
    environment
}

/// Shows a screen of the real Codex.
fn shows(world: &World, name: &str) -> String {
    let path = world.dir().join(name);
    fs::write(&path, recorded(name).trim_end()).unwrap();
    format!("printf '\\033[2J\\033[H'; cat '{}'", path.display())
}

fn pane_of(world: &World, session: &str) -> String {
    world.tmux.tmux(["list-panes", "-t", &format!("={session}:"), "-F", "#{pane_id}"]).trim().to_owned()
}

#[test]
fn a_worker_is_files_rows_and_a_terminal() {
    on_both_engines(|world| {
        bystander(world);
        let environment = with_codex(world);
        let ran = create(world, &environment, &["a", "--task", "Fix the login"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        insta::assert_snapshot!("create", world.normal(&ran.stdout));
        let words = started(world);
        assert_eq!(
            words[..5],
            ["--cd", "[DIR]", "-c", "check_for_update_on_startup=false", "--no-alt-screen"]
        );
        let contract = file(world, "a", "contract.txt");
        assert_eq!(words[5], world.normal(contract.trim_end()), "the contract is one word");
        insta::assert_snapshot!("create_contract", world.normal(&contract));
        let pane = pane_of(world, "codex-a");
        let normal = |text: &str| world.normal(text).replace(&format!("\"{pane}\""), "\"[PANE]\"");
        let config: Value = serde_json::from_str(&file(world, "a", "config.json")).unwrap();
        let process = ["pane_pid", "pane_started", "server_pid"].map(|key| config[key].to_string());
        let steady = |text: String| {
            process.iter().fold(text, |text, value| text.replace(&format!(": {value}"), ": [PROCESS]"))
        };
        insta::assert_snapshot!("create_config", steady(normal(&file(world, "a", "config.json"))));
        insta::assert_snapshot!("create_status", file(world, "a", "status.json"));
        insta::assert_snapshot!("create_log", normal(&file(world, "a", "events.jsonl")));
        assert_eq!(file(world, "a", "transcript.txt"), "");
        let rows =
            world.dump_of(&["workers", "statuses", "events"]).replace(&format!("\"{pane}\""), "\"[PANE]\"");
        insta::assert_snapshot!("create_rows", rows.replace(&format!("\\\"{pane}\\\""), "[PANE]"));
        assert_eq!(world.scalar("select count(*) from sessions"), "0", "nothing proves which session it is");
    });
}

#[test]
fn a_worker_is_started_again_with_its_identity() {
    on_both_engines(|world| {
        bystander(world);
        let environment = with_codex(world);
        let identity = "select id || ' ' || identity_token || ' ' || state from workers where name = 'a'";
        create(world, &environment, &["a", "--no-initial-prompt"]);
        let words = started(world);
        assert!(words[5].starts_with("[DIR]/opt:"), "there is no prompt: {words:?}");
        let first = world.scalar(identity);
        assert!(first.ends_with(" active"), "{first}");
        let refused = world.refused_with(1, &environment, &["create", "a", "--reuse"]);
        assert!(refused.contains("the tmux session \"codex-a\" exists already"), "{refused}");
        assert_eq!(world.run(&["stop", "a"]).stdout, "stopped a\n");
        world.advance(2_000);
        let again = create(world, &environment, &["a", "--reuse", "--task", "Next", "--no-send-contract"]);
        assert_eq!(again.code, 0, "{}", again.stderr);
        assert!(
            again.stdout.contains("contract: saved in ") && again.stdout.contains(", not given"),
            "{}",
            again.stdout
        );
        assert_eq!(world.scalar(identity), first);
        let config: Value = serde_json::from_str(&file(world, "a", "config.json")).unwrap();
        assert_eq!(config["created_at"], "2026-06-11T12:00:02Z");
        assert_eq!(Some(config["identity_token"].as_str().unwrap()), first.split(' ').nth(1));
        assert_eq!(config["tmux_pane_id"], pane_of(world, "codex-a"));
        assert!(file(world, "a", "contract.txt").contains("Your task:\nNext\n"));
    });
}

#[test]
fn codex_is_waited_for() {
    on_sqlite(|world| {
        bystander(world);
        let ready = with_screen(world, &format!("{}; exec sleep 600", shows(world, "02-idle-new.txt")));
        let ran = create(world, &ready, &["a", "--wait-ready"]);
        assert!(ran.stdout.contains("startup: ready (The terminal shows"), "{}", ran.stdout);
        assert!(!ran.stdout.contains("recommended action"), "{}", ran.stdout);
        let status = world.json(&["status", "a"]);
        assert_eq!(
            (&status["startup"], &status["startup_recommended_action"]),
            (&json!("ready"), &json!("none"))
        );

        let over = with_screen(world, "exit 3");
        let ran = create(world, &over, &["b", "--wait-ready", "--wait-ready-timeout", "3"]);
        assert!(ran.stdout.contains("startup: exited (The tmux session has ended.)"), "{}", ran.stdout);
        let silent = with_screen(world, "exec sleep 600");
        let ran = create(world, &silent, &["c", "--wait-ready", "--wait-ready-timeout", "1"]);
        assert!(ran.stdout.contains("startup: starting"), "{}", ran.stdout);
        assert!(ran.stdout.contains("recommended action: inspect terminal capture"), "{}", ran.stdout);
    });
}

#[test]
fn trust_is_given_only_when_that_was_said() {
    on_sqlite(|world| {
        bystander(world);
        let (asks, idle) = (shows(world, "01-trust.txt"), shows(world, "02-idle-new.txt"));
        let asking = with_screen(world, &format!("{asks}; read answer; {idle}; exec sleep 600"));
        let ran = create(world, &asking, &["a", "--wait-ready"]);
        insta::assert_snapshot!("create_untrusted", world.normal(&ran.stdout));
        assert!(captured(world, "codex-a").contains("Trust this folder?"), "nobody answered");
        let ran = create(world, &asking, &["b", "--wait-ready", "--accept-trust"]);
        insta::assert_snapshot!("create_trusted", world.normal(&ran.stdout));
        insta::assert_snapshot!("create_trusted_log", {
            let log = file(world, "b", "events.jsonl");
            log.lines().skip(1).collect::<Vec<_>>().join("\n")
        });
        // Without waiting one look is enough.
        let ran = create(world, &asking, &["c", "--accept-trust"]);
        assert!(ran.stdout.contains("trust prompt: accepted"), "{}", ran.stdout);
        wait::until(Duration::from_secs(5), "the answer", || {
            !captured(world, "codex-c").contains("Trust this")
        });
        // A screen that asks something else is not answered.
        let other =
            with_screen(world, &format!("{}; read answer; touch answered", shows(world, "04-approval.txt")));
        let ran = create(world, &other, &["d", "--accept-trust"]);
        assert!(ran.stdout.contains("trust prompt: none was seen"), "{}", ran.stdout);
        assert!(!world.dir().join("answered").exists());
    });
}

#[test]
fn a_first_report_is_waited_for() {
    on_sqlite(|world| {
        bystander(world);
        let environment = with_codex(world);
        std::thread::scope(|scope| {
            let created = scope.spawn(|| create(world, &environment, &["a", "--verify"]));
            wait::until(Duration::from_secs(10), "the worker", || {
                fs::read_to_string(directory(world, "a").join("events.jsonl"))
                    .is_ok_and(|log| log.contains("create"))
            });
            world.json(&[
                "update-status",
                "a",
                "--state",
                "planning",
                "--current-task",
                "t",
                "--next-action",
                "n",
            ]);
            let ran = created.join().unwrap();
            insta::assert_snapshot!("create_verified", world.normal(&ran.stdout));
        });
        let ran = create(world, &environment, &["b", "--verify", "--verify-timeout", "1", "--stop-after"]);
        assert_eq!(ran.code, 0, "not verified is no failure: {}", ran.stderr);
        assert!(ran.stdout.contains("verification: not verified (no report came in time)"), "{}", ran.stdout);
        assert!(ran.stdout.ends_with("\n\nstopped b\n") && !is_there(world, "codex-b"), "{}", ran.stdout);
        assert_eq!(world.scalar("select state from workers where name = 'b'"), "stopped");
        let log = file(world, "b", "events.jsonl");
        assert!(log.contains("\"ok\":false,\"reason\":\"no report came in time\""), "{log}");
        assert!(log.contains("{\"killed_session\":true,\"reason\":\"stop_after\""), "{log}");
    });
}

#[test]
fn a_test_worker_has_a_harmless_task() {
    on_sqlite(|world| {
        bystander(world);
        let environment = with_screen(world, &format!("{}; exec sleep 600", shows(world, "02-idle-new.txt")));
        let ran = world.run_in(&environment, &["start-test", "--verify-timeout", "1", "--stop-after"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        for line in
            ["created live-test\n", "startup: ready", "verification: not verified", "stopped live-test\n"]
        {
            assert!(ran.stdout.contains(line), "{line}: {}", ran.stdout);
        }
        let contract = file(world, "live-test", "contract.txt");
        let commands: Vec<&str> = contract.lines().filter(|line| line.starts_with("conveyor ")).collect();
        assert_eq!(commands.len(), 3, "{contract}");
        for command in commands {
            understood(world, &command.replace("<state>", "done"));
        }
        let named = ["start-test", "mine", "--task", "Count to ten", "--verify-timeout", "1"];
        assert_eq!(world.run_in(&environment, &named).code, 0);
        assert!(file(world, "mine", "contract.txt").contains("Your task:\nCount to ten\n"));
        let said = ["--wait-ready", "--verify", "--no-initial-prompt", "--no-send-contract", "--json"]
            .map(|option| world.refused_with(2, &environment, &["start-test", "x", option]));
        insta::assert_snapshot!("start_test_refusals", said.join("\n"));
    });
}

#[test]
fn a_window_is_opened_on_macos() {
    on_sqlite(|world| {
        bystander(world);
        let programs = world.dir().join("desktop");
        program(&programs.join("osascript"), "exit 0");
        let desktop =
            Desktop { is_macos: true, applications: "/nowhere".into(), programs: Some(programs.clone()) };
        let macos = Environment { desktop, ..with_codex(world) };
        let ran = create(world, &macos, &["a", "--open"]);
        assert!(ran.stdout.ends_with("\n\nopened a window of Terminal\n"), "{}{}", ran.stdout, ran.stderr);
        program(&programs.join("osascript"), "echo no >&2; exit 1");
        let ran = create(world, &macos, &["b", "--open"]);
        assert_eq!((ran.code, ran.stderr.lines().count()), (1, 1));
        assert!(ran.stdout.starts_with("created b\n") && is_there(world, "codex-b"), "{}", ran.stdout);
    });
}

#[test]
fn refusals_come_in_order() {
    on_both_engines(|world| {
        bystander(world);
        let with = with_codex(world);
        let without = Environment { search_path: Some(OsString::from("/nowhere")), ..with.clone() };
        let no_tmux = Environment { tmux: Some("tmux-that-is-not-there".into()), ..with.clone() };
        world.run(&["tasks"]);
        worker(world, "known", &json!({ "name": "known" }));
        terminals::start(world, "codex-taken", "exec sleep 600");
        let insert = |name: &str, session: &str| {
            world.sql(&format!(
                "insert into workers (id, name, tmux_session, identity_token, cwd, state, created_at, updated_at) \
                 values ('worker-{name}', '{name}', '{session}', 'token-{name}', '/srv', 'active', 't', 't')"
            ));
        };
        insert("row", "codex-row");
        insert("moved", "elsewhere");
        let refused = |code: u8, environment: &Environment, arguments: &[&str]| {
            let all = [&["create"][..], arguments].concat();
            world.normal(&world.refused_with(code, environment, &all))
        };
        let said = [
            refused(2, &with, &[]),
            refused(2, &with, &["a", "b"]),
            refused(2, &with, &["a", "--wait-ready-timeout", "0"]),
            refused(2, &with, &["a", "--force-open"]),
            refused(2, &with, &["a", "--json"]),
            refused(1, &without, &["a b", "--open", "--stop-after"]),
            refused(1, &without, &["a b", "--open"]),
            refused(1, &without, &["a b"]),
            refused(2, &with, &["a b", "--cwd", "nowhere"]),
            refused(1, &no_tmux, &["a", "--cwd", "nowhere"]),
            refused(1, &no_tmux, &["known"]),
            refused(1, &with, &["known"]),
            refused(1, &with, &["taken"]),
            refused(1, &with, &["row"]),
            refused(1, &with, &["moved", "--reuse"]),
        ];
        insta::assert_snapshot!("create_refusals", said.join("\n"));
        for name in ["a", "taken", "row", "moved"] {
            assert!(!directory(world, name).exists(), "{name}");
        }
    });
}

#[test]
fn a_terminal_that_does_not_start_leaves_a_candidate() {
    on_sqlite(|world| {
        let real = Path::new("tmux");
        let script = format!(
            "case \" $* \" in *' new-session '*) echo 'create window failed' >&2; exit 1 ;; esac\n\
             TMUX_TMPDIR='{}' exec {} \"$@\"",
            world.tmux.dir().display(),
            real.display()
        );
        let broken = crate::legacy::broken_tmux(world, &script).tmux;
        let environment = Environment { tmux: broken, ..with_codex(world) };
        let ran = create(world, &environment, &["a"]);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.lines().count()), (2, "", 1), "{}", ran.stderr);
        assert_eq!(world.scalar("select state from workers where name = 'a'"), "candidate");
        bystander(world);
        assert_eq!(create(world, &with_codex(world), &["a", "--reuse"]).code, 0);
        assert_eq!(world.scalar("select state from workers where name = 'a'"), "active");
    });
}
