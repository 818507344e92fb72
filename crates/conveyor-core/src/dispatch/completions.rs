//! Turning completions of bound workers into notifications of their managers: each completion
//! event once, ever, oldest first.

use std::collections::{BTreeSet, HashMap};

use conveyor_model::records::{Object, Session};
use conveyor_model::text::is_blank;
use conveyor_model::{Actor, DeliveryMode, IdPrefix, NotificationState, Severity, Timestamp};
use conveyor_store::completions::{self as events, Unrouted};
use conveyor_store::notifications::{self, NewNotification, Waiting};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{Tx, commands, parked, sessions, tasks};
use serde_json::{Value, json};

use super::agenda::Completions;
use super::elements::{COMPLETION, Completion, Element, GivenUp};
use super::pass::Pass;
use super::{BATCH, Request, Stop, push};
use crate::{Cx, Result, fault};

const HALF_DONE: &str =
    "typing had begun when the claim lapsed; what became of it is unknown, so it is not repeated";
const OLD_HISTORY: &str = "older than the binding; only the newest completion of the history was routed";

/// One notification per key, ever.
pub(super) fn dedupe_key(event: &Unrouted) -> String {
    format!("{}:{COMPLETION}:{}:{}", event.binding_id, event.worker_session_id, event.event_id)
}

/// Routes these completions until nothing is left or the pass is full; `true` when something may be
/// left.
pub(super) fn route(
    cx: &mut Cx,
    pass: &mut Pass<'_>,
    stop: &Stop,
    completions: &Completions,
    behind: &BTreeSet<String>,
) -> Result<bool> {
    if pass.remaining() == 0 {
        return Ok(true);
    }
    let (request, limit) = (pass.request, pass.remaining());
    let waiting = cx.db.write(|tx| {
        let elements = give_up_half_done(tx, &request.dispatcher_id, limit)?;
        let left = limit - elements.len().min(limit);
        let mut waiting = Events { elements, looked_at: 0, held: Vec::new(), terminals: Vec::new() };
        retry(tx, request, left, &mut waiting)?;
        Ok::<_, crate::Error>(waiting)
    })?;
    fault::point("dispatch.after_waiting");
    pass.add(waiting.elements);
    pass.knock(waiting.terminals);
    let mut held = Vec::new();
    while pass.remaining() > 0 && !stop.is_requested() {
        let limit = pass.remaining().min(BATCH);
        fault::point("dispatch.before_completions");
        let batch = cx.db.write(|tx| new_events(tx, request, limit, &held, completions, behind))?;
        fault::point("dispatch.after_completions");
        let full = batch.looked_at == limit;
        pass.add(batch.elements);
        pass.knock(batch.terminals);
        let progress = full || !batch.held.is_empty();
        held.extend(batch.held);
        if !progress {
            return Ok(!held.is_empty());
        }
    }
    Ok(true)
}

fn give_up_half_done(tx: &mut Tx<'_>, dispatcher: &str, limit: usize) -> Result<Vec<Element>> {
    let mut elements = Vec::new();
    for waiting in notifications::half_done_completions(tx, limit)? {
        if !notifications::give_up(tx, waiting.id, HALF_DONE)? {
            continue;
        }
        let event = Emit::info(
            Actor::Dispatch,
            "dispatch_signal_failed",
            "Gave up a half-done push of worker_task_complete.".into(),
            tied(
                &waiting.binding_id,
                &waiting.correlation_id,
                dispatcher,
                Some(waiting.id),
                waiting.source_event_id,
            ),
            json!({
                "claim_expires_at": waiting.claim_expires_at,
                "claimed_by": waiting.claimed_by,
                "error": HALF_DONE,
                "side_effect_risk": true,
            }),
        );
        telemetry::emit(tx, &event.of_task(Some(&waiting.task_id)).severity(Severity::Error))?;
        elements.push(Element::GivenUp(GivenUp {
            binding_id: waiting.binding_id,
            claim_expires_at: waiting.claim_expires_at,
            claimed_by: waiting.claimed_by,
            correlation_id: waiting.correlation_id,
            error: HALF_DONE.into(),
            notification_id: waiting.id,
            signal_type: COMPLETION,
            source_event_id: waiting.source_event_id,
            state: "failed",
            task_id: waiting.task_id,
        }));
    }
    Ok(elements)
}

