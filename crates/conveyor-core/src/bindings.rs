//! Binding a worker session and a manager session for a task, and ending that.

use conveyor_model::records::{Session, Task};
use conveyor_model::{Role, SessionState};
use conveyor_store::audit::{self, AuditEvent};
use conveyor_store::{Tx, bindings, parked, sessions};
use serde::Serialize;
use serde_json::json;

use crate::{Cx, Error, Result, reference};

/// The reply of [`bind`]; names as given.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct Bound {
    pub binding_id: String,
    pub manager: String,
    pub task: String,
    pub worker: String,
}

/// Binds a worker session and a manager session for a task. The task's state stays.
///
/// # Errors
/// An unknown task or session, a wrong role, a session that is gone, a task or session that is in
/// a live binding; nothing is written then.
pub fn bind(cx: &mut Cx, task: &str, worker: &str, manager: &str) -> Result<Bound> {
    cx.db.write(|tx| {
        let found = reference::task(tx, task)?;
        let binding_id = bind_in(tx, &found, worker, manager)?;
        let payload = json!({ "binding_id": binding_id, "manager": manager, "task": task, "worker": worker });
        audit::record(
            tx,
            &AuditEvent {
                event_type: "binding_created",
                task_id: Some(&found.id),
                command_id: None,
                payload,
            },
        )?;
        // Queued messages have somewhere to go now.
        tx.wake_waiters();
        Ok(Bound {
            binding_id,
            manager: manager.to_owned(),
            task: task.to_owned(),
            worker: worker.to_owned(),
        })
    })
}

/// Applies the bind rule and inserts the binding; gives its id.
pub(crate) fn bind_in(tx: &mut Tx<'_>, task: &Task, worker: &str, manager: &str) -> Result<String> {
    let worker = reference::session_of_role(tx, worker, Role::Worker)?;
    let manager = reference::session_of_role(tx, manager, Role::Manager)?;
    bindings::hold(tx, &task.id, &[&worker.id, &manager.id])?;
    for session in [&worker, &manager] {
        check_registered(tx, session)?;
    }
    check_unbound(tx, Some(task), &[&worker, &manager])?;
    Ok(bindings::insert(tx, &task.id, &worker.id, &manager.id)?)
}

/// Refuses a session that is gone, as it is now that it is held.
fn check_registered(tx: &mut Tx<'_>, session: &Session) -> Result<()> {
    let now = sessions::by_id(tx, &session.id)?;
    if now.is_some_and(|session| session.state == SessionState::Gone.as_str()) {
        return Err(Error::SessionGone { name: session.name.clone(), role: session.role.clone() });
    }
    Ok(())
}

/// Refuses a task in a live binding, then sessions that are in one.
pub(crate) fn check_unbound(tx: &mut Tx<'_>, task: Option<&Task>, sessions: &[&Session]) -> Result<()> {
    if let Some(task) = task
        && let Some(binding) = bindings::live_of_task(tx, &task.id)?
    {
        return Err(Error::TaskBound {
            task: task.name.clone(),
            task_id: task.id.clone(),
            binding_id: binding.binding_id,
        });
    }
    for session in sessions {
        if let Some(binding) = bindings::live_of_session(tx, &session.id)? {
            return Err(Error::SessionBound {
                name: session.name.clone(),
                task_id: binding.task_id,
                binding_id: binding.binding_id,
            });
        }
    }
    Ok(())
}

/// Ends every live binding of a task. Task, sessions and runs stay as they are.
///
/// # Errors
/// An unknown task, or one without a live binding; nothing is written then.
pub fn unbind(cx: &mut Cx, task: &str) -> Result<()> {
    cx.db.write(|tx| {
        let found = reference::task(tx, task)?;
        if bindings::end_all(tx, &found.id)? == 0 {
            return Err(Error::NothingToUnbind(found.name));
        }
        parked::cancel_of_task(tx, &found.id, "the task was unbound")?;
        let payload = json!({ "task": task });
        audit::record(
            tx,
            &AuditEvent { event_type: "binding_ended", task_id: Some(&found.id), command_id: None, payload },
        )?;
        tx.wake_waiters();
        Ok(())
    })
}
