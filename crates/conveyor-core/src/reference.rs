//! What users' references mean: tasks by id or name, sessions by name, bindings by task.

use conveyor_model::Role;
use conveyor_model::records::{Binding, Session, Task};
use conveyor_store::{Tx, bindings, sessions, tasks};

use crate::{Error, Result};

/// The task that a reference means.
pub(crate) fn task(tx: &mut Tx<'_>, reference: &str) -> Result<Task> {
    tasks::find(tx, reference)?.ok_or_else(|| Error::UnknownTask(reference.to_owned()))
}

/// The task that a reference means, held against everybody else who writes about it.
pub(crate) fn held_task(tx: &mut Tx<'_>, reference: &str) -> Result<Task> {
    let found = task(tx, reference)?;
    tasks::lock(tx, &found.id)?;
    // Somebody may have changed it before we got hold of it.
    task(tx, &found.id)
}

/// What commands for people call a task by: its name, or its id where a newer task has that name.
pub(crate) fn name_of_task(tx: &mut Tx<'_>, task: &Task) -> Result<String> {
    let meant = tasks::find(tx, &task.name)?;
    Ok(if meant.is_some_and(|meant| meant.id == task.id) { task.name.clone() } else { task.id.clone() })
}

/// The session of this name.
pub(crate) fn session(tx: &mut Tx<'_>, name: &str) -> Result<Session> {
    sessions::by_name(tx, name)?.ok_or_else(|| Error::UnknownSession(name.to_owned()))
}

/// The session of this name, which must have this role.
pub(crate) fn session_of_role(tx: &mut Tx<'_>, name: &str, role: Role) -> Result<Session> {
    let session = session(tx, name)?;
    if session.role != role.as_str() {
        return Err(Error::WrongRole { name: session.name, actual: session.role, wanted: role });
    }
    Ok(session)
}

/// The live binding of a task.
pub(crate) fn live_binding(tx: &mut Tx<'_>, task: &Task) -> Result<Binding> {
    bindings::live_of_task(tx, &task.id)?.ok_or_else(|| Error::NoActiveBinding(task.name.clone()))
}

/// The session on one side of a binding; `None` when the side is empty.
pub(crate) fn bound_session(tx: &mut Tx<'_>, binding: &Binding, role: Role) -> Result<Option<Session>> {
    let id = match role {
        Role::Worker => &binding.worker_session_id,
        Role::Manager => &binding.manager_session_id,
    };
    match id {
        Some(id) => Ok(sessions::by_id(tx, id)?),
        None => Ok(None),
    }
}
