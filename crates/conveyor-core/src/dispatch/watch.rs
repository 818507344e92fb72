//! The watching dispatcher: passes on a tick, and at once when something was committed or a bound
//! session wrote to its rollout.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use conveyor_model::Actor;
use conveyor_store::telemetry::{self, EXIT_WHEN_UNBOUND, Emit, WATCH_ENDED, WATCH_HEARTBEAT};
use conveyor_store::{Changes, Tx, Wake, bindings};
use serde_json::json;

use super::elements::Element;
use super::push::Lane;
use super::{Report, Request, Stop, Terminals, Warn, pass};
use crate::ingest::Follower;
use crate::outage::Outage;
use crate::{Cx, Error, Result, fault};

/// How many elements the final report keeps.
const KEPT: usize = 1000;

/// What a watch has done so far.
struct Watched {
    iterations: u64,
    total: u64,
    kept: VecDeque<Element>,
    terminals: Terminals,
    /// No task is bound any more, and this watch was to end then.
    nothing_bound: bool,
}

impl Watched {
    fn keep(&mut self, elements: Vec<Element>) {
        self.total += elements.len() as u64;
        self.kept.extend(elements);
        self.kept.drain(..self.kept.len().saturating_sub(KEPT));
    }
}

/// Watches until the iterations are done or a stop is requested.
pub(super) fn run(cx: &mut Cx, request: &Request, stop: &Stop, warn: Warn<'_>) -> Result<Report> {
    // A bounded watch does one thing after the other, so that what it did is done when it ends.
    let terminals = match request.iterations {
        Some(_) => Terminals::InTurn,
        None => Terminals::Beside(Lane::default()),
    };
    let mut watched =
        Watched { iterations: 0, total: 0, kept: VecDeque::new(), terminals, nothing_bound: false };
    let mut follower = Follower::new();
    let mut outage = Outage::none();
    let mut changes = observe(cx, stop)?;
    let interval = tick(request);
    let mut next_tick = Instant::now();
    while !stop.is_requested() {
        watched.iterations += 1;
        next_tick = (next_tick + interval).max(Instant::now());
        let ticked = iterate(cx, request, stop, &mut follower, &mut watched);
        if !survive(cx, ticked, stop, warn, &mut outage, &mut changes)? {
            break;
        }
        if watched.nothing_bound || request.iterations.is_some_and(|most| watched.iterations >= most.max(1)) {
            break;
        }
        // Woken passes belong to this iteration: not counted, no heartbeat of their own.
        while !stop.is_requested() && !watched.nothing_bound {
            let wake = cx
                .db
                .wait_for_change(&mut changes, next_tick, &mut || request.ingests() && follower.has_news());
            let woken = match wake {
                Ok(Wake::TimedOut) => break,
                Ok(Wake::Nudged) => continue,
                Ok(Wake::Changed | Wake::Looked) => {
                    one_pass(cx, request, stop, &mut follower, &mut watched).map(drop)
                }
                Err(error) => Err(error.into()),
            };
            if !survive(cx, woken, stop, warn, &mut outage, &mut changes)? {
                break;
            }
        }
    }
    if let Terminals::Beside(lane) = std::mem::replace(&mut watched.terminals, Terminals::InTurn) {
        watched.keep(lane.finish()?);
    }
    Ok(Report {
        dispatcher_id: request.dispatcher_id.clone(),
        dry_run: request.dry_run,
        iterations: watched.iterations,
        processed_count: watched.kept.len(),
        processed: watched.kept.into(),
        processed_total: watched.total,
        watch: true,
    })
}

/// The time between iterations. An unlimited watch beats at most once a second.
fn tick(request: &Request) -> Duration {
    let wanted = Duration::try_from_secs_f64(request.interval.max(0.0)).unwrap_or(Duration::MAX / 4);
    if request.iterations.is_none() { wanted.max(Duration::from_secs(1)) } else { wanted }
}

