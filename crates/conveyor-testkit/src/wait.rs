//! Waiting for something that another process or thread does.

use std::time::{Duration, Instant};

/// Looks at `condition` until it holds; fails the test, naming `what`, once `limit` has passed.
///
/// # Panics
/// When the condition did not come true in time.
#[track_caller]
pub fn until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let _: () = some(limit, what, || condition().then_some(()));
}

/// Looks until `look` finds something and gives it; fails the test, naming `what`, once `limit`
/// has passed.
///
/// # Panics
/// When nothing was found in time.
#[track_caller]
pub fn some<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        // The time is taken before the look, so that a look always follows the end of the limit.
        let elapsed = start.elapsed();
        if let Some(found) = look() {
            return found;
        }
        assert!(elapsed < limit, "waited {:.1} s in vain for {what}", elapsed.as_secs_f64());
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_returns_once_the_condition_holds() {
        let mut looks = 0;
        until(Duration::from_secs(5), "three looks", || {
            looks += 1;
            looks == 3
        });
        assert_eq!(looks, 3);
        assert_eq!(some(Duration::ZERO, "one look", || Some("found")), "found");
    }

    #[test]
    #[should_panic(expected = "in vain for rain in the desert")]
    fn it_says_what_it_waited_for() {
        until(Duration::from_millis(5), "rain in the desert", || false);
    }
}
