//! Typing one message: claim and intent, the text with its proof, the result.

use std::time::Instant;

use conveyor_agents::tmux::PaneFacts;
use conveyor_model::{Actor, AttemptState, DeliveryMode, DeliveryStage, NotificationState, Severity};
use conveyor_store::commands::{self, Claimable};
use conveyor_store::deliveries::{self, Start};
use conveyor_store::notifications::{self, Waiting};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{StoreError, Tx, bindings, lapses, parked, sessions, tasks};
use serde_json::{Value, json};

use super::frame::{Speaker, framed};
use super::gate::{self, Closed, Gate};
use super::outcome::{Begun, Fate, Sent, conclude};
use super::waiting::{self, completion_element};
use super::{Carried, Item, LATER, TYPING};
use crate::dispatch::elements::{Element, Routed, stored};
use crate::dispatch::routing::{self, End, Executed, Refusal};
use crate::dispatch::{Request, completions, permission};
use crate::typing::agent::Mark;
use crate::typing::lock::{Insistence, Owner};
use crate::typing::session::{Live, incarnation, lock_pane, outcome_of};
use crate::typing::typist::{Care, Typed, Typist};
use crate::{Cx, Error, Result, digest, fault};

/// Types a message if its receiver's terminal takes it now; else it goes on waiting.
pub(super) fn send(
    cx: &mut Cx,
    request: &Request,
    live: &mut Live,
    item: &Item,
    may_type: bool,
) -> Result<Option<Element>> {
    let ledger = cx.ledger();
    let text = cx.db.read(|tx| text_of(tx, item, &ledger))?;
    let found = match request.guard.strict {
        true => gate::look(cx, live, &text, item.created_at())?,
        false => gate::absence(live).unwrap_or(Gate::Open { facts: None, care: Care::Forced }),
    };
    fault::point("push.looked");
    match found {
        Gate::Closed(closed) => {
            let by = &request.dispatcher_id;
            cx.db.write(|tx| waiting::put_off_after_look(tx, by, &live.session, item, &closed))
        }
        Gate::Gone(error) => cx.db.write(|tx| give_up(tx, request, live, item, &error)),
        // It goes first in the next pass.
        Gate::Open { .. } if !may_type => {
            cx.db.write(|tx| parked::release(tx, &live.session.id))?;
            Ok(None)
        }
        Gate::Open { facts, care } => {
            let mark = live.agent.mark();
            let lease_by = format!("{}-{}", request.dispatcher_id, std::process::id());
            let plan = Plan { item, text, facts: facts.as_deref(), mark, lease_by };
            match cx.db.write(|tx| begin(tx, request, live, &plan)) {
                Ok(Beginning::Sending(sent)) => type_it(cx, request, live, &plan, &sent, care),
                Ok(Beginning::Said(element)) => Ok(element),
                // Somebody else types to this terminal now; the message waits on.
                Err(Error::Store(StoreError::Unique { .. })) => Ok(None),
                Err(error) => Err(error),
            }
        }
    }
}

/// The exact text: a report in its frame.
fn text_of(tx: &mut Tx<'_>, item: &Item, ledger: &str) -> Result<String> {
    let (message, task_id, worker_id) = match &item.carried {
        Carried::Command(command) => {
            let route = routing::find_route(tx, command)?.ok();
            let Some(route) = route else { return Ok(String::new()) };
            (route.message, route.binding.task_id, route.source.id)
        }
        Carried::Completion(waiting) => (
            completions::message_of(&waiting.payload),
            waiting.task_id.clone(),
            waiting.source_session_id.clone(),
        ),
    };
    if !item.is_report() {
        return Ok(message);
    }
    let task = tasks::find(tx, &task_id)?.map_or(task_id, |task| task.name);
    let worker = sessions::by_id(tx, &worker_id)?.map_or(worker_id, |session| session.name);
    let quote = conveyor_model::shell::quote;
    let inbox_command = format!("conveyor manager-inbox {} --path {} --json", quote(&task), quote(ledger));
    let message_id = &item.parked.client_message_id;
    let speaker = Speaker { worker: &worker, task: &task, message_id, inbox_command: &inbox_command };
    Ok(framed(&message, &speaker))
}

/// What is about to be typed.
struct Plan<'p> {
    item: &'p Item,
    text: String,
    facts: Option<&'p PaneFacts>,
    mark: Mark,
    lease_by: String,
}

