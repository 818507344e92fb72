//! One observation of a task's worker on behalf of its manager: what is new in its rollout, what it
//! is doing, what its terminal shows, and what the manager has to know.
//!
//! A cycle is a row with a span for each of its phases. What a finished phase brought stays, also
//! when a later one fails.

mod context;
mod pane;
mod spans;

use std::time::Instant;

use conveyor_agents::processes;
use conveyor_agents::rollout::turn_event;
use conveyor_agents::tmux::Tmux;
use conveyor_model::Timestamp;
use conveyor_model::records::{Session, Task};
use conveyor_store::cycles::{self, CycleState};
use conveyor_store::runs::{self, ActiveRun};
use conveyor_store::{Tx, codex_events, inbox, sessions};
use serde::Serialize;
use serde_json::{Value, json};

use crate::ingest::{self, Ingested, Progress};
use crate::{Cx, Error, Result, reference, terminal};

pub use context::{Criteria, ManagerContext, Negotiation, Receipt};
use pane::Looking;
pub use pane::PaneSignal;
use spans::{Phase, Phases};

/// What to observe.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The task, by id or name.
    pub task: &'a str,
    /// From which age on a silent worker's terminal is looked at with suspicion.
    pub busy_wait_seconds: i64,
}

/// What an observation found.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct Report {
    pub binding_id: String,
    pub consumed_dispatch_notifications: u64,
    /// Not part of what is stored with the cycle, like the next two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cycle_completed_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cycle_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cycle_started_at: Option<String>,
    pub ingest: Ingest,
    pub kind: &'static str,
    pub last_event_subtype: Option<String>,
    pub last_state_event_at: Option<String>,
    pub manager_alive: bool,
    pub manager_context: ManagerContext,
    pub manager_session: String,
    pub notable_pane_pattern: Option<String>,
    pub pane_signal: PaneSignal,
    pub staleness_seconds: Option<i64>,
    pub state: WorkerState,
    pub task: String,
    pub task_completed: bool,
    pub worker_alive: bool,
    pub worker_session: String,
}

/// What was new in the worker's rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ingest {
    /// Events that were stored.
    pub new_events: u64,
    /// Where reading goes on next time.
    pub new_offset: u64,
    /// Lines that hold no event.
    pub skipped_lines: u64,
}

/// What a worker is doing, as far as its rollout tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// A turn runs.
    Busy,
    /// No turn runs.
    Idle,
    /// Nothing has been seen of any turn.
    Unknown,
}

/// The kind under which cycles of sessions are stored.
const KIND: &str = "session_cycle";

/// Who is observed for whom.
struct Subject {
    cycle_id: i64,
    /// In whole seconds.
    started_at: Timestamp,
    given: String,
    task: Task,
    binding_id: String,
    worker: Session,
    /// The tmux server that is recorded for the worker.
    tmux: Tmux,
    manager: Session,
    run: Option<ActiveRun>,
    busy_wait_seconds: i64,
}

impl Subject {
    fn correlation(&self) -> Value {
        json!({
            "binding_id": self.binding_id,
            "cycle_id": self.cycle_id,
            "manager_session": self.manager.name,
            "worker_session": self.worker.name,
        })
    }
}

/// The newest step of the worker's turns.
#[derive(Clone)]
struct Inferred {
    state: WorkerState,
    last_state_event_at: Option<String>,
    staleness_seconds: Option<i64>,
}

/// Observes the worker of a task once.
///
/// # Errors
/// An unknown task, or one without a live binding of sessions: nothing is recorded then. A rollout
/// that cannot be read, missing acknowledgements, a failing ledger: recorded with the cycle.
pub fn cycle(cx: &mut Cx, request: &Request<'_>, progress: Progress<'_>) -> Result<Report> {
    let ours = cx.tmux.clone();
    // The terminal is looked at while the cycle begins. What is wrong with the request is said there.
    let terminal = cx.db.read(|tx| match parties(tx, request) {
        Ok(Parties { worker, .. }) => Ok(Some((terminal::server_of(tx, &worker, &ours)?, worker))),
        Err(Error::Store(error)) => Err(error),
        Err(_) => Ok(None),
    })?;
    let looking = terminal.and_then(|(server, worker)| Looking::begin(&worker, &server));
    let (subject, mut phases) = cx.db.write(|tx| begin(tx, request, &ours))?;
    match observe(cx, &subject, &mut phases, looking, progress) {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(recorded)) => Err(recorded),
        Err(error) => {
            // The cause is what the user must hear of, also if it cannot be recorded.
            let _ = cx.db.write(|tx| phases.clone().fail(tx, &subject, &error));
            Err(error)
        }
    }
}

