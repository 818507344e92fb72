//! Real tmux servers, each of its test's own.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use conveyor_agents::tmux::{Extent, Held, NewSession, PaneKey, ServerChoice, Target, Tmux, TmuxError};
use conveyor_testkit::{TmuxServer, wait};

const LONG: Duration = Duration::from_secs(20);

fn client(server: &TmuxServer) -> Tmux {
    Tmux::new("tmux", ServerChoice::Directory(server.dir().to_owned())).with_deadline(LONG)
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn start(tmux: &Tmux, name: &str, command: &[&str]) -> Target {
    let command = words(command);
    tmux.new_session(&NewSession { name, command: &command, ..Default::default() }).expect("started");
    Target::Session(name.into())
}

/// The visible screen without blank rows at its end, once it contains `text`.
fn screen_with(tmux: &Tmux, target: &Target, text: &str) -> String {
    wait::some(LONG, text, || {
        let look = tmux.look(target, Extent::default()).expect("a look");
        look.text.contains(text).then(|| look.text.trim_end().to_owned())
    })
}

/// Locks a pane for what a test types.
fn lock(tmux: &Tmux, target: &Target) -> Held {
    let pane = PaneKey::from(&tmux.pane(target).expect("a pane"));
    let token = "test".to_owned();
    assert_eq!(tmux.replace_lock(&pane, "", &token), Ok(token.clone()));
    Held { pane, token }
}

#[test]
fn sessions_are_addressed_exactly() {
    let server = TmuxServer::new();
    let tmux = client(&server);
    assert_eq!(tmux.has_session("codex-a"), Ok(false), "no server yet");
    start(&tmux, "codex-abc", &["cat"]);
    assert_eq!(tmux.has_session("codex-abc"), Ok(true));
    for other in ["codex-a", "codex-ab", "codex-*", "=codex-abc", "codex-abc:0", "", "$0", "%0", "@0"] {
        assert_eq!(tmux.has_session(other), Ok(false), "{other:?}");
        let target = Target::Session(other.into());
        let missing = TmuxError::NoSession { target: other.into() };
        assert_eq!(tmux.look(&target, Extent::default()).map(drop), Err(missing.clone()), "{other:?}");
        assert_eq!(tmux.pane(&target), Err(missing), "{other:?}");
        assert_eq!(tmux.kill_pane(&target), Ok(false), "{other:?}");
    }
    let pane = tmux.pane(&Target::Session("codex-abc".into())).expect("a pane");
    assert_eq!(tmux.kill_pane_of(&pane.id, pane.pid + 1), Ok(false), "another process");
    assert_eq!(tmux.kill_pane_of("%99", pane.pid), Ok(false));
    assert_eq!(tmux.kill_pane_of("codex-abc", pane.pid), Ok(false), "no pane's id");
    assert_eq!(tmux.has_session("codex-abc"), Ok(true));
    assert_eq!(tmux.kill_pane_of(&pane.id, pane.pid), Ok(true));
    assert_eq!(tmux.has_session("codex-abc"), Ok(false), "the server is gone with its last session");
    assert_eq!(tmux.kill_pane_of(&pane.id, pane.pid), Ok(false));
}

#[test]
fn a_new_session_has_its_size_environment_directory_and_words() {
    let server = TmuxServer::new();
    let tmux = client(&server);
    let dir = tempfile::tempdir().expect("a directory");
    let command = words(&["sh", "-c", "pwd; echo \"<$A> <$1> <$2>\"; exec cat;", "sh", "two words;", "$A"]);
    let environment = [("A".into(), "1 ' ;".into())];
    let started = tmux.new_session(&NewSession {
        name: "n",
        cwd: Some(dir.path()),
        environment: &environment,
        command: &command,
        keep: false,
    });
    let started = started.expect("started");
    let target = Target::Session("n".into());
    let screen = screen_with(&tmux, &target, "<1 ' ;> <two words;> <$A>");
    let real = dir.path().canonicalize().expect("a path");
    assert_eq!(screen.lines().next(), real.to_str());
    let pane = tmux.pane(&target).expect("a pane");
    assert_eq!((pane.width, pane.height, pane.panes_in_window), (200, 50, 1));
    assert!(!pane.dead && !pane.in_mode && !pane.input_off && !pane.synchronized && !pane.alternate_screen);
    assert!(pane.cursor_visible && pane.tty.starts_with("/dev/"), "{pane:?}");
    assert_eq!((pane.cursor_x, pane.cursor_y), (0, 2));
    assert!(Path::new("/proc").join(pane.pid.to_string()).exists() || !Path::new("/proc/self").exists());
    let by_id = tmux.pane(&Target::Pane(pane.id.clone())).expect("the same pane");
    assert_eq!(by_id, pane);
    assert_eq!((&started.id, started.pid, started.server_pid), (&pane.id, pane.pid, pane.server_pid));
}

/// Whatever a user's settings and other terminals do to new sessions, the program gets a pane of its
/// own with the usual size, and its own pane is the one that is given.
#[test]
fn hooks_defaults_and_small_terminals_do_not_matter() {
    let server = TmuxServer::new();
    let tmux = client(&server);
    start(&tmux, "earlier", &["cat"]);
    // A terminal of 40 × 12 on another server that shows a session of this one.
    let host = TmuxServer::new();
    let attach =
        format!("unset TMUX; TMUX_TMPDIR='{}' exec tmux -u attach -t =earlier", server.dir().display());
    host.tmux(["new-session", "-d", "-s", "phone", "-x", "40", "-y", "12", &attach]);
    wait::until(LONG, "a narrow terminal", || {
        server.tmux(["list-clients", "-F", "#{client_width}"]).trim() == "40"
    });
    server.tmux(["set-option", "-g", "destroy-unattached", "on"]);
    server.tmux(["set-option", "-t", "=earlier:", "destroy-unattached", "off"]);
    for hook in ["new-window cat", "split-window cat", "set-option -w remain-on-exit on"] {
        server.tmux(["set-hook", "-g", "after-new-session", hook]);
        let command = words(&["sh", "-c", "echo it is me; exec cat"]);
        let name = "hooked";
        let pane = tmux.new_session(&NewSession { name, command: &command, ..Default::default() });
        let pane = pane.expect(hook);
        let target = Target::Pane(pane.id.clone());
        screen_with(&tmux, &target, "it is me");
        assert_eq!(tmux.has_session(name), Ok(true), "{hook}: nobody is attached");
        if !hook.starts_with("split") {
            assert_eq!((pane.width, pane.height), (200, 50), "{hook}");
        }
        server.tmux(["kill-session", "-t", "=hooked"]);
    }
}

#[test]
fn one_word_is_a_program_not_a_shell_line() {
    let server = TmuxServer::new();
    let tmux = client(&server);
    let dir = tempfile::tempdir().expect("a directory");
    let program = dir.path().join("it's; a program");
    write_program(&program, "echo here; exec cat");
    let target = start(&tmux, "one", &[program.to_str().expect("UTF-8")]);
    screen_with(&tmux, &target, "here");
}

#[test]
fn names_that_tmux_would_change_or_have_twice_are_refused() {
    let server = TmuxServer::new();
    let tmux = client(&server);
    start(&tmux, "a", &["cat"]);
    let again = NewSession { name: "a", ..Default::default() };
    assert_eq!(tmux.new_session(&again), Err(TmuxError::SessionExists { session: "a".into() }));
    let changed = NewSession { name: "a.b", ..Default::default() };
    let error = tmux.new_session(&changed).expect_err("refused").to_string();
    assert_eq!(error, "tmux new-session failed: \"a.b\" cannot be the name of a tmux session");
    assert_eq!(tmux.has_session("a_b"), Ok(false));
}

#[test]
fn texts_arrive_as_they_are_and_leave_no_buffer() {
    let server = TmuxServer::new();
    let tmux = client(&server);
    let dir = tempfile::tempdir().expect("a directory");
    let received = dir.path().join("received");
    let script =
        format!("printf '\\033[?2004h'; stty -icanon -echo; echo ready; exec cat > '{}'", received.display());
    let target = start(&tmux, "p", &["sh", "-c", &script]);
    screen_with(&tmux, &target, "ready");
    // Longer than a pipe holds, with everything in it that a shell or an option parser would take.
    let text = format!("- grün › $(x) `y` ;\n{}\nend;", "wörter ".repeat(20_000));
    tmux.load_buffer("workerctl-p", &text).expect("loaded");
    let held = lock(&tmux, &target);
    assert_eq!(tmux.paste_buffer("workerctl-p", &held), Ok(true));
    let expected = format!("\u{1b}[200~{text}\u{1b}[201~");
    wait::until(LONG, "the text", || fs::read(&received).is_ok_and(|bytes| bytes.len() >= expected.len()));
    assert!(fs::read_to_string(&received).expect("read") == expected, "another text arrived");
    tmux.delete_buffer("workerctl-p").expect("gone already is no failure");
    let again = tmux.paste_buffer("workerctl-p", &held);
    assert!(matches!(again, Err(TmuxError::Failed { .. })), "{again:?}");
}

#[test]
fn keys_are_pressed() {
    let server = TmuxServer::new();
    let tmux = client(&server);
    let target = start(&tmux, "k", &["sh", "-c", "trap 'echo stopped' INT; while :; do sleep 0.05; done"]);
    let held = lock(&tmux, &target);
    wait::until(LONG, "the trap", || {
        assert_eq!(tmux.send_keys(&held, &["C-c"]), Ok(true));
        tmux.look(&target, Extent::default()).expect("a look").text.contains("stopped")
    });
    let pane = tmux.pane(&target).expect("a pane").id;
    tmux.kill_pane(&target).expect("killed");
    let gone = tmux.send_keys(&held, &["-x", ";"]);
    assert_eq!(gone, Err(TmuxError::NoSession { target: pane }));
}

#[test]
fn history_is_captured_where_there_is_one() {
    let server = TmuxServer::new();
    let tmux = client(&server);
    let script = "seq 1 120; printf '\\033[1m› bold\\033[0m\\n'; exec cat";
    let target = start(&tmux, "h", &["sh", "-c", script]);
    let visible = screen_with(&tmux, &target, "› bold");
    assert!(!visible.lines().any(|line| line == "50"), "{visible}");
    let history = tmux.look(&target, Extent { history_lines: 30, attributes: false }).expect("a look");
    let first = 120 + 1 - 48 - 30;
    assert_eq!(history.text.lines().next(), Some(first.to_string().as_str()));
    assert_eq!(history.pane.history_size, 72);
    let all = tmux.look(&target, Extent { history_lines: 4000, attributes: true }).expect("a look");
    assert_eq!(all.text.lines().next(), Some("1"));
    assert!(all.text.contains("\u{1b}[1m› bold"), "{:?}", all.text);
}

#[test]
fn an_alternate_screen_is_told() {
    let server = TmuxServer::new();
    let tmux = client(&server);
    let script = "seq 1 90; printf '\\033[?1049h\\033[?25lother screen'; exec cat";
    let target = start(&tmux, "alt", &["sh", "-c", script]);
    screen_with(&tmux, &target, "other screen");
    let look = tmux.look(&target, Extent { history_lines: 200, attributes: false }).expect("a look");
    assert!(look.pane.alternate_screen && !look.pane.cursor_visible, "{:?}", look.pane);
}

#[test]
fn a_dead_pane_and_copy_mode_are_told() {
    let server = TmuxServer::new();
    let tmux = client(&server);
    let target = start(&tmux, "d", &["cat"]);
    server.tmux(["copy-mode", "-t", "=d:"]);
    assert!(tmux.pane(&target).expect("a pane").in_mode);
    server.tmux(["set-option", "-w", "-t", "=d:", "remain-on-exit", "on"]);
    server.tmux(["send-keys", "-t", "=d:", "-X", "cancel"]);
    assert_eq!(tmux.send_keys(&lock(&tmux, &target), &["C-d"]), Ok(true));
    wait::until(LONG, "the end", || tmux.pane(&target).expect("a pane").dead);
}

#[test]
fn people_who_look_are_told_with_their_last_key() {
    let server = TmuxServer::new();
    let tmux = client(&server);
    let target = start(&tmux, "seen", &["cat"]);
    start(&tmux, "other", &["cat"]);
    let clients = || tmux.look(&target, Extent::default()).expect("a look").clients;
    assert_eq!(clients(), []);
    // A terminal for the client: a pane of another server.
    let outside = TmuxServer::new();
    let attach = |session: &str| {
        let line =
            format!("exec env -u TMUX TMUX_TMPDIR='{}' tmux attach -t ={session}", server.dir().display());
        outside.tmux(["new-session", "-d", "-s", session, &line]);
    };
    attach("seen");
    attach("other");
    wait::until(LONG, "two clients", || server.tmux(["list-clients"]).lines().count() == 2);
    let seen = clients();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].activity > 1_600_000_000 && !seen[0].read_only, "{seen:?}");
}

