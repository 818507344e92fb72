//! Closing the books on a wake-up: what its sender did with the decision for one side.

use conveyor_model::records::{Object, Task};
use conveyor_model::{Actor, DeliveryStatus, Role, Severity, WakeStatus};
use conveyor_store::Tx;
use conveyor_store::telemetry::{self, Emit};
use serde::Serialize;
use serde_json::{Value, json};

use super::Receipt;
use super::wakeup::PLANNED;
use crate::tasks::TaskRef;
use crate::{Cx, Error, Result, reference};

const RECORDED: &str = "app_wakeup_delivery_recorded";

/// What a sender did.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryRequest<'a> {
    /// Task id or name; it needs no binding.
    pub task: &'a str,
    /// The side.
    pub role: Role,
    /// The receipt of the round of decisions.
    pub dispatch_receipt: &'a str,
    /// What was done.
    pub status: DeliveryStatus,
    /// The thread it was sent to.
    pub thread_id: Option<&'a str>,
    /// Free text.
    pub reason: Option<&'a str>,
}

/// The reply of [`record_delivery`].
#[derive(Debug, Serialize)]
pub struct DeliveryRecorded {
    /// What was recorded.
    pub delivery: Delivery,
    /// The event that records it.
    pub receipt: Receipt,
    /// What it answers.
    pub source: Source,
    /// The task.
    pub task: TaskRef,
}

/// A recorded delivery.
#[derive(Debug, Serialize)]
pub struct Delivery {
    /// Free text, as given.
    pub reason: Option<String>,
    /// The side.
    pub role: Role,
    /// What had been decided.
    pub source_action_status: WakeStatus,
    /// Whether the prompt could be sent as it was.
    pub source_send_ready: bool,
    /// What was done.
    pub status: DeliveryStatus,
    /// The thread, as given, or as decided.
    pub thread_id: Option<String>,
}

/// The round of decisions that a delivery answers.
#[derive(Debug, Serialize)]
pub struct Source {
    /// Its receipt.
    pub dispatch_receipt: String,
    /// Whether a dispatcher had to be started.
    pub dispatch_required: bool,
    /// The dispatcher as it was then.
    pub dispatcher: Value,
}

/// Records what was done with one decision. May be repeated; every call adds an event.
///
/// # Errors
/// An unknown task, a receipt that is none of this task's decisions, or a delivery that the
/// decision does not allow; nothing is written then.
pub fn record_delivery(cx: &mut Cx, request: &DeliveryRequest<'_>) -> Result<DeliveryRecorded> {
    cx.db.write(|tx| {
        let task = reference::task(tx, request.task)?;
        let decided = Decided::find(tx, &task, request)?;
        decided.check(request)?;
        let thread_id = request.thread_id.map(ToOwned::to_owned).or(decided.thread_id);
        let delivery = Delivery {
            reason: request.reason.map(ToOwned::to_owned),
            role: request.role,
            source_action_status: decided.status,
            source_send_ready: decided.send_ready,
            status: request.status,
            thread_id,
        };
        let source = Source {
            dispatch_receipt: request.dispatch_receipt.to_owned(),
            dispatch_required: decided.dispatcher_required,
            dispatcher: decided.dispatcher,
        };
        let receipt = emit(tx, &task, &delivery, &source, decided.thread_title.as_deref())?;
        Ok(DeliveryRecorded { delivery, receipt, source, task: (&task).into() })
    })
}

/// The decision for one side, read back from its receipt.
struct Decided {
    status: WakeStatus,
    send_ready: bool,
    thread_id: Option<String>,
    thread_title: Option<String>,
    dispatcher_required: bool,
    dispatcher: Value,
}

impl Decided {
    fn find(tx: &mut Tx<'_>, task: &Task, request: &DeliveryRequest<'_>) -> Result<Self> {
        let id = request.dispatch_receipt;
        let event = telemetry::find(tx, id)?.ok_or_else(|| {
            Error::invalid(format!(
                "unknown receipt {id:?}: give the receipt.event_id that `conveyor app-wakeup-dispatch` printed"
            ))
        })?;
        if event.event_type != PLANNED {
            return Err(Error::invalid(format!(
                "receipt {id:?} is an event {}, not {PLANNED}: give the receipt.event_id of an app-wakeup-dispatch",
                event.event_type
            )));
        }
        if event.task_id.as_deref() != Some(task.id.as_str()) {
            return Err(Error::invalid(format!(
                "receipt {id:?} does not belong to task {:?}: give a receipt of this task, or its own task",
                task.name
            )));
        }
        Self::read(&event.attributes, request.role, id)
    }