/// The ids that tie the telemetry of a waiting completion together.
pub(super) fn tied_to(waiting: &Waiting, dispatcher: &str) -> Value {
    let Waiting { binding_id, correlation_id, id, source_event_id, .. } = waiting;
    tied(binding_id, correlation_id, dispatcher, Some(*id), *source_event_id)
}

/// What a completion says to its receiver.
pub(super) fn message_of(payload: &Object) -> String {
    let text = |key: &str| payload.get(key).and_then(Value::as_str).unwrap_or_default();
    match text("message") {
        given if is_blank(given) => message(text("source_session"), text("task")),
        given => given.to_owned(),
    }
}

/// The ids that tie a completion's telemetry together.
fn tied(
    binding_id: &str,
    correlation_id: &str,
    dispatcher: &str,
    notification_id: Option<i64>,
    event_id: Option<i64>,
) -> Value {
    let mut tied = json!({
        "binding_id": binding_id,
        "correlation_id": correlation_id,
        "dispatcher_id": dispatcher,
        "signal_type": COMPLETION,
        "source_event_id": event_id,
    });
    if let Some(id) = notification_id {
        tied["routed_notification_id"] = id.into();
    }
    tied
}

/// Looks again after completions that could not be delivered when they were found.
fn retry(tx: &mut Tx<'_>, request: &Request, limit: usize, found: &mut Events) -> Result<()> {
    if limit == 0 {
        return Ok(());
    }
    for waiting in notifications::retryable_completions(tx, limit.min(BATCH))? {
        if !commands::take_task(tx, &waiting.task_id)? {
            continue;
        }
        let Some(target) = sessions::by_id(tx, &waiting.target_session_id)? else { continue };
        if target.tmux().is_some() {
            found.elements.extend(push::hand_over_completion(tx, request, &target, &waiting)?);
            found.knock(&target.id);
            continue;
        }
        found.elements.push(into_inbox(tx, request, waiting, target)?);
    }
    Ok(())
}

/// Puts a completion that waited into its receiver's inbox.
fn into_inbox(tx: &mut Tx<'_>, request: &Request, waiting: Waiting, target: Session) -> Result<Element> {
    let dispatcher = &request.dispatcher_id;
    notifications::claim(tx, waiting.id, dispatcher, request.lease_seconds)?;
    notifications::deliver_by_pull(tx, waiting.id)?;
    if let Some(parked) = parked::of_notification(tx, waiting.id)? {
        parked::cancel(tx, &parked.id, DeliveryMode::PullRequired.as_str())?;
    }
    let task = tasks::find(tx, &waiting.task_id)?.map_or_else(|| waiting.task_id.clone(), |task| task.name);
    let ids = tied_to(&waiting, dispatcher);
    let mut attributes =
        json!({ "delivery_mode": DeliveryMode::PullRequired, "target_session": target.name });
    say(tx, "dispatch_signal_recovered", &waiting.task_id, ids.clone(), attributes.clone())?;
    attributes["recovered"] = true.into();
    say(tx, "dispatch_signal_pull_required", &waiting.task_id, ids, attributes)?;
    Ok(Element::Completion(Box::new(Completion {
        binding_id: waiting.binding_id,
        correlation_id: waiting.correlation_id,
        dedupe_key: waiting.dedupe_key,
        delivery_mode: DeliveryMode::PullRequired,
        detail: None,
        dry_run: false,
        error: None,
        native: None,
        notification_id: Some(waiting.id),
        reason: None,
        recovered: Some(true),
        signal_type: COMPLETION,
        source_event_id: waiting.source_event_id,
        state: DeliveryMode::PullRequired.as_str(),
        target_session: target.name,
        task,
    })))
}

pub(super) fn say(
    tx: &mut Tx<'_>,
    event_type: &str,
    task_id: &str,
    ids: Value,
    attributes: Value,
) -> Result<()> {
    let summary = match event_type {
        "dispatch_signal_detected" => "Detected a completed worker turn.",
        "dispatch_signal_recovered" => "Took up a waiting worker completion again.",
        "dispatch_signal_suppressed" => "Recorded a worker completion without delivering it.",
        "delivery_parked" => "Put off a worker completion.",
        _ => "A worker completion waits in the manager's inbox.",
    };
    let event = Emit::info(Actor::Dispatch, event_type, summary.into(), ids, attributes);
    telemetry::emit(tx, &event.of_task(Some(task_id)))?;
    Ok(())
}