/// A task with its binding and both of its sessions.
struct Parties {
    task: Task,
    binding_id: String,
    worker: Session,
    manager: Session,
}

fn parties(tx: &mut Tx<'_>, request: &Request<'_>) -> Result<Parties> {
    let task = reference::task(tx, request.task)?;
    let binding = reference::live_binding(tx, &task)?;
    let (Some(worker), Some(manager)) = (&binding.worker_session_id, &binding.manager_session_id) else {
        return Err(Error::NoActiveBinding(task.name));
    };
    let (Some(worker), Some(manager)) = (sessions::by_id(tx, worker)?, sessions::by_id(tx, manager)?) else {
        return Err(Error::NoActiveBinding(task.name));
    };
    Ok(Parties { task, binding_id: binding.binding_id, worker, manager })
}

fn begin(tx: &mut Tx<'_>, request: &Request<'_>, tmux: &Tmux) -> Result<(Subject, Phases)> {
    let mut phases = Phases::begin(tx)?;
    let Parties { task, binding_id, worker, manager } = parties(tx, request)?;
    let now = tx.now()?;
    let subject = Subject {
        cycle_id: cycles::begin(tx, &task.id)?,
        started_at: Timestamp::from_millis(now.as_seconds() * 1000),
        given: request.task.to_owned(),
        binding_id,
        tmux: terminal::server_of(tx, &worker, tmux)?,
        worker,
        manager,
        run: runs::active_of_task(tx, &task.id)?,
        busy_wait_seconds: request.busy_wait_seconds,
        task,
    };
    phases.started(tx, &subject)?;
    Ok((subject, phases))
}

/// The phases after the first. The inner error is one that has been recorded already, together with
/// what the phases before it brought.
fn observe(
    cx: &mut Cx,
    subject: &Subject,
    phases: &mut Phases,
    looking: Option<Looking>,
    progress: Progress<'_>,
) -> Result<Result<Report>> {
    phases.enter(Phase::IngestRollout);
    let (ingested, still) = ingest::ingest_what_is_new(cx, &subject.worker.name, progress)?;
    let waiting = Instant::now();
    // What was new may have taken long to read.
    let looking = looking.filter(|looking| still.is_some() && looking.serves(subject));
    let looking = looking.or_else(|| Looking::begin(&subject.worker, &subject.tmux));
    let (inferred, after) = cx.db.read(|tx| {
        let mut phases = phases.clone();
        phases.end_unwritten(tx, ingest_attributes(subject, &ingested))?;
        phases.enter(Phase::InferWorkerState);
        let inferred = infer(tx, subject)?;
        phases.end_unwritten(tx, inferred.attributes())?;
        Ok::<_, Error>((inferred, phases))
    })?;
    *phases = after;
    phases.enter_since(Phase::CapturePaneSignal, waiting);
    let looked = looking.map(Looking::finish);
    let signal = pane::judge(looked, subject, &inferred, ingested.new_events);
    let ledger = cx.ledger();
    cx.db.write(|tx| {
        let mut phases = phases.clone();
        if let Some(still) = &still {
            still.record(tx)?;
        }
        phases.end_as(tx, subject, signal.span_state(), &signal.attributes())?;
        let seen = Seen { ingested: &ingested, inferred: &inferred, signal: &signal, ledger: &ledger };
        match tx.savepoint(|tx| conclude(tx, subject, &mut phases, &seen)) {
            Ok(report) => Ok(Ok(report)),
            Err(Error::Store(error)) => Err(error.into()),
            Err(error) => {
                phases.fail(tx, subject, &error)?;
                Ok(Err(error))
            }
        }
    })
}

fn ingest_attributes(subject: &Subject, ingested: &Ingested) -> Value {
    json!({
        "new_events": ingested.new_events,
        "new_offset": ingested.new_offset,
        "worker_session": subject.worker.name,
    })
}

