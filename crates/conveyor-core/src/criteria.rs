//! Acceptance criteria of a task, counted and sorted by what became of them.

use conveyor_store::criteria::Criterion;
use serde::Serialize;

/// How many criteria a task has in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "fields are the states")]
pub struct Summary {
    pub accepted: usize,
    pub deferred: usize,
    pub proposed: usize,
    pub rejected: usize,
    pub satisfied: usize,
}

impl Summary {
    /// Counts criteria.
    pub(crate) fn of(criteria: &[Criterion]) -> Self {
        let count = |status: &str| criteria.iter().filter(|criterion| criterion.status == status).count();
        Self {
            accepted: count("accepted"),
            deferred: count("deferred"),
            proposed: count("proposed"),
            rejected: count("rejected"),
            satisfied: count("satisfied"),
        }
    }
}
