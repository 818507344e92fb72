//! Everything that a reviewer is told.

use std::path::{Path, PathBuf};

use conveyor_model::records::{Object, Task};
use conveyor_store::continuations::Continuation;
use conveyor_store::criteria::{self, Criterion};
use conveyor_store::{Tx, manager_configs};
use serde::Serialize;
use serde_json::{Value, json};

use super::Turn;
use crate::Result;
use crate::project::{self, Diff};

/// The parts of the context, as a review records what it was allowed to see.
pub(super) const ALLOWED: [&str; 9] = [
    "task",
    "correlation_id",
    "worker_continuation",
    "manager_continuation",
    "acceptance_criteria",
    "manager_config_summary",
    "diff",
    "recent_pull_requests",
    "constraints",
];

/// What a reviewer reads from its standard input. Nothing of transcripts, rollouts, events, commands
/// or telemetry is ever in it.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct Context {
    pub acceptance_criteria: Vec<Criterion>,
    pub allowed_context: [&'static str; 9],
    pub constraints: Value,
    pub correlation_id: String,
    pub diff: Diff,
    pub manager_config_summary: ConfigSummary,
    pub manager_continuation: Proposal,
    pub recent_pull_requests: Vec<Object>,
    pub task: TaskSummary,
    pub worker_continuation: Proposal,
}

/// A proposal as a reviewer reads it.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Proposal {
    pub created_at: String,
    pub id: i64,
    pub payload: Object,
    pub revision: i64,
}

/// The task as a reviewer reads it.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct TaskSummary {
    pub goal: String,
    pub id: String,
    pub name: String,
    pub state: String,
}

/// The contract of a task as a reviewer reads it.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct ConfigSummary {
    pub acceptance_criteria: Vec<String>,
    pub epilogues: Vec<String>,
    pub nudge_on_completion: Option<String>,
    pub permissions: Object,
    pub recipe_name: Option<String>,
    pub tools: Vec<String>,
}

/// The part of the context that the ledger knows, and where the project is that knows the rest.
pub(super) struct Recorded {
    pub(super) context: Context,
    directory: PathBuf,
}

impl Recorded {
    pub(super) fn of(tx: &mut Tx<'_>, task: &Task, turn: &Turn, cwd: &Path) -> Result<Self> {
        let config = manager_configs::of_task(tx, &task.id)?;
        let summary = config.map(|config| ConfigSummary {
            acceptance_criteria: config.acceptance_criteria,
            epilogues: config.epilogues,
            nudge_on_completion: Some(config.nudge_on_completion),
            permissions: config.permissions,
            recipe_name: config.recipe_name,
            tools: config.tools,
        });
        let context = Context {
            acceptance_criteria: criteria::of_task(tx, &task.id)?,
            allowed_context: ALLOWED,
            constraints: constraints(),
            correlation_id: turn.correlation_id.clone(),
            diff: Diff::default(),
            manager_config_summary: summary.unwrap_or_default(),
            manager_continuation: proposal(&turn.manager),
            recent_pull_requests: Vec::new(),
            task: TaskSummary {
                goal: task.goal.clone(),
                id: task.id.clone(),
                name: task.name.clone(),
                state: task.state.clone(),
            },
            worker_continuation: proposal(&turn.worker),
        };
        Ok(Self { context, directory: project::directory(tx, task, cwd)? })
    }

    /// Asks the project for what has changed. Not to be called within a transaction.
    pub(super) fn complete(self) -> Context {
        let diff = Diff::of(&self.directory);
        let recent_pull_requests = project::pull_requests(&self.directory);
        Context { diff, recent_pull_requests, ..self.context }
    }
}

fn proposal(row: &Continuation) -> Proposal {
    Proposal {
        created_at: row.created_at.clone(),
        id: row.id,
        payload: row.payload.clone(),
        revision: row.revision,
    }
}

/// What a reviewer may do and what it shall answer.
fn constraints() -> Value {
    json!({
        "manager_rollout_access": false,
        "read_only": true,
        "return_json_schema": {
            "addendum": "text or null: what the next turn must observe in addition",
            "agreement": "match, compatible or divergent: how far the two proposals agree",
            "rationale": "text: why",
            "verdict": "proceed, amend or stop: what shall happen next",
        },
    })
}
