//! Acceptance criteria: what a task must fulfil, each with its proof.

use conveyor_model::records::Object;
use conveyor_model::{CriterionSource, CriterionStatus, json};
use serde::Serialize;
use serde_json::Value;

use crate::{Row, StoreError, Tx, params};

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

/// A criterion about to be inserted.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// The task that must fulfil it.
    pub task_id: &'a str,
    /// What must hold.
    pub criterion: &'a str,
    /// What became of it.
    pub status: CriterionStatus,
    /// Where it came from.
    pub source: CriterionSource,
    /// What shows that it holds.
    pub proof: Option<&'a str>,
    /// Why it is so.
    pub rationale: Option<&'a str>,
    /// What shows that it holds, for programs: a JSON object.
    pub evidence: &'a Object,
}

/// What changes of a criterion; `None` keeps what is there.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// What becomes of it.
    pub status: CriterionStatus,
    /// What shows that it holds.
    pub proof: Option<&'a str>,
    /// Why it is so.
    pub rationale: Option<&'a str>,
    /// In place of the whole evidence.
    pub evidence: Option<&'a Object>,
}

const SELECT: &str = "select created_at, criterion, evidence_json, id, proof, rationale, source, status, task_id, \
                      updated_at from acceptance_criteria";

fn from_row(row: &Row<'_>) -> Result<Criterion, StoreError> {
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
}

/// The criteria of a task, by id.
///
/// # Errors
/// A failing statement.
pub fn of_task(tx: &mut Tx<'_>, task_id: &str) -> Result<Vec<Criterion>, StoreError> {
    tx.all(&format!("{SELECT} where task_id = $1 order by id"), params![task_id], from_row)
}

/// The criterion with this id, if it is one of the task.
///
/// # Errors
/// A failing statement.
pub fn find(tx: &mut Tx<'_>, task_id: &str, id: i64) -> Result<Option<Criterion>, StoreError> {
    tx.first(&format!("{SELECT} where id = $1 and task_id = $2"), params![id, task_id], from_row)
}

/// The criterion of a task with this source and exact text.
///
/// # Errors
/// A failing statement.
pub fn same(
    tx: &mut Tx<'_>,
    task_id: &str,
    source: CriterionSource,
    criterion: &str,
) -> Result<Option<Criterion>, StoreError> {
    tx.first(
        &format!("{SELECT} where task_id = $1 and source = $2 and criterion = $3"),
        params![task_id, source.as_str(), criterion],
        from_row,
    )
}

/// Inserts a criterion, unless the task has one with this source and text. Gives the row that is
/// there now, and whether it is new.
///
/// # Errors
/// A failing statement.
pub fn insert(tx: &mut Tx<'_>, new: &New<'_>, at: &str) -> Result<(Criterion, bool), StoreError> {
    // Looked up first, because on a server an insertion that comes to nothing uses up an id.
    if let Some(known) = same(tx, new.task_id, new.source, new.criterion)? {
        return Ok((known, false));
    }
    let inserted = tx.execute(
        "insert into acceptance_criteria (task_id, criterion, status, source, proof, rationale, evidence_json, \
         created_at, updated_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $8) on conflict do nothing",
        params![
            new.task_id,
            new.criterion,
            new.status.as_str(),
            new.source.as_str(),
            new.proof,
            new.rationale,
            json::compact(&Value::Object(new.evidence.clone())),
            at
        ],
    )?;
    let row = same(tx, new.task_id, new.source, new.criterion)?;
    let row = row.ok_or_else(|| StoreError::Sql("an acceptance criterion vanished".into()))?;
    Ok((row, inserted > 0))
}

/// Changes a criterion.
///
/// # Errors
/// A failing statement.
pub fn change(tx: &mut Tx<'_>, id: i64, change: &Change<'_>) -> Result<(), StoreError> {
    let now = tx.now()?.to_ms_text();
    let evidence = change.evidence.map(|evidence| json::compact(&Value::Object(evidence.clone())));
    tx.execute(
        "update acceptance_criteria set status = $2, proof = coalesce($3, proof), \
         rationale = coalesce($4, rationale), evidence_json = coalesce($5, evidence_json), updated_at = $6 \
         where id = $1",
        params![id, change.status.as_str(), change.proof, change.rationale, evidence, now],
    )?;
    Ok(())
}
