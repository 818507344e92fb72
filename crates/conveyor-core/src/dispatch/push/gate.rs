//! Whether a receiver's terminal takes a message now. Nothing is written here but what was found
//! out about the agent.

use std::time::{Duration, Instant};

use conveyor_agents::screen::Composer;
use conveyor_agents::tmux::{PaneFacts, TmuxError};
use conveyor_model::{AgentState, Timestamp};
use conveyor_store::session_states;

use super::{LATER, MUCH_LATER, SHORTLY};
use crate::typing::session::{Assessed, Live};
use crate::typing::typist::Care;
use crate::typing::verdict::{self, Refusal};
use crate::{Cx, Error, Result};

/// For so long a screen that is being drawn, or a person's last key, is waited out.
const PATIENCE: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(300);

/// What was found.
pub(super) enum Gate {
    /// The terminal takes a message.
    Open { facts: Option<Box<PaneFacts>>, care: Care },
    /// Not now.
    Closed(Closed),
    /// There is no such terminal any more.
    Gone(String),
}

/// Why a terminal takes no message now.
pub(super) struct Closed {
    /// A word for machines.
    pub(super) reason: &'static str,
    /// For people.
    pub(super) detail: String,
    /// When to look again at the latest, in seconds.
    pub(super) seconds: i64,
}

/// Looks at a receiver's terminal for a text that was sent at `sent_at`.
pub(super) fn look(cx: &mut Cx, live: &mut Live, text: &str, sent_at: &str) -> Result<Gate> {
    if let Some(absent) = absence(live) {
        return Ok(absent);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let Assessed { facts, mut evidence, mut refusal } = match live.assess(text) {
            Ok(assessed) => assessed,
            Err(error) => return of_failure(live, error),
        };
        let mut care = Care::Guarded;
        let activity = evidence.activity.clone();
        let failed_since = cx.db.write(|tx| {
            live.record_state(tx, &activity)?;
            Ok::<_, Error>(session_states::since(tx, &live.session.id, AgentState::Error)?)
        })?;
        let failed_at = live.agent.failed_at_ms.map(Timestamp::from_millis).or(failed_since);
        if activity.state == AgentState::Error && is_younger(sent_at, failed_at) {
            // Whoever sent it could know of the failure.
            care = Care::AfterError;
            evidence.activity.state = AgentState::Idle;
            refusal = verdict::judge(&evidence);
        }
        let refusal = match refusal {
            Some(refusal) => Some(refusal),
            None => live.holder(&cx.ledger(), &facts)?,
        };
        let Some(refusal) = refusal else { return Ok(Gate::Open { facts: Some(Box::new(facts)), care }) };
        let passes = match refusal.reason {
            "human_active" => true,
            "unproven" => refusal.rule == 5 && evidence.composer == Composer::Unknown,
            // The end of its turn may be written before its screen shows it.
            "dialog" => refusal.rule == 5 && evidence.activity.state == AgentState::Idle,
            _ => false,
        };
        if !passes || Instant::now() >= deadline {
            return Ok(Gate::Closed(Closed::of(&refusal)));
        }
        std::thread::sleep(PAUSE);
    }
}

fn is_younger(sent_at: &str, failed_at: Option<Timestamp>) -> bool {
    match (Timestamp::parse(sent_at), failed_at) {
        (Some(sent), Some(failed)) => sent > failed,
        _ => false,
    }
}

/// Why the terminal is not there; `None` when it is.
pub(super) fn absence(live: &Live) -> Option<Gate> {
    match live.require_running() {
        Ok(()) => None,
        Err(error @ Error::TerminalNotRunning { .. }) => Some(match live.pane.tmux().is_running() {
            Ok(true) => Gate::Gone(error.to_string()),
            Ok(false) => Gate::Closed(Closed::server_down("no tmux server is running".into())),
            Err(error) => Gate::Closed(Closed::server_down(error.to_string())),
        }),
        // Whoever runs where it was registered delivers it.
        Err(error) => Some(Gate::Closed(Closed::server_down(error.to_string()))),
    }
}

fn of_failure(live: &Live, error: Error) -> Result<Gate> {
    match error {
        Error::Tmux(TmuxError::NoSession { .. }) => {
            Ok(absence(live).unwrap_or_else(|| Gate::Gone(error.to_string())))
        }
        Error::Tmux(error) => Ok(Gate::Closed(Closed::server_down(error.to_string()))),
        error => Err(error),
    }
}

impl Closed {
    pub(super) fn server_down(detail: String) -> Self {
        Self { reason: "server_down", detail, seconds: LATER }
    }

    pub(super) fn of(refusal: &Refusal) -> Self {
        let (reason, seconds) = match refusal.reason {
            "busy" => ("busy", SHORTLY),
            "order" => ("order", SHORTLY),
            "waiting_approval" => ("waiting_approval", LATER),
            "waiting_input" | "dialog" => ("waiting_input", LATER),
            "error" => ("error", LATER),
            "usage_limited" => ("usage_limited", MUCH_LATER),
            "not_loaded" => ("not_loaded", LATER),
            "draft" => ("draft", LATER),
            "human_active" => ("draft", SHORTLY),
            _ => ("unproven", LATER),
        };
        Self { reason, detail: refusal.detail.clone(), seconds }
    }
}
