//! `start-worker`, `start-manager`, `pair` without a server: real tmux and a fake Codex that writes
//! its rollout itself. What they do with the real one is tested with it.

use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{World, on_both_engines};
use conveyor::Environment;

/// A Codex of an older version: no shared server; it writes its rollout and keeps it open.
const OLD_CODEX: &str = r#"#!/bin/bash
case $1 in
  --help) echo 'usage: codex [--no-alt-screen]'; exit 0 ;;
  --version) echo 'codex-cli 0.150.0'; exit 0 ;;
  app-server) echo "error: unrecognized subcommand" >&2; exit 2 ;;
esac
[ -e "$CODEX_HOME/dies" ] && { echo 'Error: no licence' >&2; exit 1; }
day="$CODEX_HOME/sessions/2026/06/11"
mkdir -p "$day"
id="old-$$"
file="$day/rollout-$id.jsonl"
now=$(date -u +%Y-%m-%dT%H:%M:%S.999Z)
[ -e "$CODEX_HOME/stale" ] && now=2020-01-01T00:00:00.000Z
exec 3>>"$file"
printf '{"timestamp":"%s","type":"session_meta","payload":{"id":"%s","cwd":"%s","timestamp":"%s","cli_version":"0.99.0"}}\n' \
  "$now" "$id" "$PWD" "$now" >&3
printf '%s\n' "$@" >"$CODEX_HOME/words-$(basename "$PWD")"
printf '>_ OpenAI Codex\n\n› \n'
exec sleep 600
"#;

pub fn environment(world: &World) -> Environment {
    let place = world.dir().join("bin");
    std::fs::create_dir_all(&place).unwrap();
    let program = place.join("codex");
    std::fs::write(&program, OLD_CODEX).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let home = world.dir().join("codex-home");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::create_dir_all(world.dir().join("project")).unwrap();
    Environment { search_path: Some(place.into()), codex_home: Some(home), ..world.environment() }
}

/// Output without what differs from run to run.
fn steady(world: &World, text: &str) -> String {
    let text = world.normal(text);
    let digits = |text: &str, before: &str| {
        let mut parts = text.split(before);
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
            out += before;
            out += if rest.len() < part.len() { "N" } else { "" };
            out += rest;
        }
        out
    };
    digits(&digits(&text, "old-"), "\"pid\": ")
}

