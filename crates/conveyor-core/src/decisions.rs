//! Decisions of managers: recording them, and checking that one stands behind an action.

use conveyor_model::records::{Object, Task};
use conveyor_model::{Decision, Timestamp};
use conveyor_store::audit::{self, AuditEvent, Ties};
use conveyor_store::decisions::{self, New, Recorded};
use conveyor_store::{Tx, cycles};
use serde::Serialize;
use serde_json::{Value, json};

use crate::tasks::TaskRef;
use crate::{Cx, Error, Result, reference};

/// A decision backs actions for so long, in seconds.
pub const MAX_AGE_SECONDS: i64 = 900;

/// A decision to record.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The task, by id or name.
    pub task: &'a str,
    /// What was decided.
    pub decision: Decision,
    /// Why.
    pub reason: &'a str,
    /// The observation that led to it.
    pub cycle_id: Option<i64>,
    /// More about it.
    pub payload: Object,
}

/// A decision that was just recorded.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct DecisionRecord {
    pub created_at: String,
    pub decision: Decision,
    pub id: i64,
    pub manager_cycle_id: Option<i64>,
    pub manager_id: Option<String>,
    pub payload: Object,
    pub reason: String,
    pub task: TaskRef,
    pub task_id: String,
}

/// Records a decision of a task's manager.
///
/// # Errors
/// An unknown task or cycle; a failing ledger. Nothing is written then.
pub fn record(cx: &mut Cx, request: &Request<'_>) -> Result<DecisionRecord> {
    cx.db.write(|tx| {
        let task = reference::held_task(tx, request.task)?;
        record_for(tx, &task, request)
    })
}

/// Records a decision about a task that is held.
pub(crate) fn record_for(tx: &mut Tx<'_>, task: &Task, request: &Request<'_>) -> Result<DecisionRecord> {
    if let Some(id) = request.cycle_id
        && !cycles::exists(tx, id)?
    {
        return Err(Error::UnknownCycle(id));
    }
    let manager_id = decisions::legacy_manager_id(tx, &task.id)?;
    let payload = Value::Object(request.payload.clone());
    let new = New {
        task_id: &task.id,
        manager_id: manager_id.as_deref(),
        manager_cycle_id: request.cycle_id,
        decision: request.decision,
        reason: request.reason,
        payload: &payload,
    };
    let id = decisions::insert(tx, &new)?;
    let payload = json!({
        "decision": request.decision,
        "decision_id": id,
        "manager_cycle_id": request.cycle_id,
        "reason": request.reason,
    });
    let event = AuditEvent {
        event_type: "manager_decision_recorded",
        task_id: Some(&task.id),
        command_id: None,
        payload,
    };
    audit::record_tied(tx, &event, Ties { manager_id: manager_id.as_deref(), correlation_id: None })?;
    Ok(DecisionRecord {
        created_at: tx.now()?.to_s_text(),
        decision: request.decision,
        id,
        manager_cycle_id: request.cycle_id,
        manager_id,
        payload: request.payload.clone(),
        reason: request.reason.to_owned(),
        task: task.into(),
        task_id: task.id.clone(),
    })
}

/// Whether a recorded decision of the manager stands behind an action.
#[derive(Clone, Debug, Serialize)]
pub struct DecisionCheck {
    /// How old the decision is; absent without a decision, null when its time cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<Option<i64>>,
    /// What the manager must have decided.
    pub allowed_decisions: &'static [Decision],
    /// The decision, if there is one with that id.
    pub decision: Option<Assessed>,
    /// The id that was given.
    pub decision_id: Option<i64>,
    /// How old it may be; absent without a decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<i64>,
    /// Whether it backs the action.
    pub ok: bool,
    /// Why it does not.
    pub warnings: Vec<&'static str>,
}

/// A decision as checks show it.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Assessed {
    pub created_at: String,
    pub decision: String,
    pub id: i64,
    pub manager_cycle_id: Option<i64>,
    pub manager_id: Option<String>,
    pub reason: String,
    pub task_id: String,
}

impl DecisionCheck {
    fn without_decision(
        decision_id: Option<i64>,
        allowed_decisions: &'static [Decision],
        warning: &'static str,
    ) -> Self {
        Self {
            age_seconds: None,
            allowed_decisions,
            decision: None,
            decision_id,
            max_age_seconds: None,
            ok: false,
            warnings: vec![warning],
        }
    }

    fn of(found: Recorded, task: &Task, allowed_decisions: &'static [Decision], now: Timestamp) -> Self {
        // In whole seconds, as it is shown: what shows the greatest age that is allowed is allowed.
        let age = Timestamp::parse(&found.created_at)
            .map(|at| now.as_millis().saturating_sub(at.as_millis()).max(0) / 1000);
        let allowed = allowed_decisions.iter().any(|allowed| allowed.as_str() == found.decision);
        let findings = [
            (found.task_id != task.id, "decision_task_mismatch"),
            (!allowed, "decision_mismatch"),
            (age.is_none(), "decision_timestamp_invalid"),
            (age.is_some_and(|age| age > MAX_AGE_SECONDS), "decision_stale"),
        ];
        let warnings: Vec<&str> =
            findings.iter().filter(|(found, _)| *found).map(|(_, warning)| *warning).collect();
        Self {
            age_seconds: Some(age),
            allowed_decisions,
            decision_id: Some(found.id),
            max_age_seconds: Some(MAX_AGE_SECONDS),
            ok: warnings.is_empty(),
            warnings,
            decision: Some(Assessed {
                created_at: found.created_at,
                decision: found.decision,
                id: found.id,
                manager_cycle_id: found.manager_cycle_id,
                manager_id: found.manager_id,
                reason: found.reason,
                task_id: found.task_id,
            }),
        }
    }

    /// What is said when the action is refused because of it: one line for people and programs.
    pub(crate) fn refusal(&self, command_type: &str) -> Result<String> {
        let facts = json!({
            "command_type": command_type,
            "error": "manager_decision_validation_failed",
            "manager_decision": serde_json::to_value(self).map_err(std::io::Error::from)?,
        });
        Ok(format!("strict manager decision validation failed: {facts}"))
    }
}

/// Checks the decision with this id against what an action on the task allows. A decision is not
/// used up by that.
///
/// # Errors
/// A failing ledger.
pub fn assess(
    tx: &mut Tx<'_>,
    task: &Task,
    decision_id: Option<i64>,
    allowed: &'static [Decision],
) -> Result<DecisionCheck> {
    let Some(id) = decision_id else {
        return Ok(DecisionCheck::without_decision(None, allowed, "missing_decision_id"));
    };
    Ok(match decisions::find(tx, id)? {
        Some(found) => DecisionCheck::of(found, task, allowed, tx.now()?),
        None => DecisionCheck::without_decision(Some(id), allowed, "decision_not_found"),
    })
}
