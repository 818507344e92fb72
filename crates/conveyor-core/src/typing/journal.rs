//! The record of what was typed by hand: audit event and telemetry.

use conveyor_model::records::Session;
use conveyor_model::{Actor, Severity};
use conveyor_store::audit::{self, AuditEvent};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{Tx, bindings};
use serde_json::{Map, Value, json};

use crate::{Error, Result};

/// What is recorded of an attempt to reach a session's terminal.
pub(super) struct Entry<'a> {
    /// `session_nudged` or `session_interrupted`.
    pub(super) event: &'a str,
    /// `session_nudge` or `session_interrupt`; `None` writes no telemetry.
    pub(super) telemetry: Option<&'a str>,
    /// The session, where there is one.
    pub(super) session: Option<&'a Session>,
    /// Its name as given.
    pub(super) name: &'a str,
    pub(super) dry_run: bool,
    /// The key, of interrupts.
    pub(super) key: Option<&'a str>,
    /// Facts of this kind of attempt, for event and telemetry.
    pub(super) facts: Value,
    /// Why it failed.
    pub(super) error: Option<&'a Error>,
}

/// Writes an entry.
pub(super) fn write(tx: &mut Tx<'_>, entry: &Entry<'_>) -> Result<()> {
    let mut attributes = Map::new();
    if let Value::Object(facts) = &entry.facts {
        attributes.extend(facts.clone());
    }
    attributes.insert("dry_run".into(), entry.dry_run.into());
    attributes.insert("success".into(), entry.error.is_none().into());
    if let Some(error) = entry.error {
        attributes.insert("error".into(), error.to_string().into());
        attributes.insert("error_type".into(), error.audit_type().into());
    }
    let mut payload = attributes.clone();
    payload.insert("session".into(), entry.name.into());
    if let Some(key) = entry.key {
        payload.insert("key".into(), key.into());
    }
    let payload = Value::Object(payload);
    audit::record(tx, &AuditEvent { event_type: entry.event, task_id: None, command_id: None, payload })?;
    match entry.telemetry {
        Some(kind) => emit(tx, entry, kind, Value::Object(attributes)),
        None => Ok(()),
    }
}

fn emit(tx: &mut Tx<'_>, entry: &Entry<'_>, kind: &str, attributes: Value) -> Result<()> {
    let binding = match entry.session {
        Some(session) => bindings::live_of_session(tx, &session.id)?,
        None => None,
    };
    let mut correlation = json!({
        "binding_id": binding.as_ref().map(|binding| &binding.binding_id),
        "dry_run": entry.dry_run,
        "role": entry.session.map(|session| &session.role),
        "session": entry.name,
        "session_id": entry.session.map(|session| &session.id),
    });
    if let Some(key) = entry.key {
        correlation["key"] = key.into();
    }
    let (ending, severity) = match entry.error {
        None => ("succeeded", Severity::Info),
        Some(Error::TargetNotReady(_) | Error::Unconfirmed { .. }) => ("failed", Severity::Warning),
        Some(_) => ("failed", Severity::Error),
    };
    let event_type = format!("{kind}_{ending}");
    let summary = format!("{} of session {} {ending}.", words(kind), entry.name);
    let event = Emit::info(Actor::Workerctl, &event_type, summary, correlation, attributes);
    let task_id = binding.as_ref().map(|binding| binding.task_id.as_str());
    telemetry::emit(tx, &event.of_task(task_id).severity(severity))?;
    Ok(())
}

fn words(kind: &str) -> &'static str {
    if kind == "session_nudge" { "Nudge" } else { "Interrupt" }
}
