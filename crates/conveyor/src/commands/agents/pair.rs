//! `pair`: a running, bound worker and manager with a contract and a dispatcher, in one call.

use std::path::PathBuf;

use conveyor_core::contract::config::ConfigFlags;
use conveyor_core::pair::{self, Dispatcher, Request};
use conveyor_core::spawn::{self, StartError};
use conveyor_model::{NudgeMode, SupervisionMode};
use conveyor_store::Access;
use serde::Serialize;

use super::{StartFlags, warn, warn_before};
use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::{input, values};

/// Arguments of `pair`.
#[derive(clap::Args)]
pub struct Pair {
    /// The task, by id or name; it is made when it does not exist and --task-goal is given
    #[arg(long, value_name = "TASK")]
    task: String,
    /// The name of the worker's session
    #[arg(long, value_name = "NAME")]
    worker_name: String,
    /// The name of the manager's session
    #[arg(long, value_name = "NAME")]
    manager_name: String,
    /// What a new task is for
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    task_goal: Option<String>,
    /// More about a new task
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    task_summary: Option<String>,
    /// What the worker is told [default: the task's goal]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    task_prompt: Option<String>,
    #[command(flatten)]
    flags: StartFlags,
    /// How long the start of each session may take
    #[arg(long, value_name = "N", default_value = "60", value_parser = super::seconds)]
    timeout_seconds: i64,
    /// The identity of the dispatcher that is started, unless it runs already
    #[arg(long, value_name = "ID", default_value = "dispatch-pair")]
    dispatcher_id: String,
    /// See to no dispatcher
    #[arg(long)]
    no_dispatch: bool,
    /// Say what would be started, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    contract: ContractFlags,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

/// The contract, as `manager-config` takes it.
#[derive(clap::Args)]
#[command(next_help_heading = "Contract (see `conveyor manager-config --help`)")]
struct ContractFlags {
    /// How structured the supervision is [default: guided]
    #[arg(long, value_name = "MODE", value_parser = values::supervision_mode())]
    manager_mode: Option<SupervisionMode>,
    /// Name the recipe that is followed, or custom for none
    #[arg(long, value_name = "NAME")]
    manager_recipe: Option<String>,
    /// What the manager works towards
    #[arg(long, value_name = "TEXT")]
    manager_objective: Option<String>,
    /// What limits nudging; repeatable
    #[arg(long, value_name = "TEXT")]
    manager_guideline: Vec<String>,
    /// What the manager checks; repeatable; each becomes an accepted criterion
    #[arg(long, value_name = "TEXT")]
    manager_acceptance: Vec<String>,
    /// A plan, issue, file or URL; repeatable
    #[arg(long, value_name = "TEXT")]
    manager_reference: Vec<String>,
    /// A tool that is expected; repeatable
    #[arg(long, value_name = "NAME")]
    manager_tool: Vec<String>,
    /// Grant a permission; repeatable
    #[arg(long, value_name = "NAME")]
    manager_permit: Vec<String>,
    /// A step that must run before the task is finished; repeatable
    #[arg(long, value_name = "STEP")]
    manager_epilogue: Vec<String>,
    /// What happens when a completed turn brings proposals [default: ask-operator]
    #[arg(long, value_name = "MODE", value_parser = values::nudge_mode())]
    manager_nudge_on_completion: Option<NudgeMode>,
    /// Let cycles wait until both sides have acknowledged
    #[arg(long)]
    manager_require_acks: bool,
    /// Grant repo.open_pr
    #[arg(long)]
    manager_allow_pr: bool,
    /// Grant repo.merge_green_pr
    #[arg(long)]
    manager_allow_merge_green: bool,
    /// Grant worker_session.compact and worker_session.clear
    #[arg(long)]
    manager_allow_worker_compact_clear: bool,
    /// Overrides of permissions
    #[arg(long, value_name = "JSON")]
    manager_permissions_json: Option<String>,
}

impl ContractFlags {
    fn config(self) -> Result<ConfigFlags, Failure> {
        let permissions = self.manager_permissions_json.as_deref();
        Ok(ConfigFlags {
            mode: self.manager_mode,
            recipe: self.manager_recipe,
            objective: self.manager_objective,
            guidelines: ConfigFlags::list(self.manager_guideline),
            acceptance: ConfigFlags::list(self.manager_acceptance),
            references: ConfigFlags::list(self.manager_reference),
            tools: ConfigFlags::list(self.manager_tool),
            epilogues: ConfigFlags::list(self.manager_epilogue),
            nudge_on_completion: self.manager_nudge_on_completion,
            require_acks: self.manager_require_acks.then_some(true),
            enforce_gates: false,
            allow_pr: self.manager_allow_pr,
            allow_merge_green: self.manager_allow_merge_green,
            allow_worker_compact_clear: self.manager_allow_worker_compact_clear,
            permits: self.manager_permit,
            permissions: permissions
                .map(|text| input::overrides("--manager-permissions-json", text))
                .transpose()?,
        })
    }
}

/// What a dry run says.
#[derive(Serialize)]
struct Plan<'a> {
    dispatch_command: Option<Vec<String>>,
    ensure_dispatch: bool,
    manager: &'a str,
    task: &'a str,
    worker: &'a str,
}

