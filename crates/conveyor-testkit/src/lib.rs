//! Real parts for tests: a private PostgreSQL server, clocks and ids that tests control, waiting
//! with a deadline, and text dumps of whole ledgers.
//!
//! Nothing here may depend on the crates under test beyond the pure values of `conveyor-model`:
//! what judges the product must share no code with it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "used by tests only, where a failure of the equipment must stop the test"
)]

pub mod checker;
pub mod clock;
pub mod codex;
pub mod dump;
pub mod fake_codex;
pub mod model_server;
pub mod postgres;
pub mod tmux;
pub mod wait;
pub mod witness;

pub use clock::{ManualClock, SequentialIds};
pub use tmux::TmuxServer;