enum Beginning {
    /// The intent is recorded.
    Sending(Box<Sent>),
    /// Nothing is to be typed after all.
    Said(Option<Element>),
}

/// Claims, checks and records the intent, all before the first byte.
fn begin(tx: &mut Tx<'_>, request: &Request, live: &Live, plan: &Plan<'_>) -> Result<Beginning> {
    match &plan.item.carried {
        Carried::Command(command) => begin_command(tx, request, live, plan, &command.id),
        Carried::Completion(waiting) => begin_completion(tx, request, live, plan, waiting.id),
    }
}

fn nothing() -> Result<Beginning> {
    Ok(Beginning::Said(None))
}

fn begin_command(
    tx: &mut Tx<'_>,
    request: &Request,
    live: &Live,
    plan: &Plan<'_>,
    command_id: &str,
) -> Result<Beginning> {
    let Some(command) = take(tx, command_id)? else { return nothing() };
    let seconds = request.lease_seconds.max(TYPING);
    let route = match routing::find_route(tx, &command)? {
        Ok(route) if route.target.id == live.session.id && route.target.tmux() == live.session.tmux() => {
            route
        }
        Ok(_) => {
            // The task is bound to somebody else by now: it is routed anew.
            commands::put_off(tx, command_id, 0, "bound otherwise")?;
            return nothing();
        }
        Err(refusal) => return refuse(tx, request, &command, refusal),
    };
    let Some(claim) = routing::claim_for(tx, request, &command, seconds)? else { return nothing() };
    let check = permission::check(tx, &command, &claim, &route.binding.task_id)?;
    if let Some(denied) = check.as_ref().filter(|check| !check.allowed) {
        let refusal = Refusal::of_permission(denied);
        return said(routing::refuse(tx, request, &command, &claim, refusal)?);
    }
    let mode = DeliveryMode::Push;
    let (notification_id, existed) =
        match routing::find_or_insert(tx, request, &command, &claim, &route, &check, mode)? {
            Ok(found) => found,
            Err(refusal) => return said(routing::refuse(tx, request, &command, &claim, refusal)?),
        };
    if existed == Some(NotificationState::Delivered) {
        // An earlier claim delivered it, and died before it could say so.
        return said(routing::deliver_by_pull(tx, request, &command, &claim, &route, check)?);
    }
    notifications::begin_push(tx, notification_id, None)?;
    commands::begin_effect(tx, claim.attempt_id)?;
    routing::attempted(tx, request, &command, &claim, &route, &check, (notification_id, mode))?;
    if !start(tx, live, plan, notification_id, Some(claim.attempt_id))? {
        return Err(taken());
    }
    Ok(Beginning::Sending(Box::new(Sent {
        delivery_id: plan.item.parked.id.clone(),
        client_message_id: plan.item.parked.client_message_id.clone(),
        notification_id,
        begun: Begun::Command(Box::new(command), claim),
        check,
        target: live.pane.name(),
        text: Some(plan.text.clone()),
        waited: plan.item.parked.reason.is_some(),
    })))
}

/// The command, if nobody has taken it or its task.
fn take(tx: &mut Tx<'_>, command_id: &str) -> Result<Option<Claimable>> {
    let Some(command) = commands::unclaimed(tx, command_id)? else { return Ok(None) };
    match &command.task_id {
        Some(task_id) if !commands::take_task(tx, task_id)? => Ok(None),
        // On a server somebody may have claimed it before we held the task.
        Some(_) => Ok(commands::unclaimed(tx, command_id)?),
        None => Ok(Some(command)),
    }
}

fn refuse(tx: &mut Tx<'_>, request: &Request, command: &Claimable, refusal: Refusal) -> Result<Beginning> {
    match routing::claim_for(tx, request, command, request.lease_seconds)? {
        Some(claim) => said(routing::refuse(tx, request, command, &claim, refusal)?),
        None => nothing(),
    }
}

fn said(executed: Executed) -> Result<Beginning> {
    Ok(Beginning::Said(match executed {
        Executed::Said(element) => Some(*element),
        _ => None,
    }))
}

