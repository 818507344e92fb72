//! What becomes of a message that was begun: the records of command, notification and telemetry.

use std::time::Duration;

use conveyor_model::records::Session;
use conveyor_model::{Actor, AttemptState, DeliveryMode, DeliveryStage, Severity};
use conveyor_store::commands::{Claim, Claimable};
use conveyor_store::notifications::{self, Waiting};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{Tx, parked};
use serde_json::{Value, json};

use super::waiting::completion_element;
use crate::Result;
use crate::dispatch::elements::{Element, Native, PermissionCheck, Routed, SendResult, stored};
use crate::dispatch::routing::{self, End};
use crate::dispatch::{Request, completions};

/// A message of which the first byte may have been typed.
pub(super) struct Sent {
    pub(super) delivery_id: String,
    pub(super) client_message_id: String,
    pub(super) notification_id: i64,
    pub(super) begun: Begun,
    pub(super) check: Option<PermissionCheck>,
    /// The terminal, as people see it.
    pub(super) target: String,
    /// The exact text, where it is known.
    pub(super) text: Option<String>,
    /// Whether it had waited before.
    pub(super) waited: bool,
}

/// What it executes.
pub(super) enum Begun {
    Command(Box<Claimable>, Claim),
    Completion(Box<Waiting>),
}

/// What became of it.
#[derive(Clone, Copy)]
pub(super) enum Fate<'f> {
    /// The receiver's own record has it.
    Seen { turn_id: Option<&'f str>, after: Option<Duration> },
    /// It was typed and no proof was asked for.
    Typed,
    /// It may have arrived.
    Unproven(&'f str),
    /// It did not arrive, as far as anybody can find out.
    Failed(&'f str),
}

impl Fate<'_> {
    fn state(self) -> &'static str {
        match self {
            Self::Seen { .. } | Self::Typed => "delivered",
            Self::Unproven(_) => "unconfirmed",
            Self::Failed(_) => "failed",
        }
    }

    fn has_arrived(self) -> bool {
        matches!(self, Self::Seen { .. } | Self::Typed)
    }
}

/// Records what became of a message. `None`, and nothing recorded, when somebody else decided about
/// its command meanwhile.
pub(super) fn conclude(
    tx: &mut Tx<'_>,
    request: &Request,
    target: &Session,
    sent: &Sent,
    fate: Fate<'_>,
) -> Result<Option<Element>> {
    let element = match &sent.begun {
        Begun::Command(command, claim) => of_command(tx, request, target, sent, (command, claim), fate)?,
        Begun::Completion(waiting) => of_completion(tx, request, target, sent, waiting, fate)?,
    };
    if matches!(fate, Fate::Failed(_)) {
        // The next one may go.
        parked::release(tx, &target.id)?;
    }
    tx.wake_waiters();
    Ok(element)
}

fn of_command(
    tx: &mut Tx<'_>,
    request: &Request,
    target: &Session,
    sent: &Sent,
    (command, claim): (&Claimable, &Claim),
    fate: Fate<'_>,
) -> Result<Option<Element>> {
    let error = match fate {
        Fate::Failed(error) => Some(error),
        _ => None,
    };
    let element = Routed {
        attempt_id: claim.attempt_id,
        command_id: command.id.clone(),
        command_type: command.command_type,
        correlation_id: claim.correlation_id.clone(),
        deduplicated: None,
        delivery_mode: DeliveryMode::Push,
        dispatcher_id: request.dispatcher_id.clone(),
        dry_run: false,
        error: error.map(ToOwned::to_owned),
        native: native(sent, fate),
        notification_id: sent.notification_id,
        permission_check: sent.check.clone(),
        send_result: send_result(tx, target, sent, fate)?,
        side_effect_completed: fate.has_arrived(),
        side_effect_started: true,
        state: fate.state(),
        target_session: target.name.clone(),
    };
    if !matches!(fate, Fate::Unproven(_)) {
        let state = if fate.has_arrived() { AttemptState::Succeeded } else { AttemptState::Failed };
        let end = End { state, error, started: true, completed: fate.has_arrived() };
        if !routing::finish(tx, request, command, claim, &stored(&element), &end)? {
            return Ok(None);
        }
    }
    let mut ids = routing::correlation(request, command, claim);
    ids["routed_notification_id"] = sent.notification_id.into();
    ids["signal_type"] = command.command_type.as_str().into();
    settle_notification(tx, target, sent, fate, (command.task_id.as_deref(), ids, json!({})))?;
    Ok(Some(Element::Routed(Box::new(element))))
}

