//! Executing queued commands: claim, route, finish. A message for an inbox does all of it in one
//! transaction, so that a crash leaves either nothing or the whole.

use std::collections::HashMap;

use conveyor_model::records::{Binding, Session};
use conveyor_model::text::is_blank;
use conveyor_model::{Actor, AttemptState, CommandType, DeliveryMode, NotificationState, Role, Severity};
use conveyor_store::commands::{self, Claim, Claimable, Outcome};
use conveyor_store::notifications::{self, NewNotification};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{StoreError, Tx, bindings, parked, sessions};
use serde_json::{Value, json};

use super::elements::{Element, PermissionCheck, Refused, Routed, stored};
use super::{Request, permission, push};
use crate::{Error, Result};

/// What one transaction did.
pub(super) struct Batch {
    /// What it says about its items.
    pub(super) elements: Vec<Element>,
    /// Commands read from the queue.
    pub(super) looked_at: usize,
    /// Commands finished or put off.
    pub(super) handled: usize,
    /// Tasks that another dispatcher holds.
    pub(super) held: Vec<String>,
    /// Sessions to whose terminals something is to be typed.
    pub(super) terminals: Vec<String>,
}

/// Executes up to `limit` claimable commands in queue order, except those of `held` tasks.
pub(super) fn batch(
    tx: &mut Tx<'_>,
    request: &Request,
    types: &[CommandType],
    limit: usize,
    held: &[String],
) -> Result<Batch> {
    let queue = commands::claimable(tx, types, limit, held)?;
    let mut batch = Batch {
        elements: Vec::new(),
        looked_at: queue.len(),
        handled: 0,
        held: Vec::new(),
        terminals: Vec::new(),
    };
    let mut tasks = HashMap::new();
    for command in queue {
        if let Some(task_id) = &command.task_id {
            let known = tasks.get(task_id).copied();
            let taken = match known {
                Some(taken) => taken,
                None => commands::take_task(tx, task_id)?,
            };
            if known.is_none() {
                tasks.insert(task_id.clone(), taken);
                if !taken {
                    batch.held.push(task_id.clone());
                }
            }
            if !taken {
                continue;
            }
        }
        let mut queue = Queue { request, types: Some(types) };
        if let Some(earlier) = handle(tx, &queue, &command, &mut batch)? {
            queue.types = None;
            for earlier in earlier {
                handle(tx, &queue, &earlier, &mut batch)?;
            }
            handle(tx, &queue, &command, &mut batch)?;
        }
    }
    Ok(batch)
}

/// How commands are executed.
struct Queue<'q> {
    request: &'q Request,
    /// Of these types, what was put off before a command and can be reached now goes first; `None`:
    /// that was seen to.
    types: Option<&'q [CommandType]>,
}

/// Executes one command so that its failure leaves the others of the batch alone. Gives those that
/// must come first, if there are any; then nothing was done.
fn handle(
    tx: &mut Tx<'_>,
    queue: &Queue<'_>,
    command: &Claimable,
    batch: &mut Batch,
) -> Result<Option<Vec<Claimable>>> {
    let outcome = tx.savepoint(|tx| execute(tx, queue, command));
    let executed = match outcome {
        Err(error) if is_own_fault(&error) => {
            tx.savepoint(|tx| refuse_after(tx, queue.request, command, &error))?
        }
        outcome => outcome?,
    };
    match executed {
        Executed::Said(element) => {
            batch.handled += 1;
            batch.elements.push(*element);
        }
        Executed::HandedOver { session_id, said } => {
            batch.handled += 1;
            batch.elements.extend(said.map(|element| *element));
            if !batch.terminals.contains(&session_id) {
                batch.terminals.push(session_id);
            }
        }
        Executed::TakenByAnother => {}
        Executed::EarlierFirst(earlier) => return Ok(Some(earlier)),
    }
    Ok(None)
}