fn begin_completion(
    tx: &mut Tx<'_>,
    request: &Request,
    live: &Live,
    plan: &Plan<'_>,
    id: i64,
) -> Result<Beginning> {
    let Some(waiting) = notifications::pending_completion(tx, id)? else { return nothing() };
    if !commands::take_task(tx, &waiting.task_id)? {
        return nothing();
    }
    let holder = (request.dispatcher_id.as_str(), request.lease_seconds.max(TYPING));
    if !notifications::begin_push(tx, id, Some(holder))? {
        return nothing();
    }
    let waited = plan.item.parked.reason.is_some();
    if waited {
        let ids = completions::tied_to(&waiting, &request.dispatcher_id);
        let attributes = json!({ "delivery_mode": DeliveryMode::Push, "target_session": live.session.name });
        completions::say(tx, "dispatch_signal_recovered", &waiting.task_id, ids, attributes)?;
    }
    if !start(tx, live, plan, id, None)? {
        return Err(taken());
    }
    Ok(Beginning::Sending(Box::new(Sent {
        delivery_id: plan.item.parked.id.clone(),
        client_message_id: plan.item.parked.client_message_id.clone(),
        notification_id: id,
        begun: Begun::Completion(Box::new(waiting)),
        check: None,
        target: live.pane.name(),
        text: Some(plan.text.clone()),
        waited,
    })))
}

/// Undoes what was begun: the terminal is another message's.
fn taken() -> Error {
    Error::Store(StoreError::Unique { constraint: "deliveries_one_in_flight".into() })
}

/// Takes the terminal for this message.
fn start(
    tx: &mut Tx<'_>,
    live: &Live,
    plan: &Plan<'_>,
    notification_id: i64,
    attempt_id: Option<i64>,
) -> Result<bool> {
    let incarnation = plan.facts.map_or_else(String::new, incarnation);
    if !deliveries::in_flight_on(tx, &live.session.id, &incarnation)?.is_empty() {
        return Ok(false);
    }
    Ok(deliveries::start_typing(
        tx,
        &plan.item.parked.id,
        &Start {
            notification_id,
            attempt_id,
            incarnation: &incarnation,
            body_sha256: &digest::of(plan.text.as_bytes()),
            body_bytes: plan.text.len(),
            external: live.facts_for_look_up(&plan.text, plan.mark),
            lease_by: &plan.lease_by,
        },
    )?)
}

fn type_it(
    cx: &mut Cx,
    request: &Request,
    live: &mut Live,
    plan: &Plan<'_>,
    sent: &Sent,
    care: Care,
) -> Result<Option<Element>> {
    fault::point("push.begun");
    let begun = Instant::now();
    if !request.guard.strict {
        return type_blindly(cx, request, live, plan, sent);
    }
    let typed = type_and_prove(cx, live, plan, sent, care);
    fault::point("push.typed");
    let element = match typed {
        // It waits on, as if it had not been begun.
        Ok(Typed::NotNow(refusal)) => {
            let closed = Closed::of(&refusal);
            cx.db.write(|tx| withdraw(tx, request, live, plan.item, sent, &closed))
        }
        Ok(typed) => cx.db.write(|tx| {
            let from = DeliveryStage::Sending;
            if !deliveries::settle(tx, &sent.delivery_id, from, &outcome_of(&typed))? {
                // It took too long, and somebody else has decided.
                return Ok::<_, Error>(None);
            }
            let fate = match &typed {
                Typed::Seen { turn_id, .. } => {
                    Fate::Seen { turn_id: turn_id.as_deref(), after: Some(begun.elapsed()) }
                }
                Typed::Unconfirmed { reason } => Fate::Unproven(reason),
                Typed::NoMessage { detail } => Fate::Failed(detail),
                Typed::NotNow(refusal) => Fate::Failed(&refusal.detail),
            };
            conclude(tx, request, &live.session, sent, fate)
        }),
        // Nothing reached the terminal.
        Err(error) => {
            let closed = Closed::server_down(error.to_string());
            cx.db.write(|tx| withdraw(tx, request, live, plan.item, sent, &closed))
        }
    };
    fault::point("push.settled");
    element
}

