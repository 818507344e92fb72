//! `app-heartbeat`: a session of an app says that it is alive.

use conveyor_core::app_loop;
use conveyor_model::Role;
use conveyor_store::Access;

use super::JudgeOptions;
use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;

/// Arguments of `app-heartbeat`.
#[derive(clap::Args)]
pub struct AppHeartbeat {
    /// The task (id or name)
    #[arg(value_name = "TASK")]
    task: String,
    /// Which side of the task's binding beats
    #[arg(long, value_name = "ROLE", value_parser = super::role())]
    role: Role,
    #[command(flatten)]
    judge: JudgeOptions,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for AppHeartbeat {
    const NAME: &'static str = "app-heartbeat";
    const GROUP: Group = Group::AppLoop;
    const ABOUT: &'static str = "Renew a session's lease and learn what to run next";
    const HELP: &'static str = "\
The recurring command of a session that lives in an app: it proves that the session is awake, and its answer
names the commands to run next and the state of the whole loop.

Example:
  conveyor app-heartbeat demo --role worker --json --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Write)?;
        let reply = app_loop::heartbeat(&mut cx, &self.task, self.role, self.judge.judge())?;
        let mut out = app.out();
        if self.json.json {
            return out.json(&reply);
        }
        out.line(&format!("Recorded the heartbeat of the {} of task {}.", reply.role, reply.task.name))?;
        out.line(&format!("Next: {}", reply.next.direct_inbox_command))
    }
}
