//! Acknowledgements: each side's own words for what it understood the task to be.

use conveyor_model::records::Object;
use conveyor_model::{Role, json};
use serde::Serialize;
use serde_json::Value;

use crate::{StoreError, Tx, params};

/// An acknowledgement.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Acknowledgement {
    pub binding_id: Option<String>,
    pub correlation_id: Option<String>,
    pub created_at: String,
    pub id: i64,
    pub manager_config_revision: Option<i64>,
    pub payload: Object,
    pub revision: i64,
    pub role: String,
    pub task_id: String,
}

/// The latest acknowledgement of one side of a task.
///
/// # Errors
/// A failing statement.
pub fn latest(tx: &mut Tx<'_>, task_id: &str, role: Role) -> Result<Option<Acknowledgement>, StoreError> {
    tx.first(
        "select binding_id, correlation_id, created_at, id, manager_config_revision, payload_json, revision, role, \
         task_id from task_acknowledgements where task_id = $1 and role = $2 order by revision desc, id desc limit 1",
        params![task_id, role.as_str()],
        |row| {
            Ok(Acknowledgement {
                binding_id: row.opt_text(0)?,
                correlation_id: row.opt_text(1)?,
                created_at: row.text(2)?,
                id: row.int(3)?,
                manager_config_revision: row.opt_int(4)?,
                payload: row.object(5)?,
                revision: row.int(6)?,
                role: row.text(7)?,
                task_id: row.text(8)?,
            })
        },
    )
}

/// An acknowledgement about to be recorded.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// What is acknowledged.
    pub task_id: &'a str,
    /// By which side.
    pub role: Role,
    /// The binding at the moment.
    pub binding_id: Option<&'a str>,
    /// The revision of the task's contract at the moment.
    pub manager_config_revision: Option<i64>,
    /// What the side says: a JSON object.
    pub payload: &'a Value,
    /// What it belongs to.
    pub correlation_id: Option<&'a str>,
}

/// Records the next acknowledgement of one side of a task, which must be held; gives its id.
///
/// # Errors
/// A failing statement.
pub fn insert(tx: &mut Tx<'_>, new: &New<'_>) -> Result<i64, StoreError> {
    let now = tx.now()?.to_ms_text();
    let revision = latest(tx, new.task_id, new.role)?.map_or(1, |latest| latest.revision + 1);
    tx.one(
        "insert into task_acknowledgements (task_id, binding_id, role, payload_json, revision, \
         manager_config_revision, created_at, correlation_id) values ($1, $2, $3, $4, $5, $6, $7, $8) returning id",
        params![
            new.task_id,
            new.binding_id,
            new.role.as_str(),
            json::compact(new.payload),
            revision,
            new.manager_config_revision,
            now,
            new.correlation_id
        ],
        |row| row.int(0),
    )
}
