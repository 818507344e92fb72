//! Threads that are made by us and shown by a terminal: create, name, attach.

use std::path::Path;
use std::time::{Duration, Instant};

use conveyor_agents::codex::{
    Approval, Attachment, Event, Interrupted, NewThread, Permissions, Sandbox, State, Thread, Trust,
    TurnStatus, create, interrupt, probe, wait_for_end,
};
use conveyor_agents::screen::{StartupState, startup};
use conveyor_testkit::TmuxServer;
use conveyor_testkit::model_server::{Reply, Script};
use conveyor_testkit::wait;

use super::{LIMIT, Lab, begin, new_thread, wait_for};

fn attach(lab: &Lab, tmux: &TmuxServer, session: &str, thread: &Thread) {
    let how = Attachment {
        sandbox: Sandbox::WorkspaceWrite,
        approval: Approval::OnRequest,
        model: None,
        writable: &[],
        keep_history: true,
        name_server: true,
    };
    let command = lab.codex().attach(&thread.id, &how);
    let environment = lab.home.environment().into_iter().map(|(name, value)| format!("{name}={value}"));
    let fixed = ["new-session", "-d", "-s", session, "-x", "200", "-y", "50", "-c", &thread.cwd, "env"];
    tmux.tmux(fixed.into_iter().map(str::to_owned).chain(environment).chain(command));
}

fn pane(tmux: &TmuxServer, session: &str) -> String {
    tmux.tmux(["capture-pane", "-p", "-t", &format!("={session}:")])
}

fn wait_for_pane(tmux: &TmuxServer, session: &str, text: &str) {
    wait::until(LIMIT, &format!("{text:?} in {session}"), || pane(tmux, session).contains(text));
}

fn type_text(tmux: &TmuxServer, session: &str, text: &str) {
    let target = format!("={session}:");
    tmux.tmux(["send-keys", "-t", &target, "-l", text]);
    wait_for_pane(tmux, session, text);
    // Codex takes keys that come all at once for a paste, in which Enter is a new line; on a busy
    // machine it sees them all at once. Then a later Enter sends it.
    let typed = Instant::now();
    let mut pressed: Option<Instant> = None;
    wait::until(LIMIT, &format!("{text:?} sent in {session}"), || {
        let shown = pane(tmux, session);
        let composer = shown.lines().rev().find(|row| row.starts_with('›'));
        // Before Enter its absence says only that the screen is being drawn.
        if pressed.is_some() && composer.is_none_or(|row| !row.contains(text)) {
            return true;
        }
        if pressed.unwrap_or(typed).elapsed() > Duration::from_millis(800) {
            tmux.tmux(["send-keys", "-t", &target, "Enter"]);
            pressed = Some(Instant::now());
        }
        false
    });
}

#[test]
fn three_threads_made_at_once_in_one_directory_are_told_apart() {
    let Some(lab) = Lab::shared() else { return };
    let tmux = TmuxServer::new();
    let cwd = lab.home.project("crowded");
    let names = ["crowd-a", "crowd-b", "crowd-c"];
    let threads: Vec<Thread> = std::thread::scope(|scope| {
        let (cwd, tmux) = (&cwd, &tmux);
        let spawned: Vec<_> =
            names.iter().map(|name| scope.spawn(move || make_and_attach(lab, tmux, cwd, name))).collect();
        spawned.into_iter().map(|thread| thread.join().expect("a thread")).collect()
    });
    let mut client = lab.client();
    for (name, thread) in names.iter().zip(&threads) {
        let read = client.thread_read(&thread.id).unwrap();
        assert_eq!(read.name.as_deref(), Some(*name));
        assert_eq!(threads.iter().filter(|other| other.path == read.path).count(), 1);
        begin(&mut client, thread, &format!("hello {name}"));
    }
    // What is said to a thread is shown by its own terminal and by no other.
    for name in names {
        wait_for_pane(&tmux, name, &format!("hello {name}"));
        let shown = pane(&tmux, name);
        let others = names.iter().filter(|other| **other != name);
        assert!(others.into_iter().all(|other| !shown.contains(&format!("hello {other}"))), "{shown}");
    }
}

/// Whether Codex takes messages. Its composer alone says nothing: it is shown already while a
/// session is being resumed.
fn is_ready(tmux: &TmuxServer, name: &str) -> bool {
    startup(&pane(tmux, name)).state == StartupState::Ready
}

fn wait_until_ready(tmux: &TmuxServer, name: &str) {
    wait::until(LIMIT, "a ready Codex", || is_ready(tmux, name));
}

fn make_and_attach(lab: &Lab, tmux: &TmuxServer, cwd: &Path, name: &str) -> Thread {
    let mut client = lab.client();
    let thread = create(&mut client, &new_thread(cwd), name).expect("a thread");
    attach(lab, tmux, name, &thread);
    wait_until_ready(tmux, name);
    // From here on the terminal is subscribed; we need not be.
    client.thread_unsubscribe(&thread.id).expect("let go");
    thread
}

