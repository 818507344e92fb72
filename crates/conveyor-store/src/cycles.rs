//! Cycles: one observation of a worker each, with the spans of its phases.

use conveyor_model::json;
use conveyor_model::records::Object;
use serde::Serialize;
use serde_json::Value;

use crate::{Row, StoreError, Tx, params};

/// How a cycle ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CycleState {
    /// The worker was observed.
    Succeeded,
    /// It was not.
    Failed,
}

impl CycleState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// Inserts a cycle that began at the given time; gives its id.
///
/// # Errors
/// A failing statement.
pub fn begin(tx: &mut Tx<'_>, task_id: &str, started_at: &str) -> Result<i64, StoreError> {
    tx.one(
        "insert into manager_cycles (task_id, started_at, state) values ($1, $2, 'started') returning id",
        params![task_id, started_at],
        |row| row.int(0),
    )
}

/// Whether there is a cycle with this id.
///
/// # Errors
/// A failing statement.
pub fn exists(tx: &mut Tx<'_>, id: i64) -> Result<bool, StoreError> {
    let found = tx.first("select id from manager_cycles where id = $1", params![id], |row| row.int(0))?;
    Ok(found.is_some())
}

/// Ends a cycle with what it found, as JSON text, and the reason if it failed.
///
/// # Errors
/// A failing statement.
pub fn end(
    tx: &mut Tx<'_>,
    id: i64,
    state: CycleState,
    status: &str,
    error: Option<&str>,
) -> Result<(), StoreError> {
    let now = tx.now()?.to_ms_text();
    tx.execute(
        "update manager_cycles set state = $2, completed_at = $3, status_json = $4, error = $5 where id = $1",
        params![id, state.as_str(), now, status, error],
    )?;
    Ok(())
}

/// A phase of a cycle that has ended.
pub struct Span<'a> {
    /// The cycle.
    pub cycle_id: i64,
    /// Its task.
    pub task_id: &'a str,
    /// The task's active run.
    pub run_id: Option<&'a str>,
    /// Which phase.
    pub phase: &'a str,
    /// When it began, as stored.
    pub started_at: &'a str,
    /// When it ended, as stored; `None`: now.
    pub completed_at: Option<&'a str>,
    /// How long it took.
    pub duration_ms: f64,
    /// `succeeded`, `failed` or `degraded`.
    pub state: &'a str,
    /// The facts: a JSON object.
    pub attributes: Value,
    /// The kind of error, of failed ones.
    pub error_type: Option<&'a str>,
}

/// Inserts the span of a phase that has ended.
///
/// # Errors
/// A failing statement.
pub fn insert_span(tx: &mut Tx<'_>, span: &Span<'_>) -> Result<(), StoreError> {
    let now = tx.now()?.to_ms_text();
    tx.execute(
        "insert into manager_cycle_spans (manager_cycle_id, task_id, run_id, phase, started_at, completed_at, \
         duration_ms, state, attributes_json, error_type) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        params![
            span.cycle_id,
            span.task_id,
            span.run_id,
            span.phase,
            span.started_at,
            span.completed_at.unwrap_or(&now),
            span.duration_ms,
            span.state,
            json::compact(&span.attributes),
            span.error_type,
        ],
    )?;
    Ok(())
}

/// A cycle whose terminal showed something notable.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table and one value of its status")]
pub struct Divergence {
    pub completed_at: Option<String>,
    pub id: i64,
    pub notable_pane_pattern: Value,
    pub started_at: String,
    pub state: String,
    pub status: Object,
    pub task_id: String,
}

fn divergence_row(row: &Row<'_>) -> Result<Divergence, StoreError> {
    let status = row.object(4)?;
    Ok(Divergence {
        completed_at: row.opt_text(0)?,
        id: row.int(1)?,
        notable_pane_pattern: status.get("notable_pane_pattern").cloned().unwrap_or_default(),
        started_at: row.text(2)?,
        state: row.text(3)?,
        status,
        task_id: row.text(5)?,
    })
}

/// Hands the cycles of a task whose status names a notable pattern to `each`, newest first, at
/// most `limit`.
///
/// # Errors
/// A failing statement, or what `each` returns.
pub fn each_divergence<E: From<StoreError>>(
    tx: &mut Tx<'_>,
    task_id: &str,
    limit: i64,
    each: &mut dyn FnMut(Divergence) -> Result<(), E>,
) -> Result<(), E> {
    tx.each(
        "select completed_at, id, started_at, state, status_json, task_id from manager_cycles \
         where task_id = $1 and {notable_pattern} is not null order by id desc limit $2",
        params![task_id, limit],
        &mut |row| each(divergence_row(row)?),
    )
}

/// A live binding with the newest end of a cycle of its task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastCycle {
    /// The binding.
    pub binding_id: String,
    /// The task's name.
    pub task_name: String,
    /// When the newest cycle ended, as stored.
    pub completed_at: String,
}

/// For each live binding, by id, the newest end of a cycle of its task; tasks without one are left
/// out.
///
/// # Errors
/// A failing statement.
pub fn last_of_bound_tasks(tx: &mut Tx<'_>) -> Result<Vec<LastCycle>, StoreError> {
    tx.all(
        "select id, name, newest from (select b.id, t.name, \
         (select max(c.completed_at) from manager_cycles c where c.task_id = t.id) as newest \
         from bindings b join tasks t on t.id = b.task_id where b.state in ('active', 'ending')) as bound \
         where newest is not null order by id",
        &[],
        |row| Ok(LastCycle { binding_id: row.text(0)?, task_name: row.text(1)?, completed_at: row.text(2)? }),
    )
}
