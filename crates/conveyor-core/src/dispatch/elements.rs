//! What a dispatcher says about each item: the elements of `processed`, which are also stored as
//! the results of attempts.

use conveyor_model::{CommandType, DeliveryMode, WORKER_TASK_COMPLETE};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// One item that a dispatcher handled.
#[derive(Clone, Debug)]
pub enum Element {
    /// A lapsed claim was ended.
    Recovered(Recovered),
    /// A command is in its receiver's inbox, or was typed.
    Routed(Box<Routed>),
    /// A command was refused before any effect.
    Refused(Refused),
    /// A command was put off.
    Parked(Box<Parked>),
    /// A completion was handled.
    Completion(Box<Completion>),
    /// A half-done push of a completion was given up.
    GivenUp(GivenUp),
    /// A dry run: a command would be executed.
    PlannedCommand(PlannedCommand),
    /// A dry run: a completion would be routed.
    PlannedCompletion(PlannedCompletion),
}

impl Serialize for Element {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Recovered(element) => element.serialize(serializer),
            Self::Routed(element) => element.serialize(serializer),
            Self::Refused(element) => element.serialize(serializer),
            Self::Parked(element) => element.serialize(serializer),
            Self::Completion(element) => element.serialize(serializer),
            Self::GivenUp(element) => element.serialize(serializer),
            Self::PlannedCommand(element) => element.serialize(serializer),
            Self::PlannedCompletion(element) => element.serialize(serializer),
        }
    }
}

impl Element {
    /// Whether the element counts against the limit of a pass; a receiver that cannot be reached
    /// must not use up the pass of those that can.
    pub(super) fn counts(&self) -> bool {
        match self {
            Self::Parked(_) => false,
            Self::Completion(completion) => completion.state != "parked",
            _ => true,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are documented with the command")]
pub struct Recovered {
    pub attempt_id: Option<i64>,
    pub command_id: String,
    pub command_type: String,
    pub error: String,
    pub side_effect_started: bool,
    pub state: &'static str,
}

/// What was found about the permission that a command requires.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are documented with the command")]
pub struct PermissionCheck {
    pub allowed: bool,
    pub configured: bool,
    pub required_permission: String,
}

/// How far a message for a terminal has come, and what proves it.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are documented with the command")]
pub struct Native {
    /// Milliseconds from the beginning of sending; null where nobody took the time.
    pub accepted_ms: Option<u64>,
    pub adapter: &'static str,
    pub client_message_id: String,
    pub delivery_id: String,
    pub mode: Option<&'static str>,
    pub reason: Option<String>,
    pub seen_ms: Option<u64>,
    pub stage: &'static str,
    pub turn_id: Option<String>,
}

/// What was typed.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are documented with the command")]
pub struct SendResult {
    pub dry_run: bool,
    pub session: String,
    pub side_effect_completed: bool,
    pub side_effect_started: bool,
    pub target: String,
    pub text: String,
    pub time: String,
}

#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are documented with the command")]
pub struct Routed {
    pub attempt_id: i64,
    pub command_id: String,
    pub command_type: CommandType,
    pub correlation_id: String,
    /// Set when the notification existed already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deduplicated: Option<bool>,
    pub delivery_mode: DeliveryMode,
    pub dispatcher_id: String,
    pub dry_run: bool,
    /// Why it did not arrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native: Option<Native>,
    pub notification_id: i64,
    pub permission_check: Option<PermissionCheck>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_result: Option<SendResult>,
    pub side_effect_completed: bool,
    pub side_effect_started: bool,
    pub state: &'static str,
    pub target_session: String,
}

#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are documented with the command")]
pub struct Refused {
    pub attempt_id: i64,
    pub command_id: String,
    pub command_type: CommandType,
    pub correlation_id: String,
    pub dispatcher_id: String,
    pub error: String,
    pub error_type: &'static str,
    pub notification_id: Option<i64>,
    pub required_permission: Option<String>,
    pub side_effect_completed: bool,
    pub side_effect_started: bool,
    pub state: &'static str,
}

#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are documented with the command")]
pub struct Parked {
    pub available_at: String,
    pub command_id: String,
    pub command_type: CommandType,
    pub correlation_id: Option<String>,
    pub detail: String,
    pub dispatcher_id: String,
    pub dry_run: bool,
    pub native: Native,
    pub reason: String,
    pub state: &'static str,
    pub target_session: String,
}

#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are documented with the command")]
pub struct Completion {
    pub binding_id: String,
    pub correlation_id: String,
    pub dedupe_key: String,
    pub delivery_mode: DeliveryMode,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    pub dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native: Option<Native>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notification_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<bool>,
    pub signal_type: &'static str,
    pub source_event_id: Option<i64>,
    pub state: &'static str,
    pub target_session: String,
    pub task: String,
}

#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are documented with the command")]
pub struct GivenUp {
    pub binding_id: String,
    pub claim_expires_at: Option<String>,
    pub claimed_by: Option<String>,
    pub correlation_id: String,
    pub error: String,
    pub notification_id: i64,
    pub signal_type: &'static str,
    pub source_event_id: Option<i64>,
    pub state: &'static str,
    pub task_id: String,
}

#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are documented with the command")]
pub struct PlannedCommand {
    pub command_id: String,
    pub command_type: CommandType,
    pub correlation_id: Option<String>,
    pub dry_run: bool,
    pub state: &'static str,
    pub task: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are documented with the command")]
pub struct PlannedCompletion {
    pub binding_id: String,
    pub correlation_id: String,
    pub dedupe_key: String,
    pub dry_run: bool,
    pub signal_type: &'static str,
    pub source_event_id: i64,
    pub state: &'static str,
    pub target_session: Option<String>,
    pub task: String,
}

/// The JSON of an element, as it is stored with attempt and command.
pub(super) fn stored(element: &impl Serialize) -> Value {
    // The element types contain nothing that JSON cannot say.
    serde_json::to_value(element).unwrap_or_default()
}

/// The signal type of every completion.
pub(super) const COMPLETION: &str = WORKER_TASK_COMPLETE;
