//! Having a worker compact or clear its context: on record, with a decision behind it, a permission
//! for it and a handoff that survives it.

use conveyor_model::records::Task;
use conveyor_model::shell::quote;
use conveyor_model::{Actor, Decision, Role, Severity};
use conveyor_store::audit::{self, AuditEvent, Ties};
use conveyor_store::handoffs::{self, Handoff};
use conveyor_store::immediate::{self, Immediate};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{Tx, decisions as rows, manager_configs};
use serde::Serialize;
use serde_json::{Value, json};

use crate::decisions::{self, DecisionCheck, assess};
use crate::typing::nudge::{self, Nudged};
use crate::typing::{Guard, Sent, slash};
use crate::{Cx, Error, Result, reference};

/// The permissions that it takes, under one name.
const ACTION: &str = "worker_compact_clear";

/// Where the permission check comes from, in records.
const SOURCE: &str = "request_worker_compact";

/// What the worker is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// The command that compacts its context.
    Compact,
    /// The command that clears it.
    Clear,
    /// A message that asks for it.
    Prompt,
}

impl Manner {
    /// The command of the agent, if it is one.
    #[must_use]
    pub fn slash_command(self) -> Option<&'static str> {
        match self {
            Self::Compact => Some("/compact"),
            Self::Clear => Some("/clear"),
            Self::Prompt => None,
        }
    }
}

/// What is wanted of a worker.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The task, by id or name.
    pub task: &'a str,
    /// What the worker is sent.
    pub manner: Manner,
    /// In place of the generated message.
    pub message: Option<&'a str>,
    /// The decision behind it.
    pub decision_id: Option<i64>,
    /// Refuse unless that decision backs it.
    pub strict_decisions: bool,
    /// Send nothing; everything else is done and recorded.
    pub dry_run: bool,
    /// How careful to be with the terminal.
    pub guard: Guard,
}

/// What was done.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct Requested {
    pub command_id: String,
    pub manager_decision: DecisionCheck,
    pub message: String,
    pub permission_check: PermissionCheck,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_result: Option<Sent>,
    pub send_text: String,
    pub slash_command: Option<&'static str>,
    pub task: String,
    pub worker_session: String,
}

/// Whether the manager may have it done.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct PermissionCheck {
    pub action: &'static str,
    pub allowed: bool,
    pub handoff_id: Option<i64>,
    pub reasons: Vec<&'static str>,
}

/// A request with what came of sending.
#[derive(Debug)]
pub struct Outcome {
    /// What was done.
    pub requested: Requested,
    /// Set when the text was typed and its arrival is not proven.
    pub unconfirmed: Option<Error>,
}

/// A request whose intent is recorded.
struct Begun {
    task: Task,
    manager_id: Option<String>,
    command: Immediate,
    requested: Requested,
}

/// Records the manager's decision for it, then has the worker compact or clear its context. The
/// decision stays, whatever comes of the request.
///
/// # Errors
/// As [`request`], and an unknown cycle.
pub fn decide_and_request(
    cx: &mut Cx,
    request: &Request<'_>,
    reason: &str,
    cycle_id: Option<i64>,
) -> Result<Outcome> {
    let payload = [
        ("slash_command".to_owned(), json!(request.manner.slash_command())),
        ("source".to_owned(), "compact-worker".into()),
    ];
    let decided = decisions::record(
        cx,
        &decisions::Request {
            task: request.task,
            decision: Decision::Nudge,
            reason,
            cycle_id,
            payload: payload.into_iter().collect(),
        },
    )?;
    let request = Request { decision_id: Some(decided.id), strict_decisions: true, ..*request };
    self::request(cx, &request)
}

/// Has the worker of a task compact or clear its context.
///
/// # Errors
/// An unknown task, or one without a live binding: nothing is recorded then. A decision that does not
/// back it, a missing permission or handoff, a terminal that cannot be reached or does not take the
/// text: recorded.
pub fn request(cx: &mut Cx, request: &Request<'_>) -> Result<Outcome> {
    let ledger = cx.ledger();
    // The inner error is one that has been recorded.
    let begun = cx.db.write(|tx| begin(tx, request, &ledger))??;
    match send(cx, request, &begun.requested) {
        Ok(Nudged { sent, unconfirmed }) => {
            let requested = Requested { send_result: Some(sent), ..begun.requested.clone() };
            cx.db.write(|tx| conclude(tx, &begun, &requested, unconfirmed.as_ref()))?;
            Ok(Outcome { requested, unconfirmed })
        }
        Err(error) => {
            cx.db.write(|tx| conclude(tx, &begun, &begun.requested, Some(&error)))?;
            Err(error)
        }
    }
}