#[test]
fn an_older_codex_is_found_below_its_pane() {
    on_both_engines(|world| {
        let environment = environment(world);
        let start = [
            "start-worker",
            "--name",
            "w",
            "--cwd",
            "project",
            "--task",
            "-begin",
            "--timeout-seconds",
            "20",
        ];
        let started = world.run_in(&environment, &start);
        assert_eq!(started.code, 0, "{}", started.stderr);
        insta::assert_snapshot!("start_worker_old", steady(world, &started.stdout));
        let words = std::fs::read_to_string(world.dir().join("codex-home/words-project")).unwrap();
        assert_eq!(
            words.lines().collect::<Vec<_>>(),
            [
                "-c",
                "check_for_update_on_startup=false",
                "--no-alt-screen",
                "--sandbox",
                "danger-full-access",
                "--ask-for-approval",
                "never",
                "--",
                "-begin"
            ]
        );
        let events = world.column("select type || ' ' || payload_json from events order by id");
        let kinds: Vec<&str> = events.iter().map(|event| event.split(' ').next().unwrap()).collect();
        assert_eq!(kinds, ["session_spawn_intent", "session_registered"]);
        assert!(events[1].contains(r#""via":"start-worker""#), "{}", events[1]);
        assert_eq!(world.scalar("select adapter || ' ' || origin from session_endpoints"), "tmux spawned");
    });
}

#[test]
fn what_is_not_proven_is_not_registered() {
    on_both_engines(|world| {
        let environment = environment(world);
        std::fs::write(world.dir().join("codex-home/stale"), "").unwrap();
        let start = ["start-worker", "--name", "w", "--cwd", "project", "--timeout-seconds", "1"];
        let late = world.run_in(&environment, &start);
        assert_eq!((late.code, late.stdout.as_str()), (1, ""));
        insta::assert_snapshot!("start_worker_stale", steady(world, late.stderr.lines().last().unwrap()));
        assert_eq!(world.scalar("select count(*) from sessions"), "0");

        std::fs::remove_file(world.dir().join("codex-home/stale")).unwrap();
        std::fs::write(world.dir().join("codex-home/dies"), "").unwrap();
        let start = ["start-worker", "--name", "x", "--cwd", "project", "--timeout-seconds", "20"];
        let died = world.run_in(&environment, &start);
        assert_eq!((died.code, died.stdout.as_str()), (1, ""));
        insta::assert_snapshot!("start_worker_died", steady(world, died.stderr.lines().last().unwrap()));
        // What the first one left stands in its name's way, and in reconcile's report.
        let again = world.run_in(&environment, &["start-worker", "--name", "w", "--cwd", "project"]);
        assert_eq!(again.code, 1);
        insta::assert_snapshot!("start_worker_left", steady(world, again.stderr.lines().last().unwrap()));
        let report = world.run_in(&environment, &["reconcile"]).json();
        insta::assert_snapshot!(
            "reconcile_spawn_intents",
            steady(world, &format!("{:#}", report["spawn_intents"]))
        );
        let kill = report["spawn_intents"][0]["commands"][0].as_str().unwrap();
        assert_eq!(kill, "tmux kill-session -t '=codex-w'");
        world.tmux.tmux(["kill-session", "-t", "=codex-w"]);
        let repaired = world.run_in(&environment, &["reconcile", "--apply"]).json();
        assert_eq!(repaired["applied"]["spawn_intents_ended"][0], "w");
        assert!(world.run_in(&environment, &["reconcile"]).json().get("spawn_intents").is_none());
    });
}

#[test]
fn a_pair_of_older_ones_has_everything_but_native_addresses() {
    on_both_engines(|world| {
        let environment = environment(world);
        let pair = [
            "pair",
            "--task",
            "demo",
            "--task-goal",
            "ship it",
            "--worker-name",
            "w",
            "--manager-name",
            "m",
            "--cwd",
            "project",
            "--no-dispatch",
            "--manager-acceptance",
            "it is shipped",
            "--timeout-seconds",
            "20",
        ];
        let paired = world.run_in(&environment, &pair);
        assert_eq!(paired.code, 0, "{}", paired.stderr);
        insta::assert_snapshot!("pair_old", steady(world, &paired.stdout));
        let telemetry = world.telemetry();
        let kinds: Vec<&str> = telemetry.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(
            kinds,
            [
                "pair_started",
                "pair_task_resolved",
                "pair_manager_config_seeded",
                "acceptance_criterion_added",
                "pair_worker_spawned",
                "pair_manager_spawned",
                "pair_binding_created",
                "pair_run_created",
            ]
        );
        let events = world.column("select type from events order by id");
        assert_eq!(
            events,
            [
                "task_created",
                "manager_config_recorded",
                "manager_acceptance_criteria_seeded",
                "session_spawn_intent",
                "session_registered",
                "session_spawn_intent",
                "session_registered",
                "binding_created",
                "run_created",
            ]
        );
        // What stands in the way is found before a process is started.
        let again =
            ["pair", "--task", "demo", "--worker-name", "w2", "--manager-name", "m2", "--no-dispatch"];
        let refused = world.run_in(&environment, &again);
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""));
        insta::assert_snapshot!("pair_bound", steady(world, refused.stderr.lines().last().unwrap()));
        let sessions = world.tmux.tmux(["list-sessions", "-F", "#{session_name}"]);
        assert_eq!(sessions.lines().collect::<Vec<_>>(), ["codex-m", "codex-w"]);
    });
}

