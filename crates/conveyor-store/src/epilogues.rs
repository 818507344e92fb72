//! Epilogues: the closing steps of a task and what became of them.

use conveyor_model::json;
use conveyor_model::records::Object;
use serde::Serialize;
use serde_json::Value;

use crate::{Row, StoreError, Tx, params};

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

const COLUMNS: &str =
    "correlation_id, error, finished_at, id, result_json, started_at, state, step_name, task_id";

fn from_row(row: &Row<'_>) -> Result<EpilogueRun, StoreError> {
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
}

/// The latest run of a step of a task.
///
/// # Errors
/// A failing statement.
pub fn latest(tx: &mut Tx<'_>, task_id: &str, step: &str) -> Result<Option<EpilogueRun>, StoreError> {
    tx.first(
        &format!(
            "select {COLUMNS} from epilogue_runs where task_id = $1 and step_name = $2 order by id desc limit 1"
        ),
        params![task_id, step],
        from_row,
    )
}

/// Every run of a closing step of a task, by id.
///
/// # Errors
/// A failing statement.
pub fn of_task(tx: &mut Tx<'_>, task_id: &str) -> Result<Vec<EpilogueRun>, StoreError> {
    tx.all(
        &format!("select {COLUMNS} from epilogue_runs where task_id = $1 order by id"),
        params![task_id],
        from_row,
    )
}

/// A finished run about to be recorded.
pub struct NewRun<'a> {
    /// The task.
    pub task_id: &'a str,
    /// The step.
    pub step: &'a str,
    /// When it began, in whole seconds.
    pub started_at: &'a str,
    /// What it brought, if anything.
    pub result: Option<&'a Object>,
    /// Why it failed; a run without succeeded.
    pub error: Option<&'a str>,
    /// What ties it to others.
    pub correlation_id: &'a str,
}

/// Records a finished run of a closing step.
///
/// # Errors
/// A failing statement.
pub fn insert(tx: &mut Tx<'_>, new: &NewRun<'_>) -> Result<EpilogueRun, StoreError> {
    let now = tx.now()?.to_s_text();
    let state = if new.error.is_none() { "succeeded" } else { "failed" };
    tx.one(
        &format!(
            "insert into epilogue_runs (task_id, step_name, state, started_at, finished_at, result_json, error, \
             correlation_id) values ($1, $2, $3, $4, $5, $6, $7, $8) returning {COLUMNS}"
        ),
        params![
            new.task_id,
            new.step,
            state,
            new.started_at,
            now,
            new.result.map(|result| json::compact(&Value::Object(result.clone()))),
            new.error,
            new.correlation_id
        ],
        from_row,
    )
}

/// How much a task left in the records: criteria, commands, events.
///
/// # Errors
/// A failing statement.
pub fn records_of_task(tx: &mut Tx<'_>, task_id: &str) -> Result<[i64; 3], StoreError> {
    tx.one(
        "select (select count(*) from acceptance_criteria where task_id = $1), \
         (select count(*) from commands where task_id = $1), (select count(*) from events where task_id = $1)",
        params![task_id],
        |row| Ok([row.int(0)?, row.int(1)?, row.int(2)?]),
    )
}