#[test]
fn a_turn_outlives_its_terminal_until_it_is_interrupted() {
    let Some(lab) = Lab::shared() else { return };
    lab.model.add(Script::new().on("outlive me", [Reply::shell("sleep 2; touch outlived; sleep 600")]));
    let tmux = TmuxServer::new();
    let cwd = lab.home.project("outliving");
    let thread = make_and_attach(lab, &tmux, &cwd, "outliving");
    type_text(&tmux, "outliving", "outlive me");
    let mut client = lab.client();
    wait_for(&mut client, &thread, State::Busy);
    tmux.tmux(["kill-session", "-t", "=outliving"]);
    // The terminal is gone, the turn is not: the shared server runs it.
    wait::until(LIMIT, "the turn's work", || cwd.join("outlived").exists());
    let turn = wait_for(&mut client, &thread, State::Busy).running_turn().unwrap().id.clone();
    let ended = interrupt(&mut client, &thread.id, None).unwrap();
    assert_eq!(ended, Interrupted::Interrupted { turn_id: turn.clone() });
    let end = wait_for_end(&mut client, &thread.id, &turn, LIMIT).unwrap();
    assert_eq!(end, Some(TurnStatus::Interrupted));
}

#[test]
fn a_cleared_terminal_shows_a_new_thread_which_the_server_announces() {
    let Some(lab) = Lab::shared() else { return };
    let tmux = TmuxServer::new();
    let cwd = lab.home.project("cleared");
    let thread = make_and_attach(lab, &tmux, &cwd, "cleared");
    type_text(&tmux, "cleared", "say something first");
    let mut client = lab.client();
    wait::until(LIMIT, "a first turn", || probe(&mut client, &thread.id).unwrap().last_turn.is_some());
    wait_for(&mut client, &thread, State::Idle);
    type_text(&tmux, "cleared", "/clear");
    let announced =
        wait::some(LIMIT, "a new thread", || match client.next_event(Duration::from_millis(50)).unwrap() {
            Some(Event::ThreadStarted(new)) if new.cwd == thread.cwd && new.id != thread.id => Some(new),
            _ => None,
        });
    assert_eq!(announced.thread_source.as_deref(), Some("user"));
    assert!(!announced.is_helper() && announced.name.is_none());
    client.thread_name_set(&announced.id, "cleared-2").unwrap();
    assert!(Path::new(&announced.path.unwrap()).is_file());
}

#[test]
fn an_untrusted_directory_is_asked_about_and_permissions_come_after_the_answer() {
    let Some(lab) = Lab::shared() else { return };
    let beside = lab.home.path().join("beside");
    std::fs::create_dir(&beside).unwrap();
    let command = format!("touch written '{}/written'", beside.display());
    lab.model.add(Script::new().on("write files", [Reply::shell(&command)]));
    let tmux = TmuxServer::new();
    let cwd = lab.home.untrusted_project("asking");
    let mut client = lab.client();
    // A thread that may write would make Codex trust the directory without asking.
    let new = NewThread { sandbox: Sandbox::ReadOnly, ..new_thread(&cwd) };
    let thread = create(&mut client, &new, "asking").unwrap();
    attach(lab, &tmux, "asking", &thread);
    wait_for_pane(&tmux, "asking", "Trust this folder?");
    assert!(pane(&tmux, "asking").contains("› 1. Trust and continue"));
    let permissions = Permissions {
        sandbox: Sandbox::WorkspaceWrite,
        approval: Approval::Never,
        writable: std::slice::from_ref(&beside),
    };
    client.thread_permissions_set(&thread.id, &cwd, &permissions).unwrap();
    assert!(matches!(Trust::of(&mut client, &cwd).unwrap(), Trust::Asks { .. }));
    // Codex drops keys in the first milliseconds of a dialog.
    wait::until(LIMIT, "an answered question", || {
        if pane(&tmux, "asking").contains("Trust this folder?") {
            tmux.tmux(["send-keys", "-t", "=asking:", "Enter"]);
        }
        is_ready(&tmux, "asking")
    });
    assert_eq!(Trust::of(&mut client, &cwd).unwrap(), Trust::Trusted { root: cwd.clone() });
    // What the terminal's user starts has the same permissions.
    type_text(&tmux, "asking", "write files");
    wait::until(LIMIT, "both files", || cwd.join("written").exists() && beside.join("written").exists());
}

#[test]
fn the_flags_of_a_terminal_change_nothing_in_a_loaded_thread() {
    let Some(lab) = Lab::shared() else { return };
    lab.model.add(Script::new().on("write in vain", [Reply::shell("touch in-vain")]));
    let tmux = TmuxServer::new();
    let cwd = lab.home.project("unmoved");
    let mut client = lab.client();
    let new = NewThread { sandbox: Sandbox::ReadOnly, ..new_thread(&cwd) };
    let thread = create(&mut client, &new, "unmoved").unwrap();
    attach(lab, &tmux, "unmoved", &thread);
    wait_until_ready(&tmux, "unmoved");
    type_text(&tmux, "unmoved", "write in vain");
    let tried = lab.model.wait_for("write in vain", 2, LIMIT);
    assert!(tried[1].outputs[0].contains("Read-only file system"), "{:?}", tried[1].outputs);
    assert!(!cwd.join("in-vain").exists());
}
