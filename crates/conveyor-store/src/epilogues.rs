//! Epilogues: the closing steps of a task and what became of them.

use conveyor_model::json;
use conveyor_model::records::Object;
use serde::Serialize;

use crate::{StoreError, Tx, params};

/// One run of a closing step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct EpilogueRun {
    pub correlation_id: Option<String>,
    pub error: Option<String>,
    pub finished_at: Option<String>,
    pub id: i64,
    pub result: Option<Object>,
    pub started_at: String,
    pub state: String,
    pub step_name: String,
    pub task_id: String,
}

/// The latest run of a step of a task.
///
/// # Errors
/// A failing statement.
pub fn latest(tx: &mut Tx<'_>, task_id: &str, step: &str) -> Result<Option<EpilogueRun>, StoreError> {
    tx.first(
        "select correlation_id, error, finished_at, id, result_json, started_at, state, step_name, task_id \
         from epilogue_runs where task_id = $1 and step_name = $2 order by id desc limit 1",
        params![task_id, step],
        |row| {
            Ok(EpilogueRun {
                correlation_id: row.opt_text(0)?,
                error: row.opt_text(1)?,
                finished_at: row.opt_text(2)?,
                id: row.int(3)?,
                result: json::optional_object(row.opt_text(4)?.as_deref()),
                started_at: row.text(5)?,
                state: row.text(6)?,
                step_name: row.text(7)?,
                task_id: row.text(8)?,
            })
        },
    )
}
