//! `finish-task`: close a task whose work is accepted.

use std::io::Write;

use conveyor_core::closing::{self, Ending, Gates, Request};
use conveyor_core::detaching;
use conveyor_model::CaptureMode;
use conveyor_store::Access;

use crate::app::App;
use crate::commands::typing::guard_of_environment;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::{detached, values};

/// Arguments of `finish-task`.
#[derive(clap::Args)]
pub struct FinishTask {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    /// Why the work is accepted [default: a fixed phrase]
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// What to tell the worker before its terminal is ended
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// End the worker's terminal, and its turn if one runs
    #[arg(long)]
    stop_worker: bool,
    /// End the manager's terminal, and its turn if one runs
    #[arg(long)]
    stop_manager: bool,
    /// End them even though their Codex server cannot say what they leave in the background
    #[arg(long)]
    force: bool,
    /// Record first what the terminals show that are to be ended
    #[arg(long)]
    capture_transcript_before_stop: bool,
    /// Lines above the visible screen; none if it is negative
    #[arg(long, value_name = "N", default_value = "200", value_parser = values::integer)]
    capture_transcript_lines: i64,
    /// How much becomes a segment
    #[arg(long, value_name = "MODE", default_value = "segment", value_parser = values::capture_mode())]
    capture_transcript_mode: CaptureMode,
    /// End nothing unless every terminal that is to be ended shows something new
    #[arg(long, requires = "capture_transcript_before_stop")]
    require_transcript_segment: bool,
    #[command(flatten)]
    decision: DecisionFlags,
    /// Refuse while accepted criteria are open
    #[arg(long)]
    require_criteria_audit: bool,
    /// Refuse while worker or manager has not acknowledged
    #[arg(long)]
    require_acks: bool,
    /// Refuse while configured closing steps were not done
    #[arg(long)]
    require_epilogue: bool,
    /// Refuse without a satisfied criterion that holds a structured adversarial proof
    #[arg(long)]
    require_adversarial_proof: bool,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

/// Which decision of the manager stands behind it.
#[derive(clap::Args)]
pub(super) struct DecisionFlags {
    /// The decision to stop that stands behind it, by the id that record-decision printed
    #[arg(long, value_name = "ID", value_parser = values::integer)]
    decision_id: Option<i64>,
    /// Refuse unless that decision is one of this task, to stop, and at most 15 minutes old
    #[arg(long)]
    strict_decisions: bool,
}

impl DecisionFlags {
    /// The gates that these flags alone set.
    pub(super) fn gates(&self) -> Gates {
        let Self { decision_id, strict_decisions } = *self;
        Gates { decision_id, strict_decisions, ..Gates::default() }
    }
}

impl Subcommand for FinishTask {
    const NAME: &'static str = "finish-task";
    const GROUP: Group = Group::Tasks;
    const ABOUT: &'static str = "Close a task whose work is accepted";
    const HELP: &'static str = "\
The task becomes done; its binding and its active run end. What its contract leaves open (accepted criteria,
acknowledgements, closing steps) is reported, a line each on standard error, and recorded. Terminals keep running
unless --stop-worker or --stop-manager is given. Ending one means that nothing of its agent goes on: what is queued
for it, the turn that runs, the commands that it left in the background, the terminal and its processes. What cannot
be ended within seconds, or not be looked at, leaves the task open (exit 1), and the call can be repeated; --force
ends what can be ended where the Codex server lacks the methods, and reports background: unknown. --message is typed to the worker before its terminal is ended, if that takes a message
then; that it does not, or that nothing proves its arrival, is reported and stops nothing.

With --require-… a gate that is closed leaves the task open as well (exit 1). A task whose configuration says
--enforce-gates has the gates for criteria, required acknowledgements and closing steps without being asked.

Example:
  conveyor finish-task demo --require-criteria-audit --require-adversarial-proof --strict-decisions --decision-id 7 \
    --path ./ledger.db
  conveyor finish-task demo --reason 'All tests pass' --path ./ledger.db
  conveyor finish-task demo --stop-worker --stop-manager --capture-transcript-before-stop --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let guard = guard_of_environment(app)?;
        let state_root = app.state_root()?;
        let request = Request {
            task: &self.task,
            ending: Ending::Finish,
            reason: self.reason.as_deref(),
            message: self.message.as_deref(),
            guard,
            stop_worker: self.stop_worker,
            stop_manager: self.stop_manager,
            force: self.force,
            capture: self.capture_transcript_before_stop,
            capture_lines: u32::try_from(self.capture_transcript_lines.max(0)).unwrap_or(u32::MAX),
            capture_mode: self.capture_transcript_mode,
            require_segment: self.require_transcript_segment,
            gates: Gates {
                criteria_audit: self.require_criteria_audit,
                acks: self.require_acks,
                epilogue: self.require_epilogue,
                adversarial_proof: self.require_adversarial_proof,
                ..self.decision.gates()
            },
            state_root: &state_root,
        };
        close(app, &self.db, &request)
    }
}

/// Closes the task and prints the result; what its contract leaves open is said on standard error.
/// Called by an agent whose own turn ends with it, it is done by a copy that outlives the turn.
pub(super) fn close(app: &mut App<'_>, db: &DbPath, request: &Request<'_>) -> Result<(), Failure> {
    app.host.environment.decodable(&["CODEX_THREAD_ID"])?;
    let mut cx = app.open(db, Access::Write)?;
    if app.host.environment.detached {
        detaching::leave_session()?;
    } else if closing::ends_caller(&mut cx, request, app.host.environment.codex_thread_id.is_some())?
        && let Some(relayed) = detached::relay(app)
    {
        return relayed;
    }
    let stderr = &mut app.host.stderr;
    let closed = closing::close(&mut cx, request, &mut |line| {
        // Nobody is left to warn when standard error is gone.
        let _ = writeln!(stderr, "warning: {}", crate::out::printable(line));
    })?;
    app.out().json(&closed)
}
