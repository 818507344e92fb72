//! `record-decision`: record what a task's manager decided, and why.

use conveyor_core::decisions::{self, Request};
use conveyor_model::Decision;
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::{input, values};

/// Arguments of `record-decision`.
#[derive(clap::Args)]
pub struct RecordDecision {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    /// What was decided
    #[arg(value_name = "DECISION", value_parser = values::one_of(Decision::TEXTS, Decision::from_text))]
    decision: Decision,
    /// Why
    #[arg(long, value_name = "TEXT", required = true)]
    reason: String,
    /// The cycle whose observation led to it
    #[arg(long, value_name = "ID", value_parser = values::integer)]
    cycle_id: Option<i64>,
    /// More about it: a JSON object
    #[arg(long, value_name = "JSON")]
    payload_json: Option<String>,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for RecordDecision {
    const NAME: &'static str = "record-decision";
    const GROUP: Group = Group::Contract;
    const ABOUT: &'static str = "Record what a task's manager decided, and why";
    const HELP: &'static str = "\
Decisions say later why the manager acted. The printed id is what strict commands take as --decision-id: a nudge
backs request-worker-compact, a stop backs finish-task and stop-task. It does so for 15 minutes, and may back
several commands.

Example:
  conveyor record-decision demo nudge --reason 'Context is nearly full' --path ./ledger.db
  conveyor record-decision demo wait --reason 'Tests are running' --cycle-id 12 --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let payload = input::optional_object("--payload-json", self.payload_json.as_deref())?;
        let mut cx = app.open(&self.db, Access::Write)?;
        let request = Request {
            task: &self.task,
            decision: self.decision,
            reason: &self.reason,
            cycle_id: self.cycle_id,
            payload,
        };
        let recorded = decisions::record(&mut cx, &request)?;
        app.out().json(&recorded)
    }
}
