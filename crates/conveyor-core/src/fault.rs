//! Named points at which the crash suite aborts the process: every step between two transactions.
//!
//! Compiled in only with the feature `fault-points`; otherwise [`point`] is nothing.

/// Aborts the process here if `CONVEYOR_FAULT` names this point. `CONVEYOR_FAULT=name:3` aborts at
/// the third passage.
#[cfg(feature = "fault-points")]
pub(crate) fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static WANTED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);

    #[allow(clippy::disallowed_methods, reason = "a switch of test builds, not of the product")]
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("CONVEYOR_FAULT").ok()?;
        let (name, passage) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), passage.parse().unwrap_or(1)))
    });
    if let Some((point, passage)) = wanted {
        if point == name && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *passage {
            std::process::abort();
        }
    }
}

/// Nothing in builds without the feature `fault-points`.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub(crate) fn point(_: &str) {}
