//! Time and ids that a test decides.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use conveyor_model::{Clock, Ids, Timestamp};

/// A clock that stands still until the test moves it.
#[derive(Debug)]
pub struct ManualClock {
    millis: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { millis: AtomicI64::new(now.as_millis()) }
    }

    /// A clock that shows the time written in `text`, for instance `2026-01-01T12:00:00Z`.
    ///
    /// # Panics
    /// When `text` is not a time.
    #[must_use]
    pub fn at(text: &str) -> Self {
        Self::new(Timestamp::parse(text).unwrap_or_else(|| panic!("{text:?} is not a time")))
    }

    /// Sets the clock, forwards or back.
    pub fn set(&self, now: Timestamp) {
        self.millis.store(now.as_millis(), Ordering::SeqCst);
    }

    /// Moves the clock forwards.
    ///
    /// # Panics
    /// When `by` does not fit into the milliseconds of an `i64`.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).expect("a step of less than 300 million years");
        self.millis.fetch_add(by, Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    /// Noon of 2026-01-01, the moment at which the stories of most tests begin.
    fn default() -> Self {
        Self::at("2026-01-01T12:00:00Z")
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis.load(Ordering::SeqCst))
    }

    fn is_manual(&self) -> bool {
        true
    }
}

/// Ids in the order in which they were asked for: `00000000-0000-4000-8000-000000000001`, ….
#[derive(Debug, Default)]
pub struct SequentialIds {
    given: AtomicU64,
}

impl SequentialIds {
    /// A generator that begins with 1.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many ids were given so far.
    #[must_use]
    pub fn given(&self) -> u64 {
        self.given.load(Ordering::SeqCst)
    }
}

impl Ids for SequentialIds {
    fn uuid(&self) -> String {
        let number = self.given.fetch_add(1, Ordering::SeqCst) + 1;
        // The version and variant digits stay those of a version-4 UUID, as the format demands.
        format!("00000000-0000-4000-8000-{number:012x}")
    }
}

#[cfg(test)]
mod tests {
    use conveyor_model::IdPrefix;

    use super::*;

    #[test]
    fn the_clock_moves_only_when_told() {
        let clock = ManualClock::at("2026-01-01T12:00:00Z");
        assert_eq!(clock.now().to_ms_text(), "2026-01-01T12:00:00.000Z");
        clock.advance(Duration::from_millis(1_500));
        assert_eq!(clock.now().to_ms_text(), "2026-01-01T12:00:01.500Z");
        clock.set(Timestamp::parse("2025-12-31T00:00:00Z").unwrap());
        assert_eq!(clock.now().to_ms_text(), "2025-12-31T00:00:00.000Z");
        assert!(clock.is_manual());
    }

    #[test]
    fn ids_count_up_in_every_thread() {
        let ids = SequentialIds::new();
        assert_eq!(ids.fresh(IdPrefix::Task), "task-00000000-0000-4000-8000-000000000001");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| drop(ids.uuid())));
            }
        });
        assert_eq!(ids.given(), 401);
    }
}
