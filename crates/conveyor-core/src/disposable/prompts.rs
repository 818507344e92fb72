//! The texts and command lines that a disposable binding hands to its people and agents. Whoever
//! reads one of them knows nothing else.

use conveyor_model::Role;
use conveyor_model::shell::quote;
use serde::Serialize;

use crate::app_loop::{direct_inbox_command, poll_command};

/// How a thread that only polls is kept going.
#[derive(Debug, Serialize)]
pub struct HeartbeatRecommendations {
    /// The kind of session this is for.
    pub applies_when: AppliesWhen,
    /// How often to poll.
    pub interval_minutes: u32,
    /// For the manager's thread.
    pub manager: HeartbeatRecommendation,
    /// Why it is needed.
    pub note: &'static str,
    /// Shows the state of the loop.
    pub status_command: String,
    /// Who ends the heartbeats, and when.
    pub teardown_policy: TeardownPolicy,
    /// Shows whom to wake up.
    pub wakeup_plan_command: String,
    /// For the worker's thread.
    pub worker: HeartbeatRecommendation,
}

/// The communication of the sessions that need heartbeats.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are those of the communication object")]
pub struct AppliesWhen {
    pub can_receive_push: bool,
    pub delivery_mode: &'static str,
    pub receive_style: &'static str,
    pub session_kind: &'static str,
}

/// The heartbeat of one side.
#[derive(Debug, Serialize)]
pub struct HeartbeatRecommendation {
    /// Takes the next message out of the inbox.
    pub direct_inbox_command: String,
    /// Always `thread_heartbeat`.
    pub kind: &'static str,
    /// Renews the lease and says what is next.
    pub poll_command: String,
    /// What the wake layer says to the thread.
    pub prompt: String,
}

/// Who ends the heartbeats, and when.
#[derive(Debug, Serialize)]
pub struct TeardownPolicy {
    /// What an empty poll means.
    pub idle_poll: &'static str,
    /// Who is to do it.
    pub owner: &'static str,
    /// When it is done.
    pub terminal_closeout: &'static str,
    /// Closes the task.
    pub terminal_closeout_command: String,
    /// What the worker must not do.
    pub worker_rule: &'static str,
}

/// The recommendations for a task of this name on this ledger.
pub(super) fn heartbeats(task: &str, ledger: &str) -> HeartbeatRecommendations {
    let closeout = format!(
        "conveyor finish-task {} --reason {} --require-criteria-audit --path {}",
        quote(task),
        quote("Verified terminal closeout"),
        quote(ledger)
    );
    let app_command = |name: &str| format!("conveyor {name} {} --path {} --json", quote(task), quote(ledger));
    HeartbeatRecommendations {
        applies_when: AppliesWhen {
            can_receive_push: false,
            delivery_mode: "pull_required",
            receive_style: "pull",
            session_kind: "codex_app",
        },
        interval_minutes: 2,
        manager: heartbeat(task, Role::Manager, ledger, &closeout),
        note: "The dispatcher delivers into the inboxes of threads that pull, but an idle app thread reads its inbox \
               only when a heartbeat or an operator makes it poll.",
        status_command: app_command("app-loop-status"),
        teardown_policy: TeardownPolicy {
            idle_poll: "Never remove or pause a heartbeat because a poll returned nothing.",
            owner: "manager_or_operator",
            terminal_closeout: "Only the manager or the operator tears heartbeats down: after a terminal manager \
                                decision and a verified closeout, or on explicit instruction of the operator.",
            terminal_closeout_command: closeout,
            worker_rule: "The worker never owns the tear-down of heartbeats.",
        },
        wakeup_plan_command: app_command("app-wakeup-plan"),
        worker: heartbeat(task, Role::Worker, ledger, ""),
    }
}

fn heartbeat(task: &str, role: Role, ledger: &str, closeout: &str) -> HeartbeatRecommendation {
    let poll_command = poll_command(task, role, ledger);
    let direct_inbox_command = direct_inbox_command(task, role, ledger);
    let duty = match role {
        Role::Manager => {
            "If an item was consumed, carry out exactly that one instruction: verify what the worker claims before \
             you conclude anything, bring Conveyor's state up to date, and produce exactly one next worker task."
        }
        Role::Worker => {
            "If an item was consumed, carry out exactly that one instruction, then return: the exact commands you \
             ran; compact evidence; blockers or residual risk; and exactly one recommended next task."
        }
    };
    let mut lines = vec![
        "Use the skill manage-codex-workers.".to_owned(),
        format!("This is the {role} heartbeat for task {task:?}."),
        format!("Run: {poll_command}"),
        format!("If its answer asks you to poll the inbox directly, run: {direct_inbox_command}"),
        duty.to_owned(),
        "If nothing was consumed, stop after a one-line idle receipt.".to_owned(),
        "Never remove a heartbeat because a poll was idle.".to_owned(),
    ];
    if role == Role::Manager {
        lines.push(format!(
            "When every accepted criterion is satisfied, deferred or rejected and there is no next task, record the \
             terminal decision, then run this or report its result: {closeout}"
        ));
        lines.push(
            "After that report how far the tear-down is. A task that is still managed or active then is a \
             control-plane blocker: report it as one, and do not call the loop complete."
                .to_owned(),
        );
    }
    HeartbeatRecommendation {
        direct_inbox_command,
        kind: "thread_heartbeat",
        poll_command,
        prompt: lines.join("\n"),
    }
}

/// The prompt to paste into the worker's thread.
pub(super) fn worker_handoff(task: &str, poll: &str) -> String {
    [
        "Use the skill manage-codex-workers.",
        &format!("You are the worker for task {task:?}, on a disposable binding without tmux."),
        "Keep polling your Conveyor inbox until no items are left or the loop reaches its maximum number of \
         iterations.",
        "Consume the next item now. Treat each consumed item as the manager's next instruction: do the work, then \
         report changed files, exact commands, evidence and residual risk.",
        "This thread has to pull its messages. It runs autonomously only if a heartbeat or wake layer repeats the \
         poll while it is idle; if there is none, report the loop as manual-poll only.",
        "Do not delete, pause or disable heartbeats because a poll was idle: tear-down belongs to the manager or the \
         operator.",
        &format!("Run: {poll}"),
    ]
    .join("\n")
}
