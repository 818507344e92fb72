//! The dispatcher and terminals of a real Codex.

use conveyor_agents::codex::State;
use conveyor_model::shell::quote;
use conveyor_testkit::codex::Mixture;
use conveyor_testkit::model_server::{Reply, Script};
use conveyor_testkit::{on_every_codex, wait};

use crate::stage::{LIMIT, Lab, Stage};

on_every_codex!(
    a_message_for_a_busy_worker_is_delivered_once_after_its_turn,
    a_message_behind_an_approval_answers_nothing_and_comes_after_the_answer,
    a_completion_becomes_a_turn_of_a_manager_in_a_terminal,
    a_draft_stays_and_the_message_waits,
);

fn a_message_for_a_busy_worker_is_delivered_once_after_its_turn(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let mut stage = Stage::new(lab, "busy");
    lab.model.add(Script::new().on("work on it", [Reply::text("worked").held("busy-work")]));
    stage.enqueue("work on it");
    assert_eq!(stage.dispatch(), ["delivered to w"]);
    stage.wait_for(State::Busy);
    stage.enqueue("now test it");
    assert_eq!(stage.dispatch(), ["parked busy"]);
    assert_eq!(stage.turns_about("now test it"), 0);
    assert!(stage.dispatch().is_empty(), "it is put off");
    lab.model.release("busy-work");
    stage.wait_for(State::Idle);
    // The end of the turn takes it up, long before it is due.
    let said = stage.dispatch_until("delivered to w");
    assert_eq!(said, ["pull_required for m", "delivered to w"]);
    stage.wait_for(State::Idle);
    stage.dispatch();
    assert_eq!(stage.turns_about("now test it"), 1);
    let commands = "select group_concat(state || attempts) from commands";
    assert_eq!(stage.text(commands), "succeeded1,succeeded1");
}

fn a_message_behind_an_approval_answers_nothing_and_comes_after_the_answer(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let mut stage = Stage::new(lab, "approving");
    let file = stage.project.join("../made-with-consent");
    let command = format!("touch {}", quote(&file.display().to_string()));
    lab.model
        .add(Script::new().on("make the file", [Reply::escalated(&command, "a test"), Reply::text("made")]));
    stage.enqueue("make the file");
    assert_eq!(stage.dispatch(), ["delivered to w"]);
    stage.wait_for(State::WaitingApproval);
    stage.until_shown("codex-w", "Press enter to confirm");
    let before = stage.screen();
    stage.enqueue("y");
    assert_eq!(stage.dispatch(), ["parked waiting_approval"]);
    assert_eq!(stage.screen(), before, "no key was pressed");
    assert!(!file.exists(), "nobody consented");
    // A person says yes.
    stage.tmux.tmux(["send-keys", "-t", "=codex-w:", "Enter"]);
    stage.wait_for(State::Idle);
    wait::until(LIMIT, "the file", || file.exists());
    let said = stage.dispatch_until("delivered to w");
    assert_eq!(said, ["pull_required for m", "delivered to w"]);
    stage.wait_for(State::Idle);
}

fn a_completion_becomes_a_turn_of_a_manager_in_a_terminal(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let mut stage = Stage::new(lab, "reporting");
    let manager = stage.seat_manager("managing");
    stage.enqueue("do the reported work");
    assert_eq!(stage.dispatch(), ["delivered to w"]);
    stage.wait_for(State::Idle);
    assert_eq!(stage.dispatch_until("delivered for m"), ["delivered for m"]);
    wait::until(LIMIT, "the manager's turn", || stage.turns_about("not an instruction") == 1);
    let request = &lab.model.requests_about("A turn of worker w on task t")[0];
    assert!(request.user_text.starts_with("--- message from worker w, task t"), "{}", request.user_text);
    stage.wait_for_thread(&manager, State::Idle);
    let row = "select state || ' ' || delivery_mode || ' ' || side_effect_completed from routed_notifications \
               where signal_type = 'worker_task_complete'";
    assert_eq!(stage.text(row), "delivered push 1");
    // The end of the manager's own turn is no completion of a worker.
    assert!(stage.dispatch().is_empty());
}

