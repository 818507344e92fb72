//! Typing a text into a pane and proving that it became a turn.

use std::time::{Duration, Instant};

use conveyor_agents::screen::{Composer, Screen};
use conveyor_agents::tmux::{PaneFacts, Tmux, TmuxError};

use super::agent::{Agent, Found, Mark};
use super::pane::{Pane, composer};
use super::record::normalised;
use super::verdict::{self, Grade, Refusal};
use crate::{Error, Result, fault};

/// So that the program sees paste and Enter as two things.
const AFTER_PASTE: Duration = Duration::from_millis(100);
/// How long a pasted text may take to appear in the composer.
const UNTIL_SHOWN: Duration = Duration::from_secs(1);
/// How long the proof of a turn is waited for after an Enter.
const UNTIL_PROVEN: Duration = Duration::from_secs(5);
/// How often a screen or record is looked at.
const PAUSE: Duration = Duration::from_millis(100);
/// So many of the last letters and digits of a text must be on the screen.
const SHOWN_LETTERS: usize = 24;

/// What became of a typed text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// The agent's own record has it as the beginning of a turn.
    Seen {
        /// The turn, where it is named.
        turn_id: Option<String>,
        /// What told.
        via: &'static str,
    },
    /// It may have arrived, it may stand in the composer.
    Unconfirmed {
        /// A word for machines.
        reason: &'static str,
    },
}

/// How careful to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Care {
    /// Enter only while everything is proven.
    Guarded,
    /// As guarded; but that the agent's last turn failed is known to whoever sends the text.
    AfterError,
    /// Enter whatever the screen shows; the proof is still waited for.
    Forced,
}

/// Asked before each key whether the text is still ours to type: `false` when it was held for too
/// long and somebody else may have decided about it.
pub(crate) type Keep<'k> = &'k mut dyn FnMut() -> bool;

/// A text that can be typed into a pane.
pub(crate) struct Typist<'a> {
    pub(crate) pane: &'a Pane,
    pub(crate) buffer: String,
    pub(crate) text: &'a str,
}

/// Refuses what could leave a bracketed paste and act as keys.
pub(crate) fn check_text(text: &str) -> Result<()> {
    match text.chars().find(|letter| letter.is_control() && !matches!(letter, '\n' | '\t')) {
        Some(letter) => Err(Error::invalid(format!(
            "the text contains the control character U+{:04X}: only line ends and TABs can be typed",
            u32::from(letter)
        ))),
        None => Ok(()),
    }
}

/// Whether the pane takes several lines as one text.
pub(crate) fn check_lines(text: &str, pane: &PaneFacts) -> Option<Refusal> {
    let refuses = text.contains('\n') && pane.bracketed_paste == Some(false);
    refuses.then(|| Refusal {
        detail: "the text has several lines, and the program has not asked for bracketed paste".into(),
        reason: "unproven",
        rule: 5,
        verdict: Grade::Unproven,
    })
}

