//! `app-wakeup-plan`: the prompts that would wake the sleeping sides of a loop.

use conveyor_core::app_loop;
use conveyor_store::Access;

use super::{JudgeOptions, show_dispatcher, show_prompt};
use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;

/// Arguments of `app-wakeup-plan`.
#[derive(clap::Args)]
pub struct AppWakeupPlan {
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

impl Subcommand for AppWakeupPlan {
    const NAME: &'static str = "app-wakeup-plan";
    const GROUP: Group = Group::AppLoop;
    const ABOUT: &'static str = "Show the prompts that wake the sleeping sides of a task";
    const HELP: &'static str = "\
One prompt per side whose heartbeat is stale or missing, whether or not its thread is known. Reads only; to
act on it, use `app-wakeup-dispatch`, which leaves a receipt.

Example:
  conveyor app-wakeup-plan demo --json --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Read)?;
        let plan = app_loop::plan(&mut cx, &self.task, self.judge.judge())?;
        if self.json.json {
            return app.out().json(&plan);
        }
        app.out().line(&format!("Wake-ups of task {}: {}", plan.status.task.name, plan.wakeups.len()))?;
        show_dispatcher(&mut app.out(), &plan.dispatcher)?;
        for wakeup in &plan.wakeups {
            let thread =
                wakeup.thread.title.as_ref().map(|title| format!(" (thread {title})")).unwrap_or_default();
            app.out().line(&format!("Wake the {}{thread}: {}", wakeup.role, wakeup.reason))?;
            show_prompt(app, &wakeup.prompt)?;
        }
        Ok(())
    }
}
