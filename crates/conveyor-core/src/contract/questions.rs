//! What to ask a user before a configuration is written: for a manager that interviews its user in
//! chat, and for a person at a terminal.

use conveyor_model::{EpilogueStep, NudgeMode, SupervisionMode, permissions};
use conveyor_store::manager_configs::ManagerConfig;
use serde::Serialize;
use serde_json::{Value, json};

use super::config::{self, CUSTOM, ConfigFlags};
use super::recipes::RECIPES;
use crate::tasks::TaskRef;
use crate::{Cx, Result};

/// The questions about a task's configuration.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct Questionnaire {
    pub fallback_collection: &'static str,
    pub questions: Vec<Question>,
    pub recommended_collection: &'static str,
    pub task: TaskRef,
}

/// A question.
#[derive(Clone, Debug, Serialize)]
pub struct Question {
    /// What may be answered, where that is fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choices: Option<Value>,
    /// What holds without an answer.
    pub default: Value,
    /// More about it, with examples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<&'static str>,
    /// Its stable name.
    pub id: &'static str,
    /// What kind of answer it takes.
    pub kind: &'static str,
    /// The question itself.
    pub question: &'static str,
}

/// The questions about a task's configuration, with what the task has now. Nothing is written.
///
/// # Errors
/// An unknown task; a failing ledger.
pub fn ask(cx: &mut Cx, task: &str) -> Result<Questionnaire> {
    let (task, config) = config::draft(cx, task, &ConfigFlags::default())?;
    Ok(Questionnaire {
        fallback_collection: "conveyor manager-config --interactive",
        questions: about(&config),
        recommended_collection: "manager_codex_chat",
        task: TaskRef::from(&task),
    })
}

/// The questions with the values of a configuration as defaults.
#[must_use]
pub fn about(config: &ManagerConfig) -> Vec<Question> {
    let question =
        |id, kind, question| Question { choices: None, default: Value::Null, help: None, id, kind, question };
    let recipes: Vec<&str> = RECIPES.iter().map(|recipe| recipe.name).chain([CUSTOM]).collect();
    vec![
        Question {
            choices: Some(json!(recipes)),
            default: json!(config.recipe_name.as_deref().unwrap_or(CUSTOM)),
            help: Some("For example pr-ci-merge-ralph-loop for one pull request; custom when none fits."),
            ..question("recipe_name", "choice", "Which supervision recipe does the task follow?")
        },
        Question {
            choices: Some(sorted(SupervisionMode::TEXTS)),
            default: json!(config.supervision_mode),
            help: Some(
                "light observes, guided asks and suggests, strict demands proof and recorded decisions.",
            ),
            ..question("supervision_mode", "choice", "How structured should the supervision be?")
        },
        Question {
            default: json!(config.objective),
            help: Some(
                "For example: ship the date parser with tests, without touching the public interface.",
            ),
            ..question(
                "objective",
                "text",
                "What should the manager work towards, or check the work against?",
            )
        },
        Question {
            default: json!(config.guidelines),
            help: Some("For example: wait while tests run; at most one nudge per completed turn."),
            ..question("guidelines", "list", "What limits the manager's nudging?")
        },
        Question {
            default: json!(config.acceptance_criteria),
            help: Some("For example: the whole test suite passes; the changelog has an entry."),
            ..question("acceptance_criteria", "list", "What should the manager check regularly?")
        },
        Question {
            default: json!(config.reference_paths),
            help: Some("For example: docs/plan.md, a link to an issue, a mock-up."),
            ..question("reference_paths", "list", "Which plans, PRDs, mock-ups, issues or files matter?")
        },
        Question {
            choices: Some(
                permissions::TAXONOMY.iter().map(|(category, actions)| (*category, json!(actions))).collect(),
            ),
            default: Value::Object(config.permissions.clone()),
            ..question(
                "permissions",
                "categorized_permissions",
                "Which high-level actions may the manager order?",
            )
        },
        Question {
            default: json!(config.tools),
            help: Some("For example: cargo, pytest, gh, verification.run_tests."),
            ..question("tools", "list", "Which verification and context tools should be expected?")
        },
        Question {
            choices: Some(sorted(EpilogueStep::TEXTS)),
            default: json!(config.epilogues),
            ..question("epilogues", "choice_list", "Which steps must run before the task is finished?")
        },
        Question {
            choices: Some(sorted(NudgeMode::TEXTS)),
            default: json!(config.nudge_on_completion),
            ..question(
                "nudge_on_completion",
                "choice",
                "What happens when a completed turn brings proposals on what to do next?",
            )
        },
        Question {
            default: json!(config.require_acks),
            help: Some("Then cycles fail until worker-ack and manager-ack are recorded for this revision."),
            ..question("require_acks", "boolean", "Should cycles wait until both sides have acknowledged?")
        },
    ]
}

fn sorted(texts: &[&str]) -> Value {
    let mut texts = texts.to_vec();
    texts.sort_unstable();
    json!(texts)
}