#[test]
fn a_missing_program_is_told() {
    let tmux = Tmux::new("tmux-that-is-not-there", ServerChoice::Default);
    let error = tmux.has_session("a").expect_err("missing");
    assert_eq!(
        error.to_string(),
        "tmux has-session -t =a failed: tmux-that-is-not-there is not installed or not on PATH"
    );
    assert!(matches!(error, TmuxError::NotInstalled { .. }));
}

/// Makes an executable shell script. A process of its own writes it: a child that another test
/// starts meanwhile would hold our descriptor open, and a file open for writing is not executed.
fn write_program(path: &Path, script: &str) {
    let write = "printf '#!/bin/sh\n%s\n' \"$1\" > \"$2\" && chmod 755 \"$2\"";
    let status = Command::new("sh").args(["-c", write, "sh", script]).arg(path).status();
    assert!(status.expect("sh runs").success());
}

/// A program in tmux's place that runs this shell script.
fn instead(dir: &Path, script: &str) -> Tmux {
    let program = dir.join("tmux");
    write_program(&program, script);
    Tmux::new(program, ServerChoice::Name("n".into()))
}

#[test]
fn a_hung_tmux_is_given_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let limit = Duration::from_millis(200);
    // Silent; without its outputs; and one that reads no input.
    for script in ["exec sleep 60", "exec >&- 2>&-; exec sleep 60", "echo begun; exec sleep 60"] {
        let tmux = instead(dir.path(), script).with_deadline(limit);
        let begin = Instant::now();
        let error = tmux.load_buffer("b", &"x".repeat(1 << 20)).expect_err("given up");
        assert_eq!(error, TmuxError::TimedOut { command: "tmux load-buffer -b b -".into(), after: limit });
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn failures_show_neither_texts_nor_environment() {
    let dir = tempfile::tempdir().expect("a directory");
    let tmux = instead(dir.path(), "echo out; exit 3");
    let secret = [OsString::from("secret")];
    let environment = [("TOKEN".into(), "secret".into())];
    let new = NewSession { name: "s", environment: &environment, command: &secret, ..Default::default() };
    let error = tmux.new_session(&new).expect_err("refused").to_string();
    assert_eq!(error, "tmux new-session -d -s s -x 200 -y 50 failed: out");
    // It ends without reading its input.
    let error = tmux.load_buffer("b", &"secret".repeat(1 << 18)).expect_err("refused").to_string();
    assert_eq!(error, "tmux load-buffer -b b - failed: out");
    let silent = instead(dir.path(), "exit 3").start_server().expect_err("refused").to_string();
    assert_eq!(silent, "tmux start-server failed: exit code 3");
    let denied = instead(dir.path(), "echo 'Operation not permitted' >&2; exit 1").has_session("s");
    assert_eq!(denied, Err(TmuxError::AccessDenied { detail: "Operation not permitted".into() }));
}

#[test]
fn servers_are_chosen_by_directory_name_or_socket() {
    let server = TmuxServer::new();
    start(&client(&server), "here", &["cat"]);
    let path = server.tmux(["display-message", "-p", "#{socket_path}"]);
    let by_socket = Tmux::new("tmux", ServerChoice::Socket(path.trim().into()));
    assert_eq!(by_socket.has_session("here"), Ok(true));
    let elsewhere = TmuxServer::new();
    assert_eq!(client(&elsewhere).has_session("here"), Ok(false));
    assert!(client(&elsewhere).version().expect("installed").starts_with("tmux "));
}