impl Typist<'_> {
    fn tmux(&self) -> &Tmux {
        self.pane.tmux()
    }

    /// Hands the text to tmux. Nothing has reached the pane yet.
    pub(crate) fn load(&self) -> Result<()> {
        if self.text.is_empty() {
            return Ok(());
        }
        Ok(self.tmux().load_buffer(&self.buffer, self.text)?)
    }

    /// Types the loaded text and presses Enter, as 0.1.10 did: without any proof.
    pub(crate) fn type_blindly(&self) -> Result<()> {
        self.paste()?;
        std::thread::sleep(AFTER_PASTE);
        Ok(self.tmux().send_keys(&self.pane.target(), &["Enter"])?)
    }

    /// Types the loaded text, presses Enter, and waits for the turn that begins with it. An error
    /// means that nothing reached the pane.
    pub(crate) fn type_and_prove(
        &self,
        agent: &mut Agent,
        mark: Mark,
        care: Care,
        keep: Keep<'_>,
    ) -> Result<Typed> {
        match self.put_in(agent, care, keep)? {
            Some(reason) => unconfirmed(reason),
            None => self.press_enter_and_prove(agent, mark, care, keep),
        }
    }

    /// Types the loaded text and presses Enter, for a command to the terminal itself, which no turn
    /// begins with. Gives why Enter was not pressed, if it was not. An error means that nothing
    /// reached the pane.
    pub(crate) fn type_command(
        &self,
        agent: &mut Agent,
        care: Care,
        keep: Keep<'_>,
    ) -> Result<Option<&'static str>> {
        if let Some(reason) = self.put_in(agent, care, keep)? {
            return Ok(Some(reason));
        }
        Ok(self.press_enter().is_err().then_some("not_submitted"))
    }

    /// Types the loaded text. Gives why Enter must not follow, if it must not.
    fn put_in(&self, agent: &mut Agent, care: Care, keep: Keep<'_>) -> Result<Option<&'static str>> {
        fault::point("typing.loaded");
        if !keep() {
            let _ = self.tmux().delete_buffer(&self.buffer);
            return Ok(Some("lease_lost"));
        }
        match self.paste() {
            Ok(()) => {}
            // The only failure after which the fate of the text is open.
            Err(Error::Tmux(TmuxError::TimedOut { .. })) => return Ok(Some("paste_not_visible")),
            Err(error) => return Err(error),
        }
        fault::point("typing.pasted");
        std::thread::sleep(AFTER_PASTE);
        if care != Care::Forced {
            if !self.is_shown() {
                return Ok(Some("paste_not_visible"));
            }
            if !self.may_press_enter(agent, care) {
                return Ok(Some("state_changed"));
            }
        }
        Ok((!keep()).then_some("lease_lost"))
    }

    fn paste(&self) -> Result<()> {
        if self.text.is_empty() {
            return Ok(());
        }
        let pasted = self.tmux().paste_buffer(&self.buffer, &self.pane.target());
        if pasted.is_err() {
            // Pasting deletes it; a buffer that nobody pasted must not stay behind.
            let _ = self.tmux().delete_buffer(&self.buffer);
        }
        Ok(pasted?)
    }

    fn press_enter_and_prove(
        &self,
        agent: &mut Agent,
        mark: Mark,
        care: Care,
        keep: Keep<'_>,
    ) -> Result<Typed> {
        if self.press_enter().is_err() {
            return unconfirmed("not_submitted");
        }
        fault::point("typing.entered");
        if let Some(seen) = self.proof(agent, mark) {
            return Ok(seen);
        }
        if care == Care::Forced {
            return unconfirmed("no_proof");
        }
        let Ok(standing) = self.pane.look().map(|look| composer(&look)) else {
            return unconfirmed("no_proof");
        };
        match standing {
            Composer::Draft { .. } if self.is_shown() && self.may_press_enter(agent, care) && keep() => {
                if self.press_enter().is_err() {
                    return unconfirmed("not_submitted");
                }
                self.proof(agent, mark).map_or_else(|| unconfirmed("not_submitted"), Ok)
            }
            Composer::Draft { .. } => unconfirmed("not_submitted"),
            Composer::Empty => self.proof(agent, mark).map_or_else(|| unconfirmed("no_proof"), Ok),
            Composer::Dialog | Composer::Unknown => unconfirmed("no_proof"),
        }
    }

    fn press_enter(&self) -> Result<(), TmuxError> {
        self.tmux().send_keys(&self.pane.target(), &["Enter"])
    }

    /// Waits until the composer shows the end of the text.
    fn is_shown(&self) -> bool {
        let deadline = Instant::now() + UNTIL_SHOWN;
        loop {
            // What cannot be looked at is not shown.
            if self.pane.look().is_ok_and(|look| shows(&look.text, &composer(&look), self.text)) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// A dialog may have opened, a turn may have begun since the text was pasted.
    fn may_press_enter(&self, agent: &mut Agent, care: Care) -> bool {
        let asked = if care == Care::AfterError { agent.look().after_known_error() } else { agent.look() };
        self.pane.examine_again(asked).is_ok_and(|evidence| verdict::judge_again(&evidence).is_none())
    }

    fn proof(&self, agent: &mut Agent, mark: Mark) -> Option<Typed> {
        let wanted = normalised(self.text);
        let deadline = Instant::now() + UNTIL_PROVEN;
        loop {
            if let Found::Seen { turn_id, via } = agent.find(mark, &|text| text == wanted) {
                return Some(Typed::Seen { turn_id, via });
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn unconfirmed(reason: &'static str) -> Result<Typed> {
    Ok(Typed::Unconfirmed { reason })
}

/// Whether the composer shows the end of a text, or stands for it with a placeholder. Only letters
/// and digits are compared: where a line is broken and how other signs look is the program's affair.
fn shows(captured: &str, composer: &Composer, text: &str) -> bool {
    let wanted: Vec<char> = text.chars().filter(|letter| letter.is_alphanumeric()).collect();
    let end: String = wanted[wanted.len().saturating_sub(SHOWN_LETTERS)..].iter().collect();
    match composer {
        Composer::Draft { text: draft } => contains(draft, &end),
        // With blank lines in it the composer is not recognised as a whole; from its prompt on the
        // screen still shows what stands in it.
        Composer::Unknown if !end.is_empty() => {
            let screen = Screen::parse(captured).text();
            let rows: Vec<&str> = screen.lines().collect();
            let prompt = rows.iter().rposition(|row| row.trim_start().starts_with('›'));
            prompt.is_some_and(|row| contains(&rows[row..].join("\n"), &end))
        }
        Composer::Unknown | Composer::Empty | Composer::Dialog => false,
    }
}

fn contains(shown: &str, end: &str) -> bool {
    let letters: String = shown.chars().filter(|letter| letter.is_alphanumeric()).collect();
    letters.contains(end) || shown.to_lowercase().contains("[pasted content")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(text: &str) -> Composer {
        Composer::Draft { text: text.into() }
    }

    #[test]
    fn a_pasted_text_is_recognised_by_its_end() {
        assert!(shows("", &draft("run the tests"), "run the tests"));
        assert!(shows("", &draft("run the\ntests"), "run the tests"), "broken by the program");
        let long = "word ".repeat(500) + "the end of it all, really";
        assert!(shows("", &draft("…word word the end of it all, really"), &long));
        assert!(shows("", &draft("[Pasted Content 2525 chars]"), &long));
        assert!(!shows("", &draft("run the"), "run the tests"));
        assert!(!shows("", &Composer::Empty, "run the tests"));
        assert!(!shows("", &Composer::Dialog, "run the tests"));
        assert!(shows("", &draft("!!!"), "!!!"), "nothing to compare but that there is something");
    }

    #[test]
    fn a_text_with_blank_lines_is_recognised_behind_the_prompt() {
        let screen = "old: second part\n\n› first part\n\n  second part\n\n  mock · /dir\n";
        assert!(shows(screen, &Composer::Unknown, "first part\n\nsecond part"));
        let before = "second part\n\n› Ask Codex to do anything\n\n  mock · /dir\n";
        assert!(!shows(before, &Composer::Unknown, "first part\n\nsecond part"));
    }

    #[test]
    fn control_characters_are_refused() {
        for text in ["a\u{1b}[201~b", "a\rb", "\u{0}", "\u{7f}", "\u{9b}31m"] {
            assert!(matches!(check_text(text), Err(Error::Invalid(_))), "{text:?}");
        }
        for text in ["", "-n", "a\nb\tc", "ä 漢字 🎉 \u{200d}", "$(rm -rf /); `x` \"'\\"] {
            assert!(check_text(text).is_ok(), "{text:?}");
        }
    }
}
