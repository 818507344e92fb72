//! What the worker's terminal shows.

use std::time::{Duration, Instant};

use conveyor_agents::screen::{self, Activity, BusyWait};
use conveyor_agents::tmux::{self, Extent, Look, TmuxError};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Inferred, Subject};
use crate::addressing::{Found, Terminal};

/// What the worker's terminal showed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PaneSignal {
    /// Whether it could be looked at.
    pub captured: bool,
    /// What was recognised on it.
    pub classifier: Option<BusyWait>,
    /// Whether a terminal that should be there could not be looked at.
    pub degraded: bool,
    /// What a manager should notice.
    pub notable_pattern: Option<String>,
    /// Why, in a sentence.
    pub reason: String,
    /// Seconds since the worker last reported.
    pub status_age_seconds: Option<i64>,
}

/// A look at a terminal; `None` where there is none.
pub(super) type Looked = Option<Result<Look, NotSeen>>;

/// Why a terminal could not be looked at.
pub(super) enum NotSeen {
    /// It is gone.
    Gone,
    /// It is not here.
    Elsewhere,
    /// tmux failed.
    Tmux(TmuxError),
}

/// How old a look may be: another process may have kept the ledger for itself for long.
const FRESH: Duration = Duration::from_secs(1);

/// A look at the worker's terminal that is under way: tmux takes longer than the ledger does.
pub(super) struct Looking {
    begun: Instant,
    terminal: Terminal,
    look: Result<tmux::Looking, NotSeen>,
}

impl Looking {
    /// Begins to look.
    pub(super) fn begin(terminal: &Terminal) -> Self {
        Self { begun: Instant::now(), terminal: terminal.clone(), look: begin(terminal) }
    }

    /// Whether this is still the look that the cycle needs.
    pub(super) fn is_fresh(&self) -> bool {
        self.begun.elapsed() < FRESH
    }

    /// Waits for what it shows.
    pub(super) fn finish(self) -> Result<Look, NotSeen> {
        let look = self.look?.finish().map_err(of_tmux)?;
        if self.terminal.is_shown_by(&look.pane) { Ok(look) } else { Err(NotSeen::Gone) }
    }
}

/// The pane is known in advance where its process is, too, which the look itself tells.
fn begin(terminal: &Terminal) -> Result<tmux::Looking, NotSeen> {
    let target = match terminal.pane_to_be_compared() {
        Some(target) => target,
        None => match terminal.locate().map_err(of_tmux)? {
            Found::Here(here) => here.target(),
            Found::Gone => return Err(NotSeen::Gone),
            Found::Unknown => return Err(NotSeen::Elsewhere),
        },
    };
    // Only the screen itself tells what is the case now; what scrolled away is history.
    terminal.tmux.begin_look(target, Extent::default()).map_err(of_tmux)
}

fn of_tmux(error: TmuxError) -> NotSeen {
    match error {
        TmuxError::NoSession { .. } => NotSeen::Gone,
        error => NotSeen::Tmux(error),
    }
}

/// What the worker's terminal shows. That it cannot be looked at is a finding, not a failure.
pub(super) fn judge(looked: Looked, subject: &Subject, inferred: &Inferred, new_events: u64) -> PaneSignal {
    let mut signal = PaneSignal {
        captured: false,
        classifier: None,
        degraded: true,
        notable_pattern: None,
        reason: String::new(),
        status_age_seconds: inferred.staleness_seconds,
    };
    let (Some(looked), Some(session)) = (looked, subject.worker.tmux()) else {
        signal.degraded = false;
        signal.reason = format!("session {} has no tmux session", subject.worker.name);
        return signal;
    };
    match looked {
        Ok(look) => {
            let activity = Activity {
                status_age_seconds: inferred.staleness_seconds,
                busy_wait_seconds: subject.busy_wait_seconds,
                recent_events: usize::try_from(new_events).unwrap_or(usize::MAX),
            };
            signal.captured = true;
            signal.degraded = false;
            signal.classifier = screen::busy_wait(look.text.trim_end_matches('\n'), &activity);
            signal.notable_pattern = signal.classifier.map(|found| found.pattern.as_str().to_owned());
            signal.reason = signal.classifier.map_or("pane captured", |found| found.reason).to_owned();
        }
        Err(NotSeen::Gone) => {
            signal.notable_pattern = Some("tmux_session_missing".to_owned());
            signal.reason = format!("tmux session {session} is not running");
        }
        Err(NotSeen::Elsewhere) => {
            signal.reason =
                format!("the terminal {session} was registered on another machine or in another container");
        }
        Err(NotSeen::Tmux(error)) => {
            signal.notable_pattern = Some("pane_signal_error".to_owned());
            signal.reason = error.to_string();
        }
    }
    signal
}

impl PaneSignal {
    /// The state of the phase that brought it.
    pub(super) fn span_state(&self) -> &'static str {
        if self.degraded { "degraded" } else { "succeeded" }
    }

    pub(super) fn attributes(&self) -> Value {
        json!({
            "captured": self.captured,
            "classifier": self.classifier,
            "degraded": self.degraded,
            "notable_pattern": self.notable_pattern,
            "status_age_seconds": self.status_age_seconds,
        })
    }
}
