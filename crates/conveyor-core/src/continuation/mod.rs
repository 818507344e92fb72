//! What comes next: worker and manager propose it independently, and a separated reviewer compares
//! the two.

mod context;
mod payload;
mod record;
mod reviewer;

use conveyor_model::records::{Object, Task};
use conveyor_model::{Actor, IdPrefix, Reader, Role};
use conveyor_store::audit::{self, AuditEvent};
use conveyor_store::continuations::{self, Continuation};
use conveyor_store::{Tx, manager_configs};
use serde::Serialize;
use serde_json::json;

pub use context::Context;
pub use conveyor_agents::sandbox::Engine;
pub use conveyor_store::continuations::Review;
pub use reviewer::{ReviewRequest, preview, review_by_program};

use crate::tasks::TaskRef;
use crate::{Cx, Error, Result, reference};

/// The permission that a review needs.
const PERMISSION: &str = "context.spawn_reviewer";

/// Records a proposal. The worker speaks first: the manager's proposal needs the turn of a worker's.
///
/// # Errors
/// An unknown task, a manager's proposal without a turn or without the worker's, or a failing ledger.
pub fn submit(
    cx: &mut Cx,
    task: &str,
    proposer: Role,
    correlation_id: Option<&str>,
    payload: &Object,
) -> Result<Continuation> {
    cx.db.write(|tx| {
        let task = reference::held_task(tx, task)?;
        let correlation_id = turn_of(tx, &task, proposer, correlation_id)?;
        let recorded = continuations::insert(tx, &task.id, proposer, &correlation_id, payload)?;
        let actor = match proposer {
            Role::Worker => Actor::Worker,
            Role::Manager => Actor::Manager,
        };
        let payload = json!({
            "continuation_id": recorded.id,
            "payload_keys": payload.keys().collect::<Vec<_>>(),
            "proposer": proposer,
        });
        let event = AuditEvent {
            event_type: "task_continuation_recorded",
            task_id: Some(&task.id),
            command_id: None,
            payload,
        };
        audit::record_in_turn(tx, actor, &correlation_id, &event)?;
        Ok(recorded)
    })
}

fn turn_of(tx: &mut Tx<'_>, task: &Task, proposer: Role, given: Option<&str>) -> Result<String> {
    match (proposer, given) {
        (Role::Worker, None) => Ok(tx.fresh_id(IdPrefix::Continuation)),
        (Role::Worker, Some(id)) => Ok(id.to_owned()),
        (Role::Manager, None) => Err(Error::invalid(
            "manager continuation requires --correlation-id from the worker proposal turn",
        )),
        (Role::Manager, Some(id)) => {
            continuations::latest(tx, &task.id, Role::Worker, id)?.ok_or_else(|| {
                Error::invalid(
                    "manager continuation requires an existing worker continuation for the same correlation_id",
                )
            })?;
            Ok(id.to_owned())
        }
    }
}

/// The proposals and reviews of a task.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct Listed {
    pub continuations: Vec<ShownContinuation>,
    pub reviews: Vec<Review>,
    pub task: TaskRef,
}

/// A proposal as a list shows it.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct ShownContinuation {
    pub correlation_id: String,
    pub created_at: String,
    pub id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Object>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_redacted: Option<bool>,
    pub proposer: String,
    pub revision: i64,
    pub task_id: String,
}

impl ShownContinuation {
    fn new(row: Continuation, is_readable: bool) -> Self {
        Self {
            correlation_id: row.correlation_id,
            created_at: row.created_at,
            id: row.id,
            payload: is_readable.then_some(row.payload),
            payload_redacted: (!is_readable).then_some(true),
            proposer: row.proposer,
            revision: row.revision,
            task_id: row.task_id,
        }
    }
}

/// Lists proposals and reviews, of one turn or of all. Payloads are shown only when asked for, and
/// the worker's to the manager only once that has proposed itself.
///
/// # Errors
/// An unknown task, a turn whose proposal the manager may not read yet, or a failing ledger.
pub fn list(
    cx: &mut Cx,
    task: &str,
    correlation_id: Option<&str>,
    reader: Reader,
    include_payload: bool,
) -> Result<Listed> {
    cx.db.read(|tx| {
        let task = reference::task(tx, task)?;
        let rows = continuations::of_task(tx, &task.id, correlation_id)?;
        let mut shown = Vec::with_capacity(rows.len());
        let manager = Role::Manager.as_str();
        let turns: std::collections::BTreeSet<String> =
            rows.iter().filter(|row| row.proposer == manager).map(|row| row.correlation_id.clone()).collect();
        for row in rows {
            let withheld = reader == Reader::Manager
                && row.proposer == Role::Worker.as_str()
                && !turns.contains(&row.correlation_id);
            if withheld && include_payload && correlation_id.is_some() {
                return Err(Error::invalid(
                    "manager cannot read worker continuation payload before submitting manager continuation",
                ));
            }
            shown.push(ShownContinuation::new(row, include_payload && !withheld));
        }
        Ok(Listed {
            continuations: shown,
            reviews: continuations::reviews_of_task(tx, &task.id, correlation_id)?,
            task: TaskRef::from(&task),
        })
    })
}

/// Records a review that somebody made, and gives it.
///
/// # Errors
/// An unknown task, a missing permission or proposal, a payload that breaks a rule, a failing ledger.
pub fn review(cx: &mut Cx, task: &str, correlation_id: &str, payload: &Object) -> Result<Review> {
    cx.db.write(|tx| {
        let task = reference::held_task(tx, task)?;
        let turn = Turn::of(tx, &task, correlation_id, "continuation review")?;
        let verdict = payload::Verdict::read(payload)?;
        record::record(tx, &task, &turn, &verdict)
    })
}

/// The proposals that a review is about.
#[derive(Debug)]
struct Turn {
    correlation_id: String,
    worker: Continuation,
    manager: Continuation,
}

impl Turn {
    /// The last proposals of both sides, if the task's contract lets them be reviewed. `who` wants it.
    fn of(tx: &mut Tx<'_>, task: &Task, correlation_id: &str, who: &str) -> Result<Self> {
        let granted = manager_configs::permissions(tx, &task.id)?;
        if !granted.is_some_and(|granted| granted.allows(PERMISSION)) {
            return Err(Error::invalid(format!("{who} requires manager permission {PERMISSION}")));
        }
        let worker = continuations::latest(tx, &task.id, Role::Worker, correlation_id)?;
        let manager = continuations::latest(tx, &task.id, Role::Manager, correlation_id)?;
        match (worker, manager) {
            (Some(worker), Some(manager)) => {
                Ok(Self { correlation_id: correlation_id.to_owned(), worker, manager })
            }
            (worker, manager) => {
                let sides = [(Role::Worker, worker.is_none()), (Role::Manager, manager.is_none())];
                let missing: Vec<&str> =
                    sides.iter().filter(|(_, missing)| *missing).map(|(role, _)| role.as_str()).collect();
                Err(Error::invalid(format!(
                    "continuation review requires {} proposal(s) for correlation_id {correlation_id}",
                    missing.join(", ")
                )))
            }
        }
    }
}
