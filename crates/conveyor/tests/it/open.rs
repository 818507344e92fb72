//! `open`, `open-worker`, `open-manager`: on a desktop of the test's own, which notes what it is
//! told to run.

use std::fs;

use conveyor::Environment;
use conveyor_core::windows::Desktop;
use serde_json::json;

use crate::harness::{World, on_both_engines, on_sqlite};
use crate::panes::put_into;
use crate::terminals::{directory, file, start, worker};

/// A desktop of macOS with Terminal alone, whose programs write their words into a file.
pub fn desktop(world: &World) -> Environment {
    let programs = world.dir().join("bin");
    fs::create_dir_all(&programs).unwrap();
    let log = world.dir().join("opened");
    for name in ["open", "osascript"] {
        let text = format!("#!/bin/sh\nprintf '%s\\n' {name} \"$@\" >> '{}'\n", log.display());
        program(&programs.join(name), &text);
    }
    let applications = world.dir().join("Applications");
    let desktop = Desktop { is_macos: true, applications, programs: Some(programs) };
    Environment { desktop, ..world.environment() }
}

fn program(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn opened(world: &World) -> String {
    let text = fs::read_to_string(world.dir().join("opened")).unwrap_or_default();
    text.replace(&world.tmux.dir().display().to_string(), "[TMUX]")
}

fn shown(world: &World, stdout: &str) -> String {
    world.normal(&stdout.replace(&world.tmux.dir().display().to_string(), "[TMUX]"))
}

#[test]
fn a_worker_is_opened_once() {
    on_sqlite(|world| {
        let macos = desktop(world);
        worker(world, "a", &json!({ "name": "a" }));
        start(world, "codex-a", "exec sleep 600");
        let dry = world.run_in(&macos, &["open", "a", "--dry-run"]);
        insta::assert_snapshot!("open_dry_run", shown(world, &dry.stdout));
        assert!(!directory(world, "a").join("events.jsonl").exists() && opened(world).is_empty());
        let ran = world.run_in(&macos, &["open", "a", "--json"]);
        insta::assert_snapshot!("open", ran.stdout);
        insta::assert_snapshot!("open_command", opened(world));
        insta::assert_snapshot!("open_log", file(world, "a", "events.jsonl"));
        insta::assert_snapshot!("open_again", world.refused_with(1, &macos, &["open", "a"]));
        let forced = world.run_in(&macos, &["open", "a", "--force", "--terminal", "ghostty"]).json();
        assert_eq!((&forced["force"], &forced["terminal"]), (&json!(true), &json!("ghostty")));
        assert!(opened(world).contains("open\n-na\nGhostty.app\n--args\n-e\n"), "{}", opened(world));
        assert!(!world.file().exists(), "no ledger is made for a window");
    });
}

#[test]
fn a_window_that_cannot_be_opened_was_tried() {
    on_sqlite(|world| {
        let macos = desktop(world);
        worker(world, "a", &json!({ "name": "a" }));
        start(world, "codex-a", "exec sleep 600");
        program(&world.dir().join("bin/osascript"), "#!/bin/sh\necho 'not allowed' >&2\nexit 7\n");
        insta::assert_snapshot!("open_failed", world.refused_with(1, &macos, &["open", "a"]));
        let log = file(world, "a", "events.jsonl");
        assert!(log.contains("\"type\":\"open_attempt\"") && !log.contains("\"type\":\"open\""), "{log}");
        assert!(world.refused_with(1, &macos, &["open", "a"]).contains("--force"));
    });
}

#[test]
fn both_sides_of_a_task_are_opened() {
    on_both_engines(|world| {
        let macos = desktop(world);
        world.bind("demo");
        put_into(world, "demo-worker", "codex-w");
        put_into(world, "demo-manager", "codex-m");
        for session in ["codex-w", "codex-m"] {
            start(world, session, "exec sleep 600");
        }
        let worker = world.run_in(&macos, &["open-worker", "demo", "--dry-run"]);
        insta::assert_snapshot!("open_worker", shown(world, &worker.stdout));
        let before = world.dump();
        let manager = world.run_in(&macos, &["open-manager", "task-demo"]);
        insta::assert_snapshot!("open_manager", shown(world, &manager.stdout));
        assert!(opened(world).contains("tmux attach -t codex-m"), "{}", opened(world));
        // There is no guard, and no record.
        assert_eq!(world.run_in(&macos, &["open-manager", "demo"]).code, 0);
        assert_eq!(world.dump(), before);
    });
}

#[test]
fn refusals_come_in_order() {
    on_both_engines(|world| {
        let (linux, macos) = (
            Environment { desktop: Desktop { is_macos: false, ..Desktop::default() }, ..world.environment() },
            desktop(world),
        );
        world.bind("demo");
        world.json(&["tasks", "--create", "loose", "--goal", "g"]);
        worker(world, "a", &json!({ "name": "a" }));
        let mut said = vec![
            world.refused(&["open"]),
            world.refused_with(1, &linux, &["open", "a b"]),
            world.refused(&["open", "a", "--terminal", "iterm"]),
            world.refused(&["open-worker", "nope"]),
            world.refused(&["open-manager", "demo", "--force"]),
            world.refused_with(1, &linux, &["open", "nobody"]),
            world.refused_with(1, &linux, &["open", "a"]),
            world.refused_with(1, &macos, &["open", "a"]),
            world.refused_with(1, &linux, &["open-worker", "loose"]),
            world.refused_with(1, &linux, &["open-worker", "demo"]),
        ];
        put_into(world, "demo-worker", "codex-w");
        said.push(world.refused_with(1, &linux, &["open-worker", "demo"]));
        said.push(world.refused_with(1, &macos, &["open-worker", "demo"]));
        insta::assert_snapshot!("open_refusals", said.join("\n"));
    });
}
