//! Looking at the terminals of workers and sessions.

mod capture;
mod classify;
mod idle;
mod observe;
mod stop;

use conveyor_model::records::Session;
use conveyor_store::sessions;

use crate::addressing::Terminal;
use crate::legacy::{Config, Place, check_name};
use crate::{Error, Result};

pub(crate) use capture::record;
pub use capture::{Captured, capture};
pub use classify::{Classified, classify};
pub use idle::{Health, Idle, IdleRequest, idle_check};
pub use observe::{Observed, Refresh, status};
pub use stop::{Request as StopRequest, Stopped, ends_caller as stop_ends_caller, stop};

/// What a name means: a legacy worker where there is one, else a registered session.
pub struct Subject {
    /// The name.
    pub name: String,
    /// Its terminal, if it has one.
    pub(crate) terminal: Option<Terminal>,
    /// What it is.
    pub kind: SubjectKind,
}

/// What a name can mean.
pub enum SubjectKind {
    /// A directory of the state root.
    Worker(Config),
    /// A registered session.
    Session(Box<Session>),
}

impl Subject {
    /// The terminal that is looked at.
    ///
    /// # Errors
    /// A session without a terminal.
    pub(crate) fn terminal(&self) -> Result<&Terminal> {
        self.terminal.as_ref().ok_or_else(|| Error::NoTmuxSession(self.name.clone()))
    }

    /// The terminal as it is recorded.
    #[must_use]
    pub fn recorded_tmux_session(&self) -> Option<&str> {
        match &self.kind {
            SubjectKind::Worker(config) => config.text("tmux_session"),
            SubjectKind::Session(session) => session.tmux(),
        }
    }

    /// The pane as it is recorded.
    #[must_use]
    pub fn recorded_pane_id(&self) -> Option<&str> {
        match &self.kind {
            SubjectKind::Worker(config) => config.text("tmux_pane_id"),
            SubjectKind::Session(session) => session.tmux_pane_id.as_deref().filter(|id| !id.is_empty()),
        }
    }

    /// A text of a legacy worker's configuration.
    #[must_use]
    pub fn configured(&self, key: &str) -> Option<&str> {
        match &self.kind {
            SubjectKind::Worker(config) => config.text(key),
            SubjectKind::Session(_) => None,
        }
    }
}

/// What a name means.
///
/// # Errors
/// An unknown name, one from which no path may be made, or an invalid configuration.
pub fn resolve(place: &mut Place, name: &str) -> Result<Subject> {
    check_name(name)?;
    let kind = match Config::of(place.root(), name)? {
        Some(config) => SubjectKind::Worker(config),
        None => {
            let session = place.cx()?.db.read(|tx| sessions::by_name(tx, name))?;
            let session = session.ok_or_else(|| Error::UnknownWorker(name.to_owned()))?;
            SubjectKind::Session(Box::new(session))
        }
    };
    let ours = place.tmux().clone();
    let terminal = match &kind {
        SubjectKind::Worker(config) => Some(Terminal::of_worker(config, name, &ours)),
        SubjectKind::Session(session) => {
            place.cx()?.db.read(|tx| Terminal::of_session(tx, session, &ours))?
        }
    };
    Ok(Subject { name: name.to_owned(), kind, terminal })
}
