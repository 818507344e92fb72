//! Continuations: what worker and manager propose to do next, and what a reviewer says of the two.

use conveyor_model::records::Object;
use conveyor_model::{Agreement, Role, Verdict, json};
use serde::Serialize;
use serde_json::Value;

use crate::{Row, StoreError, Tx, params};

/// A proposal on what to do next.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Continuation {
    pub correlation_id: String,
    pub created_at: String,
    pub id: i64,
    pub payload: Object,
    pub proposer: String,
    pub revision: i64,
    pub task_id: String,
}

const COLUMNS: &str = "correlation_id, created_at, id, payload_json, proposer, revision, task_id";

fn from_row(row: &Row<'_>) -> Result<Continuation, StoreError> {
    Ok(Continuation {
        correlation_id: row.text(0)?,
        created_at: row.text(1)?,
        id: row.int(2)?,
        payload: row.object(3)?,
        proposer: row.text(4)?,
        revision: row.int(5)?,
        task_id: row.text(6)?,
    })
}

/// Records a proposal with the next revision of its side. The task must be held.
///
/// # Errors
/// A failing statement.
pub fn insert(
    tx: &mut Tx<'_>,
    task_id: &str,
    proposer: Role,
    correlation_id: &str,
    payload: &Object,
) -> Result<Continuation, StoreError> {
    let now = tx.now()?.to_s_text();
    let last = tx.first(
        "select revision from task_continuations where task_id = $1 and proposer = $2 \
         order by revision desc, id desc limit 1",
        params![task_id, proposer.as_str()],
        |row| row.int(0),
    )?;
    tx.one(
        &format!(
            "insert into task_continuations (task_id, proposer, payload_json, revision, created_at, correlation_id) \
             values ($1, $2, $3, $4, $5, $6) returning {COLUMNS}"
        ),
        params![
            task_id,
            proposer.as_str(),
            json::compact(&Value::Object(payload.clone())),
            last.unwrap_or(0) + 1,
            now,
            correlation_id
        ],
        from_row,
    )
}

/// The last proposal of one side for a turn.
///
/// # Errors
/// A failing statement.
pub fn latest(
    tx: &mut Tx<'_>,
    task_id: &str,
    proposer: Role,
    correlation_id: &str,
) -> Result<Option<Continuation>, StoreError> {
    tx.first(
        &format!(
            "select {COLUMNS} from task_continuations where task_id = $1 and proposer = $2 and correlation_id = $3 \
             order by revision desc, id desc limit 1"
        ),
        params![task_id, proposer.as_str(), correlation_id],
        from_row,
    )
}

/// The proposals of a task, of one turn or of all, by id.
///
/// # Errors
/// A failing statement.
pub fn of_task(
    tx: &mut Tx<'_>,
    task_id: &str,
    correlation_id: Option<&str>,
) -> Result<Vec<Continuation>, StoreError> {
    let (turn, values) = of_turn(task_id, correlation_id);
    tx.all(
        &format!("select {COLUMNS} from task_continuations where task_id = $1{turn} order by id"),
        &values,
        from_row,
    )
}

fn of_turn<'a>(task_id: &'a str, correlation_id: Option<&'a str>) -> (&'static str, Vec<crate::Param<'a>>) {
    match correlation_id {
        Some(id) => (" and correlation_id = $2", vec![task_id.into(), id.into()]),
        None => ("", vec![task_id.into()]),
    }
}

/// A review of two proposals.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Review {
    pub addendum: Option<String>,
    pub agreement: String,
    pub correlation_id: String,
    pub created_at: String,
    pub id: i64,
    pub manager_continuation_id: i64,
    /// Set in the answer to recording it; later it is found inside `subagent_run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator_routing_required: Option<bool>,
    pub rationale: String,
    pub subagent_run: Object,
    pub task_id: String,
    pub verdict: String,
    pub worker_continuation_id: i64,
}

const REVIEW_COLUMNS: &str = "addendum, agreement, correlation_id, created_at, id, manager_continuation_id, \
                              rationale, subagent_run_json, task_id, verdict, worker_continuation_id";

fn review_from_row(row: &Row<'_>) -> Result<Review, StoreError> {
    Ok(Review {
        addendum: row.opt_text(0)?,
        agreement: row.text(1)?,
        correlation_id: row.text(2)?,
        created_at: row.text(3)?,
        id: row.int(4)?,
        manager_continuation_id: row.int(5)?,
        operator_routing_required: None,
        rationale: row.text(6)?,
        subagent_run: row.object(7)?,
        task_id: row.text(8)?,
        verdict: row.text(9)?,
        worker_continuation_id: row.int(10)?,
    })
}

/// A review about to be recorded.
pub struct NewReview<'a> {
    /// The task.
    pub task_id: &'a str,
    /// The turn.
    pub correlation_id: &'a str,
    /// The worker's proposal that was reviewed.
    pub worker_continuation_id: i64,
    /// The manager's proposal that was reviewed.
    pub manager_continuation_id: i64,
    /// How far the two agree.
    pub agreement: Agreement,
    /// What shall happen.
    pub verdict: Verdict,
    /// What is to be added.
    pub addendum: Option<&'a str>,
    /// Why.
    pub rationale: &'a str,
    /// How the reviewer was run.
    pub subagent_run: &'a Object,
}

/// Records a review.
///
/// # Errors
/// A failing statement.
pub fn insert_review(tx: &mut Tx<'_>, new: &NewReview<'_>) -> Result<Review, StoreError> {
    let now = tx.now()?.to_s_text();
    tx.one(
        &format!(
            "insert into continuation_reviews (task_id, worker_continuation_id, manager_continuation_id, agreement, \
             verdict, addendum, rationale, subagent_run_json, created_at, correlation_id) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) returning {REVIEW_COLUMNS}"
        ),
        params![
            new.task_id,
            new.worker_continuation_id,
            new.manager_continuation_id,
            new.agreement.as_str(),
            new.verdict.as_str(),
            new.addendum,
            new.rationale,
            json::compact(&Value::Object(new.subagent_run.clone())),
            now,
            new.correlation_id
        ],
        review_from_row,
    )
}

/// The reviews of a task, of one turn or of all, by id.
///
/// # Errors
/// A failing statement.
pub fn reviews_of_task(
    tx: &mut Tx<'_>,
    task_id: &str,
    correlation_id: Option<&str>,
) -> Result<Vec<Review>, StoreError> {
    let (turn, values) = of_turn(task_id, correlation_id);
    tx.all(
        &format!("select {REVIEW_COLUMNS} from continuation_reviews where task_id = $1{turn} order by id"),
        &values,
        review_from_row,
    )
}

/// The latest review of a task.
///
/// # Errors
/// A failing statement.
pub fn latest_review(tx: &mut Tx<'_>, task_id: &str) -> Result<Option<Review>, StoreError> {
    tx.first(
        &format!(
            "select {REVIEW_COLUMNS} from continuation_reviews where task_id = $1 order by id desc limit 1"
        ),
        params![task_id],
        review_from_row,
    )
}