/// What became of a command.
pub(super) enum Executed {
    Said(Box<Element>),
    /// Its message waits for the terminal of this session.
    HandedOver {
        session_id: String,
        said: Option<Box<Element>>,
    },
    TakenByAnother,
    /// Others that were put off before go first.
    EarlierFirst(Vec<Claimable>),
}

/// A failure of this one command's rows, as opposed to one of the ledger or the connection.
fn is_own_fault(error: &Error) -> bool {
    matches!(error, Error::Store(StoreError::Sql(_) | StoreError::Unique { .. } | StoreError::Type { .. }))
}

/// A reason not to route, found before any effect.
pub(super) struct Refusal {
    pub(super) error: String,
    pub(super) error_type: &'static str,
}

/// Where a message goes.
pub(super) struct Route {
    pub(super) binding: Binding,
    pub(super) source: Session,
    pub(super) target: Session,
    pub(super) message: String,
}

fn execute(tx: &mut Tx<'_>, queue: &Queue<'_>, command: &Claimable) -> Result<Executed> {
    let request = queue.request;
    if let Some(route) = delivered_before(tx, command)? {
        let Some(claim) = claim(tx, request, command)? else { return Ok(Executed::TakenByAnother) };
        return deliver_by_pull(tx, request, command, &claim, &route, None);
    }
    let route = find_route(tx, command)?;
    if let Ok(route) = &route {
        if route.target.tmux().is_some() {
            // What would be refused is refused at once instead of waiting for the terminal.
            return match push::refusal(tx, command, route)? {
                Some(refusal) => claim_and_refuse(tx, request, command, refusal),
                None => push::hand_over(tx, request, command, route),
            };
        }
        // What was put off for the same receiver goes first, now that its turn may have come.
        if let Some(types) = queue.types {
            let earlier = commands::put_off_before(tx, command, types)?;
            if !earlier.is_empty() {
                return Ok(Executed::EarlierFirst(earlier));
            }
        }
    }
    let Some(claim) = claim(tx, request, command)? else { return Ok(Executed::TakenByAnother) };
    let route = match route {
        Ok(route) => route,
        Err(refusal) => return refuse(tx, request, command, &claim, refusal),
    };
    let check = permission::check(tx, command, &claim, &route.binding.task_id)?;
    if let Some(denied) = check.as_ref().filter(|check| !check.allowed) {
        return refuse(tx, request, command, &claim, Refusal::of_permission(denied));
    }
    deliver_by_pull(tx, request, command, &claim, &route, check)
}

fn claim_and_refuse(
    tx: &mut Tx<'_>,
    request: &Request,
    command: &Claimable,
    refusal: Refusal,
) -> Result<Executed> {
    let Some(claim) = claim(tx, request, command)? else { return Ok(Executed::TakenByAnother) };
    if let Some(task_id) = &command.task_id {
        permission::check(tx, command, &claim, task_id)?;
    }
    refuse(tx, request, command, &claim, refusal)
}

impl Refusal {
    pub(super) fn of_permission(denied: &PermissionCheck) -> Self {
        Self { error: denial(denied), error_type: "DispatchPermissionError" }
    }
}

fn denial(check: &PermissionCheck) -> String {
    let permission = &check.required_permission;
    if check.configured {
        format!("the manager configuration does not grant {permission}")
    } else {
        format!("the task has no manager configuration, so {permission} is not granted")
    }
}

/// The route on which an earlier claim delivered the message before it lapsed: other versions'
/// dispatchers deliver and finish in two transactions. By now the task may be bound otherwise or
/// not at all, and the receiver may be in a terminal; the message is where it is.
fn delivered_before(tx: &mut Tx<'_>, command: &Claimable) -> Result<Option<Route>> {
    let (Some(task_id), true) = (&command.task_id, command.lapses > 0) else { return Ok(None) };
    let binding = bindings::that_delivered(tx, task_id, command.command_type.as_str(), &command.id)?;
    match (binding, message(command)) {
        (Some(binding), Some(message)) => Ok(along(tx, command, message, binding)?.ok()),
        _ => Ok(None),
    }
}

