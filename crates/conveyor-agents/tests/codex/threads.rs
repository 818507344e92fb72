//! Threads without a terminal: identification, states, turns, their proof and their end.

use std::path::Path;

use conveyor_agents::codex::{
    CodexError, Event, Evidence, Hint, Interrupted, Location, Message, Refusal, State, TurnStatus, deliver,
    end_work, identify, interrupt, lacking_to_end, locate, locate_text, wait_for_end, workers_of,
};
use conveyor_testkit::codex::{Mixture, ask};
use conveyor_testkit::model_server::{Reply, Script};
use conveyor_testkit::{on_every_codex, wait};
use serde_json::json;

use super::{LIMIT, Lab, begin, wait_for};

on_every_codex!(
    an_interrupt_ends_the_turn_that_is_meant_and_no_other,
    an_open_approval_is_seen_and_withdrawn_by_an_interrupt,
    an_open_question_is_seen,
    the_server_understands_everything_that_is_needed,
    what_goes_on_in_a_thread_is_ended_and_seen_to_have_ended,
);

fn what_goes_on_in_a_thread_is_ended_and_seen_to_have_ended(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let steps = [Reply::background("sleep 1000"), Reply::text("never said").held("never")];
    lab.model.add(Script::new().on("set something going", steps));
    let mut client = lab.client();
    let methods = client.methods().expect("methods");
    assert_eq!(lacking_to_end(&methods), [""; 0]);
    let (_, thread) = lab.thread(&mut client, "going-on");
    let turn = begin(&mut client, &thread, "set something going");
    wait::until(LIMIT, "a command in the background", || {
        !client.background_terminals(&thread.id).expect("commands").is_empty()
    });
    for id in ["first", "second"] {
        let input = json!([{"type": "text", "text": id, "text_elements": []}]);
        let params = json!({"threadId": thread.id, "input": input, "clientUserMessageId": id});
        let _ = ask(lab.home.path(), "thread/queue/add", &params);
    }
    let queued = client.queue(&thread.id).expect("a queue");
    assert_eq!(queued.len(), 2);
    assert!(client.queue_delete(&thread.id, &queued[0].id).expect("an answer"));
    assert!(!client.queue_delete(&thread.id, &queued[0].id).expect("an answer"), "it is gone");

    // An interrupt alone leaves both.
    interrupt(&mut client, &thread.id, None).expect("an interrupt");
    wait_for_end(&mut client, &thread.id, &turn, LIMIT).expect("an end");
    assert_eq!(client.background_terminals(&thread.id).expect("commands").len(), 1);
    assert_eq!(client.queue(&thread.id).expect("a queue").len(), 1);

    let left = end_work(&mut client, &thread.id, &methods, LIMIT).expect("an end");
    assert!(left.is_nothing(), "{left}");
    assert!(client.background_terminals(&thread.id).expect("commands").is_empty());
    assert!(client.queue(&thread.id).expect("a queue").is_empty());
    assert_eq!(client.turns(&thread.id, 10).expect("turns").len(), 1);
    assert_eq!(workers_of(&mut client, &thread.id).expect("threads"), [thread.id]);

    // In a thread that the server does not have nothing goes on.
    let nobody = "01a20909-70cd-7d52-8815-bf0405ec057c";
    assert!(end_work(&mut client, nobody, &methods, LIMIT).expect("an end").is_nothing());
}

fn the_server_understands_everything_that_is_needed(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let mut client = lab.client();
    assert_eq!(client.methods().expect("an answer").missing(), [""; 0]);
    assert_eq!(client.server_version(), Some(mixture.server.version()));
}

