//! The supervision contract: what the manager may do, what "done" means, what both sides said.

pub mod acknowledge;
pub mod continuation;
pub mod continuation_reviewer;
pub mod epilogue;
pub mod handoff;
pub mod record_decision;