/// Types a message into its receiver's terminal, while nobody else does.
fn type_and_prove(cx: &mut Cx, live: &mut Live, plan: &Plan<'_>, sent: &Sent, care: Care) -> Result<Typed> {
    let (id, by) = (&sent.delivery_id, &plan.lease_by);
    let owner = Owner::of(&cx.ledger(), id);
    let Live { pane, agent, .. } = live;
    let Some(facts) = plan.facts else { return Err(Error::invalid("nobody has looked at the terminal")) };
    let lock = match lock_pane(pane, agent, facts, owner, Insistence::NONE)? {
        Ok(lock) => lock,
        Err(refusal) => return Ok(Typed::NotNow(refusal)),
    };
    let mut keep = || cx.db.write(|tx| deliveries::renew(tx, id, by)).unwrap_or(false);
    Typist::of_message(pane, lock, &plan.text).type_and_prove(agent, plan.mark, care, &mut keep)
}

/// Types as 0.1.10 did, because the user wants no proof.
fn type_blindly(
    cx: &mut Cx,
    request: &Request,
    live: &mut Live,
    plan: &Plan<'_>,
    sent: &Sent,
) -> Result<Option<Element>> {
    let pane = live.pane.clone();
    let owner = Owner::of(&cx.ledger(), &sent.delivery_id);
    let facts = pane.tmux().pane(&pane.target()).map_err(Error::from);
    let locked = facts.and_then(|facts| lock_pane(&pane, &mut live.agent, &facts, owner, Insistence::FORCED));
    let closed = match locked {
        Ok(Ok(lock)) => Ok(lock),
        Ok(Err(refusal)) => Err(Closed::of(&refusal)),
        Err(error) => Err(Closed::server_down(error.to_string())),
    };
    let lock = match closed {
        Ok(lock) => lock,
        Err(closed) => return cx.db.write(|tx| withdraw(tx, request, live, plan.item, sent, &closed)),
    };
    let typist = Typist::of_text(&pane, lock, &plan.text);
    let typed = typist.type_blindly().map_err(|error| error.to_string());
    cx.db.write(|tx| {
        let outcome = deliveries::Outcome {
            stage: if typed.is_ok() { DeliveryStage::Finished } else { DeliveryStage::Failed },
            reason: Some("guard_off"),
            error: typed.as_ref().err().map(String::as_str),
            proof: Value::Null,
        };
        if !deliveries::settle(tx, &sent.delivery_id, DeliveryStage::Sending, &outcome)? {
            return Ok(None);
        }
        let fate = typed.as_ref().map_or_else(|error| Fate::Failed(error), |()| Fate::Typed);
        conclude(tx, request, &live.session, sent, fate)
    })
}

/// Nothing was sent after all: the message waits again.
fn withdraw(
    tx: &mut Tx<'_>,
    request: &Request,
    live: &Live,
    item: &Item,
    sent: &Sent,
    closed: &Closed,
) -> Result<Option<Element>> {
    let error = closed.detail.as_str();
    let back = deliveries::Outcome {
        stage: DeliveryStage::Parked,
        reason: Some(closed.reason),
        error: Some(error),
        proof: Value::Null,
    };
    if !deliveries::settle(tx, &sent.delivery_id, DeliveryStage::Sending, &back)? {
        return Ok(None);
    }
    notifications::withdraw_push(tx, sent.notification_id, error)?;
    if let Begun::Command(command, claim) = &sent.begun {
        lapses::withdraw(tx, &command.id, claim.attempt_id, closed.seconds, closed.reason)?;
        let event = Emit::info(
            Actor::Dispatch,
            "dispatch_command_abandoned",
            format!("Command {} waits again: nothing reached the terminal.", command.command_type),
            routing::correlation(request, command, claim),
            json!({ "recovery_state": "requeued", "side_effect_started": false }),
        );
        telemetry::emit(tx, &event.of_task(command.task_id.as_deref()).severity(Severity::Warning))?;
    }
    waiting::put_off(tx, &request.dispatcher_id, &live.session, item, closed)
}

/// The terminal is not there any more.
fn give_up(
    tx: &mut Tx<'_>,
    request: &Request,
    live: &Live,
    item: &Item,
    error: &str,
) -> Result<Option<Element>> {
    if !waiting::is_still_for(tx, &live.session, item)? {
        return Ok(None);
    }
    match &item.carried {
        Carried::Command(command) => give_up_command(tx, request, live, item, (&command.id, error)),
        Carried::Completion(waiting) => put_off_completion(tx, request, live, item, (waiting, error)),
    }
}

