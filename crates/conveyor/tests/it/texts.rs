//! Texts from files and standard input, in place of options and arguments.

use std::path::Path;
use std::time::Duration;

use crate::harness::{World, on_both_engines, on_sqlite};

const SECOND: Duration = Duration::from_secs(1);

fn file(world: &World, name: &str, bytes: impl AsRef<[u8]>) -> String {
    std::fs::write(world.dir().join(name), bytes).unwrap();
    name.to_owned()
}

fn queued(world: &World) -> Vec<String> {
    world.column("select payload_json from commands order by created_at, id")
}

fn last_message(world: &World) -> String {
    let payload: serde_json::Value = serde_json::from_str(queued(world).last().unwrap()).unwrap();
    payload["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_message_comes_from_a_file_or_standard_input_as_it_stands_there() {
    on_both_engines(|world| {
        world.bind("T");
        let enqueue = |more: &[&str]| {
            let mut all = vec!["enqueue-nudge-worker", "T"];
            all.extend(more);
            let ran = world.run(&all);
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            last_message(world)
        };
        let longer_than_an_argument = "- Zeile äöü\n".repeat(20_000);
        for text in
            ["--not an option", "two\nlines", " blanks around ", "ends twice\n", &longer_than_an_argument]
        {
            let name = file(world, "message.txt", format!("{text}\n"));
            assert_eq!(enqueue(&["--message-file", &name]), *text);
            world.clock.advance(SECOND);
            file(world, "message.txt", format!("{text}\r\n"));
            assert_eq!(enqueue(&[&format!("--message-file={name}")]), *text);
            world.clock.advance(SECOND);
        }
        let ran =
            world.run_fed("from standard input\n", &["enqueue-notify-manager", "T", "--message-file", "-"]);
        assert_eq!((ran.code, last_message(world).as_str()), (0, "from standard input"));
        world.clock.advance(SECOND);
        assert_eq!(enqueue(&["--message", "-"]), "-");
        world.clock.advance(SECOND);
        // A file of this name is still within reach.
        file(world, "-", "the file");
        assert_eq!(enqueue(&["--message-file", "./-"]), "the file");
    });
}

#[test]
fn what_is_no_text_is_refused_by_the_name_of_its_file() {
    on_both_engines(|world| {
        world.bind("T");
        let enqueue = |file: &str| world.refused(&["enqueue-nudge-worker", "T", "--message-file", file]);
        for (name, bytes, why) in [
            ("latin1", b"caf\xe9".to_vec(), "UTF-8"),
            ("empty", Vec::new(), "white space"),
            ("blank", "\u{feff} \u{200b}\n\n".as_bytes().to_vec(), "white space"),
            ("nul", b"a\0b".to_vec(), "NUL"),
            ("long", vec![b'a'; (8 << 20) + 1], "8 MiB"),
        ] {
            let line = enqueue(&file(world, name, bytes));
            assert!(line.contains(name) && line.contains(why), "{line}");
        }
        let just = file(world, "just", vec![b'a'; 8 << 20]);
        assert_eq!(world.run(&["enqueue-nudge-worker", "T", "--message-file", &just]).code, 0);
        let missing = enqueue("missing.txt");
        assert!(missing.contains("missing.txt") && missing.contains("No such file"), "{missing}");
        assert!(enqueue(".").contains("directory"));
        let both = world.refused(&["enqueue-nudge-worker", "T", "--message", "a", "--message-file", &just]);
        assert!(both.contains("--message ") && both.contains("--message-file"), "{both}");
        let fed = world.refused_fed(
            "once",
            &["create-disposable-binding", "U", "--goal-file", "-", "--summary-file", "-"],
        );
        assert!(fed.contains("--summary-file") && fed.contains("standard input"), "{fed}");
        assert!(world.refused(&["enqueue-nudge-worker", "T"]).contains("--message"));
    });
}

#[test]
fn arguments_and_all_kinds_of_options_have_a_file_of_theirs() {
    on_sqlite(|world| {
        let name = file(world, "t", "from the file\n");
        world.json(&["tasks", "--create", "demo", "--goal-file", &name, "--summary", "short"]);
        assert_eq!(world.column("select goal || '/' || summary from tasks"), ["from the file/short"]);
        world.json(&["manager-config", "demo", "--guideline-file", &name, "--guideline-file", &name]);
        assert_eq!(
            world.column("select guidelines_json from manager_configs"),
            [r#"["from the file","from the file"]"#]
        );
        world.json(&["handoff", "demo", "--summary-file", &name, "--next-step-file", &name]);
        assert_eq!(world.column("select summary from worker_handoffs"), ["from the file"]);
        for option in ["--text-file", "--message-file"] {
            let ran = world.run(&["session-nudge", "nobody", option, "t"]);
            assert_eq!(ran.code, 2);
            assert!(ran.stderr.contains("no session registered with name \"nobody\""), "{}", ran.stderr);
        }
        assert!(world.telemetry().contains("\"text_length\":13"), "the text and no line end");
        for (words, expected) in [
            (vec!["session-nudge", "nobody", "text", "--text-file", "t"], "cannot be used together"),
            (vec!["nudge", "--text-file", "t"], "needs a name"),
            (vec!["session-interrupt", "nobody", "--followup-file", "absent"], "absent"),
            (vec!["interrupt", "nobody", "--no-followup", "--followup-file", "t"], "--no-followup"),
            (vec!["finish-task", "demo", "--message-file", "absent"], "absent"),
            (vec!["stop", "nobody", "--message-file", "absent"], "absent"),
            (vec!["start-worker", "--name", "w", "--task-file", "absent"], "absent"),
            (vec!["create", "w", "--task-file", "absent"], "absent"),
            (vec!["tasks", "--goal-file", "t"], "--create"),
        ] {
            let line = world.refused(&words);
            assert!(line.contains(expected), "{words:?}: {line}");
        }
        assert!(!Path::new("t").exists(), "files are looked for in the command's directory");
    });
}

#[test]
fn help_needs_no_file() {
    on_sqlite(|world| {
        let ran = world.run_plain(&["nudge", "--text-file", "absent", "--help"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains("--text-file <FILE>"), "{}", ran.stdout);
    });
}
