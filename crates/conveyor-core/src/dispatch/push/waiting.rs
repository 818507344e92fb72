//! Messages that wait for a terminal: handing them over and putting them off, inside a transaction.

use std::path::Path;

use conveyor_model::records::Session;
use conveyor_model::{Actor, CommandType, DeliveryMode};
use conveyor_store::commands::{self, Claimable};
use conveyor_store::notifications::{self, Waiting};
use conveyor_store::parked::{self, NewParked, Parked};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{Tx, sessions, tasks};
use serde_json::json;

use super::gate::Closed;
use super::{Carried, Item, SHORTLY};
use crate::dispatch::elements::{COMPLETION, Completion, Element, Native, Parked as ParkedElement};
use crate::dispatch::routing::{self, Executed, Refusal, Route};
use crate::dispatch::{Request, completions, permission};
use crate::typing::message;
use crate::{Result, digest};

/// What the queue says of a message at whose receiver nobody has looked yet.
const HANDED_OVER: &str = "handed over";

/// What stands in the way of typing a command's message whatever the terminal shows.
pub(in crate::dispatch) fn refusal(
    tx: &mut Tx<'_>,
    command: &Claimable,
    route: &Route,
) -> Result<Option<Refusal>> {
    let check = permission::look(tx, command, &route.binding.task_id)?;
    if let Some(denied) = check.filter(|check| !check.allowed) {
        return Ok(Some(Refusal::of_permission(&denied)));
    }
    let invalid = |error: String| Ok(Some(Refusal { error, error_type: "DispatchRoutingError" }));
    if command.command_type == CommandType::NotifyManager {
        // Its frame leaves nothing that could act.
        return Ok(None);
    }
    match message::check(&route.message, Path::new(&route.target.cwd)) {
        Ok(()) => Ok(None),
        Err(error) => invalid(error.to_string()),
    }
}

/// Has a command's message wait for its receiver's terminal. The command stays pending and is not
/// due for a while, so that nobody else takes it up meanwhile.
pub(in crate::dispatch) fn hand_over(
    tx: &mut Tx<'_>,
    request: &Request,
    command: &Claimable,
    route: &Route,
) -> Result<Executed> {
    let parked = match parked::of_command(tx, &command.id)? {
        Some(mut parked) => {
            if parked.session_id != route.target.id {
                parked::redirect(tx, &parked.id, &route.target.id)?;
                parked.session_id.clone_from(&route.target.id);
                parked.reason = None;
            }
            parked
        }
        None => parked::insert(
            tx,
            &NewParked {
                session_id: &route.target.id,
                task_id: &route.binding.task_id,
                command_id: Some(&command.id),
                notification_id: None,
                body_sha256: &digest::of(route.message.as_bytes()),
                body_bytes: route.message.len(),
            },
        )?,
    };
    let session_id = route.target.id.clone();
    if request.guard.strict && parked.reason.is_none() && parked::is_behind_another(tx, &parked)? {
        let item = Item { parked, carried: Carried::Command(Box::new(command.clone())) };
        let said = put_off(tx, &request.dispatcher_id, &route.target, &item, &behind_another())?;
        return Ok(Executed::HandedOver { session_id, said: said.map(Box::new) });
    }
    let reason = parked.reason.as_deref().unwrap_or(HANDED_OVER);
    commands::put_off(tx, &command.id, SHORTLY, reason)?;
    Ok(Executed::HandedOver { session_id, said: None })
}

/// Has a completion wait for its receiver's terminal, held so that nobody else takes it up.
pub(in crate::dispatch) fn hand_over_completion(
    tx: &mut Tx<'_>,
    request: &Request,
    target: &Session,
    waiting: &Waiting,
) -> Result<Option<Element>> {
    let dispatcher = request.dispatcher_id.as_str();
    let message = completions::message_of(&waiting.payload);
    let parked = match parked::of_notification(tx, waiting.id)? {
        Some(parked) => parked,
        None => parked::insert(
            tx,
            &NewParked {
                session_id: &waiting.target_session_id,
                task_id: &waiting.task_id,
                command_id: None,
                notification_id: Some(waiting.id),
                body_sha256: &digest::of(message.as_bytes()),
                body_bytes: message.len(),
            },
        )?,
    };
    if request.guard.strict && parked.reason.is_none() && parked::is_behind_another(tx, &parked)? {
        let item = Item { parked, carried: Carried::Completion(Box::new(waiting.clone())) };
        return put_off(tx, dispatcher, target, &item, &behind_another());
    }
    let reason = parked.reason.as_deref();
    notifications::put_off(tx, waiting.id, dispatcher, SHORTLY, DeliveryMode::Push, reason)?;
    Ok(None)
}

fn behind_another() -> Closed {
    let detail = "an earlier message to the same receiver is not settled yet".to_owned();
    Closed { reason: "order", detail, seconds: SHORTLY }
}

/// Whether a message still goes to the session whose terminal was looked at. If not, it is due at
/// once, to be routed anew.
pub(super) fn is_still_for(tx: &mut Tx<'_>, session: &Session, item: &Item) -> Result<bool> {
    let is_there = sessions::by_id(tx, &session.id)?.is_some_and(|now| now.tmux() == session.tmux());
    match &item.carried {
        Carried::Command(command) => {
            let goes_there = match routing::find_route(tx, command)? {
                Ok(route) => is_there && route.target.id == session.id,
                Err(_) => false,
            };
            if !goes_there {
                let reason = item.parked.reason.as_deref().unwrap_or(HANDED_OVER);
                commands::put_off(tx, &command.id, 0, reason)?;
                tx.wake_waiters();
            }
            Ok(goes_there)
        }
        Carried::Completion(_) => {
            if !is_there {
                parked::release(tx, &session.id)?;
            }
            Ok(is_there)
        }
    }
}