#[test]
fn a_thread_is_identified_by_id_rollout_name_and_marker() {
    let Some(lab) = Lab::shared() else { return };
    let mut client = lab.client();
    let (cwd, thread) = lab.thread(&mut client, "identified");
    let rollout = thread.path.clone().expect("an answer");
    let hints = |marker: bool| {
        let all = [
            (Hint::ThreadId(&thread.id), Evidence::ThreadId),
            (Hint::Rollout(Path::new(&rollout)), Evidence::Rollout),
            (Hint::Name("identified"), Evidence::Name),
            (Hint::Marker("conveyor-mark-0000abcd"), Evidence::Marker),
        ];
        all.into_iter().take(if marker { 4 } else { 3 }).collect::<Vec<_>>()
    };
    // Named, but without a turn: not in the list of saved threads yet.
    for (hint, evidence) in hints(false) {
        let found = identify(&mut client, hint).expect("an answer");
        assert_eq!(found.len(), 1, "{hint:?}");
        assert_eq!((&found[0].thread.id, found[0].evidence), (&thread.id, evidence));
        assert_eq!(Path::new(&found[0].thread.cwd), cwd);
    }
    begin(&mut client, &thread, "remember conveyor-mark-0000abcd");
    wait_for(&mut client, &thread, State::Idle);
    for (hint, _) in hints(true) {
        assert_eq!(identify(&mut client, hint).expect("an answer")[0].thread.id, thread.id, "{hint:?}");
    }

    let copy = cwd.join("rollout-2026-01-01T00-00-00-copy.jsonl");
    std::fs::copy(&rollout, &copy).expect("an answer");
    assert!(identify(&mut client, Hint::Rollout(&copy)).expect("an answer").is_empty());
    let strangers = ["01a20909-70cd-7d52-8815-bf0405ec057c", "no uuid", ""];
    for id in strangers {
        assert!(identify(&mut client, Hint::ThreadId(id)).expect("an answer").is_empty(), "{id:?}");
    }
    for hint in [Hint::Name(""), Hint::Marker(""), Hint::Marker(" ")] {
        assert!(identify(&mut client, hint).expect("an answer").is_empty(), "{hint:?}");
    }
    assert!(identify(&mut client, Hint::Name("identifie")).expect("an answer").is_empty());
}

#[test]
fn a_turn_goes_from_idle_to_busy_to_idle_and_is_found() {
    let Some(lab) = Lab::shared() else { return };
    lab.model.add(Script::new().on("take a nap", [Reply::text("awake").held("nap")]));
    let mut client = lab.client();
    let (_, thread) = lab.thread(&mut client, "napping");
    wait_for(&mut client, &thread, State::Idle);
    let text = "take a nap\n- with \"quotes\", ümläuts 🦀 and\ttabs";
    let message = Message { text, id: "cv-nap" };
    let accepted = deliver(&mut client, &thread.id, message, false).expect("an answer");
    assert!(!accepted.steered);
    let busy = wait_for(&mut client, &thread, State::Busy);
    assert_eq!(busy.running_turn().expect("an answer").id, accepted.turn_id);
    assert_eq!(lab.model.wait_for("take a nap", 1, LIMIT)[0].user_text, text);

    let second = deliver(&mut client, &thread.id, Message { text: "more", id: "cv-more" }, true);
    assert!(matches!(second, Err(CodexError::NotReady { state: State::Busy })));
    assert_eq!(
        locate(&mut client, &thread.id, "cv-more").expect("an answer"),
        Location::Absent { complete: true }
    );

    lab.model.release("nap");
    let end = wait_for_end(&mut client, &thread.id, &accepted.turn_id, LIMIT).expect("an answer");
    assert_eq!(end, Some(TurnStatus::Completed));
    let found = locate(&mut client, &thread.id, "cv-nap").expect("an answer");
    let Location::Seen { turn_id, at_ms, .. } = &found else { panic!("{found:?}") };
    assert_eq!(*turn_id, accepted.turn_id);
    let at = at_ms.expect("an answer");
    let typed = "take a nap - with \"quotes\",  ümläuts 🦀 and tabs";
    assert_eq!(locate_text(&mut client, &thread.id, typed, at - 1).expect("an answer"), found);
    let late = locate_text(&mut client, &thread.id, typed, at + 1).expect("an answer");
    assert_eq!(late, Location::Absent { complete: true });
}

