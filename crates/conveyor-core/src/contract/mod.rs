//! The supervision contract of a task: what both sides declared, what the manager may do, what
//! "done" means.
//!
//! Every write holds the task first, so that writers at the same time lose nothing and revisions
//! count one by one.

pub mod acknowledgements;
pub mod compaction;
pub mod config;
pub mod criteria;
pub mod handoffs;
pub mod permission;
pub mod plan;
pub mod questions;
pub mod recipes;