impl Subcommand for Pair {
    const NAME: &'static str = "pair";
    const GROUP: Group = Group::Agents;
    const ABOUT: &'static str = "Start a worker and a manager for a task, bind them, and see to a dispatcher";
    const HELP: &'static str = "\
From nothing to a running pair: the task (made if need be), its contract with its criteria, both sessions in terminals
of their own, their binding and run, a dispatcher that ends with the last binding, and last the first message of each.
An existing contract is kept unless an option of the contract is given.

A step that fails ends the command (exit 1); what was achieved stays and the line says what is left. Exit codes 3 and
4: everything runs, and a first message was not sent (3) or is not proven to have arrived (4).

Example:
  conveyor pair --task demo --task-goal 'Make the tests pass' --worker-name demo-worker --manager-name demo-manager \\
    --cwd ./project --sandbox workspace-write --ask-for-approval on-request \\
    --manager-acceptance 'All tests pass' --path ./ledger.db
  conveyor finish-task demo --stop-worker --stop-manager --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let startup = self.flags.startup(app, self.timeout_seconds)?;
        let (installation, cwd) = (self.flags.installation(app)?, self.flags.cwd(app)?);
        let contract = self.contract.config()?;
        let dispatcher = (!self.no_dispatch).then(|| Dispatcher {
            id: self.dispatcher_id,
            program: app.host.environment.executable.clone().unwrap_or_else(|| PathBuf::from("conveyor")),
            server_password: None,
        });
        let mut request = Request {
            task: &self.task,
            goal: self.task_goal.as_deref(),
            summary: self.task_summary.as_deref(),
            prompt: self.task_prompt.as_deref(),
            worker: &self.worker_name,
            manager: &self.manager_name,
            cwd: &cwd,
            startup: &startup,
            installation: &installation,
            contract: &contract,
            dispatcher: dispatcher.as_ref(),
        };
        request.check()?;
        if !self.flags.profile_is_known() {
            return Err(conveyor_core::Error::from(StartError::Profile).into());
        }
        let location = app.location(&self.db)?;
        if self.dry_run {
            let plan = Plan {
                dispatch_command: request.dispatcher.map(|wanted| wanted.command(&location.to_string())),
                ensure_dispatch: request.dispatcher.is_some(),
                manager: request.manager,
                task: request.task,
                worker: request.worker,
            };
            return app.out().json(&plan);
        }
        spawn::preflight(&installation, &app.tmux()?)?;
        spawn::check_words(&installation, &startup)?;
        warn_before(app, &startup, &installation);
        // Its command line does not show the password.
        let dispatcher =
            dispatcher.clone().map(|wanted| Dispatcher { server_password: location.password(), ..wanted });
        request.dispatcher = dispatcher.as_ref();
        let mut cx = app.open(&self.db, Access::Write)?;
        let paired = pair::pair(&mut cx, &request)?;
        for side in [&paired.worker, &paired.manager] {
            warn(app, &side.warnings);
        }
        app.out().json(&paired)?;
        paired.unsent.map_or(Ok(()), |error| Err(error.into()))
    }
}
