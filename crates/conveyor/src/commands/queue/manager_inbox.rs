//! `manager-inbox`: the messages addressed to the manager of a task.

use conveyor_core::inbox::Inbox;
use conveyor_model::Role;

use super::inbox::InboxOptions;
use crate::app::App;
use crate::commands::{Group, Subcommand};
use crate::failure::Failure;

/// Arguments of `manager-inbox`.
#[derive(clap::Args)]
pub struct ManagerInbox {
    /// The task (id or name); its live binding tells whose inbox it is
    #[arg(value_name = "TASK")]
    task: String,
    #[command(flatten)]
    options: InboxOptions,
}

impl Subcommand for ManagerInbox {
    const NAME: &'static str = "manager-inbox";
    const GROUP: Group = Group::Queue;
    const ABOUT: &'static str = "Look at, wait for or take the messages for the manager of a task";
    const HELP: &'static str = "\
As `session-inbox` for the session that is bound to the task as its manager. Messages of that session's
earlier tasks, if it left any, come first.

Example:
  conveyor manager-inbox demo --path ./ledger.db
  conveyor manager-inbox demo --consume-next --wait --timeout 60 --json --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        self.options.visit(app, Inbox::Side { role: Role::Manager, task: &self.task })
    }
}
