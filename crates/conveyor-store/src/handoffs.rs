//! Handoffs: what a worker leaves behind for whoever goes on with the task.

use conveyor_model::json;
use conveyor_model::records::Object;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{StoreError, Tx, params};

/// A handoff.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Handoff {
    pub created_at: String,
    pub id: i64,
    pub next_steps: Vec<String>,
    pub payload: Object,
    pub summary: String,
    pub task_id: String,
    pub worker_session_id: Option<String>,
}

/// The latest handoff of a task.
///
/// # Errors
/// A failing statement.
pub fn latest(tx: &mut Tx<'_>, task_id: &str) -> Result<Option<Handoff>, StoreError> {
    tx.first(
        "select created_at, id, next_steps_json, payload_json, summary, task_id, worker_session_id \
         from worker_handoffs where task_id = $1 order by id desc limit 1",
        params![task_id],
        |row| {
            Ok(Handoff {
                created_at: row.text(0)?,
                id: row.int(1)?,
                next_steps: json::texts(&row.text(2)?),
                payload: row.object(3)?,
                summary: row.text(4)?,
                task_id: row.text(5)?,
                worker_session_id: row.opt_text(6)?,
            })
        },
    )
}

/// Records a handoff of a task; gives its id.
///
/// # Errors
/// A failing statement.
pub fn insert(
    tx: &mut Tx<'_>,
    task_id: &str,
    worker_session_id: Option<&str>,
    summary: &str,
    next_steps: &[String],
    payload: &Value,
) -> Result<i64, StoreError> {
    let now = tx.now()?.to_s_text();
    tx.one(
        "insert into worker_handoffs (task_id, worker_session_id, summary, next_steps_json, payload_json, created_at) \
         values ($1, $2, $3, $4, $5, $6) returning id",
        params![
            task_id,
            worker_session_id,
            summary,
            json::compact(&json!(next_steps)),
            json::compact(payload),
            now
        ],
        |row| row.int(0),
    )
}
