//! The program with real parts: real tmux, the real Codex binary, a scripted model.
//!
//! One home and one server for each mixture of versions; tests keep apart by their directories, ledgers and
//! tmux servers. Own homes only where a server is killed or meets a new home.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, in its helper functions too, and is its own surroundings"
)]

mod creating;
#[cfg(feature = "fault-points")]
mod cut_off;
mod deaths;
mod questions;
mod stage;
mod starting;
mod stopping;
mod supervised;
