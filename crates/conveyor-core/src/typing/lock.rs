//! The lock on a pane: one at a time types there, under whatever name and from whatever ledger.
//!
//! It is an option of the pane in tmux, the one place that everybody reaches who can type there. A file
//! would not do: containers and users do not share directories.

use std::time::{Duration, Instant};

use conveyor_agents::tmux::{Held, PaneFacts, PaneKey, Tmux, TmuxError};
use conveyor_agents::{age, processes};

use super::verdict::{Grade, Refusal};
use crate::digest;

type Result<T, E = TmuxError> = std::result::Result<T, E>;

/// A holder that has not renewed its lock for so long is taken for dead.
const LAPSES: Duration = Duration::from_secs(30);

/// While it types, a holder renews its lock after so long.
const RENEWED: Duration = Duration::from_secs(5);

/// A text whose fate nobody has found out keeps other ledgers away for so long at most: they cannot
/// find it out.
const OPEN: Duration = Duration::from_secs(600);

const PAUSE: Duration = Duration::from_millis(100);

/// So many of the newest proofs of a pane are remembered there.
const PROOFS: usize = 24;

/// For whom a pane is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The ledger, as short as differs.
    ledger: String,
    /// The delivery, or what else is sent.
    delivery: String,
}

impl Owner {
    /// A delivery of a ledger.
    pub(crate) fn of(ledger: &str, delivery: &str) -> Self {
        Self { ledger: digest::of(ledger.as_bytes())[..12].to_owned(), delivery: plain(delivery) }
    }

    /// Keys that belong to no delivery.
    pub(crate) fn of_keys(what: &str) -> Self {
        let this = format!("{what}-{}-{}", std::process::id(), age::machine_millis());
        Self { ledger: "none".into(), delivery: plain(&this) }
    }

    /// The buffer through which the text goes.
    pub(crate) fn buffer(&self) -> String {
        buffer_of(&self.delivery)
    }
}

/// Letters that mean nothing to tmux's formats.
fn plain(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '-' })
        .collect()
}

fn buffer_of(delivery: &str) -> String {
    format!("conveyor-{delivery}")
}

/// How far the holder of a lock has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It types.
    Typing,
    /// It has typed, and what became of the text is not known.
    Open,
}

/// What is written on a pane.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    ledger: String,
    delivery: String,
    host: String,
    pid: u32,
    at_ms: i64,
    stage: Stage,
}

impl Token {
    fn of(owner: &Owner, stage: Stage) -> Self {
        Self {
            ledger: owner.ledger.clone(),
            delivery: owner.delivery.clone(),
            host: plain(&processes::host_name()),
            pid: std::process::id(),
            at_ms: age::machine_millis(),
            stage,
        }
    }

    fn text(&self) -> String {
        let Self { ledger, delivery, host, pid, at_ms, stage } = self;
        let stage = if *stage == Stage::Typing { "typing" } else { "open" };
        format!("{ledger}/{delivery}/{host}/{pid}/{at_ms}/{stage}")
    }

    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let [ledger, delivery, host, pid, at_ms, stage] = parts[..] else { return None };
        Some(Self {
            ledger: ledger.to_owned(),
            delivery: delivery.to_owned(),
            host: host.to_owned(),
            pid: pid.parse().ok()?,
            at_ms: at_ms.parse().ok()?,
            stage: if stage == "open" { Stage::Open } else { Stage::Typing },
        })
    }

    /// Whether its time is over. A time to come is that of a clock which was set back since.
    fn is_older_than(&self, limit: Duration) -> bool {
        let age = age::machine_millis().saturating_sub(self.at_ms).unsigned_abs();
        u128::from(age) > limit.as_millis()
    }

    fn refusal(&self) -> Refusal {
        let Self { delivery, host, pid, .. } = self;
        let detail = match self.stage {
            Stage::Typing => format!(
                "another message is being typed just now (delivery {delivery}, process {pid} on {host})"
            ),
            Stage::Open => format!(
                "what became of an earlier message to this terminal is not known (delivery {delivery})"
            ),
        };
        Refusal { detail, reason: "order", rule: 0, verdict: Grade::Unsafe }
    }
}

/// What may be done about a lock that another holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Insistence {
    /// For so long its end is waited for.
    pub(crate) wait: Duration,
    /// A text whose fate is open does not hinder, nor, in the end, one that is being typed.
    pub(crate) force: bool,
}

impl Insistence {
    /// Now or not at all.
    pub(crate) const NONE: Self = Self { wait: Duration::ZERO, force: false };
    /// A short key: whoever types is waited for.
    pub(crate) const KEY: Self = Self { wait: Duration::from_secs(10), force: false };
    /// In spite of everything, once whoever types had the time to finish.
    pub(crate) const FORCED: Self = Self { wait: Duration::from_secs(10), force: true };
}

