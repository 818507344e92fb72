//! What a manager must know besides the worker's state: the contract, what both sides declared, the
//! worker's latest receipt, and whether criteria are missing.

use conveyor_model::Role;
use conveyor_model::records::{Object, Task};
use conveyor_model::shell::{quote, quote_if_needed};
use conveyor_store::acknowledgements::{self, Acknowledgement};
use conveyor_store::criteria::{self, Criterion};
use conveyor_store::handoffs::{self, Handoff};
use conveyor_store::manager_configs::{self, ManagerConfig};
use conveyor_store::{Tx, bindings, codex_events};
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::criteria::Summary;
use crate::{Error, Result, reference};

/// What a manager must know besides the worker's state.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ManagerContext {
    pub acceptance_criteria: Criteria,
    pub criteria_negotiation: Negotiation,
    pub manager_ack: Option<Acknowledgement>,
    pub manager_config: Option<ManagerConfig>,
    pub worker_ack: Option<Acknowledgement>,
    pub worker_handoff: Option<Handoff>,
    pub worker_receipt: Option<Receipt>,
}

/// The criteria of a task, shown by state: there can be many, and `open` ones are shown twice.
#[derive(Clone, Debug)]
pub(super) struct Criteria {
    all: Vec<Criterion>,
    summary: Summary,
}

/// Advice on asking the worker for criteria; nothing is sent or changed by it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Negotiation {
    /// Whether criteria are missing.
    pub needed: bool,
    /// A message for the worker, ready to be sent.
    pub prompt: Option<String>,
    /// Why they are missing, or that they are not.
    pub reason: &'static str,
    /// What to do.
    pub suggested_actions: Vec<String>,
    /// The task's name.
    pub task: String,
}

/// The newest completion of any worker that the task ever had.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Receipt {
    pub binding_id: String,
    pub completed_at: Value,
    pub duration_ms: Value,
    pub last_agent_message: Value,
    pub source_event_id: i64,
    pub source_event_timestamp: String,
    pub source_session_id: String,
    pub source_session_name: String,
    pub time_to_first_token_ms: Value,
    pub turn_id: Value,
}

impl ManagerContext {
    pub(super) fn load(tx: &mut Tx<'_>, task: &Task, ledger: &str) -> Result<Self> {
        let criteria = criteria::of_task(tx, &task.id)?;
        let name = reference::name_of_task(tx, task)?;
        Ok(Self {
            criteria_negotiation: Negotiation::about(task, &name, &criteria, ledger),
            acceptance_criteria: Criteria::new(criteria),
            manager_ack: acknowledgements::latest(tx, &task.id, Role::Manager)?,
            manager_config: manager_configs::of_task(tx, &task.id)?,
            worker_ack: acknowledgements::latest(tx, &task.id, Role::Worker)?,
            worker_handoff: handoffs::latest(tx, &task.id)?,
            worker_receipt: receipt(tx, task)?,
        })
    }

    /// Refuses when the contract demands acknowledgements and one is missing, of another binding or
    /// of another revision of the contract. One that was given before the task was bound counts for
    /// its first binding.
    pub(super) fn check_acknowledgements(
        &self,
        tx: &mut Tx<'_>,
        task: &Task,
        binding_id: &str,
    ) -> Result<()> {
        let Some(config) = self.manager_config.as_ref().filter(|config| config.require_acks) else {
            return Ok(());
        };
        let is_first = bindings::is_first(tx, &task.id, binding_id)?;
        let is_current = |ack: &Acknowledgement| {
            ack.binding_id.as_deref().map_or(is_first, |bound| bound == binding_id)
                && ack.manager_config_revision == Some(config.revision)
        };
        let sides = [(Role::Worker, &self.worker_ack), (Role::Manager, &self.manager_ack)];
        let missing: Vec<&str> = sides
            .iter()
            .filter(|(_, ack)| !ack.as_ref().is_some_and(is_current))
            .map(|(role, _)| role.as_str())
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(Error::NotAcknowledged(missing.join(", "))) }
    }

    pub(super) fn attributes(&self, consumed: u64) -> Value {
        json!({
            "accepted_criteria": self.acceptance_criteria.summary.accepted,
            "consumed_dispatch_notifications": consumed,
            "manager_ack_present": self.manager_ack.is_some(),
            "manager_config_present": self.manager_config.is_some(),
            "require_acks": self.manager_config.as_ref().is_some_and(|config| config.require_acks),
            "worker_ack_present": self.worker_ack.is_some(),
            "worker_handoff_present": self.worker_handoff.is_some(),
            "worker_receipt_present": self.worker_receipt.is_some(),
        })
    }
}

