//! Handoffs: a note on progress that survives compaction, restarts and late managers.

use conveyor_model::Actor;
use conveyor_model::records::Object;
use conveyor_store::audit::{self, AuditEvent};
use conveyor_store::handoffs::{self, Handoff};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{Tx, bindings};
use serde_json::{Value, json};

use super::acknowledgements::keys;
use crate::{Cx, Result, reference};

/// A handoff to record.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The task, by id or name.
    pub task: &'a str,
    /// Where the work stands.
    pub summary: &'a str,
    /// What comes next.
    pub next_steps: &'a [String],
    /// More about it.
    pub payload: Object,
}

/// Records a handoff of a task's worker.
///
/// # Errors
/// An unknown task; a failing ledger. Nothing is written then.
pub fn record(cx: &mut Cx, request: &Request<'_>) -> Result<Handoff> {
    let payload = Value::Object(request.payload.clone());
    cx.db.write(|tx| {
        let task = reference::held_task(tx, request.task)?;
        let binding = bindings::live_of_task(tx, &task.id)?;
        let worker_session_id = binding.and_then(|binding| binding.worker_session_id);
        let worker = worker_session_id.as_deref();
        let id = handoffs::insert(tx, &task.id, worker, request.summary, request.next_steps, &payload)?;
        let handoff = Handoff {
            created_at: tx.now()?.to_s_text(),
            id,
            next_steps: request.next_steps.to_vec(),
            payload: request.payload.clone(),
            summary: request.summary.to_owned(),
            task_id: task.id,
            worker_session_id,
        };
        announce(tx, &handoff)?;
        Ok(handoff)
    })
}

fn announce(tx: &mut Tx<'_>, handoff: &Handoff) -> Result<()> {
    let correlation = json!({ "handoff_id": handoff.id, "worker_session_id": handoff.worker_session_id });
    let attributes = json!({
        "next_step_count": handoff.next_steps.len(),
        "payload_keys": keys(&handoff.payload),
        "summary_length": handoff.summary.chars().count(),
    });
    const TYPE: &str = "worker_handoff_recorded";
    let event = Emit::info(Actor::Worker, TYPE, "Recorded worker handoff.".into(), correlation, attributes);
    telemetry::emit(tx, &event.of_task(Some(&handoff.task_id)).in_whole_seconds())?;
    let payload = json!({
        "handoff_id": handoff.id,
        "next_step_count": handoff.next_steps.len(),
        "worker_session_id": handoff.worker_session_id,
    });
    let event = AuditEvent { event_type: TYPE, task_id: Some(&handoff.task_id), command_id: None, payload };
    Ok(audit::record(tx, &event)?)
}
