//! Acceptance criteria: what a task must fulfil, each with its history, proof and evidence.

use conveyor_model::records::{Object, Task};
use conveyor_model::text::{is_blank, trimmed};
use conveyor_model::{Actor, CriterionSource, CriterionStatus};
use conveyor_store::Tx;
use conveyor_store::audit::{self, AuditEvent};
use conveyor_store::criteria::{self, Change, Criterion, New};
use conveyor_store::telemetry::{self, Emit};
use serde::Serialize;
use serde_json::{Value, json};

use crate::criteria::Summary;
use crate::tasks::TaskRef;
use crate::{Cx, Error, Result, reference};

const ADDED: &str = "acceptance_criterion_added";
const UPDATED: &str = "acceptance_criterion_updated";

/// A criterion to add.
#[derive(Clone, Copy, Debug)]
pub struct NewCriterion<'a> {
    /// What must hold.
    pub criterion: &'a str,
    /// Where it came from.
    pub source: CriterionSource,
    /// What becomes of it.
    pub status: CriterionStatus,
    /// What shows that it holds.
    pub proof: Option<&'a str>,
    /// Why it is so.
    pub rationale: Option<&'a str>,
    /// What shows that it holds, for programs.
    pub evidence: &'a Object,
}

/// The criteria of a task.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct Report {
    /// The one that was added or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affected_criterion: Option<Criterion>,
    pub criteria: Vec<Criterion>,
    pub summary: Summary,
    pub task: TaskRef,
}

impl Report {
    fn of(tx: &mut Tx<'_>, task: &Task, affected: Option<Criterion>) -> Result<Self> {
        let criteria = criteria::of_task(tx, &task.id)?;
        let summary = Summary::of(&criteria);
        Ok(Self { affected_criterion: affected, criteria, summary, task: task.into() })
    }
}

/// The criteria of a task, by id; of these states only, if any is named. All are counted.
///
/// # Errors
/// An unknown task; a failing ledger.
pub fn list(cx: &mut Cx, task: &str, states: &[CriterionStatus]) -> Result<Report> {
    cx.db.read(|tx| {
        let task = reference::task(tx, task)?;
        let mut report = Report::of(tx, &task, None)?;
        let wanted = |one: &Criterion| states.iter().any(|state| state.as_str() == one.status);
        report.criteria.retain(|one| states.is_empty() || wanted(one));
        Ok(report)
    })
}

/// Adds a criterion to a task. One with the same source and text stays as it is.
///
/// # Errors
/// An unknown task; a failing ledger. Nothing is written then.
pub fn add(cx: &mut Cx, task: &str, new: &NewCriterion<'_>) -> Result<Report> {
    cx.db.write(|tx| {
        let task = reference::held_task(tx, task)?;
        let row = New {
            task_id: &task.id,
            criterion: new.criterion,
            status: new.status,
            source: new.source,
            proof: new.proof,
            rationale: new.rationale,
            evidence: new.evidence,
        };
        let at = tx.now()?.to_ms_text();
        let (criterion, is_new) = criteria::insert(tx, &row, &at)?;
        if is_new {
            let mut payload = facts(&criterion);
            payload.insert("created".to_owned(), true.into());
            record(tx, &criterion, ADDED, payload)?;
            let event = added(&criterion);
            telemetry::emit(tx, &event.of_task(Some(&task.id)))?;
        }
        Report::of(tx, &task, Some(criterion))
    })
}