/// Sends the worker what it is to be sent. A command of the agent is no message and has proofs of its
/// own; without a guard, or in a dry run, it is a text like any other.
fn send(cx: &mut Cx, request: &Request<'_>, requested: &Requested) -> Result<Nudged> {
    let (name, guard) = (requested.worker_session.as_str(), request.guard);
    match request.manner {
        Manner::Compact if guard.strict && !request.dry_run => slash::compact(cx, name, guard),
        Manner::Clear if guard.strict && !request.dry_run => slash::clear(cx, name, guard),
        _ => {
            let text = requested.send_text.as_str();
            nudge::tell(cx, &nudge::Request { name, text, dry_run: request.dry_run, guard })
        }
    }
}

/// Checks the request and records it. The inner error is a refusal that has been recorded.
fn begin(tx: &mut Tx<'_>, request: &Request<'_>, ledger: &str) -> Result<Result<Begun>> {
    let task = reference::held_task(tx, request.task)?;
    let binding = reference::live_binding(tx, &task)?;
    let worker = reference::bound_session(tx, &binding, Role::Worker)?
        .ok_or_else(|| Error::NoActiveBinding(task.name.clone()))?;
    let manager_decision = assess(tx, &task, request.decision_id, &[Decision::Nudge])?;
    let handoff = handoffs::latest(tx, &task.id)?;
    let permission_check = PermissionCheck::of(tx, &task, handoff.as_ref())?;
    permission_check.record(tx, &task, &binding.binding_id, &worker.name)?;
    let slash_command = request.manner.slash_command();
    let message = match request.message {
        Some(message) => message.to_owned(),
        None => prompt(&reference::name_of_task(tx, &task)?, handoff.as_ref(), ledger),
    };
    let send_text = slash_command.map_or_else(|| message.clone(), ToOwned::to_owned);
    let payload = json!({
        "manager_decision": to_value(&manager_decision)?,
        "message": message,
        "permission_check": to_value(&permission_check)?,
        "send_text": send_text,
        "slash_command": slash_command,
        "task": task.name,
        "worker_session": worker.name,
    });
    let manager_id = rows::legacy_manager_id(tx, &task.id)?;
    let kind = immediate::REQUEST_WORKER_COMPACT;
    let command = immediate::begin_for_manager(tx, kind, &task.id, manager_id.as_deref(), &payload)?;
    let begun = Begun {
        requested: Requested {
            command_id: command.id().to_owned(),
            manager_decision,
            message,
            permission_check,
            send_result: None,
            send_text,
            slash_command,
            task: task.name.clone(),
            worker_session: worker.name,
        },
        task,
        manager_id,
        command,
    };
    match begun.refusal(request)? {
        Some(refusal) => {
            begun.refuse(tx, &refusal)?;
            Ok(Err(refusal))
        }
        None => {
            let facts = json!({
                "permission_check": to_value(&begun.requested.permission_check)?,
                "worker_session": begun.requested.worker_session,
            });
            begun.record(tx, "worker_compact_requested", facts)?;
            Ok(Ok(begun))
        }
    }
}

impl Begun {
    /// Why nothing may be sent.
    fn refusal(&self, request: &Request<'_>) -> Result<Option<Error>> {
        let Requested { manager_decision, permission_check, .. } = &self.requested;
        if request.strict_decisions && !manager_decision.ok {
            let text = manager_decision.refusal(immediate::REQUEST_WORKER_COMPACT)?;
            return Ok(Some(Error::NotDecided { text, exit: 2 }));
        }
        let check = to_value(permission_check)?;
        Ok((!permission_check.allowed)
            .then(|| Error::NotPermitted(format!("worker compact request is not allowed: {check}"))))
    }

    /// Records a refusal before anything was sent.
    fn refuse(&self, tx: &mut Tx<'_>, refusal: &Error) -> Result<()> {
        let requested = &self.requested;
        let mut result = json!({
            "command_id": requested.command_id,
            "expected_failure": true,
            "failure_stage": "preflight",
            "manager_decision": to_value(&requested.manager_decision)?,
            "permission_check": to_value(&requested.permission_check)?,
            "task": requested.task,
            "worker_session": requested.worker_session,
        });
        self.command.fail(tx, &result, &refusal.to_string())?;
        add_error(&mut result, refusal);
        self.record(tx, "worker_compact_request_failed", result)
    }

