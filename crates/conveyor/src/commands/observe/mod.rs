//! Observing a task's worker on behalf of its manager.

pub mod cycle;
pub mod divergences;
pub mod mutation_audit;
