//! Keys and texts for a pane, and the lock without which none is sent.
//!
//! The lock is an option of the pane: whoever types there, from whatever ledger, container or user,
//! reaches it through the same tmux. Whatever is sent goes in the same call that compares the lock, so
//! that tmux itself refuses the key of somebody who was frozen meanwhile.

use super::call::Call;
use super::{PaneFacts, Tmux, TmuxError, is_pane_id};

/// The option of the pane that is the lock: a token.
const LOCK: &str = "@conveyor-lock";

/// The option of the pane in which proofs are claimed: a turn proves one delivery only.
const PROOFS: &str = "@conveyor-proofs";

/// What tmux prints when it has compared, and then done or not done what it was told.
const DONE: &str = "done";
const REFUSED: &str = "refused";

/// A pane together with its process: what keys are for. Neither alone means anything, because a new
/// server gives the same ids again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaneKey {
    /// The pane's id, `%12`.
    pub id: String,
    /// The process that tmux started in it.
    pub pid: u32,
}

impl From<&PaneFacts> for PaneKey {
    fn from(facts: &PaneFacts) -> Self {
        Self { id: facts.id.clone(), pid: facts.pid }
    }
}

/// A pane that is locked with a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The pane.
    pub pane: PaneKey,
    /// What the lock must still be when a key is sent.
    pub token: String,
}

impl Tmux {
    /// The token on a pane; empty when nobody holds it.
    ///
    /// # Errors
    /// No such pane with this process, or tmux could not be asked.
    pub fn lock(&self, pane: &PaneKey) -> Result<String, TmuxError> {
        self.option(pane, LOCK)
    }

    /// Replaces the token `from` on a pane, empty for none, with `to`; gives what stands there then.
    ///
    /// # Errors
    /// As [`Tmux::lock`]; a token that tmux could not compare.
    pub fn replace_lock(&self, pane: &PaneKey, from: &str, to: &str) -> Result<String, TmuxError> {
        self.replace_option(pane, LOCK, from, to)
    }

    /// The claimed proofs of a pane, as [`Tmux::replace_proofs`] left them.
    ///
    /// # Errors
    /// As [`Tmux::lock`].
    pub fn proofs(&self, pane: &PaneKey) -> Result<String, TmuxError> {
        self.option(pane, PROOFS)
    }

    /// Replaces the claimed proofs of a pane; gives what stands there then.
    ///
    /// # Errors
    /// As [`Tmux::replace_lock`].
    pub fn replace_proofs(&self, pane: &PaneKey, from: &str, to: &str) -> Result<String, TmuxError> {
        self.replace_option(pane, PROOFS, from, to)
    }

    /// Pastes a buffer into a locked pane and deletes it. Programs that asked for it get the text as one
    /// bracketed paste; line ends stay line ends instead of becoming the Enter key. `false`, and
    /// nothing reached the pane: the lock is another's by now.
    ///
    /// # Errors
    /// No such pane or buffer, or tmux could not be asked.
    pub fn paste_buffer(&self, buffer: &str, held: &Held) -> Result<bool, TmuxError> {
        let command = format!("paste-buffer -p -d -r -b {} -t {}", word(buffer), held.pane.id);
        self.locked("paste-buffer", held, &command)
    }

    /// Presses keys in a locked pane, named as tmux names them: `C-c`, `Escape`, `Enter`. `false`, and
    /// no key reached the pane: the lock is another's by now.
    ///
    /// # Errors
    /// No such pane, or tmux could not be asked.
    pub fn send_keys(&self, held: &Held, keys: &[&str]) -> Result<bool, TmuxError> {
        self.repeat_keys(held, keys, 1)
    }

    /// The same, so many times.
    ///
    /// # Errors
    /// As [`Tmux::send_keys`].
    pub fn repeat_keys(&self, held: &Held, keys: &[&str], times: usize) -> Result<bool, TmuxError> {
        let keys: Vec<String> = keys.iter().map(|key| word(key)).collect();
        let command = format!("send-keys -t {} -N {times} -- {}", held.pane.id, keys.join(" "));
        self.locked("send-keys", held, &command)
    }

