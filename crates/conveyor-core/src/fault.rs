//! Named points between two transactions, at which tests stop or kill whoever passes.
//!
//! The crash suite aborts or freezes the whole process there; a simulation calls a hook in the thread that
//! passes, which may let others run first, or unwind as if the process had died. Compiled in only
//! with the feature `fault-points`; otherwise [`point`] is nothing.

#[cfg(feature = "fault-points")]
use std::cell::RefCell;

/// What a test has called at every point that a thread passes.
#[cfg(feature = "fault-points")]
type Hook = Box<dyn FnMut(&str)>;

#[cfg(feature = "fault-points")]
thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Has `hook` called with the name of every point that this thread passes from now on. A hook that
/// unwinds ends the operation there; it stays in place.
#[cfg(feature = "fault-points")]
pub fn on_point(hook: impl FnMut(&str) + 'static) {
    HOOK.with(|place| *place.borrow_mut() = Some(Box::new(hook)));
}

/// Aborts the process here if `CONVEYOR_FAULT` names this point, and calls the hook of the thread.
/// `CONVEYOR_FAULT=name:3` aborts at the third passage. Where `CONVEYOR_FREEZE` names it, the process
/// stops itself until somebody sends SIGCONT.
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
    if let Some((point, passage)) = wanted
        && point == name
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *passage
    {
        std::process::abort();
    }
    static FREEZES: OnceLock<Option<String>> = OnceLock::new();
    #[allow(clippy::disallowed_methods, reason = "a switch of test builds, not of the product")]
    let freezes = FREEZES.get_or_init(|| std::env::var("CONVEYOR_FREEZE").ok());
    if freezes.as_deref() == Some(name) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
    }
    HOOK.with(|place| {
        if let Some(hook) = place.borrow_mut().as_mut() {
            hook(name);
        }
    });
}

/// Nothing in builds without the feature `fault-points`.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub(crate) fn point(_: &str) {}
