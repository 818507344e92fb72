//! Surviving a ledger that is away for a while: a server that restarts, a file that is busy, a disk
//! that is full.

use std::time::{Duration, Instant};

use conveyor_store::{Db, StoreError};

/// The first pause before a reconnect; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often a pause is interrupted to ask whether to give up.
const LOOK: Duration = Duration::from_millis(50);

/// What a waiting process knows of the outage it is in, if any.
pub(crate) struct Outage {
    pause: Duration,
    told: bool,
    /// Where only writing failed: how much had been written by then.
    written_until: Option<u64>,
}

impl Outage {
    /// No outage.
    pub(crate) fn none() -> Self {
        Self { pause: FIRST_PAUSE, told: false, written_until: None }
    }

    /// The ledger answers again; the next failure is another outage. What only writers notice is over
    /// once something was written.
    pub(crate) fn over(&mut self, db: &Db) {
        if self.written_until.is_none_or(|until| db.written() > until) {
            *self = Self::none();
        }
    }

    /// Waits until the ledger can be connected to again, after it failed with `error`. One line is
    /// said per outage. `give_up` is asked all the while how long to go on.
    ///
    /// # Errors
    /// What waiting cannot cure; or, once `give_up` says so, what the ledger failed with last.
    pub(crate) fn survive(
        &mut self,
        db: &mut Db,
        mut error: StoreError,
        give_up: &dyn Fn() -> bool,
        warn: &mut dyn FnMut(&str),
    ) -> Result<(), StoreError> {
        loop {
            if !error.is_transient() || give_up() {
                return Err(error);
            }
            self.written_until = error.only_stops_writers().then(|| db.written());
            if !std::mem::replace(&mut self.told, true) {
                warn(&format!("{error}: waiting for it to {}", cure(&error)));
            }
            let end = Instant::now() + self.pause;
            while Instant::now() < end && !give_up() {
                std::thread::sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
            }
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            match db.reconnect() {
                Ok(()) => return Ok(()),
                Err(again) => error = again,
            }
        }
    }
}

/// What is waited for.
fn cure(error: &StoreError) -> &'static str {
    if error.only_stops_writers() { "pass" } else { "come back" }
}