    /// Runs a command of tmux if the lock is still the holder's.
    fn locked(&self, name: &str, held: &Held, command: &str) -> Result<bool, TmuxError> {
        let condition = is_still(&held.pane, LOCK, &held.token)?;
        let call = Call::new("if-shell", &held.pane.id).hidden_arg("-F").hidden_arg("-t");
        let call = call.hidden_arg(&held.pane.id).hidden_arg(condition);
        let call = call.hidden_arg(format!("{command} ; display-message -p {DONE}"));
        let call = call.hidden_arg(format!("display-message -p {REFUSED}"));
        // Without its pane the condition is about another one; this fails then.
        let call = call
            .then("list-panes")
            .hidden_arg("-t")
            .hidden_arg(&held.pane.id)
            .hidden_arg("-F")
            .hidden_arg("-");
        let printed = self.run(call.shown(name, &held.pane.id))?;
        Ok(printed.lines().next() == Some(DONE))
    }

    fn option(&self, pane: &PaneKey, option: &str) -> Result<String, TmuxError> {
        is_pane(pane)?;
        self.tell(Call::new("display-message", &pane.id), pane, option)
    }

    fn replace_option(
        &self,
        pane: &PaneKey,
        option: &str,
        from: &str,
        to: &str,
    ) -> Result<String, TmuxError> {
        let condition = is_still(pane, option, from)?;
        let command = if to.is_empty() {
            format!("set-option -p -u -t {} {option}", pane.id)
        } else {
            format!("set-option -p -t {} {option} {}", pane.id, word(to))
        };
        let call = Call::new("if-shell", &pane.id).hidden_arg("-F").hidden_arg("-t").hidden_arg(&pane.id);
        let call = call.hidden_arg(condition).hidden_arg(command);
        self.tell(call.then("display-message"), pane, option)
    }

    /// Ends a call with what an option of a pane is.
    fn tell(&self, call: Call<'_>, pane: &PaneKey, option: &str) -> Result<String, TmuxError> {
        let call = call.hidden_arg("-p").hidden_arg("-t").hidden_arg(&pane.id);
        let call = call.hidden_arg(format!("#{{pane_pid}} #{{{option}}}"));
        let call =
            call.then("list-panes").hidden_arg("-t").hidden_arg(&pane.id).hidden_arg("-F").hidden_arg("-");
        let printed = self.run(call)?;
        let line = printed.lines().next().unwrap_or_default();
        match line.split_once(' ') {
            Some((pid, value)) if pid == pane.pid.to_string() => Ok(value.to_owned()),
            // Another server gave its id to another pane.
            _ => Err(TmuxError::NoSession { target: pane.id.clone() }),
        }
    }
}

fn is_pane(pane: &PaneKey) -> Result<(), TmuxError> {
    if is_pane_id(&pane.id) { Ok(()) } else { Err(TmuxError::NoSession { target: pane.id.clone() }) }
}

/// The condition, in tmux's words, that a pane is still this process's and an option of it this text.
fn is_still(pane: &PaneKey, option: &str, text: &str) -> Result<String, TmuxError> {
    is_pane(pane)?;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=@ ".contains(letter);
    if !text.chars().all(plain) {
        let message = format!("the option {option} of pane {} has a value that is not Conveyor's", pane.id);
        return Err(TmuxError::Failed { command: "tmux if-shell".into(), message });
    }
    let (id, pid) = (&pane.id, pane.pid);
    Ok(format!("#{{&&:#{{==:#{{pane_id}} #{{pane_pid}},{id} {pid}}},#{{==:#{{{option}}},{text}}}}}"))
}

/// A word as tmux's own parser takes it literally.
fn word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r#"'"'"'"#))
}
