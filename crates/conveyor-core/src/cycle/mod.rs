//! One observation of a task's worker on behalf of its manager: what is new in its rollout, what it
//! is doing, what its terminal shows, and what the manager has to know.
//!
//! A cycle is a row with a span for each of its phases. What a finished phase brought stays, also
//! when a later one fails.

mod context;
mod pane;
mod spans;

use std::time::{Duration, Instant};

use conveyor_agents::rollout::turn_event;
use conveyor_agents::tmux::Tmux;
use conveyor_model::Timestamp;
use conveyor_model::json::compact_record;
use conveyor_model::records::{Session, Task};
use conveyor_store::cycles::{self, CycleState};
use conveyor_store::runs::{self, ActiveRun};
use conveyor_store::{Tx, codex_events, inbox, sessions};
use serde::Serialize;
use serde_json::{Value, json};

use crate::addressing::{Life, Lives, Terminal};
use crate::ingest::{self, Ingested, Progress};
use crate::{Cx, Error, Result, fault, reference};

use context::ManagerContext;
use pane::{Looking, PaneSignal};
use spans::{Phase, Phases};

/// What to observe.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The task, by id or name.
    pub task: &'a str,
    /// From which age on a silent worker's terminal is looked at with suspicion.
    pub busy_wait_seconds: i64,
}

/// What an observation found: stored with the cycle, and given with its number and times.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    binding_id: String,
    consumed_dispatch_notifications: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cycle_completed_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cycle_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cycle_started_at: Option<String>,
    ingest: Ingest,
    kind: &'static str,
    last_event_subtype: Option<String>,
    last_state_event_at: Option<String>,
    manager_alive: bool,
    manager_context: ManagerContext,
    manager_session: String,
    notable_pane_pattern: Option<String>,
    pane_signal: PaneSignal,
    staleness_seconds: Option<i64>,
    state: WorkerState,
    task: String,
    task_completed: bool,
    worker_alive: bool,
    worker_session: String,
}

/// What was new in the worker's rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Ingest {
    /// Events that were stored.
    new_events: u64,
    /// Where reading goes on next time.
    new_offset: u64,
    /// Lines that hold no event.
    skipped_lines: u64,
}

/// What a worker is doing, as far as its rollout tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum WorkerState {
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
    /// In whole seconds.
    started_at: Timestamp,
    given: String,
    task: Task,
    binding_id: String,
    worker: Session,
    /// The worker's terminal, if it has one.
    terminal: Option<Terminal>,
    manager: Session,
    run: Option<ActiveRun>,
    busy_wait_seconds: i64,
}

impl Subject {
    fn has_terminal_of(&self, other: &Self) -> bool {
        self.terminal == other.terminal
    }
}

/// The newest step of the worker's turns.
#[derive(Clone)]
struct Inferred {
    state: WorkerState,
    last_state_event_at: Option<String>,
    staleness_seconds: Option<i64>,
}

/// Observes the worker of a task once. Gives what was found, with the cycle's number and times.
///
/// # Errors
/// An unknown task, or one without a live binding of sessions: nothing is recorded then. A rollout
/// that cannot be read, missing acknowledgements, a failing ledger: recorded with the cycle.
pub fn cycle(cx: &mut Cx, request: &Request<'_>, progress: Progress<'_>) -> Result<Report> {
    let ours = cx.tmux.clone();
    let first = cx.db.read(|tx| subject(tx, request, &ours))?;
    // The terminal is looked at while the beginning is written.
    let looking = first.terminal.as_ref().map(Looking::begin);
    fault::point("cycle.looked");
    // Another process may have ended the binding or moved the worker meanwhile.
    let (subject, mut phases) = cx.db.write(|tx| {
        let subject = subject(tx, request, &ours)?;
        let phases = Phases::begin(tx, &subject)?;
        Ok::<_, Error>((subject, phases))
    })?;
    fault::point("cycle.begun");
    let looking = looking.filter(|_| subject.has_terminal_of(&first));
    match observe(cx, &subject, &mut phases, looking, progress) {
        Ok(Ok(report)) => {
            fault::point("cycle.concluded");
            Ok(report)
        }
        Ok(Err(recorded)) => Err(recorded),
        Err(error) => {
            // The cause is what the user must hear of, also if it cannot be recorded.
            let _ = cx.db.write(|tx| phases.clone().fail(tx, &subject, &error));
            Err(error)
        }
    }
}

