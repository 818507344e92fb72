//! Registered sessions and what they wrote.

pub mod deregister;
pub mod discover;
pub mod ingest;
pub mod register;
#[allow(clippy::module_inception, reason = "the command is called `sessions`, and one file is one command")]
pub mod sessions;
pub mod tail;
