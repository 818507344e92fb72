//! The closing steps that a task's contract asks for: running one, and what became of each.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use conveyor_agents::programs;
use conveyor_model::permissions::TAXONOMY;
use conveyor_model::records::{Object, Task};
use conveyor_model::{Actor, EpilogueStep as Step, IdPrefix};
use conveyor_store::audit::{self, AuditEvent};
use conveyor_store::epilogues::{self, EpilogueRun, NewRun};
use conveyor_store::{Tx, continuations, handoffs, manager_configs};
use serde::Serialize;
use serde_json::{Value, json};

use crate::closing::{EpilogueStep, epilogue_steps};
use crate::project::{self, tail};
use crate::tasks::TaskRef;
use crate::{Cx, Error, Result, reference};

/// How long a tool may take to say its version.
const TOOL_LIMIT: Duration = Duration::from_secs(30);

/// What is kept of what a tool says, in characters, from its end.
const MAX_TEXT: usize = 1000;

/// The closing steps of a task.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct Report {
    pub configured_steps: Vec<String>,
    pub runs: Vec<EpilogueRun>,
    pub status: Status,
    pub task: TaskRef,
}

/// Which of the configured steps are done.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct Status {
    pub missing_or_incomplete: Vec<String>,
    pub ok: bool,
    pub required_steps: Vec<String>,
    pub steps: Vec<EpilogueStep>,
}

/// What became of the closing steps of a task.
///
/// # Errors
/// An unknown task, or a failing ledger.
pub fn report(cx: &mut Cx, task: &str) -> Result<Report> {
    cx.db.read(|tx| {
        let task = reference::task(tx, task)?;
        report_of(tx, &task)
    })
}

fn report_of(tx: &mut Tx<'_>, task: &Task) -> Result<Report> {
    let configured = configured_steps(tx, task)?;
    let steps = epilogue_steps(tx, &task.id, &configured)?;
    let open = steps.iter().filter(|step| !step.ok);
    let missing: Vec<String> = open.map(|step| step.step_name.clone()).collect();
    Ok(Report {
        runs: epilogues::of_task(tx, &task.id)?,
        status: Status {
            ok: missing.is_empty(),
            missing_or_incomplete: missing,
            required_steps: configured.clone(),
            steps,
        },
        configured_steps: configured,
        task: TaskRef::from(task),
    })
}

fn configured_steps(tx: &mut Tx<'_>, task: &Task) -> Result<Vec<String>> {
    Ok(manager_configs::of_task(tx, &task.id)?.map(|config| config.epilogues).unwrap_or_default())
}

/// Runs a configured step and records what it brought; a step that fails is recorded, too.
///
/// # Errors
/// An unknown task, a step that its contract does not ask for, or a failing ledger.
pub fn run_step(cx: &mut Cx, task: &str, step: &str, correlation_id: Option<&str>) -> Result<Report> {
    let cwd = cx.cwd.clone();
    let begun = cx.db.read(|tx| Begun::of(tx, task, step, &cwd))?;
    // Other programs are run before the transaction that records them.
    let tools = (begun.step == Step::RunTools).then(|| run_tools(&begun));
    cx.db.write(|tx| {
        let task = reference::held_task(tx, &begun.task.id)?;
        check_configured(&task, step, &configured_steps(tx, &task)?)?;
        let outcome = match (begun.step, &tools) {
            (Step::RunTools, Some(outcome)) => outcome.clone(),
            (other, _) => outcome_of(tx, &task, other)?,
        };
        record(tx, &task, &begun, &outcome, correlation_id)?;
        report_of(tx, &task)
    })
}

/// What is known before a step is run.
struct Begun {
    task: Task,
    step: Step,
    started_at: String,
    tools: Vec<String>,
    directory: PathBuf,
}

impl Begun {
    fn of(tx: &mut Tx<'_>, task: &str, step: &str, cwd: &Path) -> Result<Self> {
        let task = reference::task(tx, task)?;
        let config = manager_configs::of_task(tx, &task.id)?;
        let (configured, tools) = config.map(|one| (one.epilogues, one.tools)).unwrap_or_default();
        let known = check_configured(&task, step, &configured)?;
        let started_at = tx.now()?.to_s_text();
        let directory = project::directory(tx, &task, cwd)?;
        Ok(Self { task, step: known, started_at, tools, directory })
    }
}

fn check_configured(task: &Task, step: &str, configured: &[String]) -> Result<Step> {
    let known = Step::from_text(step).filter(|_| configured.iter().any(|one| one == step));
    known.ok_or_else(|| {
        Error::invalid(format!("epilogue step {step:?} is not configured for task {}", task.name))
    })
}

