//! `manager-config`: show, create or change how a task is supervised.

use conveyor_core::contract::config::{self, ConfigFlags};
use conveyor_core::contract::questions;
use conveyor_model::{NudgeMode, SupervisionMode};
use conveyor_store::Access;

use super::interview;
use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::{input, values};

/// Arguments of `manager-config`.
#[derive(clap::Args)]
pub struct ManagerConfig {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    /// How structured the supervision is [default: guided]
    #[arg(long, value_name = "MODE", value_parser = values::supervision_mode())]
    mode: Option<SupervisionMode>,
    /// Name the recipe that is followed, or custom for none; strict recipes enforce the gates
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
    /// What the manager works towards
    #[arg(long, value_name = "TEXT")]
    objective: Option<String>,
    /// What limits nudging; repeatable, replaces the list
    #[arg(long = "guideline", value_name = "TEXT")]
    guidelines: Vec<String>,
    /// What the manager checks regularly; repeatable, replaces the list
    #[arg(long, value_name = "TEXT")]
    acceptance: Vec<String>,
    /// A plan, issue, file or URL; repeatable, replaces the list
    #[arg(long = "reference", value_name = "TEXT")]
    references: Vec<String>,
    /// A tool that is expected; repeatable, replaces the list
    #[arg(long = "tool", value_name = "NAME")]
    tools: Vec<String>,
    /// A step that must run before the task is finished: run-tools, draft-pr, subagent-review or
    /// record-handoff; repeatable, replaces the list
    #[arg(long = "epilogue", value_name = "STEP")]
    epilogues: Vec<String>,
    /// What happens when a completed turn brings proposals [default: ask-operator]
    #[arg(long, value_name = "MODE", value_parser = values::nudge_mode())]
    nudge_on_completion: Option<NudgeMode>,
    /// Let cycles wait until both sides have acknowledged
    #[arg(long)]
    require_acks: bool,
    /// Let finish-task refuse, without being asked to, while the contract is not fulfilled
    #[arg(long)]
    enforce_gates: bool,
    /// Grant a permission, as category.action or alias; repeatable
    #[arg(long = "permit", value_name = "NAME")]
    permits: Vec<String>,
    /// Grant repo.open_pr
    #[arg(long)]
    allow_pr: bool,
    /// Grant repo.merge_green_pr
    #[arg(long)]
    allow_merge_green: bool,
    /// Grant worker_session.compact and worker_session.clear
    #[arg(long)]
    allow_worker_compact_clear: bool,
    /// Overrides of permissions, in their order: {"category": ["action", …], "category.action": true
    /// or false, …}
    #[arg(long, value_name = "JSON", conflicts_with = "interactive")]
    permissions_json: Option<String>,
    /// Print the questions to ask a user, and change nothing
    #[arg(long)]
    questions: bool,
    /// Ask on the terminal, then save
    #[arg(long)]
    interactive: bool,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl ManagerConfig {
    fn flags(&mut self) -> Result<ConfigFlags, Failure> {
        let permissions = self.permissions_json.as_deref();
        let list = |given: &mut Vec<String>| ConfigFlags::list(std::mem::take(given));
        let flags = ConfigFlags {
            mode: self.mode,
            recipe: self.recipe.take(),
            objective: self.objective.take(),
            guidelines: list(&mut self.guidelines),
            acceptance: list(&mut self.acceptance),
            references: list(&mut self.references),
            tools: list(&mut self.tools),
            epilogues: list(&mut self.epilogues),
            nudge_on_completion: self.nudge_on_completion,
            require_acks: self.require_acks.then_some(true),
            enforce_gates: self.enforce_gates,
            allow_pr: self.allow_pr,
            allow_merge_green: self.allow_merge_green,
            allow_worker_compact_clear: self.allow_worker_compact_clear,
            permits: std::mem::take(&mut self.permits),
            permissions: permissions.map(|text| input::overrides("--permissions-json", text)).transpose()?,
        };
        flags.check()?;
        Ok(flags)
    }
}

impl Subcommand for ManagerConfig {
    const NAME: &'static str = "manager-config";
    const GROUP: Group = Group::Contract;
    const ABOUT: &'static str = "Show, create or change how a task is supervised";
    const HELP: &'static str = "\
Without options the configuration is shown; a task without one gets the default first. What is not given stays as it
is. Every change counts the revision up by one, and acknowledgements of an earlier revision are out of date then.
Unknown permissions grant nothing and are listed as warnings. No option clears --require-acks and --enforce-gates.

Permissions: communication.comment_on_pr, communication.notify_operator, context.fetch_issues, context.fetch_prs,
context.spawn_reviewer, repo.merge_green_pr, repo.open_pr, repo.push_branch, verification.run_cargo,
verification.run_playwright, verification.run_pytest, verification.run_xcodebuild, worker_session.clear,
worker_session.compact, worker_session.interrupt, worker_session.stop. Short: allow_pr, allow_merge_green,
worker_compact_clear (both of compact and clear).

With --enforce-gates, finish-task refuses while accepted criteria are open, acknowledgements that are required are
missing, or steps of --epilogue were not done; otherwise it only warns.

Example:
  conveyor manager-config demo --questions --path ./ledger.db
  conveyor manager-config demo --mode strict --objective 'Ship the parser' --acceptance 'All tests pass' \\
    --permit repo.open_pr --epilogue record-handoff --require-acks --enforce-gates --path ./ledger.db";

    fn run(mut self, app: &mut App<'_>) -> Result<(), Failure> {
        let flags = self.flags()?;
        let access = if self.questions { Access::Read } else { Access::Write };
        let mut cx = app.open(&self.db, access)?;
        if self.questions {
            let questionnaire = questions::ask(&mut cx, &self.task)?;
            return app.out().json(&questionnaire);
        }
        let flags = match self.interactive {
            true => interview::hold(app, &mut cx, &self.task, flags)?,
            false => flags,
        };
        let configured = config::configure(&mut cx, &self.task, &flags)?;
        app.out().json(&configured)
    }
}
