//! Whether a session lives: the one predicate, for whoever observes, repairs or reports.

use std::collections::{BTreeMap, BTreeSet};

use conveyor_agents::processes;
use conveyor_model::{Machine, Whereabouts};
use conveyor_store::{StoreError, Tx, endpoints, machines};

/// Whether a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Its process is there.
    Alive,
    /// Its process is gone, or the machine was started anew since.
    Dead,
    /// It has no process of its own, whose end could tell.
    NoProcess,
    /// It was registered where we are not.
    Unknown,
}

impl Life {
    /// What is known of it.
    pub(crate) fn known(self) -> Option<bool> {
        match self {
            Self::Alive => Some(true),
            Self::Dead => Some(false),
            Self::NoProcess | Self::Unknown => None,
        }
    }
}

/// What the ledger says about where sessions live.
pub(crate) struct Lives {
    without_process: BTreeSet<String>,
    machines: BTreeMap<String, Machine>,
    here: Machine,
}

impl Lives {
    /// Reads it for all sessions.
    ///
    /// # Errors
    /// A failing statement.
    pub(crate) fn load(tx: &mut Tx<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            without_process: endpoints::sessions_without_process(tx)?,
            machines: machines::of_sessions(tx)?,
            here: tx.machine().clone(),
        })
    }

    /// Reads it for one session.
    ///
    /// # Errors
    /// A failing statement.
    pub(crate) fn of_one(tx: &mut Tx<'_>, session_id: &str) -> Result<Self, StoreError> {
        let without = endpoints::is_without_process(tx, session_id)?;
        Ok(Self {
            without_process: without.then(|| session_id.to_owned()).into_iter().collect(),
            machines: [(session_id.to_owned(), machines::of_session(tx, session_id)?)].into(),
            here: tx.machine().clone(),
        })
    }

    /// Whether a session lives, by its recorded process.
    pub(crate) fn of(&self, session_id: &str, pid: Option<i64>) -> Life {
        if self.without_process.contains(session_id) {
            return Life::NoProcess;
        }
        let Some(pid) = pid else { return Life::NoProcess };
        let whereabouts = self.machines.get(session_id).map(|machine| self.here.whereabouts(machine));
        match whereabouts.unwrap_or(Whereabouts::Here) {
            Whereabouts::Elsewhere => Life::Unknown,
            Whereabouts::Rebooted => Life::Dead,
            Whereabouts::Here if processes::is_alive(pid) => Life::Alive,
            Whereabouts::Here => Life::Dead,
        }
    }
}