    fn record(&self, tx: &mut Tx<'_>, event_type: &str, payload: Value) -> Result<()> {
        let event = AuditEvent {
            event_type,
            task_id: Some(&self.task.id),
            command_id: Some(self.command.id()),
            payload,
        };
        let ties = Ties { manager_id: self.manager_id.as_deref(), correlation_id: None };
        Ok(audit::record_tied(tx, &event, ties)?)
    }
}

/// Records what came of sending.
fn conclude(tx: &mut Tx<'_>, begun: &Begun, requested: &Requested, error: Option<&Error>) -> Result<()> {
    let mut result = to_value(requested)?;
    if let Some(refusal) = requested.send_result.as_ref().and_then(|sent| sent.forced.as_ref()) {
        result["forced"] = true.into();
        result["guard"] = to_value(refusal)?;
    }
    match error {
        None => {
            begun.command.succeed(tx, &result)?;
            begun.record(tx, "worker_compact_request_succeeded", result)
        }
        Some(error) => {
            begun.command.fail(tx, &result, &error.to_string())?;
            add_error(&mut result, error);
            begun.record(tx, "worker_compact_request_failed", result)
        }
    }
}

fn add_error(facts: &mut Value, error: &Error) {
    facts["error"] = error.to_string().into();
    facts["error_type"] = error.audit_type().into();
}

impl PermissionCheck {
    fn of(tx: &mut Tx<'_>, task: &Task, handoff: Option<&Handoff>) -> Result<Self> {
        let mut reasons = Vec::new();
        match manager_configs::permissions(tx, &task.id)? {
            None => reasons.push("missing_manager_config"),
            Some(granted) if !granted.allows(ACTION) => reasons.push("permission_not_enabled"),
            Some(_) => {}
        }
        if handoff.is_none() {
            reasons.push("missing_worker_handoff");
        }
        let handoff_id = handoff.map(|handoff| handoff.id);
        Ok(Self { action: ACTION, allowed: reasons.is_empty(), handoff_id, reasons })
    }

    fn record(&self, tx: &mut Tx<'_>, task: &Task, binding_id: &str, worker: &str) -> Result<()> {
        const TYPE: &str = "manager_permission_checked";
        let mut payload = to_value(self)?;
        payload["source"] = SOURCE.into();
        let event = AuditEvent { event_type: TYPE, task_id: Some(&task.id), command_id: None, payload };
        audit::record(tx, &event)?;
        let correlation = json!({
            "action": ACTION,
            "binding_id": binding_id,
            "handoff_id": self.handoff_id,
            "source": SOURCE,
        });
        let attributes =
            json!({ "allowed": self.allowed, "reasons": self.reasons, "worker_session": worker });
        let summary = format!("Checked manager permission {ACTION}.");
        let severity = if self.allowed { Severity::Info } else { Severity::Warning };
        let event = Emit::info(Actor::Manager, TYPE, summary, correlation, attributes);
        telemetry::emit(tx, &event.of_task(Some(&task.id)).severity(severity).in_whole_seconds())?;
        Ok(())
    }
}

/// What the worker is asked to do.
fn prompt(task: &str, handoff: Option<&Handoff>, ledger: &str) -> String {
    let save = format!("`conveyor handoff {} --summary '…' --path {}`", quote(task), quote(ledger));
    let Some(handoff) = handoff else {
        return format!(
            "Your manager asks you to prepare for compacting or clearing your context. Task {task} has no saved \
             handoff yet, and without one nothing may be compacted: save one first with {save}, and report when that \
             is done. Do not edit project files for this request."
        );
    };
    format!(
        "Your manager asks you to prepare for compacting or clearing your context, if this session supports it. Task: \
         {task}. Saved handoff {}: {}. First make sure that it still says where the work stands; if it is stale, renew \
         it with {save}. Only then compact or clear. Afterwards report whether it happened, and the next concrete \
         step. Do not edit project files for this request.",
        handoff.id,
        in_one_line(&handoff.summary).trim_end_matches('.')
    )
}

/// A text without line ends and control characters, which a terminal would take for keys.
fn in_one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn to_value(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| Error::Output(error.into()))
}
