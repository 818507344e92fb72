//! Whose terminal shows a side of a task.

use std::path::Path;

use conveyor_agents::tmux::Tmux;
use conveyor_model::Role;
use conveyor_model::records::Task;
use conveyor_store::{Tx, bindings, transcripts};

use super::Side;
use crate::addressing::Terminal;
use crate::legacy::Config;
use crate::{Result, reference};

/// A terminal that belongs to a side of a task.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) task: Task,
    pub(crate) role: Role,
    pub(crate) side: Side,
    pub(crate) owner: Owner,
    /// The terminal, if it has one.
    pub(crate) terminal: Option<Terminal>,
}

/// What the terminal is registered as.
#[derive(Clone, Debug)]
pub(crate) enum Owner {
    /// A session.
    Session,
    /// A worker of older versions.
    LegacyWorker(Box<LegacyWorker>),
    /// A manager of older versions.
    LegacyManager,
}

/// What else is known of a worker of older versions.
#[derive(Clone, Debug)]
pub(crate) struct LegacyWorker {
    binding_id: String,
    pub(super) identity_token: String,
    pub(crate) config: Config,
}

/// The finding that a terminal is not there.
pub(super) const TERMINAL_MISSING: &str = "tmux_session_missing";

/// The same of a manager of older versions.
pub(super) const MANAGER_MISSING: &str = "manager_session_missing";

impl Owner {
    /// What messages call it.
    pub(super) fn title(&self) -> &'static str {
        match self {
            Self::Session => "Session",
            Self::LegacyWorker(_) => "Worker",
            Self::LegacyManager => "Manager",
        }
    }

    /// The name of the finding that its terminal is not there.
    pub(super) fn missing(&self) -> &'static str {
        match self {
            Self::LegacyManager => MANAGER_MISSING,
            Self::Session | Self::LegacyWorker(_) => TERMINAL_MISSING,
        }
    }

    /// The name of the finding that its terminal is another one.
    pub(super) fn other_pane(&self) -> &'static str {
        match self {
            Self::LegacyManager => "manager_pane_mismatch",
            Self::Session | Self::LegacyWorker(_) => "tmux_pane_mismatch",
        }
    }

    /// The binding, of a worker of older versions.
    pub(super) fn binding_id(&self) -> Option<&str> {
        match self {
            Self::LegacyWorker(worker) => Some(&worker.binding_id),
            Self::Session | Self::LegacyManager => None,
        }
    }
}

impl Context {
    /// The row of a worker of older versions.
    pub(super) fn legacy_worker_id(&self) -> Option<&str> {
        matches!(self.owner, Owner::LegacyWorker(_)).then_some(self.side.id.as_str())
    }

    /// The row of a manager of older versions.
    pub(super) fn legacy_manager_id(&self) -> Option<&str> {
        matches!(self.owner, Owner::LegacyManager).then_some(self.side.id.as_str())
    }
}

/// Whose terminal shows the side of a task: a worker or manager of older versions that is still
/// active, else the session of the newest binding, live ones first. `None` when there is nobody.
pub(crate) fn find(
    tx: &mut Tx<'_>,
    state_root: &Path,
    tmux: &Tmux,
    task: &Task,
    role: Role,
) -> Result<Option<Context>> {
    let legacy = match role {
        Role::Worker => legacy_worker(tx, state_root, task)?,
        Role::Manager => legacy_manager(tx, task)?,
    };
    let found = match legacy {
        Some((side, owner)) => {
            let terminal = of_older(&side, &owner, tmux);
            Some((side, owner, terminal))
        }
        None => session(tx, tmux, task, role)?,
    };
    Ok(found.map(|(side, owner, terminal)| Context { task: task.clone(), role, side, owner, terminal }))
}

fn legacy_worker(tx: &mut Tx<'_>, state_root: &Path, task: &Task) -> Result<Option<(Side, Owner)>> {
    let Some(worker) = transcripts::legacy_worker(tx, &task.id)? else { return Ok(None) };
    let Some(config) = Config::of(state_root, &worker.name)? else { return Ok(None) };
    let side = Side {
        id: worker.id,
        name: worker.name,
        state: worker.state,
        tmux_pane_id: worker.tmux_pane_id,
        tmux_session: Some(worker.tmux_session),
    };
    let known = LegacyWorker { binding_id: worker.binding_id, identity_token: worker.identity_token, config };
    Ok(Some((side, Owner::LegacyWorker(Box::new(known)))))
}

fn legacy_manager(tx: &mut Tx<'_>, task: &Task) -> Result<Option<(Side, Owner)>> {
    let manager = transcripts::legacy_manager(tx, &task.id)?;
    Ok(manager.map(|manager| {
        let side = Side {
            id: manager.id,
            name: manager.name,
            state: manager.state,
            tmux_pane_id: manager.tmux_pane_id,
            tmux_session: Some(manager.tmux_session),
        };
        (side, Owner::LegacyManager)
    }))
}

/// The terminal of somebody of older versions.
fn of_older(side: &Side, owner: &Owner, tmux: &Tmux) -> Option<Terminal> {
    let session = side.tmux_session.as_deref()?;
    let by_names = || Terminal::of_names(tmux, session, side.tmux_pane_id.as_deref());
    Some(match owner {
        // Its files may know the process, too; the ledger may know another pane.
        Owner::LegacyWorker(worker) => {
            let of_files = Terminal::of_worker(&worker.config, &side.name, tmux);
            let agree = side.tmux_pane_id.is_none() || side.tmux_pane_id.as_deref() == of_files.pane_id();
            if agree { of_files } else { by_names() }
        }
        Owner::LegacyManager | Owner::Session => by_names(),
    })
}

fn session(
    tx: &mut Tx<'_>,
    tmux: &Tmux,
    task: &Task,
    role: Role,
) -> Result<Option<(Side, Owner, Option<Terminal>)>> {
    let Some(binding) = bindings::newest_of_task(tx, &task.id)? else { return Ok(None) };
    let Some(session) = reference::bound_session(tx, &binding, role)? else { return Ok(None) };
    let terminal = Terminal::of_session(tx, &session, tmux)?;
    let owner = Owner::Session;
    let side = Side {
        tmux_session: session.tmux().map(ToOwned::to_owned),
        id: session.id,
        name: session.name,
        state: session.state,
        tmux_pane_id: session.tmux_pane_id.filter(|pane| !pane.is_empty()),
    };
    Ok(Some((side, owner, terminal)))
}
