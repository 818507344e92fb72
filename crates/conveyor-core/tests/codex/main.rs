//! Terminals of a real Codex, whose model is scripted: typed into by hand, by the dispatcher, and with
//! commands that change the conversation.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail like tests")]

mod delivery;
mod dispatch;
mod shared_pane;
mod slash;
mod stage;

use conveyor_agents::codex::State;
use conveyor_model::shell::quote;
use conveyor_testkit::codex::Mixture;
use conveyor_testkit::model_server::{Reply, Script};
use conveyor_testkit::{on_every_codex, wait};

use crate::stage::{LIMIT, Lab, Stage};

on_every_codex!(a_real_codex_is_typed_into_only_when_it_takes_a_message);

fn a_real_codex_is_typed_into_only_when_it_takes_a_message(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let mut stage = Stage::new(lab, "typing");

    // Idle: a turn runs and completes.
    stage.seen("say hello\nin two lines");
    wait::until(LIMIT, "the turn", || stage.turns_about("say hello") == 1);
    stage.wait_for(State::Idle);
    // Its end reaches the manager.
    assert_eq!(stage.dispatch_until("pull_required"), ["pull_required for m"]);
    let endpoints =
        "select cast(count(*) as text) from session_endpoints where adapter = 'codex' and state = 'active'";
    assert_eq!(stage.text(endpoints), "1");

    // Nothing runs: an interrupt does nothing.
    let report = stage.interrupt();
    assert_eq!((report.nothing_running, report.native.is_none()), (Some(true), true));
    assert!(stage.screen().contains("? for shortcuts"), "{}", stage.screen());

    // Busy: refused; interrupted, it is idle again.
    lab.model.add(Script::new().on("take a nap", [Reply::text("awake").held("nap")]));
    let turn = stage.seen("take a nap");
    stage.wait_for(State::Busy);
    assert_eq!(stage.refused("hurry up").guard.reason, "busy");
    assert_eq!(stage.interrupt().native.map(|native| native.turn_id), Some(turn));
    stage.wait_for(State::Idle);
    lab.model.release("nap");

    // A dialog: refused, not answered, unchanged.
    let file = stage.project.join("../made-by-approval");
    let command = format!("touch {}", quote(&file.display().to_string()));
    lab.model.add(Script::new().on("touch it", [Reply::escalated(&command, "a test"), Reply::text("done")]));
    stage.seen("touch it");
    stage.wait_for(State::WaitingApproval);
    wait::until(LIMIT, "the dialog", || stage.screen().contains("Press enter to confirm"));
    let before = stage.screen();
    assert_eq!(stage.refused("y").guard.reason, "waiting_approval");
    assert_eq!(stage.screen(), before);
    assert!(!file.exists(), "nobody consented");
    stage.interrupt();
    stage.wait_for(State::Idle);
    assert!(!file.exists());

    // Somebody's draft: refused, intact.
    wait::until(LIMIT, "the composer", || !stage.screen().contains("Press enter to confirm"));
    stage.tmux.tmux(["send-keys", "-t", "=codex-w:", "-l", "half a thought"]);
    wait::until(LIMIT, "the draft", || stage.screen().contains("half a thought"));
    assert_eq!(stage.refused("hello").guard.reason, "draft");
    assert!(stage.screen().contains("half a thought"));
    assert!(stage.turns_about("half a thought") == 0);
}