struct Events {
    elements: Vec<Element>,
    looked_at: usize,
    held: Vec<String>,
    /// Sessions to whose terminals something is to be typed.
    terminals: Vec<String>,
}

impl Events {
    fn knock(&mut self, session_id: &str) {
        if !self.terminals.iter().any(|known| known == session_id) {
            self.terminals.push(session_id.to_owned());
        }
    }
}

/// Routes up to `limit` completions that nothing refers to yet, and moves the routed marks.
fn new_events(
    tx: &mut Tx<'_>,
    request: &Request,
    limit: usize,
    held: &[String],
    completions: &Completions,
    behind: &BTreeSet<String>,
) -> Result<Events> {
    let found = events::unrouted(tx, limit, held, completions.sessions())?;
    let mut batch =
        Events { elements: Vec::new(), looked_at: found.len(), held: Vec::new(), terminals: Vec::new() };
    if found.is_empty() {
        if held.is_empty() && *completions == Completions::All {
            for (session_id, event_id) in events::lagging_marks(tx)? {
                events::mark_routed(tx, &session_id, event_id)?;
            }
        }
        return Ok(batch);
    }
    let newest_old = newest_of_history(tx, &found)?;
    let mut taken: HashMap<String, bool> = HashMap::new();
    for event in &found {
        let is_history = is_history(event);
        let is_early = is_history && behind.contains(&event.worker_session_id);
        let free = match taken.get(&event.task_id) {
            Some(free) => *free,
            None => !is_early && commands::take_task(tx, &event.task_id)?,
        };
        if taken.insert(event.task_id.clone(), free).is_none() && !free {
            batch.held.push(event.task_id.clone());
        }
        if !free {
            continue;
        }
        let suppress = is_history && newest_old.get(&event.worker_session_id) != Some(&event.event_id);
        route_one(tx, request, event, suppress, &mut batch)?;
        events::mark_routed(tx, &event.worker_session_id, event.event_id)?;
    }
    Ok(batch)
}

/// Whether a dispatcher read the event from a rollout, and the event is older than the binding:
/// history that nobody waits for.
fn is_history(event: &Unrouted) -> bool {
    let at = |text: &str| Timestamp::parse(text);
    event.is_read_by_dispatcher
        && matches!((at(&event.timestamp), at(&event.binding_created_at)), (Some(event), Some(bound)) if event < bound)
}

/// The newest completion of the history of each session that has some.
fn newest_of_history(tx: &mut Tx<'_>, found: &[Unrouted]) -> Result<HashMap<String, i64>> {
    let mut newest = HashMap::new();
    for event in found.iter().filter(|event| is_history(event)) {
        if !newest.contains_key(&event.worker_session_id) {
            let before = &event.binding_created_at;
            if let Some(id) = events::newest_before(tx, &event.worker_session_id, event.event_id, before)? {
                newest.insert(event.worker_session_id.clone(), id);
            }
        }
    }
    Ok(newest)
}

