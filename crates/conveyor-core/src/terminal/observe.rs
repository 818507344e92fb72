//! What a worker or session reports, beside what its terminal shows.

use conveyor_model::WorkerStatus;
use serde::Serialize;

use super::capture::{Meta, meta_path, record};
use super::{Subject, resolve};
use crate::addressing::{Found, Here};
use crate::legacy::{self, Latest, Place, read_object};
use crate::{Error, Result};

/// Whether the terminal is captured first, with so many lines of history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// It is.
    Lines(i64),
    /// It is not.
    No,
}

/// What is known about a worker or session.
#[derive(Clone, Debug, Serialize)]
pub struct Observed {
    /// What it waits for.
    pub blocker: Option<String>,
    /// Its task.
    pub current_task: Option<String>,
    /// Its name.
    pub name: String,
    /// What it will do next.
    pub next_action: Option<String>,
    /// Whether its terminal is there.
    pub running: bool,
    /// How far its start came, as recorded.
    pub startup: Option<String>,
    /// Why.
    pub startup_reason: Option<String>,
    /// What to do about it.
    pub startup_recommended_action: Option<String>,
    /// What it says of itself.
    pub state: WorkerStatus,
    /// When it said so.
    pub status_last_update: Option<String>,
    /// Why its terminal could not be looked at.
    pub terminal_capture_error: Option<String>,
    /// When its terminal was captured last.
    pub terminal_captured_at: Option<String>,
    /// When its terminal changed last.
    pub terminal_changed_at: Option<String>,
    /// Its terminal, as recorded.
    pub tmux_session: Option<String>,
}

/// What a worker or session reports and what its terminal shows. A failing tmux is part of the
/// answer.
///
/// # Errors
/// An unknown name, an invalid file, or a failing ledger.
pub fn status(place: &mut Place, name: &str, refresh: Refresh) -> Result<Observed> {
    let subject = resolve(place, name)?;
    let latest = legacy::latest(place, name, name)?;
    let terminal = look(place, &subject, refresh)?;
    Ok(observed(subject, latest, terminal))
}

pub(super) fn observed(subject: Subject, latest: Latest, terminal: Terminal) -> Observed {
    let configured = |key: &str| subject.configured(key).map(ToOwned::to_owned);
    let (state, startup) = (latest.known_state(), configured("startup"));
    Observed {
        startup,
        startup_reason: configured("startup_reason"),
        startup_recommended_action: configured("startup_recommended_action"),
        tmux_session: subject.recorded_tmux_session().map(ToOwned::to_owned),
        name: subject.name,
        state,
        blocker: latest.blocker,
        current_task: latest.current_task,
        next_action: latest.next_action,
        status_last_update: latest.last_update,
        running: terminal.running,
        terminal_capture_error: terminal.error,
        terminal_captured_at: terminal.captured_at,
        terminal_changed_at: terminal.changed_at,
    }
}

/// What the terminal of a worker or session shows.
#[derive(Debug, Default)]
pub(super) struct Terminal {
    pub(super) running: bool,
    pub(super) error: Option<String>,
    pub(super) captured_at: Option<String>,
    pub(super) changed_at: Option<String>,
    /// The visible screen, if it was captured just now.
    pub(super) visible: Option<String>,
    /// Where it was found.
    pub(super) here: Option<Here>,
}

pub(super) fn look(place: &mut Place, subject: &Subject, refresh: Refresh) -> Result<Terminal> {
    let mut terminal = Terminal::default();
    let asked = subject.terminal().and_then(|terminal| match terminal.locate()? {
        Found::Here(here) => Ok(Some(here)),
        Found::Gone => Ok(None),
        Found::Unknown => Err(terminal.elsewhere(&subject.name)),
    });
    match asked {
        Ok(here) => {
            terminal.running = here.is_some();
            terminal.here = here;
        }
        Err(error @ (Error::Tmux(_) | Error::NoTmuxSession(_) | Error::TerminalElsewhere { .. })) => {
            terminal.error = Some(error.to_string());
        }
        Err(error) => return Err(error),
    }
    let root = place.root().to_owned();
    let mut failed = false;
    if let (Some(here), Refresh::Lines(lines)) = (&terminal.here, refresh) {
        match record(place.cx()?, &root, subject, here, lines) {
            Ok(captured) => terminal.visible = Some(captured.visible),
            Err(error @ (Error::Tmux(_) | Error::TerminalNotRunning { .. })) => {
                failed = true;
                terminal.error = Some(error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    let meta = Meta::of(&read_object(&meta_path(&root, &subject.name))?.unwrap_or_default());
    if !failed {
        terminal.captured_at = meta.captured_at;
        terminal.changed_at = meta.changed_at;
    }
    if terminal.visible.is_none() && terminal.error.is_none() {
        terminal.error = meta.error;
    }
    Ok(terminal)
}
