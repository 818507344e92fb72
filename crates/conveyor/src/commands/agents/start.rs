//! `start-worker` and `start-manager`: one Codex in a terminal of its own, registered.

use conveyor_core::queue;
use conveyor_core::spawn::starting::{self, ManagerTask};
use conveyor_core::spawn::{self, Request};
use conveyor_model::Role;
use conveyor_store::Access;

use super::{StartFlags, warn, warn_before};
use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;

/// Arguments that both commands share.
#[derive(clap::Args)]
struct Start {
    /// The session's name: letters, digits, `_` and `-`; its terminal is the tmux session codex-NAME
    #[arg(long, value_name = "NAME", required = true)]
    name: Vec<String>,
    #[command(flatten)]
    flags: StartFlags,
    /// How long everything may take
    #[arg(long, value_name = "N", default_value = "15", value_parser = super::seconds)]
    timeout_seconds: i64,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

/// What the session is told first.
enum First<'a> {
    Text(Option<&'a str>),
    Task(ManagerTask<'a>),
}

impl Start {
    fn run(&self, role: Role, first: &First<'_>, app: &mut App<'_>) -> Result<(), Failure> {
        let [name] = self.name.as_slice() else {
            return Err(Failure::usage("--name can be given only once: start one session at a time"));
        };
        if !self.flags.profile_is_known() {
            return Err(Failure::usage("--codex-profile must be yolo, or left out"));
        }
        conveyor_core::legacy::check_name(name)?;
        let startup = self.flags.startup(app, self.timeout_seconds)?;
        let (installation, cwd) = (self.flags.installation(app)?, self.flags.cwd(app)?);
        spawn::preflight(&installation, &app.tmux()?)?;
        spawn::check_words(&installation, &startup)?;
        warn_before(app, &startup, &installation);
        let mut cx = app.open(&self.db, Access::Write)?;
        let prompt = match first {
            First::Text(text) => text.map(ToOwned::to_owned),
            First::Task(task) => Some(starting::manager_prompt(&mut cx, name, &cwd, task)?),
        };
        let request = Request {
            role,
            name,
            cwd: &cwd,
            prompt: prompt.as_deref(),
            startup: &startup,
            installation: &installation,
            via: if role == Role::Worker { "start-worker" } else { "start-manager" },
        };
        let started = starting::start(&mut cx, &request)?;
        warn(app, &started.spawned.warnings);
        app.out().json(&started.spawned)?;
        started.unsent.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Arguments of `start-worker`.
#[derive(clap::Args)]
pub struct StartWorker {
    #[command(flatten)]
    start: Start,
    /// Its first message
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    task: Option<String>,
}

impl Subcommand for StartWorker {
    const NAME: &'static str = "start-worker";
    const GROUP: Group = Group::Agents;
    const ABOUT: &'static str = "Start a Codex in a terminal of its own and register it as a worker";
    const HELP: &'static str = "\
The thread is made by Codex's shared server (which is started if need be), named, and shown in a new tmux session:
what is registered is proven to be what was started. Its first message goes through the server, too, and is proven
to be in the thread. Where Codex would ask whether the directory may be trusted, nothing is started without
--accept-trust. With --sandbox workspace-write the agent may also write to the ledger's directory.

Exit code 1: nothing was registered; the line says what is left and what to do. Exit codes 3 and 4: the session is
registered, and its first message was not sent (3) or is not proven to have arrived (4).

Example:
  conveyor start-worker --name worker-1 --task 'Make the tests pass' --cwd ./project \\
    --sandbox workspace-write --ask-for-approval on-request --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        queue::check_says_something("--task", self.task.as_deref().unwrap_or_default())?;
        self.start.run(Role::Worker, &First::Text(self.task.as_deref()), app)
    }
}

/// Arguments of `start-manager`.
#[derive(clap::Args)]
pub struct StartManager {
    #[command(flatten)]
    start: Start,
    /// The task it is to supervise, by id or name
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// What the task is for [default: the stored goal]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    task_goal: Option<String>,
    /// The worker it is to supervise
    #[arg(long, value_name = "SESSION")]
    worker: Option<String>,
}

impl Subcommand for StartManager {
    const NAME: &'static str = "start-manager";
    const GROUP: Group = Group::Agents;
    const ABOUT: &'static str = "Start a Codex in a terminal of its own and register it as a manager";
    const HELP: &'static str = "\
As start-worker. Its first message tells the manager its task and worker, how to set up the contract, and how to
supervise. It still has to be bound.

Example:
  conveyor start-manager --name manager-1 --task demo --worker worker-1 --cwd ./project \\
    --sandbox workspace-write --ask-for-approval on-request --path ./ledger.db
  conveyor bind --task demo --worker worker-1 --manager manager-1 --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        queue::check_says_something("--task-goal", self.task_goal.as_deref().unwrap_or_default())?;
        let task = ManagerTask {
            task: self.task.as_deref(),
            goal: self.task_goal.as_deref(),
            worker: self.worker.as_deref(),
        };
        self.start.run(Role::Manager, &First::Task(task), app)
    }
}
