//! `update-status`: a worker reports what it is doing.

use clap::builder::PossibleValuesParser;
use conveyor_core::legacy::{self, Update};
use conveyor_model::WorkerStatus;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;

/// Arguments of `update-status`.
#[derive(clap::Args)]
pub struct UpdateStatus {
    /// The worker
    #[arg(value_name = "WORKER")]
    name: String,
    /// What it is doing
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(WorkerStatus::TEXTS))]
    state: String,
    /// What it works on
    #[arg(long, value_name = "TEXT")]
    current_task: String,
    /// What it will do next
    #[arg(long, value_name = "TEXT")]
    next_action: String,
    /// What it waits for; without it nothing
    #[arg(long, value_name = "TEXT")]
    blocker: Option<String>,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for UpdateStatus {
    const NAME: &'static str = "update-status";
    const GROUP: Group = Group::Legacy;
    const ABOUT: &'static str = "Report what a worker of the state root is doing";
    const HELP: &'static str = "\
For the worker itself. The report goes into the ledger, to status.json and to the worker's event log. Any state
may follow any other; with `blocked` say what is missing.

Example:
  conveyor update-status worker-1 --state running_tests --current-task 'Fix the login' \\
    --next-action 'Read the failures' --path ./ledger.db
  conveyor update-status worker-1 --state blocked --current-task 'Fix the login' --next-action 'Wait' \\
    --blocker 'No access to the test database' --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut place = app.place(&self.db)?;
        let update = Update {
            name: &self.name,
            state: WorkerStatus::from_text(&self.state).unwrap_or(WorkerStatus::Unknown),
            current_task: &self.current_task,
            next_action: &self.next_action,
            blocker: self.blocker.as_deref(),
        };
        let report = legacy::update(&mut place, &update)?;
        app.out().json(&report)
    }
}