fn an_open_approval_is_seen_and_withdrawn_by_an_interrupt(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let steps = [Reply::escalated("touch made-after-approval", "May I?")];
    lab.model.add(Script::new().on("ask for approval", steps));
    let mut client = lab.client();
    let (cwd, thread) = lab.thread(&mut client, "approving");
    let turn = begin(&mut client, &thread, "ask for approval");
    wait_for(&mut client, &thread, State::WaitingApproval);
    let refused = deliver(&mut client, &thread.id, Message { text: "y", id: "cv-y" }, true);
    assert!(matches!(refused, Err(CodexError::NotReady { state: State::WaitingApproval })));
    // Another terminal's view of it: everybody who is subscribed is asked.
    let asked = std::iter::from_fn(|| client.next_event(LIMIT).expect("an answer"))
        .find(|event| matches!(event, Event::Request { .. }));
    let Some(Event::Request { method, params, .. }) = asked else { panic!("no request") };
    assert_eq!(method, "item/commandExecution/requestApproval");
    assert_eq!(params["reason"], "May I?");

    let ended = interrupt(&mut client, &thread.id, Some(&turn)).expect("an answer");
    assert_eq!(ended, Interrupted::Interrupted { turn_id: turn.clone() });
    let end = wait_for_end(&mut client, &thread.id, &turn, LIMIT).expect("an answer");
    assert_eq!(end, Some(TurnStatus::Interrupted));
    wait_for(&mut client, &thread, State::Idle);
    assert!(!cwd.join("made-after-approval").exists());
}

fn an_open_question_is_seen(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let question = Reply::question("Red or blue?", ["red", "blue"]);
    lab.model.add(Script::new().on("ask me something", [question]));
    let mut client = lab.client();
    let (_, thread) = lab.thread(&mut client, "asking-back");
    let turn = begin(&mut client, &thread, "ask me something");
    wait_for(&mut client, &thread, State::WaitingInput);
    interrupt(&mut client, &thread.id, Some(&turn)).expect("an answer");
    wait_for(&mut client, &thread, State::Idle);
}

fn an_interrupt_ends_the_turn_that_is_meant_and_no_other(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let work = Reply::shell("sleep 600; touch finished");
    lab.model.add(Script::new().on("work for long", [work]));
    let mut client = lab.client();
    let (cwd, thread) = lab.thread(&mut client, "working");
    assert_eq!(interrupt(&mut client, &thread.id, None).expect("an answer"), Interrupted::NothingRunning);
    let turn = begin(&mut client, &thread, "work for long");
    lab.model.wait_for("work for long", 1, LIMIT);
    let other = "01a20b87-f3fa-70d2-858f-fd2d2572709f";
    let mismatch = interrupt(&mut client, &thread.id, Some(other)).expect("an answer");
    assert_eq!(mismatch, Interrupted::Mismatch { turn_id: turn.clone() });
    wait_for(&mut client, &thread, State::Busy);
    assert!(matches!(
        interrupt(&mut client, &thread.id, None).expect("an answer"),
        Interrupted::Interrupted { .. }
    ));
    let end = wait_for_end(&mut client, &thread.id, &turn, LIMIT).expect("an answer");
    assert_eq!(end, Some(TurnStatus::Interrupted));
    assert_eq!(
        interrupt(&mut client, &thread.id, Some(&turn)).expect("an answer"),
        Interrupted::NothingRunning
    );
    assert!(!cwd.join("finished").exists());
    let unknown = interrupt(&mut client, other, None);
    assert!(matches!(unknown, Err(CodexError::NotFound { .. })), "{unknown:?}");
}

