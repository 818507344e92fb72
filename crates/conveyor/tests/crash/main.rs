//! The crash suite: real processes of the real program, killed, frozen, crowded and lied to, on
//! both engines; afterwards an independent checker judges the ledger.
//!
//! Every test has a short form for each run of the tests. `CONVEYOR_CHAOS=long` selects the long
//! form; `CONVEYOR_CHAOS_KILLS`, `CONVEYOR_CHAOS_SECONDS` and `CONVEYOR_CHAOS_SEED` set its length
//! and repeat a run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a failure of the equipment must stop the test, and a storm says what it did"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests are outside the program: they read the environment and the clock directly"
)]

mod abuse;
#[cfg(feature = "fault-points")]
mod bulk;
mod checker_itself;
mod contention;
#[cfg(feature = "fault-points")]
mod fault_points;
mod freezing;
#[cfg(feature = "fault-points")]
mod observed;
mod process;
mod random_kills;
mod server_restarts;
#[cfg(feature = "fault-points")]
mod shared_pane;
#[cfg(feature = "fault-points")]
mod typed;
mod workload;
mod world;

use std::str::FromStr;

/// A number that the environment may set, or that depends on the form of the suite.
fn length<T: FromStr>(variable: &str, short: T, long: T) -> T {
    let set = std::env::var(variable).ok().and_then(|text| text.parse().ok());
    let is_long = std::env::var("CONVEYOR_CHAOS").is_ok_and(|form| form == "long");
    set.unwrap_or(if is_long { long } else { short })
}

/// A small seeded generator, so that a run's choices can be repeated.
pub struct Dice(u64);

impl Dice {
    /// Dice with the seed of `CONVEYOR_CHAOS_SEED`, or a fresh one; it is printed.
    pub fn seeded(what: &str) -> Self {
        use std::hash::{BuildHasher as _, Hasher as _};
        let fresh = std::hash::RandomState::new().build_hasher().finish() % 1_000_000;
        let seed = length("CONVEYOR_CHAOS_SEED", fresh, fresh);
        eprintln!("{what}: CONVEYOR_CHAOS_SEED={seed}");
        Self(seed)
    }

    /// Dice of one's own for a thread, derived from these.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}
