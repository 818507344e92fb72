//! What a task leaves open when it is closed: criteria, acknowledgements, closing steps.

use conveyor_model::Role;
use conveyor_model::records::{Object, Task};
use conveyor_store::epilogues::{self, EpilogueRun};
use conveyor_store::manager_configs::ManagerConfig;
use conveyor_store::{Tx, acknowledgements, criteria, manager_configs};
use serde::Serialize;

use super::{Gates, to_value};
use crate::Result;
use crate::criteria::Summary;

/// The three audits of a task that is about to be finished.
#[derive(Clone, Debug)]
pub(super) struct Audits {
    pub(super) criteria: CriteriaAudit,
    pub(super) acknowledgements: AckAudit,
    pub(super) epilogue: EpilogueAudit,
    /// Whether the task's contract demands acknowledgements.
    acks_demanded: bool,
    /// Whether the task's contract lets the gates hold without being asked for.
    pub(super) enforced: bool,
}

/// Criteria that were accepted and are not satisfied.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct CriteriaAudit {
    pub open_criteria: Vec<OpenCriterion>,
    pub require_criteria_audit: bool,
    pub summary: Summary,
    pub total: usize,
}

/// A criterion that was accepted and is not satisfied.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are columns of the table")]
pub struct OpenCriterion {
    pub criterion: String,
    pub id: i64,
}

/// Who acknowledged the task, ever.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct AckAudit {
    pub manager_ack_id: Option<i64>,
    pub missing: Vec<Role>,
    pub ok: bool,
    pub require_acks: bool,
    pub worker_ack_id: Option<i64>,
}

/// Which configured closing steps were done.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct EpilogueAudit {
    pub missing_or_incomplete: Vec<String>,
    pub ok: bool,
    pub require_epilogue: bool,
    pub required_steps: Vec<String>,
    pub steps: Vec<EpilogueStep>,
}

/// A configured closing step.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct EpilogueStep {
    pub latest_run: Option<EpilogueRun>,
    pub ok: bool,
    pub state: String,
    pub step_name: String,
}

impl Audits {
    /// Audits a task; a gate that its contract enforces is taken as asked for. What the contract does
    /// not demand it cannot enforce.
    pub(super) fn of(tx: &mut Tx<'_>, task: &Task, gates: &Gates) -> Result<Self> {
        let config = manager_configs::of_task(tx, &task.id)?;
        let enforced = manager_configs::enforces_gates(tx, &task.id)?;
        let acks_demanded = config.as_ref().is_some_and(|config| config.require_acks);
        let mut audits = Self {
            criteria: criteria_audit(tx, task)?,
            acknowledgements: ack_audit(tx, task)?,
            acks_demanded,
            epilogue: epilogue_audit(tx, task, config)?,
            enforced,
        };
        audits.criteria.require_criteria_audit = gates.criteria_audit || enforced;
        audits.acknowledgements.require_acks = gates.acks || (enforced && acks_demanded);
        audits.epilogue.require_epilogue = gates.epilogue || enforced;
        Ok(audits)
    }

    /// The audits under the names that they have in records.
    pub(super) fn payload(&self) -> Result<Object> {
        let audits = [
            ("final_audit", to_value(&self.criteria)?),
            ("final_ack_audit", to_value(&self.acknowledgements)?),
            ("final_epilogue_audit", to_value(&self.epilogue)?),
        ];
        Ok(audits.into_iter().map(|(name, audit)| (name.to_owned(), audit)).collect())
    }

    /// What of the contract is not fulfilled, by its stable name and in a sentence.
    pub(super) fn unmet(&self, task: &str) -> Vec<(&'static str, String)> {
        let mut unmet = Vec::new();
        let open = &self.criteria.open_criteria;
        if !open.is_empty() {
            let named = self.criteria.named();
            let text = format!("task {task:?} has accepted criteria that are still open: {named}");
            unmet.push(("criteria_audit", text));
        }
        if self.acks_demanded && !self.acknowledgements.ok {
            let missing = self.acknowledgements.missing_roles();
            let text = format!("task {task:?} lacks required acknowledgements: {missing}");
            unmet.push(("acks", text));
        }
        if !self.epilogue.ok {
            let steps = self.epilogue.missing_or_incomplete.join(", ");
            unmet.push(("epilogue", format!("task {task:?} has closing steps that were not done: {steps}")));
        }
        unmet
    }
}

impl CriteriaAudit {
    /// The open criteria, for people.
    pub(super) fn named(&self) -> String {
        let named = self.open_criteria.iter().map(|one| format!("#{}: {}", one.id, one.criterion));
        named.collect::<Vec<_>>().join("; ")
    }
}

impl AckAudit {
    /// Who has not acknowledged, for people.
    pub(super) fn missing_roles(&self) -> String {
        self.missing.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
    }
}

fn criteria_audit(tx: &mut Tx<'_>, task: &Task) -> Result<CriteriaAudit> {
    let criteria = criteria::of_task(tx, &task.id)?;
    let open = criteria.iter().filter(|criterion| criterion.status == "accepted");
    Ok(CriteriaAudit {
        open_criteria: open
            .map(|open| OpenCriterion { criterion: open.criterion.clone(), id: open.id })
            .collect(),
        require_criteria_audit: false,
        summary: Summary::of(&criteria),
        total: criteria.len(),
    })
}

fn ack_audit(tx: &mut Tx<'_>, task: &Task) -> Result<AckAudit> {
    let mut id_of = |role| -> Result<Option<i64>> {
        Ok(acknowledgements::latest(tx, &task.id, role)?.map(|acknowledgement| acknowledgement.id))
    };
    let (worker, manager) = (id_of(Role::Worker)?, id_of(Role::Manager)?);
    let sides = [(Role::Worker, worker), (Role::Manager, manager)];
    let missing: Vec<Role> = sides.iter().filter(|(_, id)| id.is_none()).map(|(role, _)| *role).collect();
    Ok(AckAudit {
        manager_ack_id: manager,
        ok: missing.is_empty(),
        missing,
        require_acks: false,
        worker_ack_id: worker,
    })
}

fn epilogue_audit(tx: &mut Tx<'_>, task: &Task, config: Option<ManagerConfig>) -> Result<EpilogueAudit> {
    let required_steps = config.map(|config| config.epilogues).unwrap_or_default();
    let steps = epilogue_steps(tx, &task.id, &required_steps)?;
    let missing: Vec<String> =
        steps.iter().filter(|step| !step.ok).map(|step| step.step_name.clone()).collect();
    Ok(EpilogueAudit {
        ok: missing.is_empty(),
        missing_or_incomplete: missing,
        require_epilogue: false,
        required_steps,
        steps,
    })
}

/// What became of each of these closing steps.
pub(crate) fn epilogue_steps(tx: &mut Tx<'_>, task_id: &str, steps: &[String]) -> Result<Vec<EpilogueStep>> {
    let mut found = Vec::with_capacity(steps.len());
    for step in steps {
        let latest_run = epilogues::latest(tx, task_id, step)?;
        let state = latest_run.as_ref().map_or("pending", |run| run.state.as_str()).to_owned();
        found.push(EpilogueStep { ok: state == "succeeded", latest_run, state, step_name: step.clone() });
    }
    Ok(found)
}
