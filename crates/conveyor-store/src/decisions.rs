//! Decisions of managers: why a task was nudged, interrupted, stopped.

use conveyor_model::{Actor, json};
use serde_json::{Value, json};

use crate::telemetry::{self, Emit};
use crate::{StoreError, Tx, params};

/// The decision to end a task.
pub const STOP: &str = "stop";

/// Records a decision with its telemetry; gives its id.
///
/// # Errors
/// A failing statement.
pub fn record(
    tx: &mut Tx<'_>,
    task_id: &str,
    decision: &str,
    reason: &str,
    payload: &Value,
) -> Result<i64, StoreError> {
    let now = tx.now()?.to_s_text();
    let id = tx.one(
        "insert into manager_decisions (task_id, decision, reason, created_at, payload_json) \
         values ($1, $2, $3, $4, $5) returning id",
        params![task_id, decision, reason, now, json::compact(payload)],
        |row| row.int(0),
    )?;
    let correlation = json!({ "decision_id": id, "manager_cycle_id": null, "manager_id": null });
    let attributes = json!({ "decision": decision, "payload": payload, "reason": reason });
    let summary = format!("Recorded manager decision {decision}.");
    let event = Emit::info(Actor::Workerctl, "manager_decision_recorded", summary, correlation, attributes);
    telemetry::emit(tx, &event.of_task(Some(task_id)))?;
    Ok(id)
}
