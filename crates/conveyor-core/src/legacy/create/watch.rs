//! Waiting until a worker's Codex takes messages, and until the worker reports.

use std::time::Duration;

use conveyor_agents::screen::{self, Pattern, Screen, StartupState};
use conveyor_agents::tmux::{Extent, Target, TmuxError};
use conveyor_model::WorkerStatus;
use serde::Serialize;
use serde_json::{Value, json};

use super::Request;
use crate::Result;
use crate::legacy::status::Report;
use crate::legacy::{Place, read_object};
use crate::spawn::trust;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// So much of the history is looked at with the screen.
const LINES: u32 = 80;

/// How far Codex came.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are those of the worker's log")]
pub struct Startup {
    pub reason: &'static str,
    pub recommended_action: &'static str,
    pub startup: &'static str,
    pub timeout_seconds: u64,
    pub trust_accepted: bool,
}

/// Whether the worker reported.
#[derive(Clone, Debug)]
pub struct Verification {
    /// Whether it did.
    pub ok: bool,
    /// Why that is known, or that it is not.
    pub reason: &'static str,
    /// Its state, as reported.
    pub state: String,
    /// Its task, as reported.
    pub current_task: String,
}

/// What the terminal shows.
enum Seen {
    Ended,
    Screen { state: StartupState, reason: &'static str, trusts_on_enter: bool, asks: Option<Pattern> },
}

fn look(place: &Place, target: &Target) -> Result<Seen> {
    let look = match place.tmux().look(target, Extent { history_lines: LINES, attributes: false }) {
        Ok(look) => look,
        Err(TmuxError::NoSession { .. }) => return Ok(Seen::Ended),
        Err(error) => return Err(error.into()),
    };
    // Only the screen itself tells what is the case now.
    let visible = Screen::parse(look.visible()).text();
    let found = screen::startup(&visible);
    Ok(Seen::Screen {
        state: found.state,
        reason: found.reason,
        trusts_on_enter: screen::trusts_on_enter(&visible),
        asks: screen::question(&visible).map(|question| question.pattern),
    })
}

/// Answers the question about trust. Gives whether it was still asked.
fn accept_trust(place: &Place, name: &str, target: &Target) -> Result<bool> {
    let is_answered = trust::answer(place.tmux(), target)?;
    if is_answered {
        place.log(name, "accept_trust", json!({}))?;
    }
    Ok(is_answered)
}

/// Looks once a second, so often at most, until Codex takes messages, works, asks or fails. A trust
/// question that was answered before is not answered again.
pub(super) fn until_ready(
    place: &mut Place,
    request: &Request<'_>,
    target: &Target,
    seconds: u64,
    mut trust_accepted: bool,
) -> Result<Startup> {
    let mut asked = None;
    let mut last = (StartupState::Starting.as_str(), "Codex was launched, and shows nothing yet.");
    for attempt in 0..seconds {
        if attempt > 0 {
            std::thread::sleep(PAUSE);
        }
        match look(place, target)? {
            Seen::Ended => {
                last = ("exited", "The tmux session has ended.");
                break;
            }
            Seen::Screen { state: StartupState::NeedsTrust, trusts_on_enter: true, .. }
                if request.accept_trust && !trust_accepted =>
            {
                trust_accepted = accept_trust(place, request.name, target)?;
            }
            Seen::Screen { state, reason, asks, .. } => {
                last = (state.as_str(), reason);
                if state == StartupState::Starting && asks.is_some() {
                    asked = asks;
                    break;
                }
                // Right after the answer the question may still be shown.
                let is_answered = state == StartupState::NeedsTrust && trust_accepted;
                if state != StartupState::Starting && !is_answered {
                    break;
                }
            }
        }
    }
    let (startup, reason) = last;
    let recommended_action = match startup {
        "needs_trust" if !request.accept_trust => {
            "look at the directory, then answer in the terminal, or stop it and run this again with --reuse \
             --accept-trust"
        }
        "starting" if asked == Some(Pattern::UpdatePrompt) => {
            "press Escape in the terminal, never Enter, which would install the update"
        }
        "starting" if asked.is_some() => "answer the question in the terminal",
        "needs_trust" | "starting" => "inspect terminal capture",
        _ => "none",
    };
    Ok(Startup { reason, recommended_action, startup, timeout_seconds: seconds, trust_accepted })
}

/// How often, and how long apart, a terminal is looked at for the question about trust alone.
const LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(150);

/// Answers the question about trust if it is what the terminal first shows. Gives whether it was.
pub(super) fn accept_trust_once(place: &mut Place, request: &Request<'_>, target: &Target) -> Result<bool> {
    for _ in 0..LOOKS {
        match look(place, target)? {
            Seen::Ended => return Ok(false),
            Seen::Screen { trusts_on_enter: true, .. } if accept_trust(place, request.name, target)? => {
                return Ok(true);
            }
            Seen::Screen { state: StartupState::Starting, .. } => std::thread::sleep(BETWEEN_LOOKS),
            Seen::Screen { .. } => return Ok(false),
        }
    }
    Ok(false)
}

/// Looks once a second, so often at most, whether the worker has reported.
pub(super) fn verify(
    place: &mut Place,
    request: &Request<'_>,
    seconds: u64,
    first: &Report,
) -> Result<Verification> {
    let file = place.root().join(request.name).join("status.json");
    let mut found = judge(&read_object(&file)?.unwrap_or_default().into(), first);
    for _ in 1..seconds {
        if found.ok {
            break;
        }
        std::thread::sleep(PAUSE);
        found = judge(&read_object(&file)?.unwrap_or_default().into(), first);
    }
    let mut facts = json!({ "ok": found.ok, "reason": found.reason });
    match found.ok {
        true => facts["state"] = json!(found.state),
        false => facts["timeout_seconds"] = json!(seconds),
    }
    place.log(request.name, "verify", facts)?;
    Ok(found)
}

fn judge(status: &Value, first: &Report) -> Verification {
    let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
    let state = text("state");
    let is_active = !matches!(
        WorkerStatus::from_text(&state),
        None | Some(WorkerStatus::Waiting | WorkerStatus::Unknown)
    );
    let reason = if text("last_update") != first.last_update || text("current_task") != first.current_task {
        Some("the worker has reported")
    } else {
        is_active.then_some("the worker reports a state of work")
    };
    Verification {
        ok: reason.is_some(),
        reason: reason.unwrap_or("no report came in time"),
        state,
        current_task: text("current_task"),
    }
}
