//! Which terminal is meant. The one place that says so: whoever looks at, types into, records or
//! ends a terminal asks here.
//!
//! A terminal is its pane together with the pane's process: the server's process, the pane's id,
//! the process that tmux started in it and when that began. The name of a tmux session is what
//! people call it; a session can be renamed, shared and shown by many, and a pane can be moved.
//! tmux gives the same ids again after a restart, and the system the same pids.

mod end;
mod life;
mod recorded;

use conveyor_agents::processes;
use conveyor_agents::tmux::{Extent, Look, PaneFacts, PaneOfSession, ServerFacts, Target, Tmux, TmuxError};
use conveyor_model::Whereabouts;
use serde_json::{Value, json};

use crate::{Error, Result};

pub(crate) use life::{Life, Lives};
pub(crate) use recorded::{Recorded, record_terminal};

/// A terminal as it is recorded: what can be said of it without a look at the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// The tmux server that it is in.
    pub(crate) tmux: Tmux,
    /// The tmux session that it was registered in, for people.
    pub(crate) session: String,
    /// What is known of its pane and process.
    pub(crate) recorded: Recorded,
    /// Where it was recorded.
    pub(crate) whereabouts: Whereabouts,
}

/// What a look at the machine finds of a recorded terminal.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// It is there.
    Here(Here),
    /// It is gone: nothing that is there now is it.
    Gone,
    /// It was recorded elsewhere: from here nothing can be told.
    Unknown,
}

/// A terminal that is there.
#[derive(Clone, Debug)]
pub(crate) struct Here {
    /// Its pane.
    pub(crate) facts: PaneFacts,
    /// Whether it is proven to be the recorded one: by its process, or that of its session.
    pub(crate) proven: bool,
}

impl Here {
    /// Whether a pane that was looked at later is still this one.
    pub(crate) fn is_shown_by(&self, pane: &PaneFacts) -> bool {
        (&self.facts.id, self.facts.pid, self.facts.server_pid) == (&pane.id, pane.pid, pane.server_pid)
    }

    /// Where keys go to.
    pub(crate) fn target(&self) -> Target {
        Target::Pane(self.facts.id.clone())
    }
}

impl Terminal {
    /// Looks for it.
    ///
    /// # Errors
    /// tmux could not be asked.
    pub(crate) fn locate(&self) -> Result<Found, TmuxError> {
        match self.whereabouts {
            Whereabouts::Here => {}
            Whereabouts::Rebooted => return Ok(Found::Gone),
            Whereabouts::Elsewhere => return Ok(Found::Unknown),
        }
        let found = match &self.recorded {
            Recorded::Process { pane_id, process } => {
                self.pane(pane_id)?.filter(|facts| process.is_of(facts)).map(proven)
            }
            Recorded::Pane { pane_id, pid } => {
                let facts = self.pane(pane_id)?;
                match facts {
                    Some(facts) if self.is_told_by(&facts, *pid)? => Some(proven(facts)),
                    _ => None,
                }
            }
            Recorded::Session { pid } => self.locate_by_name(*pid)?,
        };
        Ok(found.filter(|here| !here.facts.dead).map_or(Found::Gone, Found::Here))
    }

    /// The pane that may be looked at before it is known to be the right one, where the look itself
    /// tells: see [`Self::is_shown_by`].
    pub(crate) fn pane_to_be_compared(&self) -> Option<Target> {
        match (&self.recorded, self.whereabouts) {
            (Recorded::Process { pane_id, .. }, Whereabouts::Here) => Some(Target::Pane(pane_id.clone())),
            _ => None,
        }
    }

    /// Whether a pane that was looked at is this terminal, as far as its process tells.
    pub(crate) fn is_shown_by(&self, pane: &PaneFacts) -> bool {
        match &self.recorded {
            Recorded::Process { process, .. } => process.is_of(pane) && !pane.dead,
            Recorded::Pane { .. } | Recorded::Session { .. } => true,
        }
    }

    /// The terminal, which must be there.
    ///
    /// # Errors
    /// It is not, or it was recorded elsewhere; tmux could not be asked.
    pub(crate) fn require(&self, name: &str) -> Result<Here> {
        match self.locate()? {
            Found::Here(here) => Ok(here),
            Found::Gone => Err(self.not_running(name)),
            Found::Unknown => Err(self.elsewhere(name)),
        }
    }

    /// Looks at what a terminal shows that was found just now. It may have gone since, and another
    /// may have got its place.
    ///
    /// # Errors
    /// It is not there any more; tmux could not be asked.
    pub(crate) fn look_again(&self, name: &str, here: &Here, extent: Extent) -> Result<Look> {
        match self.tmux.look(&here.target(), extent) {
            Ok(look) if here.is_shown_by(&look.pane) => Ok(look),
            Ok(_) | Err(TmuxError::NoSession { .. }) => Err(self.not_running(name)),
            Err(error) => Err(error.into()),
        }
    }

