//! The end of a run: everybody who is left works on until nothing is left to do.

use std::collections::BTreeSet;

use crate::jobs::Job;
use crate::judge::stored_of;
use crate::ledger::SESSIONS;
use crate::run::Run;

/// Longer than any lease and any putting off, in milliseconds.
const LONG: u64 = 100_000;

impl Run<'_> {
    /// Lets all work be done and looks whether it was.
    pub fn drain(&mut self) -> Result<(), String> {
        self.conclude()?;
        // Nobody stays in a terminal: what was put off must come now.
        for session in SESSIONS {
            let seen = &self.judge.seen;
            let row = &seen.sessions[seen.session_id(session)];
            if row.tmux {
                let file = row.file.clone();
                self.operate(Job::Register { session: session.into(), file, tmux: false })?;
            }
        }
        // What was put off before the clock went back is put off for longer.
        self.advance(LONG + self.behind);
        // One pass ends lapsed claims and executes what they held back.
        self.dispatch(Job::Dispatch {
            id: "Dispatcher-0".into(),
            limit: 100,
            lease: 60,
            only: None,
            ingest: true,
            dry_run: false,
        })?;
        self.all_is_routed()?;
        for session in SESSIONS {
            let id = self.judge.seen.session_id(session);
            for _ in 0..self.judge.model.inbox(id).len() {
                self.consume(Job::Consume { session: session.into(), limit: 1 })?;
            }
        }
        match self.judge.model.unconsumed() {
            0 if self.dice.percent(10) => self.judge.integrity(),
            0 => Ok(()),
            left => Err(format!("{left} messages cannot be consumed")),
        }
    }

    fn all_is_routed(&self) -> Result<(), String> {
        let (seen, model) = (&self.judge.seen, &self.judge.model);
        for (id, command) in &seen.commands {
            if !matches!(command.state.as_str(), "succeeded" | "failed") {
                return Err(format!("command {id} is still {} after the drain: {command:?}", command.state));
            }
        }
        if let Some(waiting) = model.waiting().next() {
            return Err(format!("the message of {waiting} never came"));
        }
        let workers: BTreeSet<&str> = seen.live.values().map(|binding| binding.worker.as_str()).collect();
        for (id, event) in seen.events.iter().filter(|(_, event)| event.is_completion) {
            if workers.contains(event.session.as_str()) && !seen.is_routed(*id) {
                return Err(format!("completion {id} of a bound worker was never routed"));
            }
        }
        for (id, row) in &seen.notifications {
            if row.state == "pending" && row.command.is_none() {
                return Err(format!("completion {id} still waits after the drain: {row:?}"));
            }
        }
        for binding in seen.live.values() {
            for id in [&binding.worker, &binding.manager] {
                let session = &seen.sessions[id];
                let stored = stored_of(seen, id);
                let lines = self.rollouts.lines(&session.file).iter();
                let missing =
                    lines.filter_map(|line| line.payload.as_deref()).find(|text| !stored.contains(text));
                if let Some(missing) = missing.filter(|_| session.state == "active") {
                    return Err(format!("{missing} of {} was never read", session.name));
                }
            }
        }
        Ok(())
    }
}
