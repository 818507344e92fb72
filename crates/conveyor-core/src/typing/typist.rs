//! Typing a text into a pane and proving that it became a turn.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use conveyor_agents::screen::{Composer, Standing};
use conveyor_agents::tmux::{PaneFacts, TmuxError};

use super::agent::{Agent, Found, Mark};
use super::lock::PaneLock;
use super::message;
use super::pane::{Pane, composer, standing};
use super::record::normalised;
use super::verdict::{self, Evidence, Grade, Refusal};
use crate::{Error, Result, fault};

/// So that the program sees paste and Enter as two things.
const AFTER_PASTE: Duration = Duration::from_millis(100);
/// How long a pasted text may take to appear in the composer.
const UNTIL_SHOWN: Duration = Duration::from_secs(2);
/// How long the proof of a turn is waited for after an Enter.
const UNTIL_PROVEN: Duration = Duration::from_secs(5);
/// How long a composer may take to be empty again.
const UNTIL_EMPTY: Duration = Duration::from_secs(5);
/// A program takes in so many bytes of a text in a second at least.
const BYTES_A_SECOND: u64 = 100_000;
/// How often a screen or record is looked at.
const PAUSE: Duration = Duration::from_millis(100);
/// Deletes in a composer what stands before the cursor in its row, then the line end before that.
/// Unlike `C-c` it does nothing where nothing stands, and nothing to a turn.
const DELETE: &str = "C-u";

