//! `start`: a Codex in a terminal, and what is handed on to it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use conveyor::Environment;
use conveyor_testkit::wait;
use serde_json::{Value, json};

use crate::harness::{Ran, World, on_sqlite};
use crate::panes::is_there;
use crate::terminals;

/// An executable script.
pub fn program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// An environment whose `PATH` has these directories before the real ones, with a Codex that notes
/// the words it is started with and then waits. It has no server.
pub fn with_codex(world: &World) -> Environment {
    let note = world.dir().join("started");
    program(
        &world.dir().join("tools/codex"),
        &format!(
            "case $1 in\n\
             --help) echo '      --no-alt-screen'; exit ;;\n\
             --version) echo 'codex-cli 0.169.0'; exit ;;\n\
             app-server) exit 2 ;;\n\
             esac\n\
             {{ printf '%s\\0' \"$@\"; printf '%s\\0' \"$PATH\" \"$CODEX_HOME\" \"$PWD\"; }} > '{0}.part'\n\
             mv '{0}.part' '{0}'\n\
             echo 'codex is here'\n\
             exec sleep 600",
            note.display()
        ),
    );
    program(&world.dir().join("opt/conveyor"), "exit 0");
    let places = format!("PATH={}:/usr/bin:/bin; export PATH", world.dir().join("opt").display());
    program(&world.dir().join("shell"), &format!("{places}; shift; eval \"$1\""));
    let dirs = [world.dir().join("tools"), PathBuf::from("/usr/bin"), PathBuf::from("/bin")];
    Environment {
        search_path: Some(std::env::join_paths(dirs).unwrap()),
        executable: Some(world.dir().join("opt/conveyor")),
        shell: Some(world.dir().join("shell")),
        codex_home: Some(world.dir().join("codex-home")),
        ..world.environment()
    }
}

/// The words that the Codex was started with, then its `PATH`, `CODEX_HOME` and directory.
pub fn started(world: &World) -> Vec<String> {
    let note = world.dir().join("started");
    wait::until(Duration::from_secs(10), "codex", || note.exists());
    let text = fs::read_to_string(&note).unwrap();
    fs::remove_file(&note).unwrap();
    text.split_terminator('\0').map(|word| world.normal(word)).collect()
}

fn start(world: &World, arguments: &[&str]) -> Ran {
    let mut all = vec!["start"];
    all.extend(arguments);
    world.run_bare(&with_codex(world), &all)
}

