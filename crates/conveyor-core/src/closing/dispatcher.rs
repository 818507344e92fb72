//! The dispatcher that serves bound tasks only: it ends by itself once none is left.

use std::time::{Duration, Instant};

use conveyor_model::Timestamp;
use conveyor_model::records::TelemetryEvent;
use conveyor_store::telemetry::{self, EXIT_WHEN_UNBOUND, WATCH_ENDED, WATCH_HEARTBEAT};
use conveyor_store::{Tx, bindings};

use crate::{Cx, Result};

/// How long its end is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the ledger is asked meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// A dispatcher whose last life sign is older does not run any more.
const LIFE_SIGN_SECONDS: i64 = 10;

/// So many life signs are looked at.
const LIFE_SIGNS: i64 = 25;

/// Waits for the end of the dispatcher that ends with the last binding; `None` when there is none,
/// or when a task is still bound.
pub(super) fn wait_for_end(cx: &mut Cx) -> Result<Option<bool>> {
    let deadline = Instant::now() + PATIENCE;
    let now = cx.now();
    let Some(dispatcher) = cx.db.read(|tx| ending_with_bindings(tx, now))? else { return Ok(None) };
    loop {
        if cx.db.read(|tx| has_ended(tx, &dispatcher))? {
            return Ok(Some(true));
        }
        if Instant::now() >= deadline {
            return Ok(Some(false));
        }
        std::thread::sleep(LOOK);
    }
}

/// The newest life sign of a dispatcher that has to end now.
fn ending_with_bindings(tx: &mut Tx<'_>, now: Timestamp) -> Result<Option<TelemetryEvent>> {
    if bindings::any_live(tx)? {
        return Ok(None);
    }
    let beats = telemetry::newest_of_type(tx, WATCH_HEARTBEAT, LIFE_SIGNS)?;
    let runs = |beat: &TelemetryEvent| {
        let at = Timestamp::parse(&beat.timestamp);
        beat.attributes.get(EXIT_WHEN_UNBOUND).is_some_and(|exits| *exits == true)
            && at.is_some_and(|at| now.age_seconds_since(at) <= LIFE_SIGN_SECONDS)
    };
    Ok(beats.into_iter().find(runs))
}

/// Whether a dispatcher has ended since it gave this life sign.
fn has_ended(tx: &mut Tx<'_>, beat: &TelemetryEvent) -> Result<bool> {
    let dispatcher = beat.correlation.get("dispatcher_id");
    // A life sign is in whole seconds; what came in the same second came after it.
    let begun = Timestamp::parse(&beat.timestamp);
    let ends = telemetry::newest_of_type(tx, WATCH_ENDED, LIFE_SIGNS)?;
    Ok(ends.iter().any(|end| {
        end.correlation.get("dispatcher_id") == dispatcher && Timestamp::parse(&end.timestamp) >= begun
    }))
}