pub(super) fn find_route(tx: &mut Tx<'_>, command: &Claimable) -> Result<Result<Route, Refusal>> {
    let Some(message) = message(command) else {
        return refused("the command's payload has no message");
    };
    let Some(task_id) = &command.task_id else { return refused("the command belongs to no task") };
    match bindings::live_of_task(tx, task_id)? {
        Some(binding) => along(tx, command, message, binding),
        None => Ok(Err(Refusal {
            error: "the task has no active binding".into(),
            error_type: "TaskLifecycleError",
        })),
    }
}

fn refused(error: &str) -> Result<Result<Route, Refusal>> {
    Ok(Err(Refusal { error: error.into(), error_type: "DispatchRoutingError" }))
}

/// The text to convey, if there is one.
fn message(command: &Claimable) -> Option<&str> {
    let text = |key: &str| command.payload.get(key).and_then(Value::as_str);
    text("message").or_else(|| text("text")).filter(|text| !is_blank(text))
}

/// The route of a command along a binding.
fn along(
    tx: &mut Tx<'_>,
    command: &Claimable,
    message: &str,
    binding: Binding,
) -> Result<Result<Route, Refusal>> {
    let (source_id, target_id) = match command.command_type.target() {
        Role::Manager => (&binding.worker_session_id, &binding.manager_session_id),
        Role::Worker => (&binding.manager_session_id, &binding.worker_session_id),
    };
    let mut session = |id: &Option<String>| match id {
        Some(id) => sessions::by_id(tx, id),
        None => Ok(None),
    };
    match (session(source_id)?, session(target_id)?) {
        (Some(source), Some(target)) => {
            Ok(Ok(Route { message: message.to_owned(), binding, source, target }))
        }
        (None, _) => refused("the binding has no session to send from"),
        (_, None) => refused("the binding has no session to send to"),
    }
}

pub(super) fn said(element: Element) -> Executed {
    Executed::Said(Box::new(element))
}

fn claim(tx: &mut Tx<'_>, request: &Request, command: &Claimable) -> Result<Option<Claim>> {
    claim_for(tx, request, command, request.lease_seconds)
}

/// Claims a command for so many seconds. Whoever claims one that waited for a terminal ends that.
pub(super) fn claim_for(
    tx: &mut Tx<'_>,
    request: &Request,
    command: &Claimable,
    seconds: i64,
) -> Result<Option<Claim>> {
    let Some(claim) = commands::claim(tx, command, &request.dispatcher_id, seconds)? else {
        return Ok(None);
    };
    let attributes = json!({
        "attempts": claim.attempts,
        "claim_expires_at": claim.claim_expires_at,
        "manager_id": null,
        "worker_id": null,
    });
    let summary = format!("Claimed command {}.", command.command_type);
    emit(
        tx,
        command,
        "dispatch_command_claimed",
        summary,
        correlation(request, command, &claim),
        attributes,
    )?;
    Ok(Some(claim))
}

pub(super) fn correlation(request: &Request, command: &Claimable, claim: &Claim) -> Value {
    json!({
        "attempt_id": claim.attempt_id,
        "command_id": command.id,
        "command_type": command.command_type,
        "correlation_id": claim.correlation_id,
        "dispatcher_id": request.dispatcher_id,
    })
}

pub(super) fn emit(
    tx: &mut Tx<'_>,
    command: &Claimable,
    event_type: &str,
    summary: String,
    correlation: Value,
    attributes: Value,
) -> Result<()> {
    let event = Emit::info(Actor::Dispatch, event_type, summary, correlation, attributes);
    telemetry::emit(tx, &event.of_task(command.task_id.as_deref()))?;
    Ok(())
}

