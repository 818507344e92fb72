//! `epilogue`: the closing steps of a task.

use conveyor_core::epilogue;
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;

/// Arguments of `epilogue`.
#[derive(clap::Args)]
pub struct Epilogue {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    /// Run a configured step and record what it brought
    #[arg(long, value_name = "STEP")]
    step: Option<String>,
    /// Show the steps and every run
    #[arg(long)]
    list: bool,
    /// The same
    #[arg(long)]
    status: bool,
    /// Ties the run to others in the record [default: generated]
    #[arg(long, value_name = "ID", requires = "step")]
    correlation_id: Option<String>,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for Epilogue {
    const NAME: &'static str = "epilogue";
    const GROUP: Group = Group::Contract;
    const ABOUT: &'static str = "Run a closing step of a task, or show what became of each";
    const HELP: &'static str = "\
The steps are those that the task's manager configuration names:
  run-tools        every configured tool answers --version
  draft-pr         counts what the records hold for a pull request; opens none
  subagent-review  a continuation review is recorded; what it says is in the result
  record-handoff   a handoff of the worker is saved
A step may be repeated; its latest run counts. A step that fails is recorded (exit 0).

Example:
  conveyor epilogue demo --step run-tools --path ./ledger.db
  conveyor epilogue demo --status --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        if self.step.is_none() && !self.list && !self.status {
            return Err(Failure::usage("epilogue requires --list, --status, or --step"));
        }
        let mut cx = app.open(&self.db, Access::Read)?;
        let report = match &self.step {
            Some(step) => epilogue::run_step(&mut cx, &self.task, step, self.correlation_id.as_deref())?,
            None => epilogue::report(&mut cx, &self.task)?,
        };
        match &self.step {
            Some(step) if !(self.json.json || self.list || self.status) => {
                let steps = serde_json::to_value(&report.status.steps).map_err(std::io::Error::from)?;
                app.out().line(&format!("epilogue {step}: {steps}"))
            }
            _ => app.out().json(&report),
        }
    }
}
