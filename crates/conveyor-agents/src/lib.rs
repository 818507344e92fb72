//! Ways to reach an agent: the rollout files that Codex writes and the processes that hold them.
//!
//! Nothing here knows the database or the clock, and nothing prints. Files are only ever read.

pub mod age;
pub mod codex;
pub mod processes;
pub mod rollout;
pub mod screen;
pub mod tmux;