    fn read(attributes: &Object, role: Role, id: &str) -> Result<Self> {
        let damaged = |what: &str| {
            Error::invalid(format!(
                "receipt {id:?} {what}: make a new one with `conveyor app-wakeup-dispatch`"
            ))
        };
        if attributes.is_empty() {
            return Err(damaged("has no readable attributes"));
        }
        let actions = attributes.get("actions").and_then(Value::as_array);
        let actions = actions.ok_or_else(|| damaged("has no list of actions"))?;
        let required = attributes.get("summary").and_then(|summary| summary.get("dispatcher_required"));
        let required = required.and_then(Value::as_bool);
        let required = required.ok_or_else(|| damaged("does not say whether a dispatcher was required"))?;
        let action =
            actions.iter().find(|action| action.get("role").and_then(Value::as_str) == Some(role.as_str()));
        let action = action.ok_or_else(|| damaged(&format!("has no action for the {role}")))?;
        let text = |key: &str| action.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
        let status = text("status").as_deref().and_then(WakeStatus::from_text).ok_or_else(|| {
            let found = action.get("status").unwrap_or(&Value::Null);
            damaged(&format!("has the unsupported status {found} for the {role}"))
        })?;
        Ok(Self {
            status,
            send_ready: action.get("send_ready").and_then(Value::as_bool).unwrap_or(false),
            thread_id: text("thread_id"),
            thread_title: text("thread_title"),
            dispatcher_required: required,
            dispatcher: attributes.get("dispatcher").cloned().unwrap_or(Value::Null),
        })
    }

    /// What can be recorded for this decision.
    fn allowed(&self) -> Option<DeliveryStatus> {
        match (self.status, self.send_ready) {
            (WakeStatus::ReadyToSend, true) => Some(DeliveryStatus::Sent),
            (WakeStatus::ReadyToSend, false) => None,
            (WakeStatus::SkippedHealthy, _) => Some(DeliveryStatus::Skipped),
            (WakeStatus::BlockedMissingThread, _) => Some(DeliveryStatus::Blocked),
        }
    }

    fn check(&self, request: &DeliveryRequest<'_>) -> Result<()> {
        let allowed = self.allowed();
        if allowed != Some(request.status) {
            let advice = allowed.map_or_else(
                || "decide anew with `conveyor app-wakeup-dispatch`".to_owned(),
                |status| format!("only {status} can be recorded for it"),
            );
            return Err(Error::invalid(format!(
                "delivery status {} does not fit the {}'s action, which is {}: {advice}",
                request.status, request.role, self.status
            )));
        }
        if request.status != DeliveryStatus::Sent {
            return Ok(());
        }
        let given = request.thread_id.ok_or_else(|| {
            Error::invalid("delivery status sent needs --thread-id: the thread that the prompt was sent to")
        })?;
        if self.thread_id.as_deref() != Some(given) {
            let expected = self.thread_id.as_deref().unwrap_or("none");
            return Err(Error::invalid(format!(
                "--thread-id {given:?} does not match: the prompt was for thread {expected:?}"
            )));
        }
        Ok(())
    }
}

fn emit(
    tx: &mut Tx<'_>,
    task: &Task,
    delivery: &Delivery,
    source: &Source,
    thread_title: Option<&str>,
) -> Result<Receipt> {
    let correlation = json!({
        "command": "app-wakeup-record-delivery",
        "dispatch_receipt": source.dispatch_receipt,
        "role": delivery.role,
        "thread_id": delivery.thread_id,
    });
    let attributes = json!({
        "delivery_status": delivery.status,
        "dispatch_receipt": source.dispatch_receipt,
        "dispatch_required": source.dispatch_required,
        "reason": delivery.reason,
        "role": delivery.role,
        "source_action_status": delivery.source_action_status,
        "source_send_ready": delivery.source_send_ready,
        "thread_id": delivery.thread_id,
        "thread_title": thread_title,
    });
    let text = format!("Wake-up of the {} of task {}: {}.", delivery.role, task.name, delivery.status);
    let sent = delivery.status == DeliveryStatus::Sent;
    let event = Emit::info(Actor::Manager, RECORDED, text, correlation, attributes)
        .of_task(Some(&task.id))
        .severity(if sent { Severity::Info } else { Severity::Warning })
        .in_whole_seconds();
    let event_id = telemetry::emit(tx, &event)?;
    Ok(Receipt { event_id, event_type: RECORDED, recorded_at: tx.now()?.to_s_text() })
}