fn give_up_command(
    tx: &mut Tx<'_>,
    request: &Request,
    live: &Live,
    item: &Item,
    (command_id, error): (&str, &str),
) -> Result<Option<Element>> {
    let Some(command) = take(tx, command_id)? else { return Ok(None) };
    let Ok(route) = routing::find_route(tx, &command)? else { return Ok(None) };
    let Some(claim) = routing::claim_for(tx, request, &command, request.lease_seconds)? else {
        return Ok(None);
    };
    let check = permission::check(tx, &command, &claim, &route.binding.task_id)?;
    let mode = DeliveryMode::Push;
    let found = routing::find_or_insert(tx, request, &command, &claim, &route, &check, mode)?;
    let notification_id = match found {
        Ok((id, _)) => id,
        Err(refusal) => {
            return Ok(match routing::refuse(tx, request, &command, &claim, refusal)? {
                Executed::Said(element) => Some(*element),
                _ => None,
            });
        }
    };
    let mut ids = routing::attempted(tx, request, &command, &claim, &route, &check, (notification_id, mode))?;
    ids["signal_type"] = command.command_type.as_str().into();
    // It stays pending, as evidence.
    notifications::withdraw_push(tx, notification_id, error)?;
    tell_failure(tx, live, (command.task_id.as_deref(), ids, error))?;
    let element = Routed {
        attempt_id: claim.attempt_id,
        command_id: command.id.clone(),
        command_type: command.command_type,
        correlation_id: claim.correlation_id.clone(),
        deduplicated: None,
        delivery_mode: mode,
        dispatcher_id: request.dispatcher_id.clone(),
        dry_run: false,
        error: Some(error.to_owned()),
        native: None,
        notification_id,
        permission_check: check,
        send_result: None,
        side_effect_completed: false,
        side_effect_started: false,
        state: AttemptState::Failed.as_str(),
        target_session: live.session.name.clone(),
    };
    let end = End { state: AttemptState::Failed, error: Some(error), started: false, completed: false };
    routing::finish(tx, request, &command, &claim, &stored(&element), &end)?;
    let outcome = deliveries::Outcome {
        stage: DeliveryStage::Failed,
        reason: Some("pane_missing"),
        error: Some(error),
        proof: Value::Null,
    };
    deliveries::settle(tx, &item.parked.id, DeliveryStage::Parked, &outcome)?;
    parked::release(tx, &live.session.id)?;
    Ok(Some(Element::Routed(Box::new(element))))
}

/// A completion outlives its receiver's terminal, which may come back, as long as its binding lives.
fn put_off_completion(
    tx: &mut Tx<'_>,
    request: &Request,
    live: &Live,
    item: &Item,
    (waiting, error): (&Waiting, &str),
) -> Result<Option<Element>> {
    let reason = "pane_missing";
    let live_binding = bindings::live_of_task(tx, &waiting.task_id)?;
    if live_binding.is_none_or(|binding| binding.binding_id != waiting.binding_id) {
        parked::cancel_of_task(
            tx,
            &waiting.task_id,
            "the binding ended before the receiver's terminal took it",
        )?;
        return Ok(None);
    }
    let is_new = item.parked.reason.as_deref() != Some(reason);
    parked::put_off(tx, &item.parked.id, reason, Some(error), LATER)?;
    let by = &request.dispatcher_id;
    notifications::put_off(tx, waiting.id, by, LATER, DeliveryMode::Push, Some(error))?;
    if !is_new {
        return Ok(None);
    }
    let ids = completions::tied_to(waiting, &request.dispatcher_id);
    tell_failure(tx, live, (Some(&waiting.task_id), ids, error))?;
    let mut element = completion_element(tx, &live.session, waiting, "failed")?;
    element.error = Some(error.to_owned());
    Ok(Some(Element::Completion(Box::new(element))))
}

fn tell_failure(
    tx: &mut Tx<'_>,
    live: &Live,
    (task_id, ids, error): (Option<&str>, Value, &str),
) -> Result<()> {
    let attributes = json!({ "error": error, "error_type": "Error", "target_session": live.session.name });
    let summary = format!("The terminal of {} is not there.", live.session.name);
    let event = Emit::info(Actor::Dispatch, "dispatch_signal_failed", summary, ids, attributes);
    telemetry::emit(tx, &event.of_task(task_id).severity(Severity::Error))?;
    Ok(())
}
