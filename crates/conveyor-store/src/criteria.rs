//! Acceptance criteria: what a task must fulfil, each with its proof.

use conveyor_model::records::Object;
use serde::Serialize;

use crate::{StoreError, Tx, params};

/// A criterion of a task.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Criterion {
    pub created_at: String,
    pub criterion: String,
    pub evidence: Object,
    pub id: i64,
    pub proof: Option<String>,
    pub rationale: Option<String>,
    pub source: String,
    pub status: String,
    pub task_id: String,
    pub updated_at: String,
}

/// The criteria of a task, by id.
///
/// # Errors
/// A failing statement.
pub fn of_task(tx: &mut Tx<'_>, task_id: &str) -> Result<Vec<Criterion>, StoreError> {
    tx.all(
        "select created_at, criterion, evidence_json, id, proof, rationale, source, status, task_id, updated_at \
         from acceptance_criteria where task_id = $1 order by id",
        params![task_id],
        |row| {
            Ok(Criterion {
                created_at: row.text(0)?,
                criterion: row.text(1)?,
                evidence: row.object(2)?,
                id: row.int(3)?,
                proof: row.opt_text(4)?,
                rationale: row.opt_text(5)?,
                source: row.text(6)?,
                status: row.text(7)?,
                task_id: row.text(8)?,
                updated_at: row.text(9)?,
            })
        },
    )
}
