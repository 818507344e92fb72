//! Immediate commands: rows in `commands` that only record what this process did by itself. No
//! dispatcher ever claims them.

use conveyor_model::{Actor, CommandState, IdPrefix, Severity, json};
use serde_json::{Value, json};

use crate::telemetry::{self, Emit};
use crate::{StoreError, Tx, params};

/// The action of deregistering a session.
pub const DEREGISTER_SESSION: &str = "deregister_session";
/// The action of closing a task whose work is accepted.
pub const FINISH_TASK: &str = "finish_task";
/// The action of closing a task that is given up.
pub const STOP_TASK: &str = "stop_task";
/// The action of having a worker compact or clear its context.
pub const REQUEST_WORKER_COMPACT: &str = "request_worker_compact";

/// An immediate command whose action is under way.
#[derive(Clone, Debug)]
pub struct Immediate {
    id: String,
    command_type: &'static str,
    task_id: Option<String>,
    manager_id: Option<String>,
}

/// Records that an action begins. Commit before an effect outside the ledger, or finish in the
/// same transaction.
///
/// # Errors
/// A failing statement.
pub fn begin(
    tx: &mut Tx<'_>,
    command_type: &'static str,
    task_id: Option<&str>,
    payload: &Value,
) -> Result<Immediate, StoreError> {
    start(tx, command_type, task_id, None, payload)
}

/// As [`begin`], on behalf of a manager of older versions, if the task has one.
///
/// # Errors
/// A failing statement.
pub fn begin_for_manager(
    tx: &mut Tx<'_>,
    command_type: &'static str,
    task_id: &str,
    manager_id: Option<&str>,
    payload: &Value,
) -> Result<Immediate, StoreError> {
    start(tx, command_type, Some(task_id), manager_id, payload)
}

fn start(
    tx: &mut Tx<'_>,
    command_type: &'static str,
    task_id: Option<&str>,
    manager_id: Option<&str>,
    payload: &Value,
) -> Result<Immediate, StoreError> {
    let id = tx.fresh_id(IdPrefix::Command);
    let correlation_id = tx.fresh_id(IdPrefix::Dispatch);
    let now = tx.now()?.to_ms_text();
    tx.execute(
        "insert into commands (id, idempotency_key, created_at, updated_at, task_id, manager_id, correlation_id, type, \
         state, payload_json) values ($1, $1, $2, $2, $3, $4, $5, $6, 'attempted', $7)",
        params![&id, now, task_id, manager_id, &correlation_id, command_type, json::compact(payload)],
    )?;
    let command = Immediate {
        id,
        command_type,
        task_id: task_id.map(ToOwned::to_owned),
        manager_id: manager_id.map(ToOwned::to_owned),
    };
    let attributes = json!({
        "idempotency_key": command.id,
        "manager_id": manager_id,
        "required_permission": null,
        "state": CommandState::Pending,
        "worker_id": null,
    });
    let mut created = command.event("command_created", attributes);
    created.summary = format!("Created command {command_type}.");
    created.correlation["correlation_id"] = correlation_id.into();
    telemetry::emit(tx, &created)?;
    let attributes = json!({ "manager_id": manager_id, "state": CommandState::Attempted, "worker_id": null });
    telemetry::emit(tx, &command.event("command_attempted", attributes))?;
    Ok(command)
}

/// Records that the actions on a task that were begun and never came to an end have failed. A process
/// that is still at one of them records its own end later.
///
/// # Errors
/// A failing statement.
pub fn give_up_unfinished(tx: &mut Tx<'_>, task_id: &str, but: &Immediate) -> Result<(), StoreError> {
    const REASON: &str = "the process that carried it out has not recorded an end; the task was closed since";
    for command_type in [FINISH_TASK, STOP_TASK, REQUEST_WORKER_COMPACT] {
        let left = tx.all(
            "select id, manager_id from commands where state = 'attempted' and task_id = $1 and type = $2 \
             and id <> $3 order by created_at, id",
            params![task_id, command_type, but.id.as_str()],
            |row| {
                Ok(Immediate {
                    id: row.text(0)?,
                    command_type,
                    task_id: Some(task_id.to_owned()),
                    manager_id: row.opt_text(1)?,
                })
            },
        )?;
        for command in left {
            command.fail(tx, &json!({ "closed_by": but.id, "command_id": command.id }), REASON)?;
        }
    }
    Ok(())
}

impl Immediate {
    /// The command's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Records that the action is done.
    ///
    /// # Errors
    /// A failing statement.
    pub fn succeed(&self, tx: &mut Tx<'_>, result: &Value) -> Result<(), StoreError> {
        self.finish(tx, CommandState::Succeeded, result, result, None)
    }

    /// Records that the action is done; telemetry gets `shown` in place of a result with texts of
    /// terminals in it.
    ///
    /// # Errors
    /// A failing statement.
    pub fn succeed_showing(&self, tx: &mut Tx<'_>, result: &Value, shown: &Value) -> Result<(), StoreError> {
        self.finish(tx, CommandState::Succeeded, result, shown, None)
    }

    /// Records that the action failed or was refused.
    ///
    /// # Errors
    /// A failing statement.
    pub fn fail(&self, tx: &mut Tx<'_>, result: &Value, error: &str) -> Result<(), StoreError> {
        self.finish(tx, CommandState::Failed, result, result, Some(error))
    }

    fn finish(
        &self,
        tx: &mut Tx<'_>,
        state: CommandState,
        result: &Value,
        shown: &Value,
        error: Option<&str>,
    ) -> Result<(), StoreError> {
        let now = tx.now()?.to_ms_text();
        tx.execute(
            "update commands set state = $2, updated_at = $3, result_json = $4, error = $5 where id = $1",
            params![&self.id, state.as_str(), now, json::compact(result), error],
        )?;
        let attributes = json!({
            "error": error,
            "manager_id": self.manager_id,
            "result": shown,
            "state": state,
            "worker_id": null,
        });
        let event = match error {
            None => self.event("command_succeeded", attributes),
            Some(_) => self.event("command_failed", attributes).severity(Severity::Error),
        };
        telemetry::emit(tx, &event)?;
        Ok(())
    }

    /// An event about this command: `command_` and what became of it, with the facts.
    fn event(&self, event_type: &'static str, attributes: Value) -> Emit<'_> {
        let correlation = json!({ "command_id": self.id, "command_type": self.command_type });
        let became = event_type.trim_start_matches("command_");
        let summary = format!("Command {} {became}.", self.command_type);
        Emit::info(Actor::Workerctl, event_type, summary, correlation, attributes)
            .of_task(self.task_id.as_deref())
    }
}
