//! What is in the way of a new worker, in the order in which it is looked at.

use conveyor_agents::desktop::Desktop;
use conveyor_model::IdPrefix;
use conveyor_store::workers;

use super::Request;
use crate::legacy::{Config, Place, check_name, tmux_session_of};
use crate::spawn::{self, StartError};
use crate::windows::require_desktop;
use crate::{Error, Result};

/// What is known before anything is written.
pub(super) struct Begun {
    /// What proves who the worker is; an earlier one's where it is used again.
    pub(super) identity_token: String,
}

pub(super) fn begin(place: &mut Place, desktop: &Desktop, request: &Request<'_>) -> Result<Begun> {
    let name = request.name;
    if request.open.is_some() {
        if request.stop_after {
            return Err(Error::refused(
                "--open cannot be used together with --stop-after: the window would close at once",
            ));
        }
        require_desktop(desktop)?;
    }
    request.surroundings.installation.program()?;
    check_name(name)?;
    if !request.cwd.is_dir() {
        return Err(StartError::NoDirectory(request.cwd.to_owned()).into());
    }
    spawn::check_tmux(place.tmux())?;
    if !request.reuse && Config::path(place.root(), name).exists() {
        return Err(taken(&format!("a worker called {name:?} exists in the state root")));
    }
    let tmux_session = tmux_session_of(name);
    if place.tmux().has_session(&tmux_session).map_err(StartError::Tmux)? {
        return Err(StartError::TerminalTaken(tmux_session).into());
    }
    let (known, fresh) = place
        .cx()?
        .db
        .read(|tx| Ok::<_, Error>((workers::identity(tx, name)?, tx.fresh_id(IdPrefix::WorkerToken))))?;
    match known {
        Some(_) if !request.reuse => {
            Err(taken(&format!("a worker called {name:?} is recorded in the ledger")))
        }
        Some(known) if known.tmux_session != tmux_session => Err(Error::refused(format!(
            "worker {name:?} is recorded with tmux session {:?}, not {tmux_session:?}: choose another name",
            known.tmux_session
        ))),
        Some(known) => Ok(Begun { identity_token: known.identity_token }),
        None => Ok(Begun { identity_token: fresh }),
    }
}

fn taken(what: &str) -> Error {
    Error::refused(format!("{what}: choose another name, or give --reuse to start it again"))
}
