//! `create-disposable-binding`: a task with worker, manager and binding in one call.

use std::path::PathBuf;

use conveyor_core::disposable::{self, Disposable, Request, Side};
use conveyor_store::{Access, Location};

use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;
use crate::out::Out;

/// Arguments of `create-disposable-binding`.
#[derive(clap::Args)]
pub struct CreateDisposableBinding {
    /// Task id or name; a task of this name is created when there is none
    #[arg(value_name = "TASK")]
    task: String,
    /// The worker session's name [default: TASK-worker]
    #[arg(long, value_name = "NAME")]
    worker: Option<String>,
    /// The manager session's name [default: TASK-manager]
    #[arg(long, value_name = "NAME")]
    manager: Option<String>,
    /// What a created task is to achieve [default: a fixed sentence]
    #[arg(long, value_name = "TEXT")]
    goal: Option<String>,
    /// A short description of a created task
    #[arg(long, value_name = "TEXT")]
    summary: Option<String>,
    /// The directory the sessions work in [default: the current directory]
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// Where the two rollout files go [default: disposable-sessions beside the ledger's file, or in
    /// the state root when the ledger is on a server]
    #[arg(long, value_name = "DIR")]
    session_dir: Option<String>,
    /// The worker's thread in the Codex app
    #[arg(long, value_name = "ID")]
    worker_codex_app_thread_id: Option<String>,
    /// That thread's title
    #[arg(long, value_name = "TITLE")]
    worker_codex_app_thread_title: Option<String>,
    /// The manager's thread in the Codex app
    #[arg(long, value_name = "ID")]
    manager_codex_app_thread_id: Option<String>,
    /// That thread's title
    #[arg(long, value_name = "TITLE")]
    manager_codex_app_thread_title: Option<String>,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for CreateDisposableBinding {
    const NAME: &'static str = "create-disposable-binding";
    const GROUP: Group = Group::Tasks;
    const ABOUT: &'static str = "Create a task with a bound worker and manager that poll, in one call";
    const HELP: &'static str = "\
For threads of the Codex app, demonstrations and tests: no tmux and no live Codex process is needed. Both sessions
fetch their messages from their inboxes; the output has the commands and prompts for their threads. A call that
fails leaves nothing behind.

Example:
  conveyor create-disposable-binding demo --goal 'Make the test suite pass' --path ./ledger.db
  conveyor enqueue-nudge-worker demo --message 'Run the tests' --path ./ledger.db
  conveyor dispatch --once --path ./ledger.db
  conveyor worker-inbox demo --consume-next --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let or_default = |given: &Option<String>, role: &str| {
            given.clone().unwrap_or_else(|| format!("{}-{role}", self.task))
        };
        let (worker, manager) = (or_default(&self.worker, "worker"), or_default(&self.manager, "manager"));
        let cwd = app.absolute(self.cwd.as_deref().unwrap_or("."))?;
        let request = Request {
            task: &self.task,
            goal: self.goal.as_deref(),
            summary: self.summary.as_deref(),
            worker: Side {
                session: &worker,
                thread_id: self.worker_codex_app_thread_id.as_deref(),
                thread_title: self.worker_codex_app_thread_title.as_deref(),
            },
            manager: Side {
                session: &manager,
                thread_id: self.manager_codex_app_thread_id.as_deref(),
                thread_title: self.manager_codex_app_thread_title.as_deref(),
            },
            cwd: &cwd,
        };
        request.check()?;
        let directory = self.session_dir(app, &app.location(&self.db)?)?;
        let mut cx = app.open(&self.db, Access::Write)?;
        let made = disposable::create(&mut cx, &request, &directory)?;
        if self.json.json { app.out().json(&made) } else { print(&made, app.out()) }
    }
}

impl CreateDisposableBinding {
    fn session_dir(&self, app: &App<'_>, ledger: &Location) -> Result<PathBuf, Failure> {
        Ok(match (&self.session_dir, ledger) {
            (Some(given), _) => app.absolute(given)?,
            (None, Location::File(file)) => file.with_file_name("disposable-sessions"),
            (None, Location::Server(_)) => app.state_root()?.join("disposable-sessions"),
        })
    }
}

fn print(made: &Disposable, mut out: Out<'_>) -> Result<(), Failure> {
    out.line(&format!("Created a disposable binding for task \"{}\".", made.task.name))?;
    for (title, side) in [("Worker", &made.worker), ("Manager", &made.manager)] {
        out.line(&format!("{title}: {}  {}", side.name, side.rollout_path.as_deref().unwrap_or("-")))?;
    }
    out.line("Replay commands:")?;
    for command in &made.replay_commands {
        out.line(&format!("  {command}"))?;
    }
    out.line("Heartbeat recommendations:")?;
    let heartbeats = &made.heartbeat_recommendations;
    out.line(&format!("  Every {} minutes", heartbeats.interval_minutes))?;
    out.line(&format!("  Manager: {}", heartbeats.manager.poll_command))?;
    out.line(&format!("  Worker: {}", heartbeats.worker.poll_command))?;
    out.line(&format!("  Status: {}", heartbeats.status_command))?;
    out.line(&format!("  Wake-up plan: {}", heartbeats.wakeup_plan_command))?;
    out.line(&format!("  Idle polls: {}", heartbeats.teardown_policy.idle_poll))?;
    out.line(&format!("  Closeout: {}", heartbeats.teardown_policy.terminal_closeout_command))?;
    out.line("Worker handoff:")?;
    for line in made.worker_handoff.lines() {
        out.line(line)?;
    }
    Ok(())
}
