//! Ending claims whose dispatcher died: before the effect began a lapse is not an attempt; after
//! it began nobody knows, so nothing is repeated.

use conveyor_model::{Actor, AttemptState, CommandState, CommandType, Severity};
use conveyor_store::Tx;
use conveyor_store::lapses::{self, Lapsed, Recovery};
use conveyor_store::telemetry::{self, Emit};
use serde_json::json;

use super::elements::{Element, Recovered};
use crate::Result;

/// After so many lapses a command fails: something about it kills its dispatchers.
const MOST_LAPSES: i64 = 5;

const STARTED: &str = "the claim lapsed after its effect had begun; what became of it is unknown, so it is not \
                       repeated: a person must look";
const NOT_STARTED: &str = "the claim lapsed before an effect began; the attempt was abandoned";
const GIVEN_UP: &str = "the claim lapsed five times before an effect began; the command is given up";

/// Ends up to `limit` lapsed claims of these types.
pub(super) fn recover(
    tx: &mut Tx<'_>,
    types: &[CommandType],
    dispatcher_id: &str,
    limit: usize,
) -> Result<Vec<Element>> {
    let mut elements = Vec::new();
    for lapsed in lapses::lapsed(tx, types, limit)? {
        let decision = decide(&lapsed);
        if !lapses::recover(tx, &lapsed, &decision)? {
            continue;
        }
        emit(tx, &lapsed, &decision, dispatcher_id)?;
        elements.push(Element::Recovered(Recovered {
            attempt_id: lapsed.attempt.map(|(id, _)| id),
            command_id: lapsed.id,
            command_type: lapsed.command_type,
            error: decision.error.to_owned(),
            side_effect_started: lapsed.attempt.is_some_and(|(_, started)| started),
            state: if decision.command == CommandState::Failed { "failed" } else { "requeued" },
        }));
    }
    if !elements.is_empty() {
        tx.wake_waiters();
    }
    Ok(elements)
}

fn decide(lapsed: &Lapsed) -> Recovery<'static> {
    let started = lapsed.attempt.is_some_and(|(_, started)| started);
    if started {
        return Recovery {
            command: CommandState::Failed,
            attempt: AttemptState::Failed,
            uncounted: false,
            error: STARTED,
        };
    }
    let given_up = lapsed.lapses + 1 >= MOST_LAPSES;
    Recovery {
        command: if given_up { CommandState::Failed } else { CommandState::Pending },
        attempt: AttemptState::Abandoned,
        uncounted: true,
        error: if given_up { GIVEN_UP } else { NOT_STARTED },
    }
}

fn emit(tx: &mut Tx<'_>, lapsed: &Lapsed, decision: &Recovery<'_>, dispatcher_id: &str) -> Result<()> {
    let failed = decision.command == CommandState::Failed;
    let abandoned = decision.attempt == AttemptState::Abandoned;
    let event_type = if abandoned { "dispatch_command_abandoned" } else { "dispatch_command_failed" };
    let event = Emit::info(
        Actor::Dispatch,
        event_type,
        format!("Recovered a lapsed claim of command {}.", lapsed.command_type),
        json!({
            "attempt_id": lapsed.attempt.map(|(id, _)| id),
            "command_id": lapsed.id,
            "command_type": lapsed.command_type,
            "correlation_id": lapsed.correlation_id,
            "dispatcher_id": dispatcher_id,
        }),
        json!({
            "recovery_state": if failed { "failed" } else { "requeued" },
            "side_effect_started": lapsed.attempt.is_some_and(|(_, started)| started),
        }),
    );
    let severity = if failed { Severity::Error } else { Severity::Warning };
    telemetry::emit(tx, &event.of_task(lapsed.task_id.as_deref()).severity(severity))?;
    Ok(())
}
