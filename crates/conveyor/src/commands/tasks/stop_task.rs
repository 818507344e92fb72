//! `stop-task`: close a task that is given up.

use conveyor_core::closing::{Ending, Request};
use conveyor_model::CaptureMode;

use super::finish_task::{DecisionFlags, close};
use crate::app::App;
use crate::commands::typing::guard_of_environment;
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
    /// What to tell the worker before its terminal is ended
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// End the worker's terminal as well, and its turn if one runs
    #[arg(long)]
    stop_worker: bool,
    /// End them even though their Codex server cannot say what they leave in the background
    #[arg(long)]
    force: bool,
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
turn if one runs; the worker's keeps running unless --stop-worker is given. As with finish-task, ending one means that
nothing of its agent goes on; what cannot be ended or not be looked at leaves the task open (exit 1), and the call can
be repeated. --message is typed to the worker before its terminal is
ended, if that takes a message then; that it does not, or that nothing proves its arrival, is reported and stops
nothing.

Example:
  conveyor stop-task demo --reason 'No longer needed' --stop-worker --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let guard = guard_of_environment(app)?;
        let state_root = app.state_root()?;
        let request = Request {
            task: &self.task,
            ending: Ending::Stop,
            reason: self.reason.as_deref(),
            message: self.message.as_deref(),
            guard,
            stop_worker: self.stop_worker,
            stop_manager: true,
            force: self.force,
            capture: false,
            capture_lines: 200,
            capture_mode: CaptureMode::Segment,
            require_segment: false,
            gates: self.decision.gates(),
            state_root: &state_root,
        };
        close(app, &self.db, &request)
    }
}
