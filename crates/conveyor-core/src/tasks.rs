//! Creating and listing tasks.

use conveyor_model::records::Task;
use conveyor_store::audit::{self, AuditEvent};
use conveyor_store::{Tx, tasks};
use serde::Serialize;
use serde_json::json;

use crate::{Cx, Result, Sink};

/// A task as lists print it.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are documented with the table")]
pub struct TaskRecord {
    pub id: String,
    pub name: String,
    pub goal: String,
    pub summary: Option<String>,
    pub state: String,
    pub created_at: String,
    pub updated_at: String,
    pub budget: Option<BudgetRecord>,
}

/// The nudge budget of a task.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are documented with the table")]
pub struct BudgetRecord {
    pub max_nudges: i64,
    pub nudges_used: i64,
    pub nudges_remaining: i64,
    pub expires_at: String,
}

impl TaskRecord {
    /// Joins a task with its budget.
    pub(crate) fn new(task: Task, budget: Option<tasks::Budget>) -> Self {
        Self {
            id: task.id,
            name: task.name,
            goal: task.goal,
            summary: task.summary,
            state: task.state,
            created_at: task.created_at,
            updated_at: task.updated_at,
            budget: budget.map(|budget| BudgetRecord {
                max_nudges: budget.max_nudges,
                nudges_used: budget.nudges_used,
                nudges_remaining: budget.max_nudges - budget.nudges_used,
                expires_at: budget.expires_at,
            }),
        }
    }
}

/// The short form of a task.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct TaskRef {
    pub id: String,
    pub name: String,
}

impl From<&Task> for TaskRef {
    fn from(task: &Task) -> Self {
        Self { id: task.id.clone(), name: task.name.clone() }
    }
}

/// The reply of [`create`].
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Created {
    pub created: bool,
    pub id: String,
    pub name: String,
}

/// Creates a task in state `candidate`. Names need not be unique.
///
/// # Errors
/// A failing ledger.
pub fn create(cx: &mut Cx, name: &str, goal: &str, summary: Option<&str>) -> Result<Created> {
    cx.db.write(|tx| {
        let task = insert(tx, name, goal, summary)?;
        Ok(Created { created: true, id: task.id, name: task.name })
    })
}

/// Inserts a task with its audit event.
pub(crate) fn insert(tx: &mut Tx<'_>, name: &str, goal: &str, summary: Option<&str>) -> Result<Task> {
    let task = tasks::insert(tx, name, goal, summary)?;
    let payload = json!({ "goal": goal, "name": name, "summary": summary });
    audit::record(
        tx,
        &AuditEvent { event_type: "task_created", task_id: Some(&task.id), command_id: None, payload },
    )?;
    Ok(task)
}

/// Hands every task to `sink` in order of creation; only open ones if `active_only`.
///
/// # Errors
/// A failing ledger, or a failing `sink`.
pub fn list(cx: &mut Cx, active_only: bool, sink: Sink<'_, TaskRecord>) -> Result<()> {
    cx.db
        .read(|tx| tasks::each(tx, active_only, &mut |task, budget| Ok(sink(TaskRecord::new(task, budget))?)))
}
