//! What may become of the ledger in one step, and what must hold after each.

mod commands;
mod events;
mod notifications;

pub use events::stored_of;

use std::collections::BTreeMap;

use conveyor_model::Timestamp;

use crate::jobs::Job;
use crate::ledger::Raw;
use crate::model::{Model, Visit};
use crate::rollouts::Rollouts;
use crate::snapshot::{Binding, Event, Snapshot};

/// How often something happened, over all seeds: a simulation in which nothing happens proves
/// nothing.
pub type Counts = BTreeMap<String, u64>;

/// Looks at the ledger after each step.
pub struct Judge {
    raw: Raw,
    version: Option<String>,
    /// The ids of the tasks, by name.
    tasks: BTreeMap<String, String>,
    pub seen: Snapshot,
    pub model: Model,
    pub counts: Counts,
}

/// What was done in a step.
pub struct Step<'s> {
    pub job: &'s Job,
    /// Whether the actor died in it.
    pub died: bool,
    pub now: Timestamp,
    pub rollouts: &'s Rollouts,
}

/// A step with the ledger before and after it.
struct Change<'s> {
    step: &'s Step<'s>,
    before: &'s Snapshot,
    after: &'s Snapshot,
}

/// Fails a check with a text.
macro_rules! ensure {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            return Err(format!($($text)+));
        }
    };
}
use ensure;

impl Judge {
    pub fn new(mut raw: Raw) -> Self {
        let version = raw.version();
        let seen = Snapshot::take(&mut raw);
        let pair = |cells: Vec<Option<String>>| {
            let mut texts = cells.into_iter().flatten();
            texts.next().zip(texts.next())
        };
        let tasks = raw.rows("select name, id from tasks").into_iter().filter_map(pair).collect();
        Self { raw, version, tasks, seen, model: Model::default(), counts: Counts::new() }
    }

    pub fn count(&mut self, what: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }

    /// Compares the ledger after a step with that before it.
    pub fn step(&mut self, step: &Step<'_>, visit: &mut Visit) -> Result<(), String> {
        let version = self.raw.version();
        if version.is_some() && version == self.version {
            return Ok(());
        }
        self.version = version;
        let after = Snapshot::take(&mut self.raw);
        let before = std::mem::take(&mut self.seen);
        let verdict = if before == after { Ok(()) } else { self.compare(step, visit, &before, &after) };
        self.seen = after;
        verdict
    }

    fn compare(
        &mut self,
        step: &Step<'_>,
        visit: &mut Visit,
        before: &Snapshot,
        after: &Snapshot,
    ) -> Result<(), String> {
        ensure!(!step.job.only_looks(), "something was written by what only looks");
        ensure!(!step.died, "something was written by a death");
        let binds = matches!(step.job, Job::Bind { .. } | Job::Unbind { .. });
        ensure!(binds || before.live == after.live, "bindings were changed by {:?}", step.job);
        let change = Change { step, before, after };
        commands::check(self, &change)?;
        notifications::check(self, &change, visit)?;
        events::check(self, &change)?;
        ensure!(
            after.telemetry == after.searchable && after.telemetry >= before.telemetry,
            "{} events of telemetry, {} of them searchable, {} before",
            after.telemetry,
            after.searchable,
            before.telemetry
        );
        Ok(())
    }

    /// Whether a completion waits for a manager in a terminal, which is rare.
    pub fn typed_completion_waits(&self) -> bool {
        let waits = |binding: &Binding| {
            let unrouted = |(id, event): (&i64, &Event)| {
                event.is_completion && event.session == binding.worker && !self.seen.is_routed(*id)
            };
            self.seen.sessions.get(&binding.manager).is_some_and(|manager| manager.tmux)
                && self.seen.events.iter().any(unrouted)
        };
        self.seen.live.values().any(waits)
    }

    /// The ledger's own view of its soundness (SQLite).
    pub fn integrity(&mut self) -> Result<(), String> {
        if matches!(self.raw, Raw::Sqlite(_)) {
            let sound = self.raw.cell("pragma integrity_check");
            ensure!(sound.as_deref() == Some("ok"), "the file is damaged: {sound:?}");
            let dangling = self.raw.rows("pragma foreign_key_check");
            ensure!(dangling.is_empty(), "dangling references: {dangling:?}");
        }
        Ok(())
    }
}