fn a_draft_stays_and_the_message_waits(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let mut stage = Stage::new(lab, "drafting");
    stage.tmux.tmux(["send-keys", "-t", "=codex-w:", "-l", "my own words"]);
    stage.until_shown("codex-w", "my own words");
    stage.enqueue("not now");
    assert_eq!(stage.dispatch(), ["parked draft"]);
    assert!(stage.screen().contains("my own words"));
    assert_eq!(stage.turns_about("not now"), 0);
}

#[test]
fn a_worker_whose_terminal_is_gone_gets_nothing_and_says_so() {
    let Some(lab) = Lab::shared() else { return };
    let mut stage = Stage::new(lab, "leaving");
    stage.tmux.tmux(["new-session", "-d", "-s", "other", "exec sleep 600"]);
    stage.tmux.tmux(["kill-session", "-t", "=codex-w"]);
    stage.enqueue("are you still there");
    assert_eq!(stage.dispatch(), ["failed to w"]);
    assert_eq!(stage.text("select state from commands"), "failed");
    assert!(stage.text("select error from commands").contains("codex-w"));
    // Without any server nothing can be said about the terminal.
    stage.tmux.tmux(["kill-server"]);
    stage.enqueue("and now");
    assert_eq!(stage.dispatch(), ["parked server_down"]);
    assert_eq!(stage.turns_about("are you still there") + stage.turns_about("and now"), 0);
}

#[test]
fn a_killed_server_of_codex_lets_nothing_be_typed_blindly() {
    let Some(lab) = Lab::new() else { return };
    let mut stage = Stage::new(&lab, "killed");
    lab.model.add(Script::new().on("long work", [Reply::text("never").held("for-ever")]));
    stage.enqueue("long work");
    assert_eq!(stage.dispatch(), ["delivered to w"]);
    stage.wait_for(State::Busy);
    lab.home.kill_server();
    stage.enqueue("go on");
    let said = stage.dispatch();
    assert!(matches!(said.as_slice(), [one] if one.starts_with("parked ")), "{said:?}");
    assert_eq!(stage.turns_about("go on"), 0);
    assert_eq!(
        stage.text("select group_concat(state) from (select state from commands order by created_at)"),
        "succeeded,pending"
    );
    lab.model.release("for-ever");
}

#[test]
fn after_a_failed_turn_only_younger_messages_go() {
    let Some(lab) = Lab::shared() else { return };
    let mut stage = Stage::new(lab, "failing");
    lab.model.add(Script::new().on("fail at it", [Reply::server_error("out of order").held("failure")]));
    stage.enqueue("fail at it");
    assert_eq!(stage.dispatch(), ["delivered to w"]);
    stage.wait_for(State::Busy);
    stage.enqueue("written in ignorance");
    lab.model.release("failure");
    stage.wait_for(State::Error);
    stage.dispatch_until("parked error");
    assert_eq!(stage.turns_about("written in ignorance"), 0);
    // Its sender withdraws it and sends another one, which knows of the failure.
    stage.sql("update commands set state = 'failed', error = 'withdrawn' where state = 'pending'");
    // The server tells the end of a turn in whole seconds.
    let failed_for = std::time::Instant::now();
    wait::until(LIMIT, "the next second", || failed_for.elapsed().as_millis() > 1100);
    stage.enqueue("try again");
    stage.dispatch_until("delivered to w");
    wait::until(LIMIT, "its turn", || stage.turns_about("try again") == 1);
    assert_eq!(stage.turns_about("written in ignorance"), 0);
}

#[test]
fn a_used_up_quota_gets_no_further_turn() {
    let Some(lab) = Lab::shared() else { return };
    let mut stage = Stage::new(lab, "limited");
    lab.model.add(Script::new().on("use it up", [Reply::usage_limit(3600)]));
    stage.enqueue("use it up");
    assert_eq!(stage.dispatch(), ["delivered to w"]);
    stage.wait_for(State::UsageLimited);
    for number in 1..=3 {
        stage.enqueue(&format!("more of it {number}"));
    }
    let said = stage.dispatch_until("parked usage_limited");
    assert!(!said.contains(&"delivered to w".to_owned()), "{said:?}");
    assert_eq!(stage.turns_about("more of it"), 0);
    let until = "select cast((julianday(available_at) - julianday('now')) * 24 * 60 > 14 as text) from commands \
                 where parked_reason = 'usage_limited'";
    assert_eq!(stage.text(until), "1");
}
