//! Which decision stood behind each command that changed a session or a task, or tried to.

use conveyor_model::permissions::is_truthy;
use conveyor_model::records::{Object, Task};
use conveyor_model::{CommandState, Decision, Timestamp};
use conveyor_store::decisions::{self, Recorded};
use conveyor_store::immediate::{DEREGISTER_SESSION, FINISH_TASK, REQUEST_WORKER_COMPACT, STOP_TASK};
use conveyor_store::mutations::{self, Mutation};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{Cx, Error, Result, reference};

/// What the audit looks at, with the decisions that justify it. A deregistration is nobody's
/// decision.
const JUSTIFIED: &[(&str, &[Decision])] = &[
    (DEREGISTER_SESSION, &[]),
    ("extend_nudge_budget", &[Decision::Escalate]),
    (FINISH_TASK, &[Decision::Stop]),
    ("pause_manager", &[Decision::Escalate, Decision::Stop]),
    (REQUEST_WORKER_COMPACT, &[Decision::Nudge]),
    (STOP_TASK, &[Decision::Stop]),
    ("task_interrupt", &[Decision::Interrupt]),
    ("task_nudge", &[Decision::Nudge]),
];

/// The audit of a task.
#[derive(Debug, Serialize)]
pub struct Audit {
    /// Whether no record has warnings.
    pub ok: bool,
    /// One per command, oldest first.
    pub records: Vec<Record>,
    /// The records counted.
    pub summary: Summary,
    /// The task.
    pub task: Task,
}

/// The records counted.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// How many there are.
    pub mutations: usize,
    /// How many of them have warnings.
    pub with_warnings: usize,
}

/// One command and what stood behind it.
#[derive(Debug, Serialize)]
pub struct Record {
    /// The decisions that would justify it.
    pub allowed_decisions: &'static [Decision],
    /// The command.
    pub command: Command,
    /// What it did.
    pub effect: Effect,
    /// Whether it was refused by a rule before it did anything.
    pub expected_failure: bool,
    /// The decision that the command names.
    pub linked_decision: Option<Value>,
    /// The last decision before it.
    pub nearest_prior_decision: Option<Recorded>,
    /// Whether there are no warnings.
    pub ok: bool,
    /// What does not fit.
    pub warnings: Vec<String>,
}

/// Which command.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Command {
    pub created_at: String,
    pub id: String,
    pub state: String,
    #[serde(rename = "type")]
    pub command_type: String,
}

/// What a command did, as it says itself; what it does not speak of is left out.
#[derive(Debug, Serialize)]
pub struct Effect {
    /// Whether it only tried.
    pub dry_run: bool,
    /// The permission it checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permission_check: Option<Value>,
    /// The text for the terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_text: Option<Value>,
    /// Whether a text went out.
    pub sent: bool,
    /// The text where it is a command of the agent; `null` where it is prose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slash_command: Option<Value>,
    /// Whose terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_session: Option<Value>,
}

/// Audits a task.
///
/// # Errors
/// An unknown task, or a failing ledger.
pub fn audit(cx: &mut Cx, task: &str) -> Result<Audit> {
    let types: Vec<&str> = JUSTIFIED.iter().map(|(command_type, _)| *command_type).collect();
    let (task, commands, decisions) = cx.db.read(|tx| {
        let task = reference::task(tx, task)?;
        let commands = mutations::of_task(tx, &task.id, &types)?;
        let decisions = decisions::of_task(tx, &task.id)?;
        Ok::<_, Error>((task, commands, decisions))
    })?;
    let records: Vec<Record> = commands.into_iter().map(|command| record(command, &decisions)).collect();
    let with_warnings = records.iter().filter(|record| !record.ok).count();
    Ok(Audit {
        ok: with_warnings == 0,
        summary: Summary { mutations: records.len(), with_warnings },
        records,
        task,
    })
}