fn route_one(
    tx: &mut Tx<'_>,
    request: &Request,
    event: &Unrouted,
    suppress: bool,
    batch: &mut Events,
) -> Result<()> {
    let manager = match &event.manager_session_id {
        Some(id) => sessions::by_id(tx, id)?,
        None => None,
    };
    // A legacy binding without a manager session has nobody to tell.
    let Some(manager) = manager else { return Ok(()) };
    let dispatcher = request.dispatcher_id.as_str();
    let dedupe_key = dedupe_key(event);
    let correlation_id = tx.fresh_id(IdPrefix::Dispatch);
    let pushes = manager.tmux().is_some();
    let mode = if pushes { DeliveryMode::Push } else { DeliveryMode::PullRequired };
    let (state, error) = match (suppress, pushes) {
        (true, _) => (NotificationState::Suppressed, Some(OLD_HISTORY)),
        (false, true) => (NotificationState::Pending, None),
        (false, false) => (NotificationState::Delivered, None),
    };
    let mut element = Completion {
        binding_id: event.binding_id.clone(),
        correlation_id: correlation_id.clone(),
        dedupe_key: dedupe_key.clone(),
        delivery_mode: mode,
        detail: None,
        dry_run: false,
        error: None,
        native: None,
        notification_id: None,
        reason: None,
        recovered: None,
        signal_type: COMPLETION,
        source_event_id: Some(event.event_id),
        state: state.as_str(),
        target_session: manager.name.clone(),
        task: event.task_name.clone(),
    };
    let ids = tied(&event.binding_id, &correlation_id, dispatcher, None, Some(event.event_id));
    // A rollout can tell of one turn twice, and a session that is registered anew tells of its turns again.
    let repeated = match event.payload.get("turn_id").and_then(Value::as_str) {
        Some(turn) if !is_blank(turn) => events::is_announced(tx, event, turn)?,
        _ => false,
    };
    let known = match notifications::by_dedupe_key(tx, &dedupe_key)? {
        Some(_) => Some("a notification with this key exists already"),
        None => repeated.then_some("the end of this turn was announced already"),
    };
    if let Some(error) = known {
        suppressed(tx, event, ids, &dedupe_key, error, &manager)?;
        element.state = NotificationState::Suppressed.as_str();
        batch.elements.push(Element::Completion(Box::new(element)));
        return Ok(());
    }
    let id = notifications::insert(
        tx,
        &NewNotification {
            task_id: &event.task_id,
            binding_id: &event.binding_id,
            correlation_id: &correlation_id,
            source_session_id: &event.worker_session_id,
            target_session_id: &manager.id,
            signal_type: COMPLETION,
            source_event: Some((event.event_id, &event.timestamp)),
            dedupe_key: &dedupe_key,
            command_id: None,
            delivery_mode: mode,
            state,
            payload: payload(event, dispatcher, mode, &manager),
            error,
        },
    )?;
    notifications::claim(tx, id, dispatcher, request.lease_seconds)?;
    if suppress {
        suppressed(tx, event, ids, &dedupe_key, OLD_HISTORY, &manager)?;
        batch.elements.push(Element::Completion(Box::new(element)));
        return Ok(());
    }
    element.notification_id = Some(id);
    let attributes = json!({
        "delivery_mode": mode,
        "source_session": event.worker_name,
        "target_session": manager.name,
    });
    say(tx, "dispatch_signal_detected", &event.task_id, ids, attributes)?;
    if pushes {
        // What is said of it follows when its receiver's terminal was looked at.
        if let Some(waiting) = notifications::pending_completion(tx, id)? {
            batch.elements.extend(push::hand_over_completion(tx, request, &manager, &waiting)?);
        }
        batch.knock(&manager.id);
        return Ok(());
    }
    let ids = tied(&event.binding_id, &correlation_id, dispatcher, Some(id), Some(event.event_id));
    let attributes = json!({ "delivery_mode": mode, "target_session": manager.name });
    say(tx, "dispatch_signal_pull_required", &event.task_id, ids, attributes)?;
    element.state = mode.as_str();
    batch.elements.push(Element::Completion(Box::new(element)));
    Ok(())
}

fn suppressed(
    tx: &mut Tx<'_>,
    event: &Unrouted,
    ids: Value,
    dedupe_key: &str,
    error: &str,
    manager: &Session,
) -> Result<()> {
    let attributes = json!({
        "dedupe_key": dedupe_key,
        "error": error,
        "source_session": event.worker_name,
        "target_session": manager.name,
    });
    say(tx, "dispatch_signal_suppressed", &event.task_id, ids, attributes)
}

fn payload(event: &Unrouted, dispatcher: &str, mode: DeliveryMode, manager: &Session) -> Value {
    let fact = |key: &str| event.payload.get(key).cloned().unwrap_or(Value::Null);
    json!({
        "delivery_mode": mode,
        "dispatcher_id": dispatcher,
        "message": message(&event.worker_name, &event.task_name),
        "signal": COMPLETION,
        "source_event_id": event.event_id,
        "source_session": event.worker_name,
        "target_session": manager.name,
        "task": event.task_name,
        "worker_receipt": {
            "completed_at": fact("completed_at"),
            "duration_ms": fact("duration_ms"),
            "last_agent_message": fact("last_agent_message"),
            "source_event_id": event.event_id,
            "source_event_timestamp": event.timestamp,
            "source_session": event.worker_name,
            "time_to_first_token_ms": fact("time_to_first_token_ms"),
            "turn_id": fact("turn_id"),
        },
    })
}

/// What a manager is told when a worker's turn has ended.
fn message(worker: &str, task: &str) -> String {
    format!(
        "A turn of worker {worker} on task {task} has apparently ended. That is not yet proof of done: look with \
         `conveyor cycle` and check every acceptance criterion against evidence. Then choose one: close the task, \
         send it back with what is to be fixed, or keep watching."
    )
}