pub(super) fn deliver_by_pull(
    tx: &mut Tx<'_>,
    request: &Request,
    command: &Claimable,
    claim: &Claim,
    route: &Route,
    check: Option<PermissionCheck>,
) -> Result<Executed> {
    let mode = DeliveryMode::PullRequired;
    let (notification_id, existed) = match find_or_insert(tx, request, command, claim, route, &check, mode)? {
        Ok(found) => found,
        Err(refusal) => return refuse(tx, request, command, claim, refusal),
    };
    end_waiting(tx, command, "pull_required")?;
    let mut tied = attempted(tx, request, command, claim, route, &check, (notification_id, mode))?;
    if existed != Some(NotificationState::Delivered) {
        tied["binding_id"] = route.binding.binding_id.clone().into();
        tied["signal_type"] = command.command_type.as_str().into();
        let summary = format!("{} waits in the inbox of {}.", command.command_type, route.target.name);
        let attributes = json!({ "delivery_mode": mode, "target_session": route.target.name });
        emit(tx, command, "dispatch_signal_pull_required", summary, tied, attributes)?;
    }
    let element = Routed {
        attempt_id: claim.attempt_id,
        command_id: command.id.clone(),
        command_type: command.command_type,
        correlation_id: claim.correlation_id.clone(),
        deduplicated: existed.is_some().then_some(true),
        delivery_mode: mode,
        dispatcher_id: request.dispatcher_id.clone(),
        dry_run: false,
        error: None,
        native: None,
        notification_id,
        permission_check: check,
        send_result: None,
        side_effect_completed: false,
        side_effect_started: false,
        state: mode.as_str(),
        target_session: route.target.name.clone(),
    };
    let end = End { state: AttemptState::Succeeded, error: None, started: false, completed: false };
    finish(tx, request, command, claim, &stored(&element), &end)?;
    Ok(said(Element::Routed(Box::new(element))))
}

/// A message that waited for a terminal goes another way.
fn end_waiting(tx: &mut Tx<'_>, command: &Claimable, reason: &str) -> Result<()> {
    if command.parked_reason.is_some()
        && let Some(parked) = parked::of_command(tx, &command.id)?
    {
        parked::cancel(tx, &parked.id, reason)?;
    }
    Ok(())
}

/// Records that a notification is on its way; gives what ties its telemetry together.
pub(super) fn attempted(
    tx: &mut Tx<'_>,
    request: &Request,
    command: &Claimable,
    claim: &Claim,
    route: &Route,
    check: &Option<PermissionCheck>,
    (notification_id, mode): (i64, DeliveryMode),
) -> Result<Value> {
    let mut tied = correlation(request, command, claim);
    tied["routed_notification_id"] = notification_id.into();
    let summary = format!("Attempted command {}.", command.command_type);
    let attributes = json!({
        "delivery_mode": mode,
        "permission_check": check,
        "source_session": route.source.name,
        "target_session": route.target.name,
    });
    emit(tx, command, "dispatch_command_attempted", summary, tied.clone(), attributes)?;
    Ok(tied)
}

/// The notification of a command, in its receiver's inbox or about to be typed; with the state in
/// which it was found, when an earlier attempt had made it already.
pub(super) fn find_or_insert(
    tx: &mut Tx<'_>,
    request: &Request,
    command: &Claimable,
    claim: &Claim,
    route: &Route,
    check: &Option<PermissionCheck>,
    mode: DeliveryMode,
) -> Result<Result<(i64, Option<NotificationState>), Refusal>> {
    let pulls = mode == DeliveryMode::PullRequired;
    let dedupe_key = format!("{}:{}:{}", route.binding.binding_id, command.command_type, command.id);
    if let Some(existing) = notifications::by_dedupe_key(tx, &dedupe_key)? {
        let state = NotificationState::from_text(&existing.state);
        return match state {
            Some(NotificationState::Delivered) => Ok(Ok((existing.id, state))),
            Some(NotificationState::Pending) if !existing.side_effect_started => {
                if pulls {
                    notifications::deliver_by_pull(tx, existing.id)?;
                }
                Ok(Ok((existing.id, state)))
            }
            _ => Ok(Err(Refusal {
                error: format!("notification {} of this command is already {}", existing.id, existing.state),
                error_type: "RoutedNotificationError",
            })),
        };
    }
    let id = notifications::insert(
        tx,
        &NewNotification {
            task_id: &route.binding.task_id,
            binding_id: &route.binding.binding_id,
            correlation_id: &claim.correlation_id,
            source_session_id: &route.source.id,
            target_session_id: &route.target.id,
            signal_type: command.command_type.as_str(),
            source_event: None,
            dedupe_key: &dedupe_key,
            command_id: Some(&command.id),
            delivery_mode: mode,
            state: if pulls { NotificationState::Delivered } else { NotificationState::Pending },
            payload: json!({
                "command_id": command.id,
                "command_type": command.command_type,
                "delivery_mode": mode,
                "dispatcher_id": request.dispatcher_id,
                "message": route.message,
                "permission_check": check,
                "source_session": route.source.name,
                "target_session": route.target.name,
                "task_id": route.binding.task_id,
            }),
            error: None,
        },
    )?;
    Ok(Ok((id, None)))
}

