//! Ways to reach an agent: the rollout files that Codex writes, the processes that hold them, their
//! terminals and what those show. And ways to run programs beside them: bounded in time, or shut off
//! from what they must not see.
//!
//! Nothing here knows the database or the clock, and nothing prints. Rollouts are only ever read.

mod conversation;

pub mod age;
pub mod codex;
pub mod desktop;
pub mod machine;
pub mod processes;
pub mod programs;
pub mod rollout;
pub mod sandbox;
pub mod screen;
pub mod shell;
pub mod tmux;
