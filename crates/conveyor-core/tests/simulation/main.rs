//! Nothing lost, nothing twice: dispatchers, consumers, enqueuers, ingesters, an older program and
//! an operator work on one ledger, transaction by transaction, in an order that a seed decides.
//! Any of them may die between two of its transactions; the clock jumps. After every step the
//! ledger is compared with what may have become of it, and with a model of who must get what next.
//!
//! A failing seed is printed with its steps. `CONVEYOR_SIM_SEED=n` runs that seed alone,
//! `CONVEYOR_SIM_SEEDS=n` sets how many seeds are run.
#![cfg(feature = "fault-points")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test: it stops at what it does not understand, and reads the environment directly"
)]

mod dice;
mod drain;
mod jobs;
mod judge;
mod ledger;
mod model;
mod old;
mod rollouts;
mod run;
mod sabotage;
mod snapshot;
mod stage;
mod tests;
