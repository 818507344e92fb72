//! `stop-task`: close a task that is given up.

use conveyor_core::closing::{Ending, Request};
use conveyor_model::CaptureMode;

use super::finish_task::{DecisionFlags, close};
use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;

/// Arguments of `stop-task`.
#[derive(clap::Args)]
pub struct StopTask {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    /// Why it is given up [default: a fixed phrase]
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// End the worker's terminal as well, and its turn if one runs
    #[arg(long)]
    stop_worker: bool,
    #[command(flatten)]
    decision: DecisionFlags,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for StopTask {
    const NAME: &'static str = "stop-task";
    const GROUP: Group = Group::Tasks;
    const ABOUT: &'static str = "Close a task that is given up";
    const HELP: &'static str = "\
The task becomes done; its binding ends and its active run is abandoned. The manager's terminal is ended, and its
turn if one runs; the worker's keeps running unless --stop-worker is given. A terminal that cannot be ended leaves
the task open (exit 1), and the call can be repeated.

Example:
  conveyor stop-task demo --reason 'No longer needed' --stop-worker --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let state_root = app.state_root();
        let request = Request {
            task: &self.task,
            ending: Ending::Stop,
            reason: self.reason.as_deref(),
            stop_worker: self.stop_worker,
            stop_manager: true,
            capture: false,
            capture_lines: 200,
            capture_mode: CaptureMode::Segment,
            require_segment: false,
            gates: self.decision.gates(),
            state_root: &state_root,
        };
        let closed = close(app, &self.db, &request)?;
        app.out().json(&closed)
    }
}