/// Finishes a command as failed before any effect.
pub(super) fn refuse(
    tx: &mut Tx<'_>,
    request: &Request,
    command: &Claimable,
    claim: &Claim,
    refusal: Refusal,
) -> Result<Executed> {
    let element = Refused {
        attempt_id: claim.attempt_id,
        command_id: command.id.clone(),
        command_type: command.command_type,
        correlation_id: claim.correlation_id.clone(),
        dispatcher_id: request.dispatcher_id.clone(),
        error: refusal.error.clone(),
        error_type: refusal.error_type,
        notification_id: None,
        required_permission: command.required_permission.clone(),
        side_effect_completed: false,
        side_effect_started: false,
        state: AttemptState::Failed.as_str(),
    };
    end_waiting(tx, command, "refused")?;
    let error = Some(refusal.error.as_str());
    let end = End { state: AttemptState::Failed, error, started: false, completed: false };
    finish(tx, request, command, claim, &stored(&element), &end)?;
    Ok(said(Element::Refused(element)))
}

/// Finishes a command as failed whose own rows broke the first try, which was undone.
fn refuse_after(tx: &mut Tx<'_>, request: &Request, command: &Claimable, error: &Error) -> Result<Executed> {
    let Some(claim) = claim(tx, request, command)? else { return Ok(Executed::TakenByAnother) };
    let error_type = match error {
        Error::Store(StoreError::Unique { .. }) => "RoutedNotificationError",
        _ => "Error",
    };
    refuse(tx, request, command, &claim, Refusal { error: error.to_string(), error_type })
}

/// How an attempt ends.
pub(super) struct End<'e> {
    pub(super) state: AttemptState,
    pub(super) error: Option<&'e str>,
    /// Whether an effect outside had begun, and whether it is known to be complete.
    pub(super) started: bool,
    pub(super) completed: bool,
}

/// Ends an attempt and its command; `false`, and nothing was written, when somebody else did.
pub(super) fn finish(
    tx: &mut Tx<'_>,
    request: &Request,
    command: &Claimable,
    claim: &Claim,
    result: &Value,
    end: &End<'_>,
) -> Result<bool> {
    let End { state, error, started, completed } = *end;
    let outcome = Outcome { state, result, error, completed };
    if !commands::finish(tx, &command.id, claim.attempt_id, &outcome)? {
        return Ok(false);
    }
    let (event_type, severity) = match state {
        AttemptState::Succeeded => ("dispatch_command_succeeded", Severity::Info),
        AttemptState::Blocked => ("dispatch_command_blocked", Severity::Warning),
        _ => ("dispatch_command_failed", Severity::Error),
    };
    let event = Emit::info(
        Actor::Dispatch,
        event_type,
        format!("Command {} {state}.", command.command_type),
        correlation(request, command, claim),
        json!({
            "error": error,
            "manager_id": null,
            "result": result,
            "side_effect_completed": completed,
            "side_effect_started": started,
            "worker_id": null,
        }),
    );
    telemetry::emit(tx, &event.of_task(command.task_id.as_deref()).severity(severity))?;
    Ok(true)
}
