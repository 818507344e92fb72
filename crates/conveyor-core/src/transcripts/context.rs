//! Whose terminal is captured for a side of a task.

use conveyor_model::Role;
use conveyor_model::records::Task;
use conveyor_store::{Tx, bindings, transcripts};

use super::Side;
use crate::stopping::Thread;
use crate::{Result, reference};

/// A terminal that belongs to a side of a task.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) task: Task,
    pub(crate) role: Role,
    pub(crate) side: Side,
    pub(crate) owner: Owner,
    /// The thread of Codex that it shows.
    pub(crate) thread: Option<Thread>,
}

/// What the terminal is registered as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A session.
    Session,
    /// A manager of older versions.
    LegacyManager,
}

/// Whose terminal shows the side of a task: a manager of older versions that is still active, else
/// the session of the newest binding, live ones first. `None` when there is neither.
pub(crate) fn find(tx: &mut Tx<'_>, task: &Task, role: Role) -> Result<Option<Context>> {
    if role == Role::Manager
        && let Some(manager) = transcripts::legacy_manager(tx, &task.id)?
    {
        let side = Side {
            id: manager.id,
            name: manager.name,
            state: manager.state,
            tmux_pane_id: manager.tmux_pane_id,
            tmux_session: Some(manager.tmux_session),
        };
        return Ok(Some(Context { task: task.clone(), role, side, owner: Owner::LegacyManager, thread: None }));
    }
    let Some(binding) = bindings::newest_of_task(tx, &task.id)? else { return Ok(None) };
    let Some(session) = reference::bound_session(tx, &binding, role)? else { return Ok(None) };
    let thread = Thread::of(&session);
    let side = Side {
        tmux_session: session.tmux().map(ToOwned::to_owned),
        id: session.id,
        name: session.name,
        state: session.state,
        tmux_pane_id: session.tmux_pane_id,
    };
    Ok(Some(Context { task: task.clone(), role, side, owner: Owner::Session, thread }))
}
