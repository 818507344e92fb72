//! Acknowledgements: each side's own words for what it understood the task to be.

use conveyor_model::Role;
use conveyor_model::records::Object;
use serde::Serialize;

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
