//! Runs: named spans of work and the policy records of loops.

use conveyor_model::{Actor, IdPrefix, json};
use serde_json::{Value, json};

use crate::telemetry::{self, Emit};
use crate::{StoreError, Tx, params};

/// What the advance of a loop needs of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopRecord {
    /// The run's id.
    pub id: String,
    /// The task it belongs to.
    pub task_id: String,
    /// The metadata object as stored.
    pub metadata: String,
}

/// The run with this id, held against other writers until the transaction ends.
///
/// # Errors
/// A failing statement.
pub fn hold(tx: &mut Tx<'_>, id: &str) -> Result<Option<LoopRecord>, StoreError> {
    tx.first("select id, task_id, metadata_json from runs where id = $1{lock_row}", params![id], |row| {
        Ok(LoopRecord { id: row.text(0)?, task_id: row.text(1)?, metadata: row.text(2)? })
    })
}

/// Replaces the metadata of a run.
///
/// # Errors
/// A failing statement.
pub fn set_metadata(tx: &mut Tx<'_>, id: &str, metadata: &str) -> Result<(), StoreError> {
    tx.execute("update runs set metadata_json = $2 where id = $1", params![id, metadata])?;
    Ok(())
}

/// The run that is going on for a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveRun {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// The active run of a task, if there is one.
///
/// # Errors
/// A failing statement.
pub fn active_of_task(tx: &mut Tx<'_>, task_id: &str) -> Result<Option<ActiveRun>, StoreError> {
    tx.first("select id, name from runs where task_id = $1 and status = 'active'", params![task_id], |row| {
        Ok(ActiveRun { id: row.text(0)?, name: row.text(1)? })
    })
}

/// A run about to begin.
#[derive(Clone, Debug)]
pub struct NewRun<'a> {
    /// The task it belongs to.
    pub task_id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// What it is for.
    pub purpose: &'a str,
    /// The facts: a JSON object.
    pub metadata: Value,
}

/// Inserts an active run; gives its id.
///
/// # Errors
/// A failing statement; [`StoreError::Unique`] when the task has an active run already.
pub fn insert_active(tx: &mut Tx<'_>, new: &NewRun<'_>) -> Result<String, StoreError> {
    let id = tx.fresh_id(IdPrefix::Run);
    let now = tx.now()?.to_s_text();
    tx.execute(
        "insert into runs (id, task_id, name, purpose, status, started_at, metadata_json) \
         values ($1, $2, $3, $4, 'active', $5, $6)",
        params![&id, new.task_id, new.name, new.purpose, now, json::compact(&new.metadata)],
    )?;
    Ok(id)
}

/// Ends an active run with the given status, and records that.
///
/// # Errors
/// A failing statement.
pub fn close(tx: &mut Tx<'_>, task_id: &str, run: &ActiveRun, status: &str) -> Result<(), StoreError> {
    let now = tx.now()?.to_ms_text();
    tx.execute(
        "update runs set status = $2, ended_at = $3 where id = $1 and status = 'active'",
        params![&run.id, status, now],
    )?;
    let correlation = json!({ "run_id": run.id, "run_name": run.name });
    let summary = format!("Run {} is {status}.", run.name);
    let event =
        Emit::info(Actor::Workerctl, "run_finished", summary, correlation, json!({ "status": status }));
    telemetry::emit(tx, &event.of_task(Some(task_id)).of_run(Some(&run.id)))?;
    Ok(())
}
