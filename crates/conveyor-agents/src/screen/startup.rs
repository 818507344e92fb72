use serde::Serialize;

use super::busy::{self, Pattern};
use super::cells::Screen;
use super::composer;
use super::menu::{self, MARK};

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
    let texts = Screen::parse(screen).texts();
    let (state, reason) = match busy::dialog(screen) {
        Some(Pattern::TrustPrompt) => {
            (StartupState::NeedsTrust, "The terminal asks whether this directory can be trusted.")
        }
        // A tool is approved in the middle of a turn.
        Some(Pattern::ApprovalPrompt) => (StartupState::Working, Pattern::ApprovalPrompt.reason()),
        Some(dialog) => (StartupState::Starting, dialog.reason()),
        None if busy::running(screen).is_some_and(|running| running.is_interruptible()) => {
            (StartupState::Working, "The terminal shows running work.")
        }
        None if composer::is_loading(&texts) => {
            (StartupState::Starting, "The terminal shows that Codex loads the session.")
        }
        None if composer::standing(&texts).is_some() => {
            (StartupState::Ready, "The terminal shows the composer of Codex.")
        }
        None if waits_for_a_key(&texts) => {
            (StartupState::Starting, "The terminal shows a dialog that waits for a key.")
        }
        None if lower.contains("openai codex") && screen.contains(MARK) => {
            (StartupState::Ready, "The terminal shows Codex and its prompt.")
        }
        None if lower.contains("error") || lower.contains("failed") => {
            (StartupState::Error, "The terminal shows an error.")
        }
        None if screen.trim().is_empty() => (StartupState::Starting, "The terminal is empty."),
        None => (StartupState::Starting, "The terminal does not show the prompt of Codex yet."),
    };
    Startup { state, reason }
}

/// Whether the last row tells which keys do what.
fn waits_for_a_key(texts: &[String]) -> bool {
    texts.iter().rev().find(|text| !text.trim().is_empty()).is_some_and(|text| menu::is_hint(text))
}

/// Whether a screen asks whether the directory may be trusted, and Enter would say yes: the choice
/// that trusts is the selected one.
#[must_use]
pub fn trusts_on_enter(screen: &str) -> bool {
    let asks = busy::dialog(screen) == Some(Pattern::TrustPrompt);
    let selected = screen.lines().rev().find_map(|row| row.trim_start().strip_prefix(MARK));
    // What somebody typed has no number.
    let choice = selected
        .and_then(|row| row.split_once(". "))
        .filter(|(number, _)| number.trim().parse::<u32>().is_ok());
    let trusts = |(_, choice): (&str, &str)| {
        let choice = choice.to_lowercase();
        choice.starts_with("trust") || choice.starts_with("yes")
    };
    asks && choice.is_some_and(trusts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enter_trusts_only_while_the_trusting_choice_is_selected() {
        let question = |trust: &str, other: &str| {
            format!(
                "  Trust this folder? Codex can read, edit, and run files here.\n\n{trust} 1. Trust and continue\n\
                 {other} 2. Back to Agent Command Center\n\n  enter continue · esc back\n"
            )
        };
        assert!(trusts_on_enter(&question("›", " ")));
        assert!(!trusts_on_enter(&question(" ", "›")));
        assert!(!trusts_on_enter("› 1. Yes, proceed\n  2. No\n\n  Press enter to confirm\n"));
        assert!(!trusts_on_enter("› Trust this folder?\n"));
    }
}
