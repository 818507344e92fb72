//! The lock on a pane, in real tmux: no key goes past it.

use std::thread;
use std::time::Duration;

use conveyor_agents::tmux::{Extent, Held, NewSession, PaneKey, ServerChoice, Target, Tmux, TmuxError};
use conveyor_testkit::{TmuxServer, wait};

const LONG: Duration = Duration::from_secs(10);

/// A pane in which `cat` shows what it gets.
fn pane(server: &TmuxServer, name: &str) -> (Tmux, PaneKey) {
    let tmux = Tmux::new("tmux", ServerChoice::Directory(server.dir().to_owned()));
    let command = ["cat".into()];
    tmux.new_session(&NewSession { name, command: &command, ..Default::default() }).expect("a session");
    let facts = tmux.pane(&Target::Session(name.into())).expect("a pane");
    (tmux, PaneKey::from(&facts))
}

fn screen(tmux: &Tmux, pane: &PaneKey) -> String {
    tmux.look(&Target::Pane(pane.id.clone()), Extent::default()).expect("a look").text
}

#[test]
fn one_of_many_gets_the_lock() {
    let server = TmuxServer::new();
    let (tmux, pane) = pane(&server, "w");
    let winners: Vec<bool> = thread::scope(|scope| {
        let each: Vec<_> = (0..8)
            .map(|number| {
                let (tmux, pane) = (&tmux, &pane);
                scope.spawn(move || {
                    let token = format!("ledger/delivery-{number}/host/1/2/typing");
                    tmux.replace_lock(pane, "", &token).expect("an answer") == token
                })
            })
            .collect();
        each.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    assert_eq!(winners.iter().filter(|won| **won).count(), 1, "{winners:?}");
    let token = tmux.lock(&pane).expect("a token");
    assert_eq!(tmux.replace_lock(&pane, "another", ""), Ok(token.clone()), "not the other's to free");
    assert_eq!(tmux.replace_lock(&pane, &token, ""), Ok(String::new()));
}

#[test]
fn tmux_itself_refuses_keys_and_texts_of_somebody_else() {
    let server = TmuxServer::new();
    let (tmux, pane) = pane(&server, "w");
    let held = |token: &str| Held { pane: pane.clone(), token: token.into() };
    assert_eq!(tmux.replace_lock(&pane, "", "mine"), Ok("mine".into()));
    assert_eq!(tmux.replace_lock(&pane, "mine", "yours"), Ok("yours".into()), "taken over");
    tmux.load_buffer("b", "a late text").expect("loaded");
    assert_eq!(tmux.paste_buffer("b", &held("mine")), Ok(false));
    assert_eq!(tmux.send_keys(&held("mine"), &["late", "Enter"]), Ok(false));
    assert_eq!(tmux.send_keys(&held(""), &["late", "Enter"]), Ok(false));
    assert_eq!(tmux.paste_buffer("b", &held("yours")), Ok(true));
    assert_eq!(tmux.repeat_keys(&held("yours"), &["x"], 3), Ok(true));
    assert_eq!(tmux.send_keys(&held("yours"), &["'", ";", "#{pane_id}", "$HOME", "done", "Enter"]), Ok(true));
    wait::until(LONG, "what is allowed", || screen(&tmux, &pane).contains("done"));
    let shown = screen(&tmux, &pane);
    assert!(shown.starts_with("a late textxxx';#{pane_id}$HOMEdone\n"), "{shown}");
    assert!(!shown.contains("late\n"), "{shown}");
}

#[test]
fn a_lock_is_of_a_pane_with_its_process() {
    let server = TmuxServer::new();
    let (tmux, pane) = pane(&server, "w");
    let other = PaneKey { pid: pane.pid + 1, ..pane.clone() };
    let gone = |pane: &PaneKey| Err(TmuxError::NoSession { target: pane.id.clone() });
    assert_eq!(tmux.lock(&other), gone(&other));
    assert_eq!(tmux.replace_lock(&other, "", "mine"), gone(&other));
    assert_eq!(tmux.lock(&pane), Ok(String::new()), "nothing was written");
    assert_eq!(tmux.replace_lock(&pane, "", "mine"), Ok("mine".into()));
    let held = Held { pane: other, token: "mine".into() };
    assert_eq!(tmux.send_keys(&held, &["x"]), Ok(false));
    // The lock moves with its pane and is none of its neighbours'.
    server.tmux(["split-window", "-d", "-t", "=w:", "cat"]);
    server.tmux(["break-pane", "-d", "-s", &pane.id]);
    assert_eq!(tmux.lock(&pane), Ok("mine".into()));
    let neighbour = tmux.pane(&Target::Session("w".into())).expect("a pane");
    assert_eq!(tmux.lock(&PaneKey::from(&neighbour)), Ok(String::new()));
    let (missing, held) = (PaneKey { id: "%99".into(), pid: pane.pid }, "mine");
    assert_eq!(tmux.lock(&missing), gone(&missing));
    let pressed = tmux.send_keys(&Held { pane: missing.clone(), token: held.into() }, &["x"]);
    assert_eq!(pressed, Err(TmuxError::NoSession { target: missing.id }));
}
