//! `app-loop-status`: whether everything that keeps a loop alive is alive.

use conveyor_core::app_loop::{self, LoopStatus, RoleStatus};
use conveyor_store::Access;

use super::JudgeOptions;
use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;
use crate::out::Out;

/// Arguments of `app-loop-status`.
#[derive(clap::Args)]
pub struct AppLoopStatus {
    /// The task (id or name)
    #[arg(value_name = "TASK")]
    task: String,
    #[command(flatten)]
    judge: JudgeOptions,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for AppLoopStatus {
    const NAME: &'static str = "app-loop-status";
    const GROUP: Group = Group::AppLoop;
    const ABOUT: &'static str = "Show whether dispatcher, manager and worker of a task are alive";
    const HELP: &'static str = "\
Each of the three holds a lease: healthy, stale (last heartbeat too old) or missing (never one). For each that
is not healthy the answer says what brings it back. Reads only.

Example:
  conveyor app-loop-status demo --path ./ledger.db
  conveyor app-loop-status demo --stale-after 60 --json --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Read)?;
        let status = app_loop::status(&mut cx, &self.task, self.judge.judge())?;
        if self.json.json {
            return app.out().json(&status);
        }
        show(&mut app.out(), &status)
    }
}

fn show(out: &mut Out<'_>, status: &LoopStatus) -> Result<(), Failure> {
    let verdict = if status.ok { "ok" } else { "needs attention" };
    out.line(&format!("Loop of task {}: {verdict}", status.task.name))?;
    out.line(&format!("Dispatcher: {}, {}", status.dispatch.dispatcher_id, status.dispatch.state))?;
    let side = |side: &RoleStatus| {
        format!("{}, {}", side.name.as_deref().unwrap_or("(no session)"), side.lease.state)
    };
    out.line(&format!("Manager: {}", side(&status.manager)))?;
    out.line(&format!("Worker: {}", side(&status.worker)))?;
    for action in &status.next_actions {
        out.line(&format!("Next: {}, because {}", action.kind, action.reason))?;
    }
    Ok(())
}
