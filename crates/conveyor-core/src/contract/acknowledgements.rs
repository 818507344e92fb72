//! Acknowledgements: each side restates the contract in its own words before work begins.

use conveyor_model::Role;
use conveyor_model::records::Object;
use conveyor_store::acknowledgements::{self, Acknowledgement, New};
use conveyor_store::audit::{self, AuditEvent, Ties};
use conveyor_store::{bindings, manager_configs};
use serde_json::{Value, json};

use crate::{Cx, Error, Result, reference};

/// The latest acknowledgement of one side of a task.
///
/// # Errors
/// An unknown task; a failing ledger.
pub fn latest(cx: &mut Cx, task: &str, role: Role) -> Result<Option<Acknowledgement>> {
    cx.db.read(|tx| {
        let task = reference::task(tx, task)?;
        Ok(acknowledgements::latest(tx, &task.id, role)?)
    })
}

/// Records what one side of a task says it understood. It stands for the binding and the revision of
/// the contract that the task has at that moment.
///
/// # Errors
/// An unknown task; a failing ledger. Nothing is written then.
pub fn record(
    cx: &mut Cx,
    task: &str,
    role: Role,
    payload: &Object,
    correlation_id: Option<&str>,
) -> Result<Acknowledgement> {
    let stored = Value::Object(payload.clone());
    cx.db.write(|tx| {
        let task = reference::held_task(tx, task)?;
        let binding = bindings::live_of_task(tx, &task.id)?;
        let binding_id = binding.as_ref().map(|binding| binding.binding_id.as_str());
        let config = manager_configs::revision(tx, &task.id)?;
        let new = New {
            task_id: &task.id,
            role,
            binding_id,
            manager_config_revision: config,
            payload: &stored,
            correlation_id,
        };
        let ack_id = acknowledgements::insert(tx, &new)?;
        let event = AuditEvent {
            event_type: match role {
                Role::Worker => "worker_ack_recorded",
                Role::Manager => "manager_ack_recorded",
            },
            task_id: Some(&task.id),
            command_id: None,
            payload: json!({
                "ack_id": ack_id,
                "binding_id": binding_id,
                "payload_keys": keys(payload),
                "role": role,
            }),
        };
        audit::record_tied(tx, &event, Ties { manager_id: None, correlation_id })?;
        let recorded = acknowledgements::latest(tx, &task.id, role)?;
        recorded.ok_or(Error::Store(conveyor_store::StoreError::Sql("an acknowledgement vanished".into())))
    })
}

/// The names of a payload's fields, sorted: all that is told of it.
pub(super) fn keys(payload: &Object) -> Vec<&str> {
    let mut keys: Vec<&str> = payload.keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}