#[test]
fn codex_is_told_how_to_become_a_worker() {
    on_sqlite(|world| {
        let ran = start(world, &["scratch"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        insta::assert_snapshot!("start", world.normal(&ran.stdout));
        let words = started(world);
        let prompt = fs::read_to_string(ran.json()["start_prompt_path"].as_str().unwrap()).unwrap();
        assert_eq!(words[5], world.normal(prompt.trim_end()), "the whole text is one word");
        insta::assert_snapshot!("start_prompt", world.normal(&prompt));
        assert_eq!(
            words[..5],
            ["--cd", "[DIR]", "-c", "check_for_update_on_startup=false", "--no-alt-screen"]
        );
        assert!(words[6].starts_with("[DIR]/opt:"), "the agent finds the program: {}", words[6]);
        assert_eq!(words[7..], ["[DIR]/codex-home", "[DIR]"]);
        assert!(is_there(world, "scratch"));
        assert!(!world.dir().join(".codex-workers/workerctl.db").exists(), "no ledger is made");
        let mode = fs::metadata(ran.json()["start_prompt_path"].as_str().unwrap()).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    });
}

#[test]
fn what_is_not_ours_goes_to_codex_in_order() {
    on_sqlite(|world| {
        fs::create_dir(world.dir().join("project")).unwrap();
        let handed_on = |arguments: &[&str]| {
            let ran = start(world, arguments);
            assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
            let words = started(world);
            world.tmux.tmux(["kill-session", "-t", "=s"]);
            let end = words.len() - 3;
            (ran.json(), words[5..end].to_vec())
        };
        let (report, words) = handed_on(&[
            "-m",
            "gpt-5",
            "--json",
            "s",
            "--path",
            "x.db",
            "-c",
            "-h",
            "--cwd",
            "project",
            "--no-start-prompt",
            "--search",
            "--sandbox",
            "read-only",
            "-i",
            "--image",
            "a b",
        ]);
        assert_eq!(
            words,
            [
                "-m",
                "gpt-5",
                "--json",
                "--path",
                "x.db",
                "-c",
                "-h",
                "--search",
                "--sandbox",
                "read-only",
                "-i",
                "--image",
                "a b"
            ]
        );
        assert_eq!(world.normal(report["cwd"].as_str().unwrap()), "[DIR]/project");
        assert_eq!(
            (&report["start_prompt_sent"], &report["start_prompt_path"]),
            (&json!(false), &Value::Null)
        );
        let (report, words) =
            handed_on(&["s", "--cwd=project", "more", "$(words)", "--", "--help", "--cwd", "-h", "--"]);
        assert_eq!(words[..6], ["more", "$(words)", "--help", "--cwd", "-h", "--"]);
        assert_eq!(words.len(), 7, "the prompt comes last");
        assert_eq!(report["start_prompt_sent"], true);
        // An option that wants a value takes no other option for it.
        let (_, words) = handed_on(&["s", "--model", "--search", "--no-start-prompt", "--model=x", "-m"]);
        assert_eq!(words, ["--model", "--search", "--model=x", "-m"]);
    });
}

#[test]
fn help_is_ours_unless_it_is_handed_on() {
    on_sqlite(|world| {
        for words in [&["-h"][..], &["s", "--help"], &["s", "--model", "gpt-5", "-h"]] {
            let ran = start(world, words);
            assert!(
                ran.code == 0 && ran.stdout.starts_with("usage: conveyor start"),
                "{words:?}: {}",
                ran.stdout
            );
        }
        insta::assert_snapshot!("start_help", start(world, &["--help"]).stdout);
        assert!(!world.dir().join(".codex-workers").exists() && !world.dir().join("started").exists());
    });
}

#[test]
fn refusals_come_in_order() {
    on_sqlite(|world| {
        let with = with_codex(world);
        let without = Environment { search_path: Some(OsString::from("/nowhere")), ..with.clone() };
        let no_tmux = Environment { tmux: Some("tmux-that-is-not-there".into()), ..with.clone() };
        terminals::start(world, "taken", "exec sleep 600");
        let refused = |code: u8, environment: &Environment, arguments: &[&str]| {
            let ran = world.run_bare(environment, arguments);
            assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{arguments:?}: {}", ran.stderr);
            assert_eq!(ran.stderr.lines().count(), 1, "{arguments:?}: {}", ran.stderr);
            world.normal(ran.stderr.trim_end())
        };
        let said = [
            refused(2, &without, &["start"]),
            refused(2, &without, &["start", "--", "s"]),
            refused(2, &without, &["start", "s", "--cwd"]),
            refused(2, &without, &["start", "s", "--no-start-prompt=x"]),
            refused(1, &without, &["start", "a b"]),
            refused(2, &with, &["start", "a b", "--cwd", "nowhere"]),
            refused(1, &no_tmux, &["start", "s", "--cwd", "nowhere"]),
            refused(1, &no_tmux, &["start", "s"]),
            refused(1, &with, &["start", "taken"]),
        ];
        insta::assert_snapshot!("start_refusals", said.join("\n"));
        assert!(!world.dir().join(".codex-workers").exists(), "nothing is written");
    });
}

#[test]
fn every_command_of_the_prompt_is_one() {
    on_sqlite(|world| {
        let ran = start(world, &["scratch"]);
        let report = ran.json();
        let prompt = fs::read_to_string(report["start_prompt_path"].as_str().unwrap()).unwrap();
        let templates = report.as_object().unwrap().iter().filter(|(key, _)| key.ends_with("_template"));
        let templates = templates.map(|(_, command)| command.as_str().unwrap().to_owned());
        let lines = prompt.lines().filter(|line| line.starts_with("conveyor ")).map(ToOwned::to_owned);
        let mut seen = 0;
        for command in lines.chain(templates) {
            understood(world, &command);
            seen += 1;
        }
        assert_eq!(seen, 12);
    });
}

/// Has a shell split the command, and the program read it: its help comes only after options that
/// it knows.
pub fn understood(world: &World, command: &str) {
    let command = command.trim_end_matches(" <<'JSON'").replace(['<', '>'], "");
    let script = format!("conveyor() {{ printf '%s\\0' \"$@\"; }}; {command} --help");
    let split = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    let words = String::from_utf8(split.stdout).unwrap();
    let words: Vec<&str> = words.split_terminator('\0').collect();
    let ran = world.run_bare(&world.environment(), &words);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{command}");
}
