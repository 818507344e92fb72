//! Asking whether the manager may do something, and leaving a record of having asked.

use conveyor_model::records::Object;
use conveyor_model::{Actor, Severity, permissions};
use conveyor_store::audit::{self, AuditEvent};
use conveyor_store::manager_configs::{self, ManagerConfig};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{Tx, handoffs};
use serde::Serialize;
use serde_json::json;

use crate::tasks::TaskRef;
use crate::{Cx, Error, Result, reference};

/// A question about a permission.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The task, by id or name.
    pub task: &'a str,
    /// An action, an alias, or with `list` a category.
    pub action: &'a str,
    /// Ask what is granted of a category.
    pub list: bool,
    /// Demand a saved handoff as well.
    pub require_handoff: bool,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct Answer {
    pub action: String,
    pub allowed: bool,
    pub config: Option<ManagerConfig>,
    pub handoff_id: Option<i64>,
    pub listed_permissions: Option<Vec<&'static str>>,
    pub reasons: Vec<&'static str>,
    pub require_handoff: bool,
    pub task: TaskRef,
}

/// Answers whether the manager of a task may do something, and records that it was asked.
///
/// # Errors
/// An unknown task, action or category; a failing ledger. Nothing is written then.
pub fn check(cx: &mut Cx, request: &Request<'_>) -> Result<Answer> {
    cx.db.write(|tx| {
        let task = reference::held_task(tx, request.task)?;
        let config = manager_configs::of_task(tx, &task.id)?;
        let mut answer = Answer {
            action: request.action.to_owned(),
            allowed: false,
            handoff_id: handoffs::latest(tx, &task.id)?.map(|handoff| handoff.id),
            listed_permissions: None,
            reasons: Vec::new(),
            require_handoff: request.require_handoff,
            task: TaskRef::from(&task),
            config: None,
        };
        match &config {
            None => answer.reasons.push("missing_manager_config"),
            Some(config) if request.list => answer.list(&config.permissions)?,
            Some(config) => answer.judge(&config.permissions)?,
        }
        answer.config = config;
        if request.require_handoff && !request.list && answer.handoff_id.is_none() {
            answer.allowed = false;
            answer.reasons.push("missing_worker_handoff");
        }
        record(tx, &answer)?;
        Ok(answer)
    })
}

impl Answer {
    fn list(&mut self, granted: &Object) -> Result<()> {
        if permissions::actions(&self.action).is_none() {
            let known: Vec<&str> = permissions::TAXONOMY.iter().map(|(category, _)| *category).collect();
            let text =
                format!("--list expects a permission category ({}), got: {}", known.join(", "), self.action);
            return Err(Error::invalid(text));
        }
        let granted = permissions::Permissions::from_stored(granted);
        self.listed_permissions = Some(granted.of_category(&self.action));
        self.allowed = true;
        Ok(())
    }

    fn judge(&mut self, granted: &Object) -> Result<()> {
        if permissions::unknown_part(&self.action).is_some() {
            return Err(Error::UnknownPermission(self.action.clone()));
        }
        self.allowed = permissions::Permissions::from_stored(granted).allows(&self.action);
        if !self.allowed {
            self.reasons.push("permission_not_enabled");
        }
        Ok(())
    }
}

fn record(tx: &mut Tx<'_>, answer: &Answer) -> Result<()> {
    const TYPE: &str = "manager_permission_checked";
    let payload = serde_json::to_value(answer).map_err(std::io::Error::from)?;
    let task_id = Some(answer.task.id.as_str());
    audit::record(tx, &AuditEvent { event_type: TYPE, task_id, command_id: None, payload })?;
    let correlation = json!({ "action": answer.action, "handoff_id": answer.handoff_id });
    let attributes = json!({
        "allowed": answer.allowed,
        "reasons": answer.reasons,
        "require_handoff": answer.require_handoff,
    });
    let summary = format!("Checked manager permission {}.", answer.action);
    let severity = if answer.allowed { Severity::Info } else { Severity::Warning };
    let event = Emit::info(Actor::Manager, TYPE, summary, correlation, attributes);
    telemetry::emit(tx, &event.of_task(task_id).severity(severity).in_whole_seconds())?;
    Ok(())
}