fn of_completion(
    tx: &mut Tx<'_>,
    request: &Request,
    target: &Session,
    sent: &Sent,
    waiting: &Waiting,
    fate: Fate<'_>,
) -> Result<Option<Element>> {
    let mut element = completion_element(tx, target, waiting, fate.state())?;
    element.native = native(sent, fate);
    element.recovered = sent.waited.then_some(true);
    if let Fate::Failed(error) = fate {
        element.error = Some(error.to_owned());
    }
    let ids = completions::tied_to(waiting, &request.dispatcher_id);
    let more = if sent.waited { json!({ "recovered": true }) } else { json!({}) };
    settle_notification(tx, target, sent, fate, (Some(&waiting.task_id), ids, more))?;
    Ok(Some(Element::Completion(Box::new(element))))
}

fn settle_notification(
    tx: &mut Tx<'_>,
    target: &Session,
    sent: &Sent,
    fate: Fate<'_>,
    (task_id, mut ids, mut attributes): (Option<&str>, Value, Value),
) -> Result<()> {
    attributes["target_session"] = target.name.clone().into();
    let (event_type, severity, summary) = match fate {
        Fate::Seen { .. } | Fate::Typed => {
            notifications::pushed(tx, sent.notification_id)?;
            attributes["target"] = sent.target.clone().into();
            ("dispatch_signal_routed", Severity::Info, "A message was typed to")
        }
        Fate::Unproven(reason) => {
            attributes["reason"] = reason.into();
            ids["client_message_id"] = sent.client_message_id.clone().into();
            ids["delivery_id"] = sent.delivery_id.clone().into();
            ("delivery_unknown", Severity::Warning, "Not proven to have arrived: a message typed to")
        }
        Fate::Failed(error) => {
            notifications::give_up(tx, sent.notification_id, error)?;
            attributes["error"] = error.into();
            attributes["error_type"] = "Error".into();
            ("dispatch_signal_failed", Severity::Error, "A message did not arrive that was typed to")
        }
    };
    let summary = format!("{summary} {}.", target.name);
    let event = Emit::info(Actor::Dispatch, event_type, summary, ids, attributes);
    telemetry::emit(tx, &event.of_task(task_id).severity(severity))?;
    Ok(())
}

fn native(sent: &Sent, fate: Fate<'_>) -> Option<Native> {
    let (stage, reason, turn_id, after) = match fate {
        Fate::Typed => return None,
        Fate::Seen { turn_id, after } => (DeliveryStage::Seen, None, turn_id, after),
        Fate::Unproven(reason) => (DeliveryStage::Unknown, Some(reason), None, None),
        Fate::Failed(_) => (DeliveryStage::Unknown, Some("no_proof"), None, None),
    };
    Some(Native {
        accepted_ms: None,
        adapter: "tmux",
        client_message_id: sent.client_message_id.clone(),
        delivery_id: sent.delivery_id.clone(),
        mode: Some("typed"),
        reason: reason.map(ToOwned::to_owned),
        seen_ms: after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        stage: stage.as_str(),
        turn_id: turn_id.map(ToOwned::to_owned),
    })
}

/// What was typed, where that is known.
fn send_result(tx: &mut Tx<'_>, target: &Session, sent: &Sent, fate: Fate<'_>) -> Result<Option<SendResult>> {
    let Some(text) = sent.text.as_ref().filter(|_| fate.has_arrived()) else { return Ok(None) };
    Ok(Some(SendResult {
        dry_run: false,
        session: target.name.clone(),
        side_effect_completed: true,
        side_effect_started: true,
        target: sent.target.clone(),
        text: text.clone(),
        time: tx.now()?.to_ms_text(),
    }))
}
