//! Attacks on the ledger by a reviewer, in every sandbox that this machine can set up: as the user
//! who runs the tests and, where that is the super-user, also as one without privileges. What was
//! tried and what came of it is written to `target/reviewer-attacks.json`.
//!
//! Without the sandboxes of Linux there is nothing to attack.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking"
)]

#[cfg(target_os = "linux")]
mod attacker;
#[cfg(target_os = "linux")]
mod plan;
#[cfg(target_os = "linux")]
mod stage;

#[cfg(target_os = "linux")]
fn main() {
    stage::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("attack: SKIPPED, the attacks are those on the sandboxes of Linux");
}
