//! The watching dispatcher: passes on a tick, and at once when something was committed or a bound
//! session wrote to its rollout. A pass looks only for what it has reason to look for (`agenda.rs`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use conveyor_model::Actor;
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::watches::{ENDED, EXIT_WHEN_UNBOUND, HEARTBEAT, INCARNATION, PARTIAL};
use conveyor_store::{Changes, Wake, bindings};
use serde_json::{Value, json};

use super::agenda::Agenda;
use super::elements::Element;
use super::life::Incarnation;
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
    incarnation: Incarnation,
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

/// Why a watch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It was asked to.
    Stopped,
    /// Its last iteration is done.
    Iterations,
    /// No task is bound any more.
    Unbound,
    /// Something that waiting does not cure.
    Error,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Iterations => "iterations",
            Self::Unbound => "unbound",
            Self::Error => "error",
        }
    }
}

/// What a watch knows without looking.
struct Sight {
    changes: Changes,
    follower: Follower,
    agenda: Agenda,
}

impl Sight {
    fn open(cx: &mut Cx, stop: &Stop) -> Result<Self> {
        let changes = cx.db.observe_changes()?;
        stop.wakes(changes.waker());
        Ok(Self { changes, follower: Follower::new(), agenda: Agenda::new(cx.db.engine()) })
    }