#[test]
fn failures_are_told_from_limits_and_the_next_turn_recovers() {
    let Some(lab) = Lab::shared() else { return };
    let rules = Script::new()
        .on("fail with 500", [Reply::server_error("boom")])
        .on("fail in the middle", [Reply::cut("half an ans")])
        .on("hit the quota", [Reply::usage_limit(3600)])
        .on("hit the rate", [Reply::rate_limit()]);
    lab.model.add(rules);
    let mut client = lab.client();
    let (_, thread) = lab.thread(&mut client, "failing");
    let cases = [
        ("fail with 500", State::Error),
        ("fail in the middle", State::Error),
        ("hit the quota", State::UsageLimited),
        ("hit the rate", State::UsageLimited),
    ];
    for (text, state) in cases {
        // After a limit nothing is delivered by itself, so the turn is started past the check.
        let turn = client.turn_start(&thread.id, text, &format!("cv-{text}")).expect("an answer");
        let end = wait_for_end(&mut client, &thread.id, &turn.id, LIMIT).expect("an answer");
        assert_eq!(end, Some(TurnStatus::Failed), "{text}");
        assert_eq!(wait_for(&mut client, &thread, state).state(), state, "{text}");
        let refused = deliver(&mut client, &thread.id, Message { text: "next", id: "cv-next" }, false);
        assert!(matches!(refused, Err(CodexError::NotReady { .. })), "{text}");
    }
    let turn = client.turn_start(&thread.id, "all is well", "cv-well").expect("an answer");
    let end = wait_for_end(&mut client, &thread.id, &turn.id, LIMIT).expect("an answer");
    assert_eq!(end, Some(TurnStatus::Completed));
    wait_for(&mut client, &thread, State::Idle);
}

#[test]
fn a_conversation_is_compacted_and_goes_on() {
    let Some(lab) = Lab::shared() else { return };
    lab.model.add(Script::new().on("after the summary", [Reply::text("still here")]));
    let mut client = lab.client();
    let (_, thread) = lab.thread(&mut client, "compacted");
    let first = begin(&mut client, &thread, "before the summary");
    wait_for_end(&mut client, &thread.id, &first, LIMIT).expect("an answer");
    client.thread_compact_start(&thread.id).expect("an answer");
    let compaction =
        std::iter::from_fn(|| client.next_event(LIMIT).expect("an answer")).find_map(|event| match event {
            Event::TurnCompleted { turn, .. } if turn.id != first => Some(turn.status),
            _ => None,
        });
    assert_eq!(compaction, Some(TurnStatus::Completed));
    wait_for(&mut client, &thread, State::Idle);
    let second = begin(&mut client, &thread, "after the summary");
    let end = wait_for_end(&mut client, &thread.id, &second, LIMIT).expect("an answer");
    assert_eq!(end, Some(TurnStatus::Completed));
    let request = &lab.model.requests_about("after the summary")[0];
    assert!(request.body.to_string().contains("Summary: everything so far went well."));
}

#[test]
fn a_thread_without_a_name_has_nothing_to_read() {
    let Some(lab) = Lab::shared() else { return };
    let mut client = lab.client();
    let cwd = lab.home.project("nameless");
    let thread = client.thread_start(&super::new_thread(&cwd)).expect("an answer");
    assert!(!Path::new(&thread.path.clone().expect("an answer")).exists());
    let resumed = client.thread_resume(&thread.id).unwrap_err();
    assert_eq!(resumed.refusal(), Some(Refusal::Fresh), "{resumed}");
    assert_eq!(
        locate(&mut client, &thread.id, "cv-x").expect("an answer"),
        Location::Absent { complete: false }
    );
    wait_for(&mut client, &thread, State::Idle);
    client.thread_name_set(&thread.id, "no longer nameless").expect("an answer");
    assert!(Path::new(&thread.path.clone().expect("an answer")).exists());
    assert!(client.thread_unsubscribe(&thread.id).expect("an answer"));
    assert!(!client.thread_unsubscribe(&thread.id).expect("an answer"));
}
