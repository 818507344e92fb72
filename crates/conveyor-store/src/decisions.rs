//! Decisions of managers: why a task was nudged, interrupted, stopped.

use conveyor_model::records::Object;
use conveyor_model::{Actor, Decision, json};
use serde::Serialize;
use serde_json::{Value, json};

use crate::telemetry::{self, Emit};
use crate::{Row, StoreError, Tx, params};

/// A recorded decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Recorded {
    pub created_at: String,
    pub decision: String,
    pub id: i64,
    pub manager_cycle_id: Option<i64>,
    pub manager_id: Option<String>,
    pub payload: Object,
    pub reason: String,
    pub task_id: String,
}

/// A decision about to be recorded.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// What it is about.
    pub task_id: &'a str,
    /// The manager of older versions that the task has.
    pub manager_id: Option<&'a str>,
    /// The observation that led to it.
    pub manager_cycle_id: Option<i64>,
    /// What was decided.
    pub decision: Decision,
    /// Why.
    pub reason: &'a str,
    /// More about it: a JSON object.
    pub payload: &'a Value,
}

/// Records a decision; gives its id.
///
/// # Errors
/// A failing statement.
pub fn insert(tx: &mut Tx<'_>, new: &New<'_>) -> Result<i64, StoreError> {
    let now = tx.now()?.to_s_text();
    tx.one(
        "insert into manager_decisions (task_id, manager_id, manager_cycle_id, decision, reason, created_at, \
         payload_json) values ($1, $2, $3, $4, $5, $6, $7) returning id",
        params![
            new.task_id,
            new.manager_id,
            new.manager_cycle_id,
            new.decision.as_str(),
            new.reason,
            now,
            json::compact(new.payload)
        ],
        |row| row.int(0),
    )
}

/// Records with its telemetry that the task's closing was decided; gives the decision's id.
///
/// # Errors
/// A failing statement.
pub fn record_closing(
    tx: &mut Tx<'_>,
    task_id: &str,
    reason: &str,
    payload: &Value,
) -> Result<i64, StoreError> {
    let decision = Decision::Stop;
    let new = New { task_id, manager_id: None, manager_cycle_id: None, decision, reason, payload };
    let id = insert(tx, &new)?;
    let correlation = json!({ "decision_id": id, "manager_cycle_id": null, "manager_id": null });
    let attributes = json!({ "decision": decision, "payload": payload, "reason": reason });
    let summary = format!("Recorded manager decision {decision}.");
    let event = Emit::info(Actor::Workerctl, "manager_decision_recorded", summary, correlation, attributes);
    telemetry::emit(tx, &event.of_task(Some(task_id)))?;
    Ok(id)
}

/// The decision with this id, of whatever task.
///
/// # Errors
/// A failing statement.
pub fn find(tx: &mut Tx<'_>, id: i64) -> Result<Option<Recorded>, StoreError> {
    tx.first(&format!("select {COLUMNS} from manager_decisions where id = $1"), params![id], from_row)
}

/// The decisions of a task, by id.
///
/// # Errors
/// A failing statement.
pub fn of_task(tx: &mut Tx<'_>, task_id: &str) -> Result<Vec<Recorded>, StoreError> {
    let sql = format!("select {COLUMNS} from manager_decisions where task_id = $1 order by id");
    tx.all(&sql, params![task_id], from_row)
}

const COLUMNS: &str = "created_at, decision, id, manager_cycle_id, manager_id, payload_json, reason, task_id";

fn from_row(row: &Row<'_>) -> Result<Recorded, StoreError> {
    Ok(Recorded {
        created_at: row.text(0)?,
        decision: row.text(1)?,
        id: row.int(2)?,
        manager_cycle_id: row.opt_int(3)?,
        manager_id: row.opt_text(4)?,
        payload: row.object(5)?,
        reason: row.text(6)?,
        task_id: row.text(7)?,
    })
}

/// The newest manager of older versions that supervises a task.
///
/// # Errors
/// A failing statement.
pub fn legacy_manager_id(tx: &mut Tx<'_>, task_id: &str) -> Result<Option<String>, StoreError> {
    tx.first(
        "select id from managers where task_id = $1 and state in ('starting', 'ready', 'stopping') \
         order by started_at desc, id desc limit 1",
        params![task_id],
        |row| row.text(0),
    )
}