/// Puts a message off whose receiver's terminal was looked at, unless it goes elsewhere by now.
pub(super) fn put_off_after_look(
    tx: &mut Tx<'_>,
    dispatcher: &str,
    session: &Session,
    item: &Item,
    closed: &Closed,
) -> Result<Option<Element>> {
    if !is_still_for(tx, session, item)? {
        return Ok(None);
    }
    put_off(tx, dispatcher, session, item, closed)
}

/// Puts a message off. The element is given only when the reason is new; so is the telemetry.
pub(super) fn put_off(
    tx: &mut Tx<'_>,
    dispatcher: &str,
    target: &Session,
    item: &Item,
    closed: &Closed,
) -> Result<Option<Element>> {
    let Closed { reason, detail, seconds } = closed;
    parked::put_off(tx, &item.parked.id, reason, Some(detail), *seconds)?;
    let is_new = item.parked.reason.as_deref() != Some(*reason);
    match &item.carried {
        Carried::Command(command) => {
            let available_at = commands::put_off(tx, &command.id, *seconds, reason)?;
            if !is_new {
                return Ok(None);
            }
            tell_command(tx, dispatcher, target, (command, &available_at), item, closed)?;
            Ok(Some(Element::Parked(Box::new(ParkedElement {
                available_at,
                command_id: command.id.clone(),
                command_type: command.command_type,
                correlation_id: command.correlation_id.clone(),
                detail: detail.clone(),
                dispatcher_id: dispatcher.to_owned(),
                dry_run: false,
                native: native(&item.parked, reason),
                reason: (*reason).to_owned(),
                state: "parked",
                target_session: target.name.clone(),
            }))))
        }
        Carried::Completion(waiting) => {
            let (mode, by) = (DeliveryMode::Push, dispatcher);
            notifications::put_off(tx, waiting.id, by, *seconds, mode, Some(reason))?;
            if !is_new {
                return Ok(None);
            }
            tell_completion(tx, dispatcher, target, waiting, item, closed)?;
            let mut element = completion_element(tx, target, waiting, "parked")?;
            element.native = Some(native(&item.parked, reason));
            element.reason = Some((*reason).to_owned());
            element.detail = Some(detail.clone());
            Ok(Some(Element::Completion(Box::new(element))))
        }
    }
}

fn native(parked: &Parked, reason: &str) -> Native {
    Native {
        accepted_ms: None,
        adapter: "tmux",
        client_message_id: parked.client_message_id.clone(),
        delivery_id: parked.id.clone(),
        mode: None,
        reason: Some(reason.to_owned()),
        seen_ms: None,
        stage: "parked",
        turn_id: None,
    }
}

fn tell_command(
    tx: &mut Tx<'_>,
    dispatcher: &str,
    target: &Session,
    (command, available_at): (&Claimable, &str),
    item: &Item,
    closed: &Closed,
) -> Result<()> {
    let event = Emit::info(
        Actor::Dispatch,
        "delivery_parked",
        format!("Put off command {} for {}.", command.command_type, target.name),
        json!({
            "client_message_id": item.parked.client_message_id,
            "command_id": command.id,
            "command_type": command.command_type,
            "correlation_id": command.correlation_id,
            "delivery_id": item.parked.id,
            "dispatcher_id": dispatcher,
        }),
        json!({
            "available_at": available_at,
            "detail": closed.detail,
            "reason": closed.reason,
            "target_session": target.name,
        }),
    );
    telemetry::emit(tx, &event.of_task(command.task_id.as_deref()))?;
    Ok(())
}

fn tell_completion(
    tx: &mut Tx<'_>,
    dispatcher: &str,
    target: &Session,
    waiting: &Waiting,
    item: &Item,
    closed: &Closed,
) -> Result<()> {
    let mut ids = completions::tied_to(waiting, dispatcher);
    ids["client_message_id"] = item.parked.client_message_id.clone().into();
    ids["delivery_id"] = item.parked.id.clone().into();
    let attributes =
        json!({ "detail": closed.detail, "reason": closed.reason, "target_session": target.name });
    completions::say(tx, "delivery_parked", &waiting.task_id, ids, attributes)
}

/// What is said of a completion for a terminal.
pub(super) fn completion_element(
    tx: &mut Tx<'_>,
    target: &Session,
    waiting: &Waiting,
    state: &'static str,
) -> Result<Completion> {
    let task = tasks::find(tx, &waiting.task_id)?.map_or_else(|| waiting.task_id.clone(), |task| task.name);
    Ok(Completion {
        binding_id: waiting.binding_id.clone(),
        correlation_id: waiting.correlation_id.clone(),
        dedupe_key: waiting.dedupe_key.clone(),
        delivery_mode: DeliveryMode::Push,
        detail: None,
        dry_run: false,
        error: None,
        native: None,
        notification_id: Some(waiting.id),
        reason: None,
        recovered: None,
        signal_type: COMPLETION,
        source_event_id: waiting.source_event_id,
        state,
        target_session: target.name.clone(),
        task,
    })
}
