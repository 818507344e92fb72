//! What is recorded of a closing: the intent with its audits, the result, or the failure.

use conveyor_agents::tmux::Tmux;
use conveyor_model::records::{Binding, Object, Task};
use conveyor_model::{Actor, Decision, Role, TaskState};
use conveyor_store::audit::{self, AuditEvent};
use conveyor_store::immediate::{self, Immediate};
use conveyor_store::observations::{self, Observation};
use conveyor_store::runs::{self, ActiveRun};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{Tx, bindings, decisions, parked, sessions, tasks, transcripts};
use serde_json::{Value, json};

use super::audits::Audits;
use super::effects::{self, Effects};
use super::{Closed, Request, gates, to_value};
use crate::decisions::DecisionCheck;
use crate::stopping::UNKNOWN;
use crate::transcripts::{Captured, Context, Owner};
use crate::{Error, Result, reference};

/// A closing whose intent is recorded.
pub(super) struct Begun {
    pub(super) task: Task,
    /// The terminals that are to be ended, the worker's first.
    pub(super) terminals: Vec<Context>,
    /// What of the contract is not fulfilled.
    pub(super) unmet: Vec<(&'static str, String)>,
    worker: Option<String>,
    manager: Option<String>,
    audits: Option<Audits>,
    decision: DecisionCheck,
    command: Immediate,
    final_decision_id: Option<i64>,
    final_observation_id: Option<i64>,
}

impl Begun {
    /// Whether something outside the ledger is to be done.
    pub(super) fn has_effects(&self, request: &Request<'_>) -> bool {
        !self.terminals.is_empty() || request.require_segment
    }

