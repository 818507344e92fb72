//! `/compact` and `/clear` in the terminal of a real Codex.

use conveyor_agents::codex::State;
use conveyor_core::Error;
use conveyor_core::typing::{Guard, slash};
use conveyor_testkit::codex::Mixture;
use conveyor_testkit::model_server::{Reply, Script};
use conveyor_testkit::{on_every_codex, wait};

use crate::stage::{LIMIT, Lab, Stage};

on_every_codex!(a_compacted_worker_is_still_supervised, a_cleared_worker_is_followed_to_its_new_thread,);

/// The worker is still supervised: a message becomes a turn, and its end reaches the manager.
fn goes_on(stage: &mut Stage<'_>, text: &str) {
    stage.seen(text);
    wait::until(LIMIT, "the turn", || stage.turns_about(text) == 1);
    stage.wait_for(State::Idle);
    assert_eq!(stage.dispatch_until("pull_required"), ["pull_required for m"]);
}

fn a_compacted_worker_is_still_supervised(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let mut stage = Stage::new(lab, "compacting");
    goes_on(&mut stage, "before the compaction");
    let compacted = slash::compact(&mut stage.cx, "w", Guard::default()).expect("a compaction");
    let delivery = compacted.sent.delivery.expect("its proof");
    assert_eq!((delivery.stage, compacted.unconfirmed.is_none()), ("seen", true));
    assert!(delivery.turn_id.is_some());
    assert_eq!(compacted.sent.target, format!("codex:{}", stage.thread_id));
    stage.wait_for(State::Idle);
    // A compaction is a turn of its own for the record.
    stage.dispatch();
    goes_on(&mut stage, "after the compaction");

    lab.model.add(Script::new().on("keep compaction away", [Reply::text("x").held("compaction")]));
    stage.seen("keep compaction away");
    stage.wait_for(State::Busy);
    match slash::compact(&mut stage.cx, "w", Guard::default()) {
        Err(Error::TargetNotReady(refused)) => assert_eq!(refused.guard.reason, "busy"),
        other => panic!("{other:?}"),
    }
    lab.model.release("compaction");
}

fn a_cleared_worker_is_followed_to_its_new_thread(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let mut stage = Stage::new(lab, "clearing");
    goes_on(&mut stage, "before it is cleared");
    let before = stage.text("select codex_session_path from sessions where name = 'w'");
    let cleared = slash::clear(&mut stage.cx, "w", Guard::default()).expect("a cleared terminal");
    assert_eq!(cleared.sent.delivery.expect("its proof").stage, "seen");
    let now = stage.text("select codex_session_id from sessions where name = 'w'");
    assert_ne!(now, stage.thread_id);
    assert_ne!(stage.text("select codex_session_path from sessions where name = 'w'"), before);
    assert_eq!(
        stage.text("select path from conveyor_former_rollouts"),
        before,
        "what it left is still known"
    );
    let event = stage.text("select payload_json from events where type = 'session_thread_changed'");
    assert!(event.contains(&stage.thread_id) && event.contains(&now), "{event}");
    let endpoint = "select incarnation from session_endpoints where adapter = 'codex' and state = 'active'";
    assert_eq!(stage.text(endpoint), now);
    stage.thread_id = now;
    goes_on(&mut stage, "after it was cleared");
    let thread = stage.client.thread_read(&stage.thread_id.clone()).expect("the new thread");
    assert_eq!(thread.name.as_deref(), Some("w"));
}

#[test]
fn a_new_thread_that_could_be_anybodys_is_not_followed() {
    let Some(lab) = Lab::shared() else { return };
    let mut stage = Stage::new(lab, "ambiguous");
    goes_on(&mut stage, "before it is ambiguous");
    // A person begins a conversation in the same directory just now.
    stage.start_codex("codex-other");
    match slash::clear(&mut stage.cx, "w", Guard::default()) {
        Err(error @ Error::NewThreadNotProven { candidates: 2, .. }) => {
            assert_eq!(error.exit_code(), 4);
            assert!(error.hint().is_some_and(|hint| hint.contains("register-worker --name 'w'")));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(stage.text("select state from sessions where name = 'w'"), "gone");
    assert_eq!(stage.text("select codex_session_id from sessions where name = 'w'"), stage.thread_id);
    let event = stage.text("select payload_json from events where type = 'session_thread_changed'");
    assert!(event.contains("\"to\":null"), "{event}");
    let open = "select cast(count(*) as text) from deliveries where stage in ('sending', 'unknown')";
    assert_eq!(stage.text(open), "0", "nothing keeps the terminal");
}
