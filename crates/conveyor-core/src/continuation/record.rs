//! Recording a review, with its event and its telemetry.

use conveyor_model::records::{Object, Task};
use conveyor_model::{Actor, Agreement, NudgeMode, Severity, Verdict as Word};
use conveyor_store::audit::{self, AuditEvent};
use conveyor_store::continuations::{self, NewReview, Review};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{Tx, manager_configs};
use serde_json::{Value, json};

use super::Turn;
use super::payload::Verdict;
use crate::Result;

/// Records what a reviewer said of a turn.
pub(super) fn record(tx: &mut Tx<'_>, task: &Task, turn: &Turn, said: &Verdict) -> Result<Review> {
    let config = manager_configs::of_task(tx, &task.id)?;
    let nudge = config
        .map_or_else(|| NudgeMode::AskOperator.as_str().to_owned(), |config| config.nudge_on_completion);
    let status = said.subagent_run.get("status").and_then(Value::as_str);
    let failed = said.verdict == Word::Stop && status == Some("failed");
    let routing =
        failed || (said.agreement == Agreement::Divergent && nudge != NudgeMode::AutoProceed.as_str());
    let mut run = said.subagent_run.clone();
    run.insert("nudge_on_completion".into(), nudge.clone().into());
    run.insert("operator_routing_required".into(), routing.into());
    let new = NewReview {
        task_id: &task.id,
        correlation_id: &turn.correlation_id,
        worker_continuation_id: turn.worker.id,
        manager_continuation_id: turn.manager.id,
        agreement: said.agreement,
        verdict: said.verdict,
        addendum: said.addendum.as_deref(),
        rationale: &said.rationale,
        subagent_run: &run,
    };
    let review = continuations::insert_review(tx, &new)?;
    let payload = json!({
        "agreement": said.agreement,
        "manager_continuation_id": turn.manager.id,
        "operator_routing_required": routing,
        "review_id": review.id,
        "verdict": said.verdict,
        "worker_continuation_id": turn.worker.id,
    });
    let event = AuditEvent {
        event_type: "continuation_review_recorded",
        task_id: Some(&task.id),
        command_id: None,
        payload,
    };
    audit::record_in_turn(tx, Actor::Workerctl, &turn.correlation_id, &event)?;
    let attributes = attributes(said, &run, failed);
    announce(tx, &review, said, routing, attributes)?;
    Ok(Review { operator_routing_required: Some(routing), ..review })
}

fn announce(
    tx: &mut Tx<'_>,
    review: &Review,
    said: &Verdict,
    routing: bool,
    attributes: Value,
) -> Result<()> {
    let severity = if routing || said.verdict == Word::Stop { Severity::Warning } else { Severity::Info };
    let event = Emit::info(
        Actor::Workerctl,
        "continuation_review_recorded",
        format!("Continuation review recorded with verdict {}.", said.verdict),
        json!({
            "correlation_id": review.correlation_id,
            "manager_continuation_id": review.manager_continuation_id,
            "review_id": review.id,
            "worker_continuation_id": review.worker_continuation_id,
        }),
        attributes,
    );
    telemetry::emit(tx, &event.of_task(Some(&review.task_id)).severity(severity))?;
    Ok(())
}

/// What telemetry tells of a review: neither what was proposed nor what was said of it.
fn attributes(said: &Verdict, run: &Object, failed: bool) -> Value {
    let mut context: Vec<&str> = match run.get("allowed_context") {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    context.sort_unstable();
    let mut attributes = json!({
        "agreement": said.agreement,
        "allowed_context": context,
        "has_addendum": said.addendum.is_some(),
        "has_rationale": !said.rationale.is_empty(),
        "manager_rollout_access": run.get("manager_rollout_access"),
        "manager_session_id": run.get("manager_session_id"),
        "nudge_on_completion": run.get("nudge_on_completion"),
        "operator_routing_required": run.get("operator_routing_required"),
        "payload_redacted": true,
        "reviewer_failure_routing_forced": failed,
        "reviewer_session_distinct": run.get("reviewer_session_id") != run.get("manager_session_id"),
        "reviewer_session_id": run.get("reviewer_session_id"),
        "verdict": said.verdict,
    });
    let optional = [
        ("reviewer_duration_ms", "duration_ms"),
        ("reviewer_returncode", "returncode"),
        ("reviewer_status", "status"),
    ];
    for (name, key) in optional {
        if let Some(value) = run.get(key) {
            attributes[name] = value.clone();
        }
    }
    attributes
}
