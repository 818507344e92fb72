//! One terminal under several names and in several ledgers: the lock is on the pane.

use std::collections::BTreeSet;
use std::thread;

use conveyor_agents::codex::State;
use conveyor_core::typing::Guard;
use conveyor_core::typing::nudge::{self, Request as Nudge};
use conveyor_core::{Cx, Error};
use conveyor_testkit::codex::Mixture;
use conveyor_testkit::{on_every_codex, wait};

use crate::stage::{LIMIT, Lab, Stage};

on_every_codex!(eight_senders_under_two_names_in_two_ledgers_become_eight_turns);

/// A second name for the worker's terminal.
const ALIAS: &str = "
insert into sessions (id, name, role, identity_token, tmux_session, codex_session_path, codex_session_id, pid, cwd, \
  registered_at, state)
select 'session-alias', 'alias', role, 'token-alias', tmux_session, codex_session_path, codex_session_id, pid, cwd, \
  registered_at, state from sessions where name = 'w'";

fn send(cx: &mut Cx, name: &str, text: &str) -> Result<String, Error> {
    let request = Nudge { name, text, dry_run: false, guard: Guard::default() };
    let nudged = nudge::session(cx, &request)?;
    match nudged.unconfirmed {
        Some(error) => Err(error),
        None => Ok(nudged.sent.delivery.expect("a delivery").turn_id.expect("a turn")),
    }
}

/// Sends until it is let in; gives the turn. Not one attempt may end with an open fate.
fn send_until_seen(cx: &mut Cx, name: &str, text: &str) -> String {
    wait::some(10 * LIMIT, text, || match send(cx, name, text) {
        Ok(turn) => Some(turn),
        Err(Error::TargetNotReady(_)) => None,
        Err(error) => panic!("{text}: {error}"),
    })
}

fn eight_senders_under_two_names_in_two_ledgers_become_eight_turns(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let mut stage = Stage::new(lab, "shared-pane");
    stage.sql(ALIAS);
    // Two of each say the same.
    let senders: Vec<(Cx, &str, String)> = ["ledger.db", "other.db"]
        .into_iter()
        .flat_map(|file| ["w", "alias"].map(|name| (file, name)))
        .flat_map(|(file, name)| {
            [(file, name, "go on".to_owned()), (file, name, format!("go on, {name} of {file}"))]
        })
        .map(|(file, name, text)| (stage.ledger(file), name, text))
        .collect();
    let mut sent: Vec<String> = senders.iter().map(|(_, _, text)| text.clone()).collect();
    let turns: BTreeSet<String> = thread::scope(|scope| {
        let all: Vec<_> = senders
            .into_iter()
            .map(|(mut cx, name, text)| scope.spawn(move || send_until_seen(&mut cx, name, &text)))
            .collect();
        all.into_iter().map(|one| one.join().expect("seen")).collect()
    });
    assert_eq!(turns.len(), 8, "a turn proves one delivery");
    stage.wait_for(State::Idle);
    let mut told = stage.told();
    told.sort();
    sent.sort();
    assert_eq!(told, sent);
    assert_eq!(stage.tmux.tmux(["list-buffers"]), "");
}

#[test]
fn a_text_whose_fate_is_open_keeps_every_name_and_ledger_away() {
    let Some(lab) = Lab::shared() else { return };
    let mut stage = Stage::new(lab, "open-fate");
    stage.sql(ALIAS);
    let (mut same, mut other) = (stage.ledger("ledger.db"), stage.ledger("other.db"));
    // In copy mode tmux itself takes the Enter, but not the paste.
    let request = Nudge {
        name: "w",
        text: "sent blindly",
        dry_run: false,
        guard: Guard { force: true, ..Guard::default() },
    };
    stage.tmux.tmux(["copy-mode", "-t", "=codex-w:"]);
    let forced = nudge::session(&mut stage.cx, &request).expect("forced").sent.delivery.expect("a delivery");
    stage.tmux.tmux(["send-keys", "-t", "=codex-w:", "-X", "cancel"]);
    assert_eq!(forced.stage, "unknown");
    let is_refused = |result: Result<String, Error>| match result {
        Err(Error::TargetNotReady(object)) => object.guard.reason,
        other => panic!("not refused: {other:?}\n{}", stage.screen()),
    };
    for reason in [send(&mut same, "alias", "hello"), send(&mut other, "w", "hello")].map(is_refused) {
        assert!(["order", "draft"].contains(&reason), "{reason}");
    }
    wait::until(LIMIT, "an empty composer", || {
        stage.tmux.tmux(["send-keys", "-t", "=codex-w:", "C-u"]);
        !stage.screen().contains("sent blindly")
    });
    // Now nothing is in the way but the open fate, which this ledger alone can find out.
    assert_eq!(is_refused(send(&mut other, "w", "hello")), "order");
    send_until_seen(&mut same, "alias", "hello");
    send_until_seen(&mut other, "w", "hello");
    assert_eq!(stage.told(), ["hello", "hello"]);
}
