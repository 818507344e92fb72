//! The command queue from the user's side: queueing messages, listing commands.

use conveyor_model::records::Command;
use conveyor_model::text::{is_blank, trimmed};
use conveyor_model::{Actor, CommandState, CommandType, permissions};
use conveyor_store::commands::{self, Filter, NewCommand};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{StoreError, Tx};
use serde::Serialize;
use serde_json::json;

use crate::{Cx, Error, Result, Sink, fault, reference};

/// A message to be queued for the other side of a task's binding.
pub struct EnqueueRequest<'a> {
    /// `notify_manager` or `nudge_worker`.
    pub command_type: CommandType,
    /// Task id or name.
    pub task: &'a str,
    /// The text to convey; not blank.
    pub message: &'a str,
    /// Default: generated.
    pub correlation_id: Option<&'a str>,
    /// Default: the command's id.
    pub idempotency_key: Option<&'a str>,
    /// A manager permission that must be granted when the command is executed.
    pub required_permission: Option<&'a str>,
}

/// The reply of [`enqueue`].
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Enqueued {
    pub command_id: String,
    pub command_type: CommandType,
    pub correlation_id: String,
    /// As given.
    pub required_permission: Option<String>,
    /// As given.
    pub task: String,
}

impl EnqueueRequest<'_> {
    /// Checks what needs no ledger; gives the required permission's trimmed text.
    ///
    /// # Errors
    /// A blank message, a blank or unknown permission.
    pub fn check(&self) -> Result<Option<&str>> {
        if is_blank(self.message) {
            return Err(Error::invalid(format!(
                "the message of {} must not be empty: give --message a text",
                self.command_type
            )));
        }
        self.required_permission.map(checked_permission).transpose()
    }
}

/// Refuses a message that has characters of which none says anything: white space and what nobody sees.
///
/// # Errors
/// A text that is blank but not empty.
pub fn check_says_something(what: &str, text: &str) -> Result<()> {
    if text.is_empty() || !is_blank(text) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{what} is blank: it has only white space or invisible characters ({text:?}); give it words"
    )))
}

/// Queues a message. Nothing is delivered until a dispatcher runs; no binding is needed yet.
///
/// # Errors
/// A blank message, an unknown permission or task, a taken idempotency key; nothing is written then.
pub fn enqueue(cx: &mut Cx, request: &EnqueueRequest<'_>) -> Result<Enqueued> {
    let permission = request.check()?;
    let enqueued = cx.db.write(|tx| {
        let task = reference::task(tx, request.task)?;
        if let Some(key) = request.idempotency_key
            && commands::key_is_taken(tx, key)?
        {
            return Err(Error::KeyTaken(key.to_owned()));
        }
        let queued = commands::insert(
            tx,
            &NewCommand {
                command_type: request.command_type,
                task_id: &task.id,
                correlation_id: request.correlation_id,
                idempotency_key: request.idempotency_key,
                required_permission: permission,
                payload: json!({ "message": request.message }),
            },
        )
        .map_err(|error| match (error, request.idempotency_key) {
            // Another process took the key between the look and the insert.
            (StoreError::Unique { .. }, Some(key)) => Error::KeyTaken(key.to_owned()),
            (error, _) => error.into(),
        })?;
        emit_created(tx, &task.id, request.command_type, &queued, permission)?;
        Ok(Enqueued {
            command_id: queued.id,
            command_type: request.command_type,
            correlation_id: queued.correlation_id,
            required_permission: request.required_permission.map(ToOwned::to_owned),
            task: request.task.to_owned(),
        })
    })?;
    fault::point("queue.enqueued");
    Ok(enqueued)
}

/// A permission's trimmed text, if the taxonomy knows everything it stands for.
fn checked_permission(given: &str) -> Result<&str> {
    let trimmed = trimmed(given);
    if is_blank(trimmed) {
        return Err(Error::invalid(format!("the required permission must not be empty, but is {given:?}")));
    }
    match permissions::unknown_part(trimmed) {
        None => Ok(trimmed),
        Some(unknown) => Err(unknown_permission(&unknown)),
    }
}

/// A permission that the taxonomy does not know, with all that it knows.
pub(crate) fn unknown_permission(name: &str) -> Error {
    let known: Vec<String> = permissions::TAXONOMY
        .iter()
        .flat_map(|(category, actions)| actions.iter().map(move |action| format!("{category}.{action}")))
        .collect();
    Error::invalid(format!("unknown permission {name:?}: give one of {}", known.join(", ")))
}

fn emit_created(
    tx: &mut Tx<'_>,
    task_id: &str,
    command_type: CommandType,
    queued: &commands::Queued,
    permission: Option<&str>,
) -> Result<()> {
    let correlation = json!({
        "command_id": queued.id,
        "command_type": command_type,
        "correlation_id": queued.correlation_id,
    });
    let attributes = json!({
        "idempotency_key": queued.idempotency_key,
        "manager_id": null,
        "required_permission": permission,
        "state": CommandState::Pending,
        "worker_id": null,
    });
    let summary = format!("Created command {command_type}.");
    let event = Emit::info(Actor::Workerctl, "command_created", summary, correlation, attributes);
    telemetry::emit(tx, &event.of_task(Some(task_id)))?;
    Ok(())
}

/// Which commands [`list`] shows; all given conditions hold together.
#[derive(Debug, Default)]
pub struct ListRequest<'a> {
    /// Task id or name.
    pub task: Option<&'a str>,
    /// A legacy worker id.
    pub worker_id: Option<&'a str>,
    /// A legacy manager id.
    pub manager_id: Option<&'a str>,
    /// A state.
    pub state: Option<CommandState>,
    /// A type, any text.
    pub command_type: Option<&'a str>,
    /// Whether to add the attempt history.
    pub with_attempts: bool,
}

/// Hands every matching command to `sink`, in queue order. A filter that matches nothing (even an
/// unknown task) is no error.
///
/// # Errors
/// A failing ledger, or a failing `sink`.
pub fn list(cx: &mut Cx, request: &ListRequest<'_>, sink: Sink<'_, Command>) -> Result<()> {
    cx.db.read(|tx| {
        let task = match request.task {
            Some(reference) => match conveyor_store::tasks::find(tx, reference)? {
                Some(task) => Some(task),
                None => return Ok(()),
            },
            None => None,
        };
        let filter = Filter {
            task_id: task.as_ref().map(|task| task.id.as_str()),
            worker_id: request.worker_id,
            manager_id: request.manager_id,
            state: request.state,
            command_type: request.command_type,
        };
        commands::each(tx, &filter, request.with_attempts, &mut |command| Ok(sink(command)?))
    })
}
