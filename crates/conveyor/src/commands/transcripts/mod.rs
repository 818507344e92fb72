//! What the terminals of a task showed.

pub mod capture;
pub mod prune;
pub mod show;
