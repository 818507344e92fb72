//! Listing and deregistering sessions.

use conveyor_model::records::{Binding, Session};
use conveyor_store::audit::{self, AuditEvent};
use conveyor_store::immediate::{self, DEREGISTER_SESSION, Immediate};
use conveyor_store::sessions::{self, Filter};
use conveyor_store::{Tx, bindings};
use serde::Serialize;
use serde_json::{Value, json};

use crate::communication::Communication;
use crate::{Cx, Error, Result, Sink, reference};

/// A session as lists print it.
#[derive(Debug, Serialize)]
pub struct SessionRecord {
    /// The row.
    #[serde(flatten)]
    pub session: Session,
    /// How it is reached.
    pub communication: Communication,
}

impl SessionRecord {
    pub(crate) fn new(session: Session, ledger: &str) -> Self {
        let communication = Communication::of(&session, ledger);
        Self { session, communication }
    }

    /// Hides what proves the session's identity.
    fn redact(&mut self) {
        "[REDACTED]".clone_into(&mut self.session.identity_token);
    }
}

/// Hands every matching session to `sink`, in order of first registration.
///
/// # Errors
/// A failing ledger, or a failing `sink`.
pub fn list(
    cx: &mut Cx,
    filter: &Filter<'_>,
    redact_identity_token: bool,
    sink: Sink<'_, SessionRecord>,
) -> Result<()> {
    let ledger = cx.ledger();
    cx.db.read(|tx| {
        sessions::each(tx, filter, &mut |session| {
            let mut record = SessionRecord::new(session, &ledger);
            if redact_identity_token {
                record.redact();
            }
            Ok(sink(record)?)
        })
    })
}

/// Marks a session as gone; its terminal keeps running. A refusal is recorded, too.
///
/// # Errors
/// An unknown session (nothing is written then), a session in a live binding, or a failing ledger.
pub fn deregister(cx: &mut Cx, name: &str) -> Result<()> {
    cx.db.write(|tx| deregister_in(tx, name))?.map_or(Ok(()), Err)
}

/// Deregisters the session, or records the refusal and gives it back: the record must be committed.
fn deregister_in(tx: &mut Tx<'_>, name: &str) -> Result<Option<Error>> {
    let session = reference::session(tx, name)?;
    bindings::hold_session(tx, &session.id)?;
    let binding = bindings::live_of_session(tx, &session.id)?;
    let active =
        binding.as_ref().map(|binding| json!({ "id": binding.binding_id, "task_id": binding.task_id }));
    let task_id = binding.as_ref().map(|binding| binding.task_id.as_str());
    let payload = json!({
        "active_binding": active,
        "expected_failure": binding.is_some(),
        "name": name,
        "role": session.role,
    });
    let command = immediate::begin(tx, DEREGISTER_SESSION, task_id, &payload)?;
    if let (Some(binding), Some(active)) = (&binding, active) {
        return refuse(tx, &session, binding, active, &command).map(Some);
    }
    sessions::set_gone(tx, &session.id)?;
    let payload = json!({ "name": name });
    audit::record(
        tx,
        &AuditEvent { event_type: "session_deregistered", task_id: None, command_id: None, payload },
    )?;
    command.succeed(tx, &json!({ "command_id": command.id(), "name": name, "state": "gone" }))?;
    tx.wake_waiters();
    Ok(None)
}

fn refuse(
    tx: &mut Tx<'_>,
    session: &Session,
    binding: &Binding,
    active: Value,
    command: &Immediate,
) -> Result<Error> {
    let refusal = Error::SessionBound {
        name: session.name.clone(),
        task_id: binding.task_id.clone(),
        binding_id: binding.binding_id.clone(),
    };
    let error = refusal.to_string();
    let result = json!({
        "active_binding": active,
        "command_id": command.id(),
        "expected_failure": true,
        "name": session.name,
    });
    command.fail(tx, &result, &error)?;
    let payload = json!({
        "active_binding": active,
        "error": error,
        "error_type": "CodexSessionError",
        "expected_failure": true,
        "name": session.name,
    });
    audit::record(
        tx,
        &AuditEvent {
            event_type: "session_deregister_failed",
            task_id: Some(&binding.task_id),
            command_id: Some(command.id()),
            payload,
        },
    )?;
    Ok(refusal)
}