impl Criteria {
    fn new(all: Vec<Criterion>) -> Self {
        Self { summary: Summary::of(&all), all }
    }
}

impl Serialize for Criteria {
    /// A list for each state, and one of those that are `open`: accepted or proposed.
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let of = |states| InStates { all: &self.all, states };
        let mut lists = serializer.serialize_struct("Criteria", 7)?;
        lists.serialize_field("accepted", &of(&["accepted"]))?;
        lists.serialize_field("deferred", &of(&["deferred"]))?;
        lists.serialize_field("open", &of(&["accepted", "proposed"]))?;
        lists.serialize_field("proposed", &of(&["proposed"]))?;
        lists.serialize_field("rejected", &of(&["rejected"]))?;
        lists.serialize_field("satisfied", &of(&["satisfied"]))?;
        lists.serialize_field("summary", &self.summary)?;
        lists.end()
    }
}

/// Those of some criteria that are in one of the given states.
struct InStates<'a> {
    all: &'a [Criterion],
    states: &'static [&'static str],
}

impl Serialize for InStates<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let is_in = |criterion: &&Criterion| self.states.contains(&criterion.status.as_str());
        serializer.collect_seq(self.all.iter().filter(is_in))
    }
}

impl Negotiation {
    fn about(task: &Task, name: &str, criteria: &[Criterion], ledger: &str) -> Self {
        let is_current =
            |criterion: &Criterion| !matches!(criterion.status.as_str(), "deferred" | "rejected");
        let reason = if criteria.iter().any(is_current) {
            "active_criteria_present"
        } else if criteria.is_empty() {
            "no_criteria"
        } else {
            "no_current_task_criteria"
        };
        let needed = reason != "active_criteria_present";
        Self {
            needed,
            prompt: needed.then(|| prompt(&task.name)),
            reason,
            suggested_actions: if needed { suggested_actions(name, ledger) } else { Vec::new() },
            task: task.name.clone(),
        }
    }
}

fn prompt(task: &str) -> String {
    format!(
        "Before you go on with {task}: propose two to four acceptance criteria for the slice that you are working on. \
         Split them into must-have (needed for this slice to count as done) and follow-up (worth doing later), and say \
         for each how it will be verified: the command to run or the observation to make."
    )
}

fn suggested_actions(task: &str, ledger: &str) -> Vec<String> {
    let command = |status: &str| {
        format!(
            "conveyor criteria {} --add --criterion \"...\" --source worker_proposed --status {status} --path {}",
            quote_if_needed(task),
            quote(ledger)
        )
    };
    vec![
        "Ask the worker for acceptance criteria, split into must-have and follow-up.".to_owned(),
        format!("Record each criterion that you accept: {}", command("accepted")),
        format!("Record each criterion that still needs a decision: {}", command("proposed")),
        format!("Record each follow-up: {}", command("deferred")),
    ]
}

fn receipt(tx: &mut Tx<'_>, task: &Task) -> Result<Option<Receipt>> {
    let mut newest: Option<Receipt> = None;
    for worker in bindings::workers_ever(tx, &task.id)? {
        let Some(event) = codex_events::newest_completion(tx, &worker.session_id)? else { continue };
        if newest.as_ref().is_some_and(|newest| newest.source_event_id > event.id) {
            continue;
        }
        let value = |key: &str| of_payload(&event.payload, key);
        newest = Some(Receipt {
            binding_id: worker.binding_id,
            completed_at: value("completed_at"),
            duration_ms: value("duration_ms"),
            last_agent_message: value("last_agent_message"),
            source_event_id: event.id,
            source_event_timestamp: event.timestamp.clone(),
            source_session_id: worker.session_id,
            source_session_name: worker.session_name,
            time_to_first_token_ms: value("time_to_first_token_ms"),
            turn_id: value("turn_id"),
        });
    }
    Ok(newest)
}

fn of_payload(payload: &Object, key: &str) -> Value {
    payload.get(key).cloned().unwrap_or_default()
}
