//! Looking at the terminals of workers and sessions.

mod capture;
mod classify;
mod idle;
mod observe;
mod stop;

use conveyor_agents::tmux::{ServerChoice, Tmux};
use conveyor_model::Adapter;
use conveyor_model::records::Session;
use conveyor_store::{StoreError, Tx, endpoints, sessions};

use crate::legacy::{Config, Place, check_name, tmux_session_of};
use crate::{Error, Result};

pub use capture::{Captured, capture, record};
pub use classify::{Classified, classify};
pub use idle::{Health, Idle, IdleRequest, idle_check};
pub use observe::{Observed, Refresh, status};
pub use stop::{Request as StopRequest, Stopped, ends_caller as stop_ends_caller, stop};

/// What a name means: a legacy worker where there is one, else a registered session.
pub struct Subject {
    /// The name.
    pub name: String,
    /// The tmux server that its terminal is in.
    pub tmux: Tmux,
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
    /// The terminal that is looked at: a legacy worker's is always the usual one.
    ///
    /// # Errors
    /// A session without a terminal.
    pub fn tmux_session(&self) -> Result<String> {
        match &self.kind {
            SubjectKind::Worker(_) => Ok(tmux_session_of(&self.name)),
            SubjectKind::Session(session) => {
                session.tmux().map(ToOwned::to_owned).ok_or_else(|| Error::NoTmuxSession(self.name.clone()))
            }
        }
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
    let tmux = match &kind {
        SubjectKind::Worker(_) => ours,
        SubjectKind::Session(session) => place.cx()?.db.read(|tx| server_of(tx, session, &ours))?,
    };
    Ok(Subject { name: name.to_owned(), kind, tmux })
}

/// The tmux server that a session's terminal is in: the recorded one, whatever surroundings we run
/// in, else ours. The ledger must have our tables.
pub(crate) fn server_of(tx: &mut Tx<'_>, session: &Session, ours: &Tmux) -> Result<Tmux, StoreError> {
    let endpoint = endpoints::active(tx, &session.id, Adapter::Tmux)?;
    // What was recorded for another terminal is about a predecessor.
    let endpoint = endpoint
        .filter(|endpoint| endpoint.text("session").is_none_or(|known| Some(known) == session.tmux()));
    let socket = endpoint.as_ref().and_then(|endpoint| endpoint.text("socket_name"));
    Ok(match socket {
        Some(socket) => ours.clone().on_server(ServerChoice::Socket(socket.into())),
        None => ours.clone(),
    })
}