/// A pane that nobody else types into. Dropped, it is free again.
pub(crate) struct PaneLock<'t> {
    tmux: &'t Tmux,
    owner: Owner,
    held: Held,
    renewed: Instant,
    is_lost: bool,
}

impl<'t> PaneLock<'t> {
    /// Locks a pane; `Err` inside says who types there. `moved_on` tells whether the agent has begun a
    /// turn since a moment.
    pub(crate) fn take(
        tmux: &'t Tmux,
        facts: &PaneFacts,
        owner: Owner,
        insistence: Insistence,
        moved_on: &mut dyn FnMut(i64) -> bool,
    ) -> Result<Result<Self, Refusal>> {
        let pane = PaneKey::from(facts);
        let deadline = Instant::now() + insistence.wait;
        loop {
            let seen = tmux.lock(&pane)?;
            let holder = Token::parse(&seen);
            let is_due = Instant::now() >= deadline;
            let is_free = holder.as_ref().is_none_or(|holder| is_free(holder, &owner, moved_on));
            if is_free
                || (insistence.force
                    && (is_due || holder.as_ref().is_some_and(|holder| holder.stage == Stage::Open)))
            {
                let token = Token::of(&owner, Stage::Typing).text();
                if tmux.replace_lock(&pane, &seen, &token)? == token {
                    if let Some(dead) = holder {
                        // What it loaded and nobody will paste.
                        tmux.delete_buffer(&buffer_of(&dead.delivery))?;
                    }
                    let held = Held { pane, token };
                    return Ok(Ok(Self { tmux, owner, held, renewed: Instant::now(), is_lost: false }));
                }
            } else if is_due && let Some(holder) = holder {
                return Ok(Err(holder.refusal()));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Renews the lock if it is time; `false`: it is another's by now.
    pub(crate) fn keep(&mut self) -> bool {
        if self.is_lost || self.renewed.elapsed() < RENEWED {
            return !self.is_lost;
        }
        self.put(Stage::Typing)
    }

    fn put(&mut self, stage: Stage) -> bool {
        let token = Token::of(&self.owner, stage).text();
        match self.tmux.replace_lock(&self.held.pane, &self.held.token, &token) {
            Ok(now) if now == token => {
                self.held.token = token;
                self.renewed = Instant::now();
            }
            // A tmux that does not answer leaves open whose it is; the next key will tell.
            Ok(_) => self.is_lost = true,
            Err(_) => {}
        }
        !self.is_lost
    }

    /// Hands a text to tmux. Nothing has reached the pane yet.
    pub(crate) fn load(&self, text: &str) -> Result<()> {
        let loaded = self.tmux.load_buffer(&self.owner.buffer(), text);
        if loaded.is_err() {
            self.unload();
        }
        loaded
    }

    /// Takes a loaded text back from tmux.
    pub(crate) fn unload(&self) {
        // A tmux that does not answer keeps it until its end.
        let _ = self.tmux.delete_buffer(&self.owner.buffer());
    }

    /// Pastes the loaded text; `false`, and nothing was pasted: the lock is another's by now.
    pub(crate) fn paste(&mut self) -> Result<bool> {
        let pasted = self.tmux.paste_buffer(&self.owner.buffer(), &self.held);
        if !matches!(pasted, Ok(true)) {
            // Pasting deletes it; a buffer that nobody pasted must not stay behind.
            self.unload();
        }
        self.sent(pasted)
    }

    /// Presses keys; `false`, and none was pressed: the lock is another's by now.
    pub(crate) fn press(&mut self, keys: &[&str]) -> Result<bool> {
        let pressed = self.tmux.send_keys(&self.held, keys);
        self.sent(pressed)
    }

    /// Presses keys so many times.
    pub(crate) fn repeat(&mut self, keys: &[&str], times: usize) -> Result<bool> {
        let pressed = self.tmux.repeat_keys(&self.held, keys, times);
        self.sent(pressed)
    }

    fn sent(&mut self, sent: Result<bool>) -> Result<bool> {
        let is_sent = sent?;
        self.is_lost |= !is_sent;
        Ok(is_sent)
    }

    /// Leaves the pane locked until somebody has found out what became of the text.
    pub(crate) fn leave_open(mut self) {
        self.put(Stage::Open);
        self.is_lost = true;
    }

    /// Claims a turn as the proof of this delivery; gives `false` when it proves another one.
    pub(crate) fn claim(&self, turn_id: &str) -> bool {
        claim(self.tmux, &self.held.pane, turn_id, &self.owner.delivery)
    }

    /// The turns of this pane that prove other deliveries.
    pub(crate) fn claimed(&self) -> Vec<String> {
        claimed(self.tmux, &self.held.pane, &self.owner.delivery)
    }
}

impl Drop for PaneLock<'_> {
    fn drop(&mut self) {
        if !self.is_lost {
            // If tmux does not answer, the lock lapses.
            let _ = self.tmux.replace_lock(&self.held.pane, &self.held.token, "");
        }
    }
}

/// Whether the lock of another may be taken over.
fn is_free(holder: &Token, owner: &Owner, moved_on: &mut dyn FnMut(i64) -> bool) -> bool {
    match holder.stage {
        Stage::Typing => holder.is_older_than(LAPSES),
        // Its own ledger has found out, or it would not ask.
        Stage::Open if holder.ledger == owner.ledger => true,
        Stage::Open => holder.is_older_than(OPEN) || (holder.is_older_than(LAPSES) && moved_on(holder.at_ms)),
    }
}

/// Who keeps others from typing into a pane now, if anybody but this ledger's open deliveries does.
pub(crate) fn holder(
    tmux: &Tmux,
    facts: &PaneFacts,
    ledger: &str,
    moved_on: &mut dyn FnMut(i64) -> bool,
) -> Result<Option<Refusal>> {
    let Some(holder) = Token::parse(&tmux.lock(&PaneKey::from(facts))?) else { return Ok(None) };
    let free = is_free(&holder, &Owner::of(ledger, ""), moved_on);
    Ok((!free).then(|| holder.refusal()))
}

/// Frees a pane that a delivery left locked, now that its fate is known.
pub(crate) fn settled(tmux: &Tmux, facts: &PaneFacts, delivery: &str) -> Result<()> {
    let pane = PaneKey::from(facts);
    let seen = tmux.lock(&pane)?;
    if Token::parse(&seen).is_some_and(|token| token.delivery == plain(delivery)) {
        tmux.replace_lock(&pane, &seen, "")?;
    }
    tmux.delete_buffer(&buffer_of(&plain(delivery)))
}

/// Claims a turn of a pane as the proof of a delivery. `false`: it proves another one.
pub(crate) fn claim(tmux: &Tmux, pane: &PaneKey, turn_id: &str, delivery: &str) -> bool {
    let (turn, delivery) = (plain(turn_id), plain(delivery));
    // A pane that is gone has nobody else to claim it.
    while let Ok(seen) = tmux.proofs(pane) {
        if let Some((_, by)) = proofs(&seen).find(|(of, _)| *of == turn) {
            return by == delivery;
        }
        let mut all: Vec<String> =
            seen.split(' ').filter(|proof| !proof.is_empty()).map(ToOwned::to_owned).collect();
        all.drain(..all.len().saturating_sub(PROOFS - 1));
        all.push(format!("{turn}={delivery}"));
        let wanted = all.join(" ");
        match tmux.replace_proofs(pane, &seen, &wanted) {
            Ok(now) if now == wanted => return true,
            Ok(_) => {}
            Err(_) => return true,
        }
    }
    true
}

/// The turns of a pane that prove other deliveries than this one.
pub(crate) fn claimed(tmux: &Tmux, pane: &PaneKey, delivery: &str) -> Vec<String> {
    let Ok(seen) = tmux.proofs(pane) else { return Vec::new() };
    let delivery = plain(delivery);
    proofs(&seen).filter(|(_, by)| *by != delivery).map(|(turn, _)| turn.to_owned()).collect()
}

fn proofs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(' ').filter_map(|proof| proof.split_once('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(stage: Stage, age_ms: i64) -> Token {
        let mut token = Token::of(&Owner::of("/a/ledger.db", "dl-1"), stage);
        token.at_ms -= age_ms;
        token
    }

    #[test]
    fn a_token_says_who_and_since_when() {
        let token = token(Stage::Open, 0);
        assert_eq!(Token::parse(&token.text()), Some(token));
        for other in ["", "mine", "a/b/c/d/e/typing", "a/b/c/1/2"] {
            assert_eq!(Token::parse(other), None, "{other}");
        }
        let odd = Owner::of("x", "a/b #{pid},}'");
        assert!(
            odd.delivery.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-'),
            "{odd:?}"
        );
    }

    #[test]
    fn a_lock_lapses_when_nobody_renews_it() {
        let other = Owner::of("/another/ledger.db", "dl-2");
        let mut never = |_| false;
        for (age_ms, free) in [(0, false), (29_000, false), (31_000, true), (-31_000, true)] {
            assert_eq!(is_free(&token(Stage::Typing, age_ms), &other, &mut never), free, "{age_ms}");
        }
    }

    #[test]
    fn an_open_fate_keeps_other_ledgers_away_longer() {
        let other = Owner::of("/another/ledger.db", "dl-2");
        let same = Owner::of("/a/ledger.db", "dl-2");
        let open = |age_ms| token(Stage::Open, age_ms);
        assert!(is_free(&open(0), &same, &mut |_| false));
        assert!(!is_free(&open(0), &other, &mut |_| true));
        assert!(!is_free(&open(40_000), &other, &mut |_| false));
        assert!(is_free(&open(40_000), &other, &mut |_| true));
        assert!(is_free(&open(601_000), &other, &mut |_| false));
    }
}
