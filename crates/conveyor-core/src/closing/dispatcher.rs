//! The dispatcher that serves bound tasks only: it ends by itself once none is left.

use std::time::{Duration, Instant};

use conveyor_model::Timestamp;
use conveyor_store::watches::{Beat, EXIT_WHEN_UNBOUND};
use conveyor_store::{Tx, bindings};

use crate::dispatch::life;
use crate::{Cx, Result};

/// How long its end is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the ledger is asked meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// The dispatchers that end with the last binding, as they were found at a moment.
pub(super) struct Dispatchers {
    running: Vec<Beat>,
    /// All looks judge by this moment: a life sign that grows old meanwhile is no end.
    seen_at: Timestamp,
}

/// Looks for them, before the binding ends.
pub(super) fn look(cx: &mut Cx) -> Result<Dispatchers> {
    let seen_at = cx.now();
    Ok(Dispatchers { running: cx.db.read(|tx| still_running(tx, seen_at))?, seen_at })
}

/// Waits for their end; `None` when there is none, or when a task is still bound.
pub(super) fn wait_for_end(cx: &mut Cx, dispatchers: &Dispatchers) -> Result<Option<bool>> {
    let Dispatchers { running, seen_at } = dispatchers;
    let deadline = Instant::now() + PATIENCE;
    if running.is_empty() || cx.db.read(bindings::any_live)? {
        return Ok(None);
    }
    let is_one = |beat: &Beat| running.iter().any(|known| known.incarnation == beat.incarnation);
    loop {
        if !cx.db.read(|tx| still_running(tx, *seen_at))?.iter().any(is_one) {
            return Ok(Some(true));
        }
        if Instant::now() >= deadline {
            return Ok(Some(false));
        }
        std::thread::sleep(LOOK);
    }
}

/// A life sign of each dispatcher that ends with the last binding and goes on.
fn still_running(tx: &mut Tx<'_>, now: Timestamp) -> Result<Vec<Beat>> {
    life::running(tx, None, life::LIFE_SIGN_SECONDS, now, |beat| beat.is(EXIT_WHEN_UNBOUND))
}
