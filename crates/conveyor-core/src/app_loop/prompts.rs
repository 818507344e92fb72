//! The text that wakes a sleeping thread.

use conveyor_model::Role;

use super::status::RoleStatus;

/// The wake-up for one side of a task: seven points, each on a line of its own. Whoever reads it
/// knows nothing but this text.
pub(super) fn wake_prompt(task: &str, role: Role, side: &RoleStatus) -> String {
    let duty = match role {
        Role::Manager => {
            "If that hands you a message, check what the worker claims before you record any conclusion, insist on \
             concrete evidence, bring Conveyor's state up to date with what you found, and produce exactly one next \
             worker task."
        }
        Role::Worker => {
            "If that hands you a message, carry out that one instruction and nothing else, then report: the commands \
             you ran, verbatim; short evidence; anything that blocks you or is still risky; and a single proposal \
             for the next worker task."
        }
    };
    let lines = [
        "Use the skill manage-codex-workers.".to_owned(),
        format!("This is the {role} heartbeat wake-up for task {task}."),
        format!("Run: {}", side.poll_command),
        format!(
            "If the heartbeat's answer asks for direct inbox polling, run: {}",
            side.direct_inbox_command
        ),
        duty.to_owned(),
        "If there is nothing to consume, stop after a one-line idle note.".to_owned(),
        "An idle poll is neither completion of the task nor permission to remove the heartbeat.".to_owned(),
    ];
    lines.join("\n")
}