/// What a step brought.
#[derive(Clone, Debug, Default)]
struct Outcome {
    result: Option<Object>,
    error: Option<String>,
}

impl Outcome {
    fn succeeded(result: Value) -> Self {
        Self { result: object(result), error: None }
    }

    fn failed(error: &str) -> Self {
        Self { result: None, error: Some(error.to_owned()) }
    }
}

fn object(value: Value) -> Option<Object> {
    if let Value::Object(object) = value { Some(object) } else { None }
}

fn outcome_of(tx: &mut Tx<'_>, task: &Task, step: Step) -> Result<Outcome> {
    Ok(match step {
        Step::RunTools => Outcome::default(),
        Step::DraftPr => {
            let [criteria, commands, events] = epilogues::records_of_task(tx, &task.id)?;
            let summary = format!(
                "The draft of a pull request for task {} can be written from its records.",
                task.name
            );
            Outcome::succeeded(json!({
                "acceptance_criteria_count": criteria,
                "command_count": commands,
                "event_count": events,
                "summary": summary,
            }))
        }
        Step::SubagentReview => match continuations::latest_review(tx, &task.id)? {
            Some(review) => Outcome::succeeded(json!({
                "agreement": review.agreement,
                "continuation_review_id": review.id,
                "operator_routing_required": review.subagent_run.get("operator_routing_required"),
                "verdict": review.verdict,
            })),
            None => Outcome::failed("subagent-review requires a recorded continuation review"),
        },
        Step::RecordHandoff => match handoffs::latest(tx, &task.id)? {
            Some(handoff) => {
                Outcome::succeeded(json!({ "handoff_id": handoff.id, "summary": handoff.summary }))
            }
            None => Outcome::failed("record-handoff requires an existing worker handoff"),
        },
    })
}

fn run_tools(begun: &Begun) -> Outcome {
    let mut answers = Vec::new();
    for tool in &begun.tools {
        match ask(tool, &begun.directory) {
            Ok(answer) => {
                let failed = answer["returncode"] != 0 && answer.get("skipped").is_none();
                answers.push(answer);
                if failed {
                    let error = Some(format!("configured tool failed version check: {tool}"));
                    return Outcome { result: object(json!({ "tools": answers })), error };
                }
            }
            Err(error) => return Outcome { result: object(json!({ "tools": answers })), error: Some(error) },
        }
    }
    Outcome::succeeded(json!({ "tool_count": answers.len(), "tools": answers }))
}

/// A tool's version in its own words. What names a capability is not a program.
fn ask(tool: &str, directory: &Path) -> Result<Value, String> {
    let category = tool.split_once('.').map(|(category, _)| category);
    if category.is_some_and(|category| TAXONOMY.iter().any(|(known, _)| *known == category)) {
        let skipped =
            json!({ "returncode": null, "skipped": true, "stderr": "", "stdout": "", "tool": tool });
        return Ok(skipped);
    }
    let program = tool.split_whitespace().next().unwrap_or_default();
    let mut command = Command::new(program);
    command.arg("--version").current_dir(directory);
    let output = programs::run(&mut command, TOOL_LIMIT).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("configured tool not found: {tool}"),
        _ => format!("configured tool failed version check: {tool}"),
    })?;
    Ok(json!({
        "returncode": output.code,
        "stderr": tail(&output.stderr, MAX_TEXT),
        "stdout": tail(&output.stdout, MAX_TEXT),
        "tool": tool,
    }))
}

fn record(
    tx: &mut Tx<'_>,
    task: &Task,
    begun: &Begun,
    outcome: &Outcome,
    correlation_id: Option<&str>,
) -> Result<()> {
    let correlation_id = correlation_id.map_or_else(|| tx.fresh_id(IdPrefix::Epilogue), ToOwned::to_owned);
    let new = NewRun {
        task_id: &task.id,
        step: begun.step.as_str(),
        started_at: &begun.started_at,
        result: outcome.result.as_ref(),
        error: outcome.error.as_deref(),
        correlation_id: &correlation_id,
    };
    let run = epilogues::insert(tx, &new)?;
    let payload = json!({ "epilogue_run_id": run.id, "state": run.state, "step_name": run.step_name });
    let event = AuditEvent {
        event_type: "epilogue_step_recorded",
        task_id: Some(&task.id),
        command_id: None,
        payload,
    };
    audit::record_in_turn(tx, Actor::Workerctl, &correlation_id, &event)?;
    Ok(())
}
