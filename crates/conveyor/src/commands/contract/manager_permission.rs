//! `manager-permission`: ask whether the manager may do something.

use conveyor_core::contract::permission::{self, Request};
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;

/// Arguments of `manager-permission`.
#[derive(clap::Args)]
pub struct ManagerPermission {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    /// A permission (category.action) or alias; with --list a category
    #[arg(value_name = "PERMISSION")]
    action: String,
    /// Show what is granted of a category
    #[arg(long)]
    list: bool,
    /// Exit with 1 when it is not allowed
    #[arg(long)]
    require: bool,
    /// Demand a saved handoff as well
    #[arg(long)]
    require_handoff: bool,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for ManagerPermission {
    const NAME: &'static str = "manager-permission";
    const GROUP: Group = Group::Contract;
    const ABOUT: &'static str = "Ask whether a task's manager may do something";
    const HELP: &'static str = "\
Ask before acting; that one asked, and the answer, is recorded. Without a configuration nothing is allowed.

  communication   comment_on_pr, notify_operator
  context         fetch_issues, fetch_prs, spawn_reviewer
  repo            merge_green_pr, open_pr, push_branch
  verification    run_cargo, run_playwright, run_pytest, run_xcodebuild
  worker_session  clear, compact, interrupt, stop

Example:
  conveyor manager-permission demo repo.open_pr --require --path ./ledger.db
  conveyor manager-permission demo worker_compact_clear --require --require-handoff --path ./ledger.db
  conveyor manager-permission demo repo --list --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Read)?;
        let request = Request {
            task: &self.task,
            action: &self.action,
            list: self.list,
            require_handoff: self.require_handoff,
        };
        let answer = permission::check(&mut cx, &request)?;
        app.out().json(&answer)?;
        if self.require && !answer.allowed { Err(Failure::Verdict(1)) } else { Ok(()) }
    }
}