    /// The refusal of a terminal that is gone.
    pub(crate) fn not_running(&self, name: &str) -> Error {
        Error::TerminalNotRunning { name: name.to_owned(), tmux_session: self.session.clone() }
    }

    /// The refusal of a terminal that was recorded elsewhere.
    pub(crate) fn elsewhere(&self, name: &str) -> Error {
        Error::TerminalElsewhere { name: name.to_owned(), tmux_session: self.session.clone() }
    }

    /// The id of its pane as it is recorded.
    pub(crate) fn pane_id(&self) -> Option<&str> {
        match &self.recorded {
            Recorded::Process { pane_id, .. } | Recorded::Pane { pane_id, .. } => Some(pane_id),
            Recorded::Session { .. } => None,
        }
    }

    /// As people see it.
    pub(crate) fn name(&self) -> String {
        match self.pane_id() {
            Some(id) => format!("{}:{id}", self.session),
            None => self.session.clone(),
        }
    }

    /// The tmux session in which a pane is now: the recorded one where it is among those that show
    /// it, else the first.
    ///
    /// # Errors
    /// tmux could not be asked.
    pub(crate) fn session_now(&self, here: &Here) -> Result<String, TmuxError> {
        let shown = self.tmux.panes()?.into_iter().filter(|pane| pane.id == here.facts.id);
        let names: Vec<String> = shown.map(|pane| pane.session).collect();
        let recorded = names.iter().find(|name| **name == self.session);
        Ok(recorded.or(names.first()).cloned().unwrap_or_else(|| self.session.clone()))
    }

    fn pane(&self, id: &str) -> Result<Option<PaneFacts>, TmuxError> {
        present(self.tmux.pane(&Target::Pane(id.to_owned())))
    }

    /// Whether a pane of which no process is recorded is the one that is meant: its session's
    /// process is in it; where none is left, it lies where it was recorded.
    fn is_told_by(&self, facts: &PaneFacts, pid: Option<i64>) -> Result<bool, TmuxError> {
        if let Some(pid) = living(pid) {
            return Ok(processes::nearest_ancestor(pid, &[facts.pid]).is_some());
        }
        if pid.is_some() {
            // Who lived in it has ended.
            return Ok(false);
        }
        let lies_there = |pane: &PaneOfSession| pane.id == facts.id && pane.session == self.session;
        Ok(self.tmux.panes()?.iter().any(lies_there))
    }

    /// Of a terminal without a recorded pane: the pane in which its session's process is, wherever
    /// that is; where the process is in no pane of this server (a container, another machine behind
    /// ssh), the pane in front of the session of the recorded name, unproven.
    fn locate_by_name(&self, pid: Option<i64>) -> Result<Option<Here>, TmuxError> {
        let process = living(pid);
        if pid.is_some() && process.is_none() {
            return Ok(None);
        }
        if let Some(process) = process
            && let Some(id) = pane_of_process(&self.tmux, process)?
        {
            return Ok(self.pane(&id)?.map(proven));
        }
        let facts = present(self.tmux.pane(&Target::Session(self.session.clone())))?;
        Ok(facts.map(|facts| Here { proven: pid.is_none() && facts.panes_in_window == 1, facts }))
    }
}

fn proven(facts: PaneFacts) -> Here {
    Here { facts, proven: true }
}

fn living(pid: Option<i64>) -> Option<u32> {
    let pid = pid.filter(|pid| processes::is_alive(*pid))?;
    u32::try_from(pid).ok()
}

fn present(facts: Result<PaneFacts, TmuxError>) -> Result<Option<PaneFacts>, TmuxError> {
    match facts {
        Ok(facts) => Ok(Some(facts)),
        Err(TmuxError::NoSession { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The id of the pane of a server in which a process is.
///
/// # Errors
/// tmux could not be asked.
pub(crate) fn pane_of_process(tmux: &Tmux, pid: u32) -> Result<Option<String>, TmuxError> {
    let panes = tmux.panes()?;
    let among: Vec<u32> = panes.iter().map(|pane| pane.pid).collect();
    let nearest = processes::nearest_ancestor(pid, &among);
    Ok(nearest.and_then(|pid| panes.into_iter().find(|pane| pane.pid == pid)).map(|pane| pane.id))
}

/// Where a pane is, for every process of this machine.
pub(crate) fn tmux_address(server: &ServerFacts, session: &str, pane: &PaneFacts) -> Value {
    json!({
        "pane_id": pane.id,
        "pane_pid": pane.pid,
        "pane_started": processes::started(pane.pid),
        "server_pid": pane.server_pid,
        "session": session,
        "socket_name": server.socket,
    })
}
