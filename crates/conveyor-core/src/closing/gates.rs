//! What may keep a task from being closed: proof, a decision, criteria, acknowledgements, closing
//! steps. A gate acts when it is asked for, or when the task's contract enforces it.

use conveyor_model::Decision;
use conveyor_model::records::{Object, Task};
use conveyor_model::text::{is_blank, seen_word};
use conveyor_store::immediate;
use conveyor_store::{Tx, audit, criteria};
use serde_json::{Value, json};

use super::audits::Audits;
use super::{Ending, Request, to_value};
use crate::decisions::{DecisionCheck, assess};
use crate::{Error, Result};

/// The gates that are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gates {
    /// The recorded decision of the manager that stands behind it.
    pub decision_id: Option<i64>,
    /// Refuse unless that decision backs it.
    pub strict_decisions: bool,
    /// Refuse while accepted criteria are open.
    pub criteria_audit: bool,
    /// Refuse while a side has not acknowledged.
    pub acks: bool,
    /// Refuse while configured closing steps were not done.
    pub epilogue: bool,
    /// Refuse without a structured adversarial proof.
    pub adversarial_proof: bool,
}

/// A gate that is closed after its audit: that is recorded.
pub(super) struct Closed {
    /// The audit's name in records.
    pub(super) audit: &'static str,
    /// Where it failed.
    pub(super) stage: &'static str,
    /// What it found.
    pub(super) found: Value,
    /// What is said of it.
    pub(super) reason: String,
}

impl Gates {
    /// The gates that leave no trace when they are closed. Gives what is known of the decision.
    pub(super) fn check_unrecorded(
        &self,
        tx: &mut Tx<'_>,
        ending: Ending,
        task: &Task,
    ) -> Result<DecisionCheck> {
        if self.adversarial_proof {
            require_proof(tx, task)?;
        }
        let decision = assess(tx, task, self.decision_id, &[Decision::Stop])?;
        if self.strict_decisions && !decision.ok {
            let text = decision.refusal(ending.command_type())?;
            return Err(Error::NotDecided { text, exit: 1 });
        }
        Ok(decision)
    }
}

fn require_proof(tx: &mut Tx<'_>, task: &Task) -> Result<()> {
    let criteria = criteria::of_task(tx, &task.id)?;
    let proven = |one: &criteria::Criterion| one.status == "satisfied" && is_proof(&one.evidence);
    if criteria.iter().any(proven) {
        return Ok(());
    }
    Err(Error::GateClosed(format!(
        "task {:?} has no adversarial proof; it needs a satisfied criterion whose evidence has \
         evidence_type=adversarial_check, non-empty failure_mode, check and result, and no failing status",
        task.name
    )))
}

/// Whether evidence tells how the strongest realistic failure was looked for, and not found.
fn is_proof(evidence: &Object) -> bool {
    const FAILING: [&str; 6] = ["error", "errored", "fail", "failed", "failure", "rejected"];
    let text = |key: &str| evidence.get(key).and_then(Value::as_str);
    let says = |key: &str| text(key).is_some_and(|text| !is_blank(text));
    let passed = match evidence.get("status") {
        None | Some(Value::Null) => true,
        Some(Value::String(status)) => !FAILING.contains(&seen_word(status).as_str()),
        Some(_) => false,
    };
    passed
        && text("evidence_type") == Some("adversarial_check")
        && ["failure_mode", "check", "result"].into_iter().all(says)
}

/// Records that a gate kept the task open; gives the refusal.
pub(super) fn record(
    tx: &mut Tx<'_>,
    request: &Request<'_>,
    task: &Task,
    audits: &Audits,
    closed: Closed,
) -> Result<Error> {
    let error = match audits.enforced {
        false => Error::GateClosed(closed.reason),
        true => Error::GateEnforced(closed.reason),
    };
    let mut payload = json!({
        "capture_transcript_before_stop": false,
        "expected_failure": true,
        "failure_stage": closed.stage,
        "finish": true,
        "message": null,
        "reason": request.reason(),
        "stop_manager": request.stop_manager,
        "stop_worker": false,
        "task": task.name,
    });
    payload[closed.audit] = closed.found.clone();
    let command = immediate::begin(tx, immediate::FINISH_TASK, Some(&task.id), &payload)?;
    let mut result = json!({
        "command_id": command.id(),
        "expected_failure": true,
        "failure_stage": closed.stage,
        "finish": true,
        "task": task.name,
    });
    result[closed.audit] = closed.found;
    let text = error.to_string();
    command.fail(tx, &result, &text)?;
    result["error"] = text.into();
    result["error_type"] = error.audit_type().into();
    let event = audit::AuditEvent {
        event_type: "finish_task_failed",
        task_id: Some(&task.id),
        command_id: Some(command.id()),
        payload: result,
    };
    audit::record(tx, &event)?;
    Ok(error)
}

impl Audits {
    /// The first gate that is closed, in the order in which they are looked at.
    pub(super) fn closed_gate(&self, task: &Task) -> Result<Option<Closed>> {
        let name = &task.name;
        let (criteria, acks, epilogue) = (&self.criteria, &self.acknowledgements, &self.epilogue);
        if criteria.require_criteria_audit && !criteria.open_criteria.is_empty() {
            let reason = format!(
                "task {name:?} has accepted criteria that are still open; satisfy, defer or reject them before \
                 finishing: {}",
                criteria.named()
            );
            let (audit, stage) = ("final_audit", "final_criteria_audit");
            return Ok(Some(Closed { audit, stage, found: to_value(criteria)?, reason }));
        }
        if acks.require_acks && !acks.ok {
            let reason =
                format!("task {name:?} is missing required acknowledgement(s): {}", acks.missing_roles());
            let stage = "final_ack_audit";
            return Ok(Some(Closed { audit: stage, stage, found: to_value(acks)?, reason }));
        }
        if epilogue.require_epilogue && !epilogue.ok {
            let steps = epilogue.missing_or_incomplete.join(", ");
            let reason = format!("task {name:?} has incomplete required epilogue step(s): {steps}");
            let stage = "final_epilogue_audit";
            return Ok(Some(Closed { audit: stage, stage, found: to_value(epilogue)?, reason }));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(changes: Value) -> bool {
        let mut evidence = json!({
            "evidence_type": "adversarial_check", "failure_mode": "f", "check": "c", "result": "r",
        });
        for (key, value) in changes.as_object().unwrap() {
            evidence[key] = value.clone();
        }
        is_proof(evidence.as_object().unwrap())
    }

    #[test]
    fn a_proof_says_everything_and_does_not_fail() {
        for good in [json!({}), json!({"status": null}), json!({"status": "pass"}), json!({"status": ""})] {
            assert!(proof(good.clone()), "{good}");
        }
        for bad in [
            json!({"evidence_type": "Adversarial_check"}),
            json!({"failure_mode": " \n"}),
            json!({"check": 3}),
            json!({"result": null}),
            json!({"status": " Failed "}),
            json!({"status": "ERROR"}),
            json!({"status": false}),
            json!({"status": {}}),
        ] {
            assert!(!proof(bad.clone()), "{bad}");
        }
    }
}
