//! `request-worker-compact`, `compact-worker`: have a worker compact or clear its context.

use conveyor_core::contract::compaction::{self, Manner, Outcome, Request};
use conveyor_core::{Cx, Result};
use conveyor_store::Access;

use crate::app::App;
use crate::commands::typing::{GuardFlags, refused};
use crate::commands::{DbPath, Group, Subcommand};
use crate::failure::Failure;
use crate::values;

/// Arguments shared by both commands.
#[derive(clap::Args)]
struct CompactArgs {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    /// Send /clear in place of /compact
    #[arg(long)]
    clear: bool,
    /// Send a message that asks for it, and no command; wins over --clear
    #[arg(long)]
    prompt_only: bool,
    /// The message, in place of the generated one
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// Check and record everything, but send nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    guard: GuardFlags,
    /// Print a refusal of the guard as JSON, too; the output is JSON anyway
    #[arg(long, help_heading = "Common options")]
    json: bool,
    #[command(flatten)]
    db: DbPath,
}

impl CompactArgs {
    /// Carries out a request; `act` decides about the decision behind it.
    fn run(
        &self,
        app: &mut App<'_>,
        act: impl FnOnce(&mut Cx, &Request<'_>) -> Result<Outcome>,
    ) -> Result<(), Failure> {
        let request = Request {
            task: &self.task,
            manner: match (self.prompt_only, self.clear) {
                (true, _) => Manner::Prompt,
                (false, true) => Manner::Clear,
                (false, false) => Manner::Compact,
            },
            message: self.message.as_deref(),
            decision_id: None,
            strict_decisions: false,
            dry_run: self.dry_run,
            guard: self.guard.guard(app)?,
        };
        let mut cx = app.open(&self.db, Access::Write)?;
        let outcome = act(&mut cx, &request).map_err(|error| refused(app, self.json, error))?;
        app.out().json(&outcome.requested)?;
        outcome.unconfirmed.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Arguments of `request-worker-compact`.
#[derive(clap::Args)]
pub struct RequestWorkerCompact {
    /// The decision to nudge that stands behind it, by the id that record-decision printed
    #[arg(long, value_name = "ID", value_parser = values::integer)]
    decision_id: Option<i64>,
    /// Refuse unless that decision is one of this task, to nudge, and at most 15 minutes old
    #[arg(long)]
    strict_decisions: bool,
    #[command(flatten)]
    compact: CompactArgs,
}

impl Subcommand for RequestWorkerCompact {
    const NAME: &'static str = "request-worker-compact";
    const GROUP: Group = Group::Contract;
    const ABOUT: &'static str = "Have a task's worker compact or clear its context";
    const HELP: &'static str = "\
It takes the permissions worker_session.compact and worker_session.clear, and a saved handoff. The command goes to the
worker's terminal under the guard of session-nudge, whose exit codes 3 (nothing was sent) and 4 (not proven) hold
here, too. Everything is recorded, a refusal as well. The result is JSON.

Example:
  conveyor record-decision demo nudge --reason 'Context is nearly full' --path ./ledger.db
  conveyor request-worker-compact demo --decision-id 3 --strict-decisions --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let (decision_id, strict_decisions) = (self.decision_id, self.strict_decisions);
        self.compact.run(app, |cx, request| {
            compaction::request(cx, &Request { decision_id, strict_decisions, ..*request })
        })
    }
}

/// Arguments of `compact-worker`.
#[derive(clap::Args)]
pub struct CompactWorker {
    /// Why: the reason of the decision that is recorded
    #[arg(long, value_name = "TEXT", required = true)]
    reason: String,
    /// The cycle whose observation led to it
    #[arg(long, value_name = "ID", value_parser = values::integer)]
    cycle_id: Option<i64>,
    #[command(flatten)]
    compact: CompactArgs,
}

impl Subcommand for CompactWorker {
    const NAME: &'static str = "compact-worker";
    const GROUP: Group = Group::Contract;
    const ABOUT: &'static str =
        "Decide that a task's worker compacts or clears its context, and have it done";
    const HELP: &'static str = "\
The decision to nudge is recorded, then everything goes on as with request-worker-compact --strict-decisions. The
decision stays when the request fails.

Example:
  conveyor handoff demo --summary 'Parser done, date tests open' --path ./ledger.db
  conveyor compact-worker demo --reason 'Context is nearly full' --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let Self { reason, cycle_id, compact } = self;
        compact.run(app, |cx, request| compaction::decide_and_request(cx, request, &reason, cycle_id))
    }
}
