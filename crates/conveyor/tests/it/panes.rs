//! Terminals that show what a test wants, on the private tmux server of its world.

use std::path::Path;
use std::time::Duration;

use conveyor_testkit::wait;

use crate::harness::World;

/// A screen of a real Codex.
pub fn recorded(name: &str) -> String {
    let dir =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../conveyor-agents/tests/fixtures/codex-0.169/panes");
    std::fs::read_to_string(dir.join(name)).unwrap()
}

/// Starts a tmux session whose terminal shows this text, and waits until it does.
pub fn show(world: &World, session: &str, text: &str) {
    let screen = world.dir().join(format!("{session}.screen"));
    std::fs::write(&screen, text.trim_end()).unwrap();
    let command = format!("cat '{}'; exec sleep 600", screen.display());
    world.tmux.tmux(["new-session", "-d", "-s", session, "-x", "200", "-y", "50", &command]);
    let last = text.lines().last().unwrap().trim_end().to_owned();
    wait::until(Duration::from_secs(10), "the screen", || captured(world, session).contains(&last));
}

/// What a terminal shows.
pub fn captured(world: &World, session: &str) -> String {
    world.tmux.tmux(["capture-pane", "-p", "-t", &format!("={session}:")])
}

/// Gives a session of the ledger a terminal, as older programs recorded it: by the name of the tmux
/// session and the process that runs there, if one does.
pub fn put_into(world: &World, name: &str, tmux_session: &str) {
    let target = format!("={tmux_session}:");
    let pid = world.tmux.try_tmux(["display-message", "-p", "-t", &target, "#{pane_pid}"]);
    let pid = pid.ok().filter(|pid| !pid.trim().is_empty());
    let pid = pid.map_or(String::new(), |pid| format!(", pid = {}", pid.trim()));
    world.sql(&format!("update sessions set tmux_session = '{tmux_session}'{pid} where name = '{name}'"));
}

/// Whether the server has a session.
pub fn is_there(world: &World, session: &str) -> bool {
    let sessions = world.tmux.tmux(["list-sessions", "-F", "#{session_name}"]);
    sessions.lines().any(|name| name == session)
}
