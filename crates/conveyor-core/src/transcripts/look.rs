//! Looking at the terminal of one side of a task, after proving that it is the registered one.

use std::path::Path;

use conveyor_agents::screen::{self, Activity};
use conveyor_agents::tmux::Extent;
use serde_json::{Value, json};

use super::context::{Context, LegacyWorker, MANAGER_MISSING, Owner, TERMINAL_MISSING};
use crate::addressing::{Found, Here, Terminal};
use crate::terminal::{self, Subject, SubjectKind};
use crate::{Cx, Error, Result};

/// What a terminal showed.
pub(super) struct Seen {
    pub(super) tmux_session: String,
    /// Its pane as it is now, else as it is recorded.
    pub(super) pane_id: Option<String>,
    pub(super) text: String,
    /// The part of the text that was on the screen.
    visible: String,
}

impl Seen {
    /// What the screen is taken for, however old it is.
    pub(super) fn classify(&self) -> Value {
        let startup = screen::startup(&self.visible);
        let activity =
            Activity { status_age_seconds: Some(i64::MAX), busy_wait_seconds: 0, recent_events: 0 };
        json!({
            "busy_wait": screen::busy_wait(&self.visible, &activity),
            "startup": [startup.state.as_str(), startup.reason],
        })
    }
}

/// Whether a look failed because the terminal is not there.
pub(crate) fn is_missing(error: &Error) -> bool {
    let missing = |found: &str| [TERMINAL_MISSING, MANAGER_MISSING].contains(&found);
    matches!(error, Error::OtherTerminal { mismatches, .. } if missing(mismatches))
}

/// Looks at the registered terminal.
///
/// # Errors
/// A terminal that is not the registered one, or a failing tmux, ledger or file.
pub(super) fn look(cx: &mut Cx, state_root: &Path, context: &Context, lines: u32) -> Result<Seen> {
    let (terminal, here) = verified(context)?;
    let session = terminal.session.clone();
    if let Owner::LegacyWorker(worker) = &context.owner {
        let name = context.side.name.clone();
        let kind = SubjectKind::Worker(worker.config.clone());
        let subject = Subject { name, kind, terminal: Some(terminal.clone()) };
        let captured = terminal::record(cx, state_root, &subject, &here, lines.into())?;
        return Ok(Seen {
            tmux_session: session,
            pane_id: Some(here.facts.id),
            text: captured.text,
            visible: captured.visible,
        });
    }
    let extent = Extent { history_lines: lines, attributes: false };
    let look = match terminal.look_again(&context.side.name, &here, extent) {
        Ok(look) => look,
        Err(Error::TerminalNotRunning { .. }) => return Err(refusal(context, &[context.owner.missing()])),
        Err(error) => return Err(error),
    };
    let visible = look.visible().to_owned();
    Ok(Seen { tmux_session: session, pane_id: Some(look.pane.id), text: look.text, visible })
}

/// The terminal, if it is there and is the one that is registered.
fn verified(context: &Context) -> Result<(&Terminal, Here)> {
    let mut mismatches = Vec::new();
    let found = match &context.terminal {
        Some(terminal) => match terminal.locate()? {
            Found::Here(here) => Some((terminal, here)),
            Found::Unknown => return Err(terminal.elsewhere(&context.side.name)),
            Found::Gone => {
                // Something else may be there by the name that people call it.
                let namesake =
                    terminal.pane_id().is_some() && terminal.tmux.has_session(&terminal.session)?;
                mismatches.push(if namesake { context.owner.other_pane() } else { context.owner.missing() });
                None
            }
        },
        None => {
            mismatches.push(context.owner.missing());
            None
        }
    };
    if let Owner::LegacyWorker(worker) = &context.owner {
        mismatches.extend(config_mismatches(context, worker));
    }
    found.filter(|_| mismatches.is_empty()).ok_or_else(|| refusal(context, &mismatches))
}

/// In what the configuration of a legacy worker differs from the ledger.
fn config_mismatches(context: &Context, worker: &LegacyWorker) -> Vec<&'static str> {
    let (side, config) = (&context.side, &worker.config);
    let mut mismatches = Vec::new();
    match config.text("identity_token") {
        None => mismatches.push("config_identity_token_missing"),
        Some(token) if token != worker.identity_token => mismatches.push("identity_token_mismatch"),
        Some(_) => {}
    }
    if side.tmux_session.as_ref() != Some(&config.tmux_session(&side.name)) {
        mismatches.push("tmux_session_mismatch");
    }
    if let (Some(recorded), Some(configured)) = (&side.tmux_pane_id, config.text("tmux_pane_id"))
        && recorded != configured
    {
        mismatches.push("config_pane_mismatch");
    }
    mismatches
}

fn refusal(context: &Context, mismatches: &[&str]) -> Error {
    Error::OtherTerminal {
        owner: context.owner.title(),
        name: context.side.name.clone(),
        mismatches: mismatches.join(", "),
    }
}