/// Sets what becomes of a criterion. Any state may follow any other; the record tells the history.
///
/// # Errors
/// An unknown task, or a criterion that is not one of it; a failing ledger. Nothing is written then.
pub fn change(cx: &mut Cx, task: &str, id: i64, change: &Change<'_>) -> Result<Report> {
    cx.db.write(|tx| {
        let task = reference::held_task(tx, task)?;
        let unknown = || Error::UnknownCriterion { task: task.name.clone(), id };
        let before = criteria::find(tx, &task.id, id)?.ok_or_else(unknown)?;
        criteria::change(tx, id, change)?;
        let after = criteria::find(tx, &task.id, id)?.ok_or_else(unknown)?;
        let mut payload = facts(&after);
        for (key, value) in [
            ("previous_evidence", Value::Object(before.evidence)),
            ("previous_proof", json!(before.proof)),
            ("previous_rationale", json!(before.rationale)),
            ("previous_status", json!(before.status)),
        ] {
            payload.insert(key.to_owned(), value);
        }
        record(tx, &after, UPDATED, payload)?;
        let mut event = added(&after);
        event.event_type = UPDATED;
        event.summary = "Updated acceptance criterion.".into();
        event.attributes["previous_status"] = before.status.into();
        telemetry::emit(tx, &event.of_task(Some(&task.id)))?;
        Report::of(tx, &task, Some(after))
    })
}

/// Makes accepted criteria of the texts that the task does not have under any source; the task must
/// be held. Gives how many are new.
pub(super) fn seed(tx: &mut Tx<'_>, task: &Task, texts: &[String]) -> Result<usize> {
    let mut known: Vec<String> =
        criteria::of_task(tx, &task.id)?.into_iter().map(|criterion| criterion.criterion).collect();
    let evidence: Object = [("source".to_owned(), "manager_config".into())].into_iter().collect();
    let at = tx.now()?.to_s_text();
    let mut ids = Vec::new();
    for text in texts.iter().map(|text| trimmed(text)).filter(|text| !is_blank(text)) {
        if known.iter().any(|known| known == text) {
            continue;
        }
        let new = New {
            task_id: &task.id,
            criterion: text,
            status: CriterionStatus::Accepted,
            source: CriterionSource::ManagerInferred,
            proof: None,
            rationale: Some("Seeded from the acceptance list of the manager configuration."),
            evidence: &evidence,
        };
        let (criterion, _) = criteria::insert(tx, &new, &at)?;
        let event = added(&criterion);
        telemetry::emit(tx, &event.of_task(Some(&task.id)).in_whole_seconds())?;
        ids.push(criterion.id);
        known.push(text.to_owned());
    }
    if !ids.is_empty() {
        let event = AuditEvent {
            event_type: "manager_acceptance_criteria_seeded",
            task_id: Some(&task.id),
            command_id: None,
            payload: json!({ "criterion_ids": ids, "source": "manager_config" }),
        };
        audit::record(tx, &event)?;
    }
    Ok(ids.len())
}

/// What the audit event of a criterion holds in any case.
fn facts(criterion: &Criterion) -> Object {
    [
        ("criterion", json!(criterion.criterion)),
        ("criterion_id", json!(criterion.id)),
        ("evidence", Value::Object(criterion.evidence.clone())),
        ("proof", json!(criterion.proof)),
        ("rationale", json!(criterion.rationale)),
        ("source", json!(criterion.source)),
        ("status", json!(criterion.status)),
        ("task_id", json!(criterion.task_id)),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

fn record(tx: &mut Tx<'_>, criterion: &Criterion, event_type: &str, payload: Object) -> Result<()> {
    let event = AuditEvent {
        event_type,
        task_id: Some(&criterion.task_id),
        command_id: None,
        payload: Value::Object(payload),
    };
    Ok(audit::record(tx, &event)?)
}

/// The telemetry of a criterion that was added.
fn added(criterion: &Criterion) -> Emit<'static> {
    let correlation = json!({ "criterion_id": criterion.id, "source": criterion.source });
    let attributes = json!({
        "criterion": criterion.criterion,
        "has_evidence": !criterion.evidence.is_empty(),
        "has_proof": criterion.proof.is_some(),
        "status": criterion.status,
    });
    Emit::info(Actor::Workerctl, ADDED, "Added acceptance criterion.".into(), correlation, attributes)
}