#[test]
fn a_dry_run_touches_nothing() {
    on_both_engines(|world| {
        let pair =
            ["pair", "--task", "demo", "--worker-name", "w", "--manager-name", "m", "--dry-run", "--json"];
        let before = world.dump();
        let environment = Environment { executable: Some("/opt/conveyor".into()), ..world.environment() };
        let plan = world.run_in(&environment, &pair);
        insta::assert_snapshot!("pair_dry_run", world.normal(&plan.stdout));
        assert_eq!(world.dump(), before);
    });
}

#[test]
fn refusals() {
    on_both_engines(|world| {
        let environment = environment(world);
        let nothing = Environment { search_path: None, ..environment.clone() };
        let mut lines = Vec::new();
        let mut refused = |code: u8, environment: &Environment, arguments: &[&str]| {
            let before = world.dump();
            let ran = world.run_in(environment, arguments);
            assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{arguments:?}: {}", ran.stderr);
            assert_eq!(world.dump(), before, "{arguments:?}");
            let last = ran.stderr.lines().last().unwrap().to_owned();
            lines.push(format!("{code} {}\n  {last}", arguments.join(" ")));
        };
        let pair = ["pair", "--task", "t", "--worker-name", "w", "--manager-name"];
        refused(2, &environment, &["start-worker"]);
        refused(2, &environment, &["start-worker", "--name", "a b"]);
        refused(2, &environment, &["start-worker", "--name", "a", "--name", "b"]);
        refused(2, &environment, &["start-worker", "--name", "a", "--sandbox", "none"]);
        refused(2, &environment, &["start-worker", "--name", "a", "--ask-for-approval", "always"]);
        refused(2, &environment, &["start-worker", "--name", "a", "--codex-profile", "safe"]);
        refused(2, &environment, &["start-worker", "--name", "a", "--timeout-seconds", "0"]);
        refused(2, &environment, &["start-worker", "--name", "a", "--worker", "b"]);
        refused(2, &environment, &["start-worker", "a"]);
        refused(1, &nothing, &["start-worker", "--name", "a"]);
        refused(2, &environment, &["start-manager", "--name", "m", "--goal", "x"]);
        refused(2, &environment, &["pair", "--task", "t"]);
        refused(2, &environment, &[&pair[..], &["w"]].concat());
        refused(2, &environment, &[&pair[..], &["m:x"]].concat());
        refused(2, &environment, &[&pair[..], &["m", "--manager-mode", "wild"]].concat());
        refused(2, &environment, &[&pair[..], &["m", "--manager-recipe", "unheard"]].concat());
        refused(2, &environment, &[&pair[..], &["m", "--manager-permissions-json", "{"]].concat());
        refused(1, &environment, &[&pair[..], &["m", "--codex-profile", "safe"]].concat());
        refused(1, &nothing, &[&pair[..], &["m"]].concat());
        world.run(&["tasks"]);
        refused(1, &environment, &["start-worker", "--name", "a", "--cwd", "nowhere"]);
        refused(1, &environment, &[&pair[..], &["m"]].concat());
        world.bind("demo");
        refused(1, &environment, &["start-worker", "--name", "demo-worker"]);
        world.tmux.tmux(["new-session", "-d", "-s", "codex-taken"]);
        refused(1, &environment, &["start-worker", "--name", "taken"]);
        insta::assert_snapshot!("spawn_refusals", steady(world, &lines.join("\n")));
    });
}

#[test]
fn a_manager_of_an_unknown_task_is_told_its_name() {
    on_both_engines(|world| {
        let environment = environment(world);
        let start = [
            "start-manager",
            "--name",
            "m",
            "--task",
            "later",
            "--cwd",
            "project",
            "--timeout-seconds",
            "20",
        ];
        let started = world.run_in(&environment, &start).json();
        assert_eq!(started["role"], "manager");
        let words = std::fs::read_to_string(world.dir().join("codex-home/words-project")).unwrap();
        assert!(words.contains("Task: later") && words.contains("no goal yet"), "{words}");
    });
}