    /// Waits for something to look for; `false` when it is time for the next iteration.
    fn wait(&mut self, cx: &mut Cx, request: &Request, stop: &Stop, next_tick: Instant) -> Result<bool> {
        let Self { changes, follower, agenda } = self;
        while !stop.is_requested() {
            let until = agenda.until(next_tick, follower);
            let look = &mut || request.ingests() && follower.has_news();
            let wake = cx.db.wait_for_change(changes, until, look)?;
            if agenda.learn(cx, wake, changes, follower)? {
                return Ok(true);
            }
            if wake == Wake::TimedOut && Instant::now() >= next_tick {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Watches until the iterations are done or a stop is requested.
pub(super) fn run(cx: &mut Cx, request: &Request, stop: &Stop, warn: Warn<'_>) -> Result<Report> {
    let mut watched = Watched {
        iterations: 0,
        total: 0,
        kept: VecDeque::new(),
        terminals: terminals(request),
        incarnation: Incarnation::begun(cx.now()),
        nothing_bound: false,
    };
    loop {
        let outcome = serve(cx, request, stop, warn, &mut watched);
        let lane = std::mem::replace(&mut watched.terminals, terminals(request));
        let outcome = outcome.and_then(|end| {
            if let Terminals::Beside(lane) = lane {
                watched.keep(lane.finish()?);
            }
            Ok(end)
        });
        match outcome {
            Ok(End::Unbound) if !ends_unbound(cx, request, stop, warn, &watched)? => {
                // Whoever bound a task meanwhile may have seen that we run, or that we do not.
                watched.nothing_bound = false;
                watched.incarnation = Incarnation::begun(cx.now());
            }
            Ok(End::Unbound) => break,
            Ok(end) => {
                // By its age everybody sees it soon, if it cannot be said now.
                let _ = cx.db.write(|tx| telemetry::emit(tx, &ended(request, &watched, end)));
                break;
            }
            Err(error) => {
                // The error is what the user must hear of.
                let _ = cx.db.write(|tx| telemetry::emit(tx, &ended(request, &watched, End::Error)));
                return Err(error);
            }
        }
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

/// A bounded watch does one thing after the other, so that what it did is done when it ends.
fn terminals(request: &Request) -> Terminals {
    match request.iterations {
        Some(_) => Terminals::InTurn,
        None => Terminals::Beside(Lane::default()),
    }
}

/// Serves until there is a reason to end.
fn serve(cx: &mut Cx, request: &Request, stop: &Stop, warn: Warn<'_>, watched: &mut Watched) -> Result<End> {
    cx.db.use_resting_cache()?;
    let mut outage = Outage::none();
    let mut sight = Sight::open(cx, stop)?;
    let interval = tick(request);
    let mut next_tick = Instant::now();
    while !stop.is_requested() {
        watched.iterations += 1;
        next_tick = (next_tick + interval).max(Instant::now());
        sight.agenda.tick(request);
        let ticked = iterate(cx, request, stop, warn, &mut sight, watched);
        if !survive(cx, ticked, stop, warn, &mut outage, &mut sight)? {
            break;
        }
        if watched.nothing_bound {
            return Ok(End::Unbound);
        }
        if request.iterations.is_some_and(|most| watched.iterations >= most.max(1)) {
            return Ok(End::Iterations);
        }
        // Woken passes belong to this iteration: not counted, no heartbeat of their own.
        while !stop.is_requested() && !watched.nothing_bound {
            let woken = match sight.wait(cx, request, stop, next_tick) {
                Ok(false) => break,
                Ok(true) => one_pass(cx, request, stop, warn, &mut sight, watched).map(drop),
                Err(error) => Err(error),
            };
            if !survive(cx, woken, stop, warn, &mut outage, &mut sight)? {
                break;
            }
        }
        if watched.nothing_bound {
            return Ok(End::Unbound);
        }
    }
    Ok(End::Stopped)
}

/// The time between iterations. An unlimited watch beats at most once a second.
fn tick(request: &Request) -> Duration {
    let wanted = Duration::try_from_secs_f64(request.interval.max(0.0)).unwrap_or(Duration::MAX / 4);
    if request.iterations.is_none() { wanted.max(Duration::from_secs(1)) } else { wanted }
}

/// One iteration: a pass and its heartbeat.
fn iterate(
    cx: &mut Cx,
    request: &Request,
    stop: &Stop,
    warn: Warn<'_>,
    sight: &mut Sight,
    watched: &mut Watched,
) -> Result<()> {
    let processed = one_pass(cx, request, stop, warn, sight, watched)?;
    fault::point("dispatch.before_heartbeat");
    let mut attributes = json!({ "dry_run": request.dry_run, "processed_count": processed });
    if request.exit_when_unbound {
        // Whoever ends the last binding waits for such a dispatcher.
        attributes[EXIT_WHEN_UNBOUND] = true.into();
    }
    if !request.serves_all() {
        // Whoever needs a dispatcher does not rely on this one.
        attributes[PARTIAL] = true.into();
    }
    let mut ids = ids(request, watched);
    ids["iteration"] = watched.iterations.into();
    let event = || {
        Emit::info(
            Actor::Dispatch,
            HEARTBEAT,
            format!("Dispatcher {} is watching.", request.dispatcher_id),
            ids.clone(),
            attributes.clone(),
        )
    };
    cx.db.write(|tx| telemetry::emit(tx, &event()))?;
    Ok(())
}

/// What ties the life signs of this watch and the mark of its end together.
fn ids(request: &Request, watched: &Watched) -> Value {
    let mut ids = json!({ "dispatcher_id": request.dispatcher_id });
    ids[INCARNATION] = watched.incarnation.value().clone();
    ids
}

/// Passes until one does not fill its limit; gives the number of elements.
fn one_pass(
    cx: &mut Cx,
    request: &Request,
    stop: &Stop,
    warn: Warn<'_>,
    sight: &mut Sight,
    watched: &mut Watched,
) -> Result<usize> {
    let mut processed = 0;
    loop {
        let (more, elements) = look_once(cx, request, stop, warn, sight, &mut watched.terminals)?;
        let counted = elements.iter().filter(|element| element.counts()).count();
        processed += elements.len();
        watched.keep(elements);
        let full = counted >= request.limit.max(1);
        if full {
            sight.agenda.call();
        }
        let on = more || (full && request.iterations.is_none() && !request.dry_run);
        if !on || stop.is_requested() {
            break;
        }
    }
    if request.exit_when_unbound && !stop.is_requested() && !cx.db.read(bindings::any_live)? {
        watched.nothing_bound = true;
    }
    Ok(processed)
}

/// Reads what bound sessions wrote, and moves messages; gives whether there is more to be read, and
/// what was moved.
fn look_once(
    cx: &mut Cx,
    request: &Request,
    stop: &Stop,
    warn: Warn<'_>,
    sight: &mut Sight,
    terminals: &mut Terminals,
) -> Result<(bool, Vec<Element>)> {
    let Sight { changes, follower, agenda } = sight;
    let (begun, everything) = (Instant::now(), agenda.is_everything());
    if everything {
        agenda.begin_everything(cx)?;
    }
    let mut more = false;
    if request.ingests() {
        let read = follower.follow(cx, changes.files(), !everything, warn)?;
        more = read.more;
        agenda.read(read.new_events, follower.take_completed());
    }
    let mut passed = pass::Passed::default();
    if agenda.has_calls() {
        passed = pass::run(cx, request, stop, &agenda.completions, follower.behind(), terminals)?;
    }
    agenda.passed(begun, everything, passed.is_unfinished);
    Ok((more, passed.elements))
}

/// Records that the watch ends because nothing is left to be watched. `false` when a task was bound
/// after all: whoever bound it may have relied on us, so we go on.
fn ends_unbound(
    cx: &mut Cx,
    request: &Request,
    stop: &Stop,
    warn: Warn<'_>,
    watched: &Watched,
) -> Result<bool> {
    let mut outage = Outage::none();
    loop {
        match mark_unbound(cx, request, watched) {
            Err(Error::Store(error)) if error.is_transient() && !stop.is_requested() => {
                outage.survive(&mut cx.db, error, &|| stop.is_requested(), warn)?;
            }
            marked => return marked,
        }
    }
}

fn mark_unbound(cx: &mut Cx, request: &Request, watched: &Watched) -> Result<bool> {
    let marked = cx.db.write(|tx| {
        if bindings::any_live(tx)? {
            return Ok(false);
        }
        telemetry::emit(tx, &ended(request, watched, End::Unbound))?;
        tx.wake_waiters();
        Ok::<_, Error>(true)
    })?;
    // On a server a binding may have been committed beside the mark, by somebody who did not see it yet.
    Ok(marked && !cx.db.read(bindings::any_live)?)
}

/// The mark of an end.
fn ended(request: &Request, watched: &Watched, end: End) -> Emit<'static> {
    let summary = match end {
        End::Unbound => format!("Dispatcher {} ended because no task is bound.", request.dispatcher_id),
        End::Stopped => format!("Dispatcher {} was asked to end.", request.dispatcher_id),
        End::Iterations => {
            format!("Dispatcher {} ended after its last iteration.", request.dispatcher_id)
        }
        End::Error => format!("Dispatcher {} ended with an error.", request.dispatcher_id),
    };
    let attributes = json!({ "dry_run": request.dry_run, "reason": end.as_str() });
    Emit::info(Actor::Dispatch, ENDED, summary, ids(request, watched), attributes)
}

/// Whether the watch goes on after a pass: through outages, with one line each; not through what
/// waiting cannot cure. `false` when a stop was requested meanwhile.
fn survive(
    cx: &mut Cx,
    outcome: Result<()>,
    stop: &Stop,
    warn: Warn<'_>,
    outage: &mut Outage,
    sight: &mut Sight,
) -> Result<bool> {
    let mut error = match outcome {
        Ok(()) => {
            outage.over(&cx.db);
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
        sight.agenda.start_over();
        match cx.db.observe_again(&mut sight.changes) {
            Ok(()) => return Ok(true),
            Err(again) => error = again,
        }
    }
}
