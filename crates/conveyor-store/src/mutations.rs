//! What was done to a task and its sessions, and the decisions that it goes back to: what an audit
//! compares.

use conveyor_model::records::Object;
use serde::Serialize;

use crate::{StoreError, Tx, params};

/// A command that changed something, or tried to.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Mutation {
    pub id: String,
    pub command_type: String,
    pub state: String,
    pub created_at: String,
    pub payload: Object,
    pub result: Object,
}

/// The commands of a task that have one of these types, oldest first.
///
/// # Errors
/// A failing statement.
pub fn of_task(tx: &mut Tx<'_>, task_id: &str, types: &[&str]) -> Result<Vec<Mutation>, StoreError> {
    // The types are constants of the program, never a user's words.
    let types: Vec<String> = types.iter().map(|kind| format!("'{kind}'")).collect();
    tx.all(
        &format!(
            "select id, type, state, created_at, payload_json, coalesce(result_json, '{{}}') from commands \
             where task_id = $1 and type in ({}) order by created_at, id",
            types.join(", ")
        ),
        params![task_id],
        |row| {
            Ok(Mutation {
                id: row.text(0)?,
                command_type: row.text(1)?,
                state: row.text(2)?,
                created_at: row.text(3)?,
                payload: row.object(4)?,
                result: row.object(5)?,
            })
        },
    )
}

/// A decision that a manager recorded.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct RecordedDecision {
    pub created_at: String,
    pub decision: String,
    pub id: i64,
    pub manager_cycle_id: Option<i64>,
    pub manager_id: Option<String>,
    pub payload: Object,
    pub reason: String,
    pub task_id: String,
}

/// The decisions of a task, by id.
///
/// # Errors
/// A failing statement.
pub fn decisions(tx: &mut Tx<'_>, task_id: &str) -> Result<Vec<RecordedDecision>, StoreError> {
    tx.all(
        "select created_at, decision, id, manager_cycle_id, manager_id, payload_json, reason, task_id \
         from manager_decisions where task_id = $1 order by id",
        params![task_id],
        |row| {
            Ok(RecordedDecision {
                created_at: row.text(0)?,
                decision: row.text(1)?,
                id: row.int(2)?,
                manager_cycle_id: row.opt_int(3)?,
                manager_id: row.opt_text(4)?,
                payload: row.object(5)?,
                reason: row.text(6)?,
                task_id: row.text(7)?,
            })
        },
    )
}
