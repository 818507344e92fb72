//! Ways to reach an agent: the rollout files that Codex writes, the processes that hold them, their
//! terminals and what those show.
//!
//! Nothing here knows the database or the clock, and nothing prints. Rollouts are only ever read.

pub mod age;
pub mod codex;
pub mod desktop;
pub mod processes;
pub mod rollout;
pub mod running;
pub mod screen;
pub mod shell;
pub mod tmux;
