//! `worker-inbox`: the messages addressed to the worker of a task.

use conveyor_core::inbox::Inbox;
use conveyor_model::Role;

use super::inbox::InboxOptions;
use crate::app::App;
use crate::commands::{Group, Subcommand};
use crate::failure::Failure;

/// Arguments of `worker-inbox`.
#[derive(clap::Args)]
pub struct WorkerInbox {
    /// The task (id or name); its live binding tells whose inbox it is
    #[arg(value_name = "TASK")]
    task: String,
    #[command(flatten)]
    options: InboxOptions,
}

impl Subcommand for WorkerInbox {
    const NAME: &'static str = "worker-inbox";
    const GROUP: Group = Group::Queue;
    const ABOUT: &'static str = "Look at, wait for or take the messages for the worker of a task";
    const HELP: &'static str = "\
As `session-inbox` for the session that is bound to the task as its worker. Messages of that session's
earlier tasks, if it left any, come first.

Example:
  conveyor worker-inbox demo --path ./ledger.db
  conveyor worker-inbox demo --consume-next --wait --timeout 60 --json --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        self.options.visit(app, Inbox::Side { role: Role::Worker, task: &self.task })
    }
}
