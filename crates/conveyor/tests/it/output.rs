//! What reaches the reader of standard output, through real pipes and on a real terminal.

use std::process::{Command, Output};
use std::time::Duration;

use conveyor_testkit::wait;

use crate::harness::{World, on_both_engines};

/// Delete, a sequence as seven-bit and as eight-bit terminals know it, a bell, a carriage return.
const WILD: &str = "a\u{7f}b\u{9b}31mc\u{1b}[31md\u{1b}]0;t\u{7}e\rf\u{85}g\u{a0}h";

fn program(world: &World, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_conveyor"))
        .args(arguments)
        .args(["--path", &world.ledger()])
        .current_dir(world.dir())
        .env("CLICOLOR_FORCE", "1")
        .output()
        .unwrap()
}

fn piped(world: &World, arguments: &[&str]) -> String {
    let output = program(world, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The bytes that a command sends to a terminal.
fn on_terminal(world: &World, arguments: &[&str]) -> String {
    let quoted: Vec<String> = arguments.iter().map(|word| conveyor_model::shell::quote(word)).collect();
    let sent = world.dir().join("sent");
    let _ = std::fs::remove_file(&sent);
    let script = format!(
        "cd {}; stty -opost; read go; {} {} --path {}; echo END; exec sleep 600",
        conveyor_model::shell::quote(&world.dir().display().to_string()),
        env!("CARGO_BIN_EXE_conveyor"),
        quoted.join(" "),
        conveyor_model::shell::quote(&world.ledger()),
    );
    world.tmux.tmux(["new-session", "-d", "-s", "reader", "-x", "300", "-y", "50", &script]);
    world.tmux.tmux(["pipe-pane", "-O", "-t", "=reader:", &format!("cat > '{}'", sent.display())]);
    wait::until(Duration::from_secs(20), "the pipe", || sent.exists());
    world.tmux.tmux(["send-keys", "-t", "=reader:", "Enter"]);
    let read = || String::from_utf8_lossy(&std::fs::read(&sent).unwrap_or_default()).into_owned();
    wait::until(Duration::from_secs(20), "its end", || read().contains("END\n"));
    world.tmux.tmux(["kill-session", "-t", "=reader"]);
    let text = read();
    // The echo of Enter comes first.
    text.trim_start_matches(['\r', '\n']).trim_end_matches("END\n").to_owned()
}

/// A task whose goal, and a transcript whose text, hold everything wild.
fn wild(world: &World) {
    world.bind("demo");
    world.run(&["tasks", "--create", "wild", "--goal", WILD]);
    let at = "2026-06-11T12:00:00Z";
    world.sql(&format!(
        "insert into terminal_captures (task_id, role, tmux_session, captured_at, history_lines, content_sha256, \
         byte_count, line_count, classifier_json, source) values \
         ('task-demo', 'worker', 's', '{at}', 10, 'x', 1, 1, '{{}}', 's'); \
         insert into transcript_segments (task_id, role, source_capture_id, captured_at, content_sha256, segment_text, \
         byte_count, line_count, retention_class, segment_kind, created_at) values \
         ('task-demo', 'worker', 1, '{at}', 'x', '{WILD}', 1, 1, 'hot', 'segment', '{at}')"
    ));
}

#[test]
fn json_comes_whole_and_harms_no_terminal() {
    on_both_engines(|world| {
        world.run(&["tasks", "--create", "wild", "--goal", WILD]);
        let text = piped(world, &["tasks", "--json"]);
        assert!(!text.contains(|letter: char| letter.is_control() && letter != '\n'), "{text:?}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read[0]["goal"], WILD);
        assert_eq!(on_terminal(world, &["tasks", "--json"]), text, "the same on a terminal");
        // The ledger keeps its bytes.
        assert_eq!(world.scalar("select goal from tasks where name = 'wild'"), WILD);
    });
}

#[test]
fn the_one_line_replies_come_whole() {
    on_both_engines(|world| {
        world.bind("demo");
        world.sql(&format!("update sessions set name = 'w{WILD}' where id = 'session-demo-w'"));
        world.sql("update bindings set state = 'ended'");
        let name = format!("w{WILD}");
        let text = piped(world, &["deregister", &name]);
        assert!(!text.trim_end().contains(char::is_control), "{text:?}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["name"], name);
    });
}

#[test]
fn captured_text_is_verbatim_on_pipes_and_shown_on_terminals() {
    on_both_engines(|world| {
        wild(world);
        let show = ["transcript-show", "demo", "--role", "worker", "--include-content"];
        let text = piped(world, &show);
        assert!(text.ends_with(&format!("{WILD}\n")), "{text:?}");
        let seen = on_terminal(world, &show);
        assert!(!seen.contains(|letter: char| letter.is_control() && letter != '\n'), "{seen:?}");
        assert!(seen.contains("a\\u{7f}b\\u{9b}31mc\\u{1b}[31md"), "{seen:?}");
    });
}

#[test]
fn our_own_colours_go_to_terminals_only() {
    on_both_engines(|world| {
        world.run(&["tasks", "--create", "demo", "--goal", "g"]);
        for arguments in [&["tasks"][..], &["tasks", "--help"]] {
            assert!(!piped(world, arguments).contains('\u{1b}'), "{arguments:?}");
        }
        assert!(on_terminal(world, &["tasks"]).contains("\u{1b}[1m"));
    });
}