fn subject(tx: &mut Tx<'_>, request: &Request<'_>, tmux: &Tmux) -> Result<Subject> {
    let task = reference::task(tx, request.task)?;
    let binding = reference::live_binding(tx, &task)?;
    let (Some(worker), Some(manager)) = (&binding.worker_session_id, &binding.manager_session_id) else {
        return Err(Error::NoActiveBinding(task.name));
    };
    let (Some(worker), Some(manager)) = (sessions::by_id(tx, worker)?, sessions::by_id(tx, manager)?) else {
        return Err(Error::NoActiveBinding(task.name));
    };
    Ok(Subject {
        started_at: Timestamp::from_millis(tx.now()?.as_seconds() * 1000),
        given: request.task.to_owned(),
        binding_id: binding.binding_id,
        terminal: Terminal::of_session(tx, &worker, tmux)?,
        worker,
        manager,
        run: runs::active_of_task(tx, &task.id)?,
        busy_wait_seconds: request.busy_wait_seconds,
        task,
    })
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
    let looking = looking.filter(|looking| still.is_some() && looking.is_fresh());
    let looking = looking.or_else(|| subject.terminal.as_ref().map(Looking::begin));
    let ledger = cx.ledger();
    // What needs the ledger alone is done while the terminal is looked at.
    let (inferred, loaded, after) = cx.db.read(|tx| {
        let mut phases = phases.clone();
        phases.end_unwritten(tx, ingest_attributes(subject, &ingested))?;
        phases.enter(Phase::InferWorkerState);
        let inferred = infer(tx, subject)?;
        phases.end_unwritten(tx, inferred.attributes())?;
        let loaded = Loaded::load(tx, subject, &ledger)?;
        Ok::<_, Error>((inferred, loaded, phases))
    })?;
    *phases = after;
    phases.enter_since(Phase::CapturePaneSignal, waiting);
    let looked = looking.map(Looking::finish);
    let signal = pane::judge(looked, subject, &inferred, ingested.new_events);
    let seen = Seen { ingested: &ingested, inferred: &inferred, signal: &signal, ledger: &ledger };
    let mut loaded = Some(loaded);
    fault::point("cycle.loaded");
    cx.db.write(|tx| {
        let mut phases = phases.clone();
        if let Some(still) = &still {
            still.record(tx)?;
        }
        phases.end_as(tx, subject, signal.span_state(), &signal.attributes())?;
        match tx.savepoint(|tx| conclude(tx, subject, &mut phases, &seen, loaded.take())) {
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

/// What the manager must know, loaded before the phase that is about it.
struct Loaded {
    /// An error that is not the ledger's is recorded as that phase's.
    context: Result<ManagerContext>,
    took: Duration,
}

impl Loaded {
    fn load(tx: &mut Tx<'_>, subject: &Subject, ledger: &str) -> Result<Self> {
        let begun = Instant::now();
        let context = match ManagerContext::load(tx, &subject.task, ledger) {
            Err(Error::Store(error)) => return Err(error.into()),
            context => context,
        };
        Ok(Self { context, took: begun.elapsed() })
    }
}

/// Checks what the manager must know, takes its inbox, and stores the observation. A transaction
/// that runs once more loads anew what it must know.
fn conclude(
    tx: &mut Tx<'_>,
    subject: &Subject,
    phases: &mut Phases,
    seen: &Seen<'_>,
    loaded: Option<Loaded>,
) -> Result<Report> {
    let Loaded { context, took } = match loaded {
        Some(loaded) => loaded,
        None => Loaded::load(tx, subject, seen.ledger)?,
    };
    phases.enter_after(Phase::LoadManagerContext, took);
    let context = context?;
    context.check_acknowledgements(tx, &subject.task, &subject.binding_id)?;
    let consumed = inbox::consume_for_cycle(tx, &subject.manager.id, &subject.binding_id, phases.cycle_id)?;
    phases.end(tx, subject, &context.attributes(consumed))?;
    phases.enter(Phase::PersistCycleRow);
    let mut report = assemble(tx, subject, seen, context, consumed)?;
    let status = compact_record(&report).map_err(|error| Error::Output(error.into()))?;
    cycles::end(tx, phases.cycle_id, CycleState::Succeeded, &status, None)?;
    let attributes = json!({
        "manager_alive": report.manager_alive,
        "state": report.state,
        "task_completed": report.task_completed,
        "worker_alive": report.worker_alive,
    });
    phases.end(tx, subject, &attributes)?;
    spans::succeeded(tx, subject, phases.cycle_id, &report)?;
    report.cycle_id = Some(phases.cycle_id);
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
        manager_alive: is_alive(tx, &subject.manager)?,
        manager_context,
        manager_session: subject.manager.name.clone(),
        notable_pane_pattern: seen.signal.notable_pattern.clone(),
        pane_signal: seen.signal.clone(),
        staleness_seconds: seen.inferred.staleness_seconds,
        state: seen.inferred.state,
        task: subject.given.clone(),
        worker_alive: is_alive(tx, &subject.worker)?,
        worker_session: subject.worker.name.clone(),
    })
}

/// Whether a session's process runs. What has none of its own cannot be seen to die.
fn is_alive(tx: &mut Tx<'_>, session: &Session) -> Result<bool> {
    Ok(Lives::of_one(tx, &session.id)?.of(&session.id, session.pid) != Life::Dead)
}