fn record(command: Mutation, decisions: &[Recorded]) -> Record {
    let justified = JUSTIFIED.iter().find(|(command_type, _)| *command_type == command.command_type);
    let allowed = justified.map_or(&[][..], |(_, decisions)| *decisions);
    let check = check(&command, decisions);
    let linked = check.as_ref().and_then(|check| linked(check, decisions));
    let nearest = nearest(&command, decisions).cloned();
    let expected_failure = either(&command, "expected_failure").is_some_and(is_truthy);
    let warnings = if expected_failure && command.state == CommandState::Failed.as_str() {
        Vec::new()
    } else {
        warnings(allowed, check.as_ref(), linked.as_ref(), nearest.is_some())
    };
    Record {
        allowed_decisions: allowed,
        effect: effect(&command),
        expected_failure,
        linked_decision: linked,
        nearest_prior_decision: nearest,
        ok: warnings.is_empty(),
        warnings,
        command: Command {
            created_at: command.created_at,
            id: command.id,
            state: command.state,
            command_type: command.command_type,
        },
    }
}

/// A value of the command's result, else of its payload; null counts as absent.
fn either<'a>(command: &'a Mutation, key: &str) -> Option<&'a Value> {
    let of = |object: &'a Object| object.get(key).filter(|value| !value.is_null());
    of(&command.result).or_else(|| of(&command.payload))
}

/// What the command says about the decision behind it.
fn check(command: &Mutation, decisions: &[Recorded]) -> Option<Object> {
    if command.command_type == FINISH_TASK {
        // Finishing is a decision of its own, whatever decision the command names.
        let id = command.result.get("final_decision_id").and_then(Value::as_i64);
        if id.is_some_and(|id| decisions.iter().any(|decision| decision.id == id)) {
            return json!({ "decision_id": id }).as_object().cloned();
        }
    }
    let of = |object: &Object| object.get("manager_decision").and_then(Value::as_object).cloned();
    of(&command.result).or_else(|| of(&command.payload))
}

/// The decision that a check speaks of: a decision of the task by its id, else what the check
/// itself holds, so that a decision of another task still shows.
fn linked(check: &Object, decisions: &[Recorded]) -> Option<Value> {
    let held = check.get("decision").and_then(Value::as_object).unwrap_or(check);
    let id = number(check.get("decision_id")).or_else(|| number(held.get("id")));
    let recorded = decisions.iter().find(|decision| Some(decision.id) == id);
    if let Some(recorded) = recorded.and_then(|recorded| serde_json::to_value(recorded).ok()) {
        return Some(recorded);
    }
    held.get("decision").is_some_and(Value::is_string).then(|| held.clone().into())
}

/// An id, which older programs may have written as text.
fn number(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::String(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
        other => other.as_i64(),
    }
}

fn nearest<'d>(command: &Mutation, decisions: &'d [Recorded]) -> Option<&'d Recorded> {
    let at = Timestamp::parse(&command.created_at)?;
    let before = |decision: &&Recorded| Timestamp::parse(&decision.created_at).is_some_and(|then| then <= at);
    decisions.iter().rev().find(before)
}

fn warnings(
    allowed: &[Decision],
    check: Option<&Object>,
    linked: Option<&Value>,
    any_before: bool,
) -> Vec<String> {
    if allowed.is_empty() {
        return linked.map(|_| "unexpected_linked_decision".to_owned()).into_iter().collect();
    }
    let mut warnings: Vec<String> = match check {
        Some(check) => {
            let own = check.get("warnings").and_then(Value::as_array);
            own.into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
        }
        None => vec!["missing_decision_metadata".to_owned()],
    };
    match linked {
        None if any_before => warnings.push("nearest_decision_unlinked".to_owned()),
        Some(linked) if !allowed.iter().any(|allowed| linked["decision"] == allowed.as_str()) => {
            warnings.push("linked_decision_incompatible".to_owned());
        }
        _ => {}
    }
    warnings
}

fn effect(command: &Mutation) -> Effect {
    let sending = command.result.get("send_result").and_then(Value::as_object);
    let dry_run = sending.and_then(|sending| sending.get("dry_run")).is_some_and(is_truthy);
    Effect {
        dry_run,
        permission_check: either(command, "permission_check").cloned(),
        send_text: either(command, "send_text").cloned(),
        sent: command.state == CommandState::Succeeded.as_str() && sending.is_some() && !dry_run,
        // A stored null is a statement here: the text was prose.
        slash_command: command
            .result
            .get("slash_command")
            .or_else(|| command.payload.get("slash_command"))
            .cloned(),
        worker_session: either(command, "worker_session").cloned(),
    }
}
