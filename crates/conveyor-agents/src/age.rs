//! How old the stamps are that the machine itself puts on things.

use std::time::{Duration, SystemTime};

/// How long ago a moment was, in milliseconds since 1970, by the clock that stamps files and
/// terminals. (The clock of the ledger may be a server's.) Zero for what seems to lie ahead.
#[must_use]
pub fn since_millis(millis: i64) -> Duration {
    let after_1970 = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    (SystemTime::UNIX_EPOCH + after_1970).elapsed().unwrap_or_default()
}

/// The machine's own time, in milliseconds since 1970.
#[must_use]
pub fn machine_millis() -> i64 {
    i64::try_from(since_millis(0).as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_measured_by_the_machines_own_clock() {
        assert!(since_millis(machine_millis()) < Duration::from_secs(5));
        assert!(since_millis(machine_millis() - 9_000) >= Duration::from_secs(9));
        assert_eq!(since_millis(i64::MAX / 4), Duration::ZERO);
    }
}
