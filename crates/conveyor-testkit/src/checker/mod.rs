//! The judge of the crash suite: reads a whole ledger with the engines' own drivers and the journal
//! of what the workload saw from outside, and lists everything that should not be.
//!
//! It shares no code with the product, so that no mistake of the product is its own.

mod commands;
mod completions;
mod consumption;
mod journal;
mod ledger;
mod notifications;
mod rollouts;
mod telemetry;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use journal::{Journal, key};

use crate::postgres::TestSchema;

/// Which ledger is judged.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// An SQLite file.
    Sqlite(&'a Path),
    /// A schema of a PostgreSQL server.
    Postgres(&'a TestSchema),
}

/// What is judged, and what may be expected of it.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The ledger.
    pub ledger: Source<'a>,
    /// What the workload saw; see [`Journal`].
    pub journal: &'a Path,
    /// Whether the work was finished: nothing may be left in the queue or in an inbox.
    pub drained: bool,
    /// Whether every rollout was read to its end.
    pub ingested: bool,
}

/// The judgement.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// One line for each thing that should not be. Empty: all is well.
    pub violations: Vec<String>,
    /// How much of what was looked at: a judgement on nothing proves nothing.
    pub counts: BTreeMap<&'static str, usize>,
    /// Where the ledger and the journal are.
    places: String,
}

impl Verdict {
    /// How many of these were looked at.
    #[must_use]
    pub fn count(&self, what: &str) -> usize {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// All counts in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let counts: Vec<String> = self.counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
        counts.join(", ")
    }

    /// Fails the test with every violation and the place of the ledger.
    ///
    /// # Panics
    /// When there is a violation.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(
            self.violations.is_empty(),
            "{} violation(s) in {}:\n{}",
            self.violations.len(),
            self.places,
            self.violations.join("\n")
        );
    }
}

/// Judges a ledger.
///
/// # Panics
/// When the ledger or the journal cannot be read at all.
#[must_use]
pub fn check(evidence: &Evidence<'_>) -> Verdict {
    let mut findings = Findings::default();
    let journal = journal::read(evidence.journal);
    let mut reader = ledger::Reader::open(evidence.ledger);
    reader.integrity(&mut findings);
    let ledger = reader.load();
    let case =
        Case { ledger: &ledger, journal: &journal, drained: evidence.drained, ingested: evidence.ingested };
    commands::check(&case, &mut findings);
    notifications::check(&case, &mut findings);
    consumption::check(&case, &mut findings);
    completions::check(&case, &mut findings);
    rollouts::check(&case, &mut findings);
    telemetry::check(&case, &mut findings);
    for failure in &journal.failures {
        findings.add(format!("a process failed: {failure}"));
    }
    let place = match evidence.ledger {
        Source::Sqlite(path) => path.display().to_string(),
        Source::Postgres(schema) => schema.url().to_owned(),
    };
    Verdict {
        violations: findings.lines,
        counts: findings.counts,
        places: format!("{place} (journal {})", PathBuf::from(evidence.journal).display()),
    }
}

/// What the parts of the checker look at.
struct Case<'a> {
    ledger: &'a ledger::Ledger,
    journal: &'a journal::Seen,
    drained: bool,
    ingested: bool,
}

/// What was found so far.
#[derive(Default)]
struct Findings {
    lines: Vec<String>,
    counts: BTreeMap<&'static str, usize>,
}

impl Findings {
    fn add(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    fn expect(&mut self, holds: bool, line: impl FnOnce() -> String) {
        if !holds {
            self.add(line());
        }
    }

    fn count(&mut self, what: &'static str, how_many: usize) {
        *self.counts.entry(what).or_default() += how_many;
    }
}