fn observe(cx: &mut Cx, stop: &Stop) -> Result<Changes> {
    let changes = cx.db.observe_changes()?;
    stop.wakes(changes.waker());
    Ok(changes)
}

/// One iteration: a pass and its heartbeat.
fn iterate(
    cx: &mut Cx,
    request: &Request,
    stop: &Stop,
    follower: &mut Follower,
    watched: &mut Watched,
) -> Result<()> {
    let processed = one_pass(cx, request, stop, follower, watched)?;
    fault::point("dispatch.before_heartbeat");
    let mut attributes = json!({ "dry_run": request.dry_run, "processed_count": processed });
    if request.exit_when_unbound {
        // Whoever ends the last binding waits for such a dispatcher.
        attributes[EXIT_WHEN_UNBOUND] = true.into();
    }
    let event = || {
        Emit::info(
            Actor::Dispatch,
            WATCH_HEARTBEAT,
            format!("Dispatcher {} is watching.", request.dispatcher_id),
            json!({ "dispatcher_id": request.dispatcher_id, "iteration": watched.iterations }),
            attributes.clone(),
        )
        .in_whole_seconds()
    };
    cx.db.write(|tx| telemetry::emit(tx, &event()))?;
    Ok(())
}

/// Passes until one does not fill its limit; gives the number of elements.
fn one_pass(
    cx: &mut Cx,
    request: &Request,
    stop: &Stop,
    follower: &mut Follower,
    watched: &mut Watched,
) -> Result<usize> {
    let mut processed = 0;
    loop {
        let more = request.ingests() && follower.pass(cx)?.more;
        let elements = pass::run(cx, request, stop, &follower.behind(), &mut watched.terminals)?;
        let counted = elements.iter().filter(|element| element.counts()).count();
        processed += elements.len();
        watched.keep(elements);
        let full = counted >= request.limit.max(1);
        let on = more || (full && request.iterations.is_none() && !request.dry_run);
        if !on || stop.is_requested() {
            break;
        }
    }
    if request.exit_when_unbound && !stop.is_requested() && !cx.db.read(bindings::any_live)? {
        cx.db.write(|tx| record_end(tx, request))?;
        watched.nothing_bound = true;
    }
    Ok(processed)
}

/// Records that the watch ends because nothing is left to be watched.
fn record_end(tx: &mut Tx<'_>, request: &Request) -> Result<()> {
    let event = Emit::info(
        Actor::Dispatch,
        WATCH_ENDED,
        format!("Dispatcher {} ended because no task is bound.", request.dispatcher_id),
        json!({ "dispatcher_id": request.dispatcher_id }),
        json!({ "reason": "unbound" }),
    );
    telemetry::emit(tx, &event)?;
    tx.wake_waiters();
    Ok(())
}

/// Whether the watch goes on after a pass: through outages, with one line each; not through what
/// waiting cannot cure. `false` when a stop was requested meanwhile.
fn survive(
    cx: &mut Cx,
    outcome: Result<()>,
    stop: &Stop,
    warn: Warn<'_>,
    outage: &mut Outage,
    changes: &mut Changes,
) -> Result<bool> {
    let mut error = match outcome {
        Ok(()) => {
            outage.over();
            return Ok(true);
        }
        Err(Error::Store(error)) if error.is_transient() => error,
        Err(error) => return Err(error),
    };
    loop {
        match outage.survive(&mut cx.db, error, &|| stop.is_requested(), warn) {
            Ok(()) => {}
            Err(last) if last.is_transient() => return Ok(false),
            Err(last) => return Err(last.into()),
        }
        // What the broken connection observed is gone with it.
        match observe(cx, stop) {
            Ok(fresh) => {
                *changes = fresh;
                return Ok(true);
            }
            Err(Error::Store(again)) => error = again,
            Err(error) => return Err(error),
        }
    }
}