/// What the worker is doing, by the newest step of its turns.
fn infer(tx: &mut Tx<'_>, subject: &Subject) -> Result<Inferred> {
    let newest = codex_events::newest_turn_step(tx, &subject.worker.id)?;
    let step = newest.as_ref().and_then(|event| turn_event(&event.event_type, event.subtype.as_deref()));
    let state = match step {
        Some(step) if step.is_busy() => WorkerState::Busy,
        Some(_) => WorkerState::Idle,
        None => WorkerState::Unknown,
    };
    let at = newest.map(|event| event.timestamp);
    let moment = at.as_deref().and_then(Timestamp::parse);
    let staleness_seconds = moment.map(|moment| subject.started_at.age_seconds_since(moment));
    Ok(Inferred { state, last_state_event_at: at, staleness_seconds })
}

impl Inferred {
    fn attributes(&self) -> Value {
        json!({
            "last_state_event_present": self.last_state_event_at.is_some(),
            "staleness_seconds": self.staleness_seconds,
            "state": self.state,
        })
    }
}

/// What the first phases saw.
struct Seen<'a> {
    ingested: &'a Ingested,
    inferred: &'a Inferred,
    signal: &'a PaneSignal,
    ledger: &'a str,
}

/// Loads what the manager must know, takes its inbox, and stores the observation.
fn conclude(tx: &mut Tx<'_>, subject: &Subject, phases: &mut Phases, seen: &Seen<'_>) -> Result<Report> {
    phases.enter(Phase::LoadManagerContext);
    let context = ManagerContext::load(tx, &subject.task, seen.ledger)?;
    context.check_acknowledgements(tx, &subject.task, &subject.binding_id)?;
    let consumed = inbox::consume_for_cycle(tx, &subject.manager.id, &subject.binding_id, subject.cycle_id)?;
    phases.end(tx, subject, &context.attributes(consumed))?;
    phases.enter(Phase::PersistCycleRow);
    let mut report = assemble(tx, subject, seen, context, consumed)?;
    let status = to_value(&report)?;
    cycles::end(tx, subject.cycle_id, CycleState::Succeeded, &status, None)?;
    let attributes = json!({
        "manager_alive": report.manager_alive,
        "state": report.state,
        "task_completed": report.task_completed,
        "worker_alive": report.worker_alive,
    });
    phases.end(tx, subject, &attributes)?;
    spans::succeeded(tx, subject, &report)?;
    report.cycle_id = Some(subject.cycle_id);
    report.cycle_started_at = Some(subject.started_at.to_s_text());
    report.cycle_completed_at = Some(tx.now()?.to_ms_text());
    Ok(report)
}

fn assemble(
    tx: &mut Tx<'_>,
    subject: &Subject,
    seen: &Seen<'_>,
    manager_context: ManagerContext,
    consumed: u64,
) -> Result<Report> {
    let last_event_subtype = codex_events::newest_subtype(tx, &subject.worker.id)?;
    let alive = |session: &Session| session.pid.is_some_and(processes::is_alive);
    Ok(Report {
        binding_id: subject.binding_id.clone(),
        consumed_dispatch_notifications: consumed,
        cycle_completed_at: None,
        cycle_id: None,
        cycle_started_at: None,
        ingest: Ingest {
            new_events: seen.ingested.new_events,
            new_offset: seen.ingested.new_offset,
            skipped_lines: seen.ingested.skipped_lines,
        },
        kind: KIND,
        task_completed: last_event_subtype.as_deref() == Some("task_complete"),
        last_event_subtype,
        last_state_event_at: seen.inferred.last_state_event_at.clone(),
        manager_alive: alive(&subject.manager),
        manager_context,
        manager_session: subject.manager.name.clone(),
        notable_pane_pattern: seen.signal.notable_pattern.clone(),
        pane_signal: seen.signal.clone(),
        staleness_seconds: seen.inferred.staleness_seconds,
        state: seen.inferred.state,
        task: subject.given.clone(),
        worker_alive: alive(&subject.worker),
        worker_session: subject.worker.name.clone(),
    })
}

fn to_value(reply: &impl Serialize) -> Result<Value> {
    serde_json::to_value(reply).map_err(|error| Error::Output(error.into()))
}
