//! The supervision contract: what a task asks for, and what both sides propose next.

pub mod continuation;
pub mod continuation_reviewer;
pub mod epilogue;