/// What became of a text.
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
    /// The terminal takes no message now; nothing of it is there.
    NotNow(Refusal),
    /// The composer has made something else of it, and is as it was again.
    NoMessage {
        /// For people.
        detail: String,
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

/// A text that is typed into a pane that is locked for it.
pub(crate) struct Typist<'a> {
    pane: &'a Pane,
    lock: PaneLock<'a>,
    /// What is pasted.
    pasted: Cow<'a, str>,
    text: &'a str,
    /// A command to the terminal itself, which no turn begins with.
    is_command: bool,
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

/// How far a text has come.
enum Step {
    /// It stands in the composer, as it was meant.
    Standing,
    /// It goes no further.
    Ended(Typed),
}

impl<'a> Typist<'a> {
    /// A message for the agent in a pane.
    pub(crate) fn of_message(pane: &'a Pane, lock: PaneLock<'a>, text: &'a str) -> Self {
        Self { pane, lock, pasted: message::completed(text), text, is_command: false }
    }

    /// A text as it is: a command to the terminal, or what was wanted without any proof.
    pub(crate) fn of_text(pane: &'a Pane, lock: PaneLock<'a>, text: &'a str) -> Self {
        Self { pane, lock, pasted: text.into(), text, is_command: true }
    }

    /// Types the text and presses Enter, as 0.1.10 did: without any proof.
    pub(crate) fn type_blindly(mut self) -> Result<()> {
        if !self.pasted.is_empty() {
            self.lock.load(&self.pasted)?;
            if !self.lock.paste()? {
                return Err(lost());
            }
        }
        std::thread::sleep(AFTER_PASTE);
        if self.lock.press(&["Enter"])? { Ok(()) } else { Err(lost()) }
    }

    /// Types the text, presses Enter, and waits for the turn that begins with it. An error means that
    /// nothing reached the pane.
    pub(crate) fn type_and_prove(
        mut self,
        agent: &mut Agent,
        mark: Mark,
        care: Care,
        keep: Keep<'_>,
    ) -> Result<Typed> {
        let typed = match self.put_in(agent, care, keep)? {
            Step::Ended(typed) => typed,
            Step::Standing => self.press_enter_and_prove(agent, mark, care, keep),
        };
        self.settle(&typed);
        Ok(typed)
    }

    /// Types the text and presses Enter; gives what hindered it, if something did. An error means that
    /// nothing reached the pane.
    pub(crate) fn type_command(
        mut self,
        agent: &mut Agent,
        care: Care,
        keep: Keep<'_>,
    ) -> Result<Option<Typed>> {
        let ended = match self.put_in(agent, care, keep)? {
            Step::Ended(typed) => Some(typed),
            Step::Standing if self.press_enter() => None,
            Step::Standing => Some(unconfirmed("not_submitted")),
        };
        if let Some(typed) = &ended {
            self.settle(typed);
        }
        Ok(ended)
    }

    /// A text whose fate is open keeps the pane locked; else the lock ends with the typist.
    fn settle(self, typed: &Typed) {
        if matches!(typed, Typed::Unconfirmed { .. }) {
            self.lock.leave_open();
        }
    }

    /// Puts the text into the composer.
    fn put_in(&mut self, agent: &mut Agent, care: Care, keep: Keep<'_>) -> Result<Step> {
        // Somebody may have typed there since it was found empty, and until the lock was ours.
        if care != Care::Forced
            && let Some(refusal) = self.changed(agent, care, verdict::judge)
        {
            return Ok(Step::Ended(Typed::NotNow(refusal)));
        }
        if self.pasted.is_empty() {
            return Ok(Step::Standing);
        }
        self.lock.load(&self.pasted)?;
        fault::point("typing.loaded");
        if !keep() {
            self.lock.unload();
            return Ok(Step::Ended(Typed::NotNow(lock_lost())));
        }
        match self.lock.paste() {
            Ok(true) => {}
            Ok(false) => return Ok(Step::Ended(Typed::NotNow(lock_lost()))),
            // The only failure after which the fate of the text is open.
            Err(TmuxError::TimedOut { .. }) => {
                return Ok(Step::Ended(unconfirmed("paste_not_visible")));
            }
            Err(error) => return Err(error.into()),
        }
        fault::point("typing.pasted");
        std::thread::sleep(AFTER_PASTE);
        if care != Care::Forced
            && let Some(ended) = self.hindrance(agent, care)
        {
            return Ok(Step::Ended(ended));
        }
        Ok(if keep() { Step::Standing } else { Step::Ended(unconfirmed("lease_lost")) })
    }

    /// What keeps Enter from being pressed after the paste. What is ours is taken back then.
    fn hindrance(&mut self, agent: &mut Agent, care: Care) -> Option<Typed> {
        let standing = self.until_standing();
        if !self.is_meant(standing) {
            return Some(match standing {
                Standing::Changed | Standing::Completing if self.take_back() => not_meant(standing),
                _ => unconfirmed("paste_not_visible"),
            });
        }
        let refusal = self.may_not_enter(agent, care)?;
        let is_ours = self.is_meant(self.look());
        Some(if is_ours && self.take_back() { Typed::NotNow(refusal) } else { unconfirmed("state_changed") })
    }

    fn press_enter_and_prove(&mut self, agent: &mut Agent, mark: Mark, care: Care, keep: Keep<'_>) -> Typed {
        if !self.press_enter() {
            return unconfirmed("not_submitted");
        }
        fault::point("typing.entered");
        if let Some(seen) = self.proof(agent, mark) {
            return seen;
        }
        if care == Care::Forced {
            return unconfirmed("no_proof");
        }
        let Ok(standing) = self.pane.look().map(|look| composer(&look)) else {
            return unconfirmed("no_proof");
        };
        match standing {
            Composer::Draft { .. }
                if self.is_meant(self.look()) && self.may_not_enter(agent, care).is_none() && keep() =>
            {
                if !self.press_enter() {
                    return unconfirmed("not_submitted");
                }
                self.proof(agent, mark).unwrap_or_else(|| unconfirmed("not_submitted"))
            }
            Composer::Draft { .. } => unconfirmed("not_submitted"),
            Composer::Empty => self.proof(agent, mark).unwrap_or_else(|| unconfirmed("no_proof")),
            Composer::Dialog | Composer::Unknown => unconfirmed("no_proof"),
        }
    }

    fn press_enter(&mut self) -> bool {
        fault::point("typing.entering");
        self.lock.press(&["Enter"]).unwrap_or(false)
    }

    /// How the composer relates to what was pasted.
    fn look(&self) -> Standing {
        // What cannot be looked at is not shown.
        self.pane.look().map_or(Standing::Other, |look| standing(&look, &self.pasted))
    }

    /// A terminal's own command opens the list that it is chosen from.
    fn is_meant(&self, standing: Standing) -> bool {
        standing == Standing::Whole || (self.is_command && standing == Standing::Completing)
    }

    /// Waits until the composer shows the text.
    fn until_standing(&mut self) -> Standing {
        let deadline = Instant::now() + UNTIL_SHOWN + self.taking_in();
        loop {
            let standing = self.look();
            if self.is_meant(standing) || Instant::now() >= deadline || !self.lock.keep() {
                return standing;
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn taking_in(&self) -> Duration {
        Duration::from_millis(
            u64::try_from(self.pasted.len()).unwrap_or(u64::MAX).saturating_mul(1000) / BYTES_A_SECOND,
        )
    }

    /// Takes back what was pasted into a composer that was empty before; gives whether it is empty again.
    fn take_back(&mut self) -> bool {
        let lines = self.pasted.matches('\n').count();
        let deadline = Instant::now() + UNTIL_EMPTY + self.taking_in();
        if !self.lock.repeat(&[DELETE], 2 * lines.min(1000) + 4).unwrap_or(false) {
            return false;
        }
        loop {
            if self.pane.look().is_ok_and(|look| composer(&look) == Composer::Empty) {
                return true;
            }
            if Instant::now() >= deadline || !self.lock.keep() {
                return false;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// A dialog may have opened, a turn may have begun since the text was pasted.
    fn may_not_enter(&mut self, agent: &mut Agent, care: Care) -> Option<Refusal> {
        if !self.lock.keep() {
            return Some(lock_lost());
        }
        self.changed(agent, care, verdict::judge_again)
    }

    /// What has changed since everything was proven.
    fn changed(
        &self,
        agent: &mut Agent,
        care: Care,
        judge: fn(&Evidence) -> Option<Refusal>,
    ) -> Option<Refusal> {
        let asked = if care == Care::AfterError { agent.look().after_known_error() } else { agent.look() };
        match self.pane.examine_again(asked) {
            Ok(evidence) => judge(&evidence),
            Err(error) => Some(Refusal {
                detail: error.to_string(),
                reason: "unproven",
                rule: 5,
                verdict: Grade::Unproven,
            }),
        }
    }

    fn proof(&mut self, agent: &mut Agent, mark: Mark) -> Option<Typed> {
        let wanted = normalised(self.text);
        let deadline = Instant::now() + UNTIL_PROVEN + self.taking_in();
        loop {
            let taken = self.lock.claimed();
            if let Found::Seen { turn_id, via } = agent.find(mark, &|text| text == wanted, &taken)
                && turn_id.as_ref().is_none_or(|turn| self.lock.claim(turn))
            {
                return Some(Typed::Seen { turn_id, via });
            }
            if Instant::now() >= deadline {
                return None;
            }
            // Whoever waits for a proof still has the terminal.
            self.lock.keep();
            std::thread::sleep(PAUSE);
        }
    }
}

fn not_meant(standing: Standing) -> Typed {
    if standing == Standing::Completing {
        let detail = "a list of completions has opened, from which Enter would choose".into();
        return Typed::NotNow(Refusal { detail, reason: "unproven", rule: 5, verdict: Grade::Unproven });
    }
    let detail =
        "the terminal has made something else of the text, an attachment for instance; it was taken back"
            .into();
    Typed::NoMessage { detail }
}

fn unconfirmed(reason: &'static str) -> Typed {
    Typed::Unconfirmed { reason }
}

fn lock_lost() -> Refusal {
    let detail = "it took too long, and the terminal is another message's by now".into();
    Refusal { detail, reason: "order", rule: 0, verdict: Grade::Unsafe }
}

fn lost() -> Error {
    Error::invalid("the terminal was taken over by another message meanwhile: look into it, and try again")
}