    fn record(&self, tx: &mut Tx<'_>, event_type: &str, payload: Value) -> Result<()> {
        let event = AuditEvent {
            event_type,
            task_id: Some(&self.task.id),
            command_id: Some(self.command.id()),
            payload,
        };
        Ok(audit::record(tx, &event)?)
    }
}

/// Checks that the task can be closed and records the intent. The inner error is a refusal that has
/// been recorded.
pub(super) fn begin(tx: &mut Tx<'_>, request: &Request<'_>, tmux: &Tmux) -> Result<Result<Begun>> {
    let task = open_task(tx, request.task)?;
    let decision = request.gates.check_unrecorded(tx, request.ending, &task)?;
    let audits = match request.ending.is_finish() {
        true => Some(Audits::of(tx, &task, &request.gates)?),
        false => None,
    };
    if let Some(audits) = &audits
        && let Some(closed) = audits.closed_gate(&task)?
    {
        return Ok(Err(gates::record(tx, request, &task, audits, closed)?));
    }
    let binding = bindings::live_of_task(tx, &task.id)?;
    let name = |side: fn(&Binding) -> &Option<String>| binding.as_ref().and_then(|b| side(b).clone());
    let worker = name(|binding| &binding.worker_session_name);
    let manager = name(|binding| &binding.manager_session_name);
    let mut payload = options(request, &decision, audits.as_ref())?;
    for (key, value) in [
        ("already_done_followup", Value::Bool(false)),
        ("manager_session", manager.clone().into()),
        ("task", task.name.clone().into()),
        ("worker", worker.clone().into()),
        ("worker_session", worker.clone().into()),
    ] {
        payload.insert(key.to_owned(), value);
    }
    let command_type = request.ending.command_type();
    let command = immediate::begin(tx, command_type, Some(&task.id), &Value::Object(payload))?;
    let mut begun = Begun {
        terminals: effects::terminals(tx, request, tmux, &task)?,
        unmet: audits.as_ref().map(|audits| audits.unmet(&task.name)).unwrap_or_default(),
        task,
        worker,
        manager,
        audits,
        decision,
        command,
        final_decision_id: None,
        final_observation_id: None,
    };
    if begun.audits.is_some() {
        record_decision(tx, request, &mut begun)?;
    }
    record_intent(tx, request, &begun)?;
    Ok(Ok(begun))
}

/// The task, held against everybody else, which must be open.
fn open_task(tx: &mut Tx<'_>, reference: &str) -> Result<Task> {
    let found = reference::task(tx, reference)?;
    bindings::hold(tx, &found.id, &[])?;
    // Somebody may have closed it before we got hold of it.
    let task = reference::task(tx, &found.id)?;
    match TaskState::from_text(&task.state) {
        Some(TaskState::Done | TaskState::Failed) => {
            Err(Error::TaskClosed { name: task.name, state: task.state })
        }
        _ => Ok(task),
    }
}

/// What was asked for, and on what grounds: part of the command and of the intent.
fn options(request: &Request<'_>, decision: &DecisionCheck, audits: Option<&Audits>) -> Result<Object> {
    let mut payload = audits.map(Audits::payload).transpose()?.unwrap_or_default();
    for (key, value) in [
        ("capture_transcript_before_stop", Value::Bool(request.capture)),
        ("capture_transcript_lines", request.capture_lines.into()),
        ("capture_transcript_mode", request.capture_mode.as_str().into()),
        ("finish", request.ending.is_finish().into()),
        ("manager_decision", to_value(decision)?),
        ("message", request.message.into()),
        ("reason", request.reason().into()),
        ("stop_manager", request.stop_manager.into()),
        ("stop_worker", request.stop_worker.into()),
    ] {
        payload.insert(key.to_owned(), value);
    }
    if request.force {
        payload.insert("force".to_owned(), true.into());
    }
    Ok(payload)
}

/// Records that whoever finishes the task has decided to.
fn record_decision(tx: &mut Tx<'_>, request: &Request<'_>, begun: &mut Begun) -> Result<()> {
    let source = request.ending.command_type();
    let command_id = begun.command.id();
    let payload = json!({ "command_id": command_id, "source": source });
    let decision_id = decisions::record_closing(tx, &begun.task.id, request.reason(), &payload)?;
    let observation_id = observations::record(
        tx,
        &Observation {
            task_id: &begun.task.id,
            worker_id: None,
            manager_id: None,
            role: Role::Manager,
            observation_type: "decision",
            source_capture_id: None,
            command_id: Some(command_id),
            message: request.reason(),
            payload: json!({ "decision": Decision::Stop, "decision_id": decision_id, "source": source }),
        },
    )?;
    begun.final_decision_id = Some(decision_id);
    begun.final_observation_id = Some(observation_id);
    Ok(())
}

fn record_intent(tx: &mut Tx<'_>, request: &Request<'_>, begun: &Begun) -> Result<()> {
    let mut payload = options(request, &begun.decision, begun.audits.as_ref())?;
    payload.insert("final_decision_id".to_owned(), begun.final_decision_id.into());
    payload.insert("final_observation_id".to_owned(), begun.final_observation_id.into());
    let event_type = format!("{}_intent", request.ending.command_type());
    begun.record(tx, &event_type, Value::Object(payload))?;
    if let Some(audits) = &begun.audits {
        begun.record(tx, "finish_task_criteria_audit", to_value(&audits.criteria)?)?;
    }
    Ok(())
}

/// Records what was captured before anything is ended.
pub(super) fn captured(
    tx: &mut Tx<'_>,
    request: &Request<'_>,
    begun: &Begun,
    captures: &[Captured],
) -> Result<()> {
    let payload = json!({
        "captures": to_value(&captures)?,
        "lines": request.capture_lines,
        "mode": request.capture_mode,
    });
    begun.record(tx, "finish_task_pre_stop_transcript_captured", payload)
}

/// Closes the task and records the result.
pub(super) fn conclude(
    tx: &mut Tx<'_>,
    request: &Request<'_>,
    begun: &Begun,
    effects: &Effects,
) -> Result<Closed> {
    let task = open_task(tx, &begun.task.id)?;
    for terminal in &begun.terminals {
        mark_ended(tx, terminal)?;
    }
    bindings::end_all(tx, &task.id)?;
    parked::cancel_of_task(tx, &task.id, "the task was closed")?;
    tasks::set_state(tx, &task.id, TaskState::Done)?;
    let run = runs::active_of_task(tx, &task.id)?;
    let run_status = if request.ending.is_finish() { "finished" } else { "abandoned" };
    if let Some(run) = &run {
        runs::close(tx, &task.id, run, run_status)?;
    }
    let mut closed = result(request, begun, effects);
    if closed.message_sent == Some(false) && closed.message_reason.is_none() {
        let no_worker = if request.stop_worker { "no_terminal" } else { "worker_not_stopped" };
        closed.message_reason = Some(no_worker.to_owned());
    }
    let shown = Closed {
        pre_stop_transcript_captures: effects.captures.iter().cloned().map(Captured::redacted).collect(),
        ..closed.clone()
    };
    let result = to_value(&closed)?;
    begun.command.succeed_showing(tx, &result, &to_value(&shown)?)?;
    immediate::give_up_unfinished(tx, &task.id, &begun.command)?;
    begun.record(tx, &format!("{}_succeeded", request.ending.command_type()), result)?;
    announce(tx, request, begun, effects, run.as_ref().map(|run| (run, run_status)))?;
    tx.wake_waiters();
    Ok(closed)
}

fn mark_ended(tx: &mut Tx<'_>, terminal: &Context) -> Result<()> {
    match terminal.owner {
        Owner::Session => sessions::set_gone(tx, &terminal.side.id)?,
        Owner::LegacyWorker(_) => transcripts::legacy_worker_stopped(tx, &terminal.side.id)?,
        Owner::LegacyManager => transcripts::legacy_manager_stopped(tx, &terminal.side.id)?,
    }
    Ok(())
}

fn result(request: &Request<'_>, begun: &Begun, effects: &Effects) -> Closed {
    let audits = begun.audits.as_ref();
    Closed {
        already_done_followup: false,
        background: effects.background_unknown.then_some(UNKNOWN),
        command_id: begun.command.id().to_owned(),
        dispatcher_stopped: None,
        final_ack_audit: audits.map(|audits| audits.acknowledgements.clone()),
        final_audit: audits.map(|audits| audits.criteria.clone()),
        final_decision_id: begun.final_decision_id,
        final_epilogue_audit: audits.map(|audits| audits.epilogue.clone()),
        final_observation_id: begun.final_observation_id,
        finish: request.ending.is_finish(),
        killed_manager: effects.killed.contains(&Role::Manager),
        killed_worker: effects.killed.contains(&Role::Worker),
        manager_decision: begun.decision.clone(),
        manager_session: begun.manager.clone(),
        message_reason: effects.told.as_ref().and_then(|told| told.reason.clone()),
        message_sent: request.message.map(|_| effects.told.as_ref().is_some_and(|told| told.sent)),
        pre_stop_transcript_captures: effects.captures.clone(),
        reason: request.reason().to_owned(),
        stop_manager: request.stop_manager,
        stop_worker: request.stop_worker,
        task: begun.task.name.clone(),
        unmet: audits.map(|_| begun.unmet.iter().map(|(name, _)| *name).collect()),
        worker: begun.worker.clone(),
        worker_session: begun.worker.clone(),
    }
}

fn announce(
    tx: &mut Tx<'_>,
    request: &Request<'_>,
    begun: &Begun,
    effects: &Effects,
    run: Option<(&ActiveRun, &str)>,
) -> Result<()> {
    let (event_type, became) =
        if request.ending.is_finish() { ("task_finished", "finished") } else { ("task_stopped", "stopped") };
    let correlation =
        json!({ "command_id": begun.command.id(), "run_id": run.map(|(run, _)| run.id.as_str()) });
    let mut attributes = json!({
        "already_done_followup": false,
        "killed_manager": effects.killed.contains(&Role::Manager),
        "killed_worker": effects.killed.contains(&Role::Worker),
        "reason": request.reason(),
        "run_status": run.map(|(_, status)| status),
        "stop_manager": request.stop_manager,
        "stop_worker": request.stop_worker,
    });
    if effects.background_unknown {
        attributes["background"] = UNKNOWN.into();
    }
    let summary = format!("Task {} was {became}.", begun.task.name);
    let event = Emit::info(Actor::Workerctl, event_type, summary, correlation, attributes);
    telemetry::emit(tx, &event.of_task(Some(&begun.task.id)))?;
    Ok(())
}

/// Records that the task stays open, and why.
pub(super) fn fail(tx: &mut Tx<'_>, request: &Request<'_>, begun: &Begun, error: &Error) -> Result<()> {
    let error = error.to_string();
    let payload = json!({
        "already_done_followup": false,
        "command_id": begun.command.id(),
        "error": error,
        "error_type": "WorkerError",
        "expected_failure": true,
        "failure_stage": "live_lifecycle_side_effects",
        "finish": request.ending.is_finish(),
        "manager_decision": to_value(&begun.decision)?,
        "manager_session": begun.manager,
        "reason": request.reason(),
        "stop_manager": request.stop_manager,
        "stop_worker": request.stop_worker,
        "task": begun.task.name,
        "worker": begun.worker,
        "worker_session": begun.worker,
    });
    begun.command.fail(tx, &payload, &error)?;
    begun.record(tx, &format!("{}_failed", request.ending.command_type()), payload)
}
