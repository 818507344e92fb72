//! Tasks.

use conveyor_model::records::Task;
use conveyor_model::{IdPrefix, TaskState};

use crate::{Row, StoreError, Tx, params};

/// The nudge budget that older versions kept for a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Nudges allowed.
    pub max_nudges: i64,
    /// Nudges spent.
    pub nudges_used: i64,
    /// When the budget ends.
    pub expires_at: String,
}

const COLUMNS: &str = "id, name, goal, summary, state, created_at, updated_at";

pub(crate) fn from_row(row: &Row<'_>) -> Result<Task, StoreError> {
    Ok(Task {
        id: row.text(0)?,
        name: row.text(1)?,
        goal: row.text(2)?,
        summary: row.opt_text(3)?,
        state: row.text(4)?,
        created_at: row.text(5)?,
        updated_at: row.text(6)?,
    })
}

/// Inserts a task in state `candidate`.
///
/// # Errors
/// A failing statement.
pub fn insert(tx: &mut Tx<'_>, name: &str, goal: &str, summary: Option<&str>) -> Result<Task, StoreError> {
    let now = tx.now()?.to_ms_text();
    let task = Task {
        id: tx.fresh_id(IdPrefix::Task),
        name: name.to_owned(),
        goal: goal.to_owned(),
        summary: summary.map(ToOwned::to_owned),
        state: TaskState::Candidate.as_str().to_owned(),
        created_at: now.clone(),
        updated_at: now,
    };
    tx.execute(
        "insert into tasks (id, name, goal, summary, state, created_at, updated_at) \
         values ($1, $2, $3, $4, $5, $6, $7)",
        params![&task.id, name, goal, summary, &task.state, &task.created_at, &task.updated_at],
    )?;
    Ok(task)
}

/// The task that a reference (id or name) means: of several with one name the newest.
///
/// # Errors
/// A failing statement.
pub fn find(tx: &mut Tx<'_>, reference: &str) -> Result<Option<Task>, StoreError> {
    // Two indexed look-ups instead of one `or`: ids and names rarely meet, and both must be fast.
    let by_name = tx.first(
        &format!("select {COLUMNS} from tasks where name = $1 order by created_at desc, rowid desc limit 1"),
        params![reference],
        from_row,
    )?;
    let by_id =
        tx.first(&format!("select {COLUMNS} from tasks where id = $1"), params![reference], from_row)?;
    Ok(match (by_id, by_name) {
        (Some(id), Some(name)) if name.created_at > id.created_at => Some(name),
        (Some(id), _) => Some(id),
        (None, name) => name,
    })
}

/// Holds a task against everybody else who writes about it, until the transaction ends: what is read
/// afterwards stays true, and whoever comes later sees what was written. SQLite's write lock does
/// that by itself.
///
/// # Errors
/// A failing statement.
pub fn lock(tx: &mut Tx<'_>, id: &str) -> Result<(), StoreError> {
    tx.first("select id from tasks where id = $1{lock_row}", params![id], |row| row.text(0))?;
    // Whoever had it before us may have written later than the moment known so far.
    tx.renew_now();
    Ok(())
}

/// Every task in order of creation, with its budget; only open ones if `active_only`.
///
/// # Errors
/// A failing statement, or what `each` returns.
pub fn each<E: From<StoreError>>(
    tx: &mut Tx<'_>,
    active_only: bool,
    each: &mut dyn FnMut(Task, Option<Budget>) -> Result<(), E>,
) -> Result<(), E> {
    let filter = if active_only { "where t.state in ('candidate', 'managed', 'paused')" } else { "" };
    tx.each(
        &format!(
            "select t.id, t.name, t.goal, t.summary, t.state, t.created_at, t.updated_at, \
             b.max_nudges, b.nudges_used, b.expires_at \
             from tasks t left join budgets b on b.task_id = t.id {filter} order by t.created_at, t.id"
        ),
        &[],
        &mut |row| {
            let budget = match row.opt_int(7)? {
                Some(max_nudges) => {
                    Some(Budget { max_nudges, nudges_used: row.int(8)?, expires_at: row.text(9)? })
                }
                None => None,
            };
            each(from_row(row)?, budget)
        },
    )
}

/// Every open task without a live binding, in order of creation.
///
/// # Errors
/// A failing statement, or what `each` returns.
pub fn each_unbound<E: From<StoreError>>(
    tx: &mut Tx<'_>,
    each: &mut dyn FnMut(Task) -> Result<(), E>,
) -> Result<(), E> {
    tx.each(
        &format!(
            "select {COLUMNS} from tasks where state in ('candidate', 'managed', 'paused') \
             and not exists (select 1 from bindings b where b.task_id = tasks.id and b.state in ('active', 'ending')) \
             order by created_at, id"
        ),
        &[],
        &mut |row| each(from_row(row)?),
    )
}

/// Moves a task to another state.
///
/// # Errors
/// A failing statement.
pub fn set_state(tx: &mut Tx<'_>, id: &str, state: TaskState) -> Result<(), StoreError> {
    let now = tx.now()?.to_ms_text();
    tx.execute(
        "update tasks set state = $2, updated_at = $3 where id = $1",
        params![id, state.as_str(), now],
    )?;
    Ok(())
}
