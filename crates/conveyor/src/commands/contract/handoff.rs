//! `handoff`: save where the work on a task stands.

use conveyor_core::contract::handoffs::{self, Request};
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::input;

/// Arguments of `handoff`.
#[derive(clap::Args)]
pub struct Handoff {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    /// Where the work stands: what is done, what was found out, what is open
    #[arg(long, value_name = "TEXT", required = true)]
    summary: String,
    /// What comes next; repeatable, in order
    #[arg(long = "next-step", value_name = "TEXT")]
    next_steps: Vec<String>,
    /// More about it: a JSON object
    #[arg(long, value_name = "JSON")]
    payload_json: Option<String>,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for Handoff {
    const NAME: &'static str = "handoff";
    const GROUP: Group = Group::Contract;
    const ABOUT: &'static str = "Save where the work on a task stands";
    const HELP: &'static str = "\
A handoff survives what the worker's context does not: compaction, clearing, a restart, a manager that comes late.
The latest one is shown by every cycle, and a worker's context is neither compacted nor cleared without one.

Example:
  conveyor handoff demo --summary 'Parser done, 41 of 44 tests pass' --next-step 'Fix the three date tests' \\
    --next-step 'Run the whole suite' --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let payload = input::optional_object("--payload-json", self.payload_json.as_deref())?;
        let mut cx = app.open(&self.db, Access::Write)?;
        let request =
            Request { task: &self.task, summary: &self.summary, next_steps: &self.next_steps, payload };
        let recorded = handoffs::record(&mut cx, &request)?;
        app.out().json(&recorded)
    }
}
