use serde::Serialize;

use super::busy::{self, Pattern};
use super::cells::Screen;
use super::composer;
use super::menu::MARK;

/// How far the start of an agent has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StartupState {
    /// It asks whether the directory may be trusted.
    NeedsTrust,
    /// It waits for the first message.
    Ready,
    /// It works.
    Working,
    /// It reports an error.
    Error,
    /// None of these, so it is still starting or waits for an answer.
    Starting,
}

impl StartupState {
    /// The printed form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeedsTrust => "needs_trust",
            Self::Ready => "ready",
            Self::Working => "working",
            Self::Error => "error",
            Self::Starting => "starting",
        }
    }
}

/// A state with the reason for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Startup {
    /// The state.
    pub state: StartupState,
    /// What the screen shows, in one sentence.
    pub reason: &'static str,
}

/// What a visible screen tells about the start of the agent in it. A screen with a dialog or with
/// running work is never ready, whatever else it shows.
#[must_use]
pub fn startup(screen: &str) -> Startup {
    let lower = screen.to_lowercase();
    let (state, reason) = match busy::dialog(screen) {
        Some(Pattern::TrustPrompt) => {
            (StartupState::NeedsTrust, "The terminal asks whether this directory can be trusted.")
        }
        // A tool is approved in the middle of a turn.
        Some(Pattern::ApprovalPrompt) => (StartupState::Working, Pattern::ApprovalPrompt.reason()),
        Some(dialog) => (StartupState::Starting, dialog.reason()),
        None if busy::is_running(&lower) => (StartupState::Working, "The terminal shows running work."),
        None if lower.contains("openai codex") && screen.contains(MARK) => {
            (StartupState::Ready, "The terminal shows Codex and its prompt.")
        }
        // The heading scrolls away.
        None if composer::row_in(&Screen::parse(screen).texts()).is_some() => {
            (StartupState::Ready, "The terminal shows the composer of Codex.")
        }
        None if lower.contains("error") || lower.contains("failed") => {
            (StartupState::Error, "The terminal shows an error.")
        }
        None if screen.trim().is_empty() => (StartupState::Starting, "The terminal is empty."),
        None => (StartupState::Starting, "The terminal does not show the prompt of Codex yet."),
    };
    Startup { state, reason }
}
