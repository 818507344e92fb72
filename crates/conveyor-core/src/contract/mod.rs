//! The supervision contract of a task: what both sides declared, what the manager may do, what
//! "done" means.
//!
//! Every write holds the task first, so that writers at the same time lose nothing and revisions
//! count one by one.

pub mod acknowledgements;
pub mod handoffs;
