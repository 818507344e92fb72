//! Observations about agents, attached to a task.

use conveyor_model::{Role, json};
use serde_json::Value;

use crate::{StoreError, Tx, params};

/// An observation about to be recorded; its severity is `info`.
pub struct Observation<'a> {
    /// The task.
    pub task_id: &'a str,
    /// The legacy worker, if it is about one.
    pub worker_id: Option<&'a str>,
    /// The legacy manager, if it is about one.
    pub manager_id: Option<&'a str>,
    /// The side it is about.
    pub role: Role,
    /// What kind of observation, for example `capture`.
    pub observation_type: &'a str,
    /// The capture it was made from.
    pub source_capture_id: Option<i64>,
    /// The command it was made by.
    pub command_id: Option<&'a str>,
    /// What was observed, in a sentence.
    pub message: &'a str,
    /// The facts: a JSON object.
    pub payload: Value,
}

/// Records an observation; gives its id.
///
/// # Errors
/// A failing statement.
pub fn record(tx: &mut Tx<'_>, new: &Observation<'_>) -> Result<i64, StoreError> {
    let now = tx.now()?.to_s_text();
    tx.one(
        "insert into agent_observations (task_id, worker_id, manager_id, role, observation_type, severity, \
         source_capture_id, command_id, created_at, message, payload_json) \
         values ($1, $2, $3, $4, $5, 'info', $6, $7, $8, $9, $10) returning id",
        params![
            new.task_id,
            new.worker_id,
            new.manager_id,
            new.role.as_str(),
            new.observation_type,
            new.source_capture_id,
            new.command_id,
            now,
            new.message,
            json::compact(&new.payload),
        ],
        |row| row.int(0),
    )
}
