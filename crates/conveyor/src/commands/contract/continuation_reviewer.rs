//! `continuation-reviewer`: have a separated program compare two proposals.

use std::io::Write;

use conveyor_core::continuation::{self, Engine, ReviewRequest};
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::values;

/// Arguments of `continuation-reviewer`.
#[derive(clap::Args)]
pub struct ContinuationReviewer {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    /// The turn
    #[arg(long, value_name = "ID")]
    correlation_id: String,
    /// What the reviewer is called in the record
    #[arg(long, value_name = "ID")]
    reviewer_session_id: String,
    /// What the manager is called in the record; it cannot be the reviewer
    #[arg(long, value_name = "ID")]
    manager_session_id: String,
    /// How long the reviewer may take; at least one second
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = values::positive_number)]
    timeout: f64,
    /// Print what the reviewer would be told; run and record nothing
    #[arg(long)]
    dry_run: bool,
    /// The reviewer: everything that follows is its command, so this comes last
    #[arg(long, value_name = "COMMAND", num_args = 1.., action = clap::ArgAction::Append)]
    reviewer_command: Vec<String>,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for ContinuationReviewer {
    const NAME: &'static str = "continuation-reviewer";
    const GROUP: Group = Group::Contract;
    const ABOUT: &'static str = "Have a separated program compare the proposals of a turn";
    const HELP: &'static str = "\
The reviewer reads one JSON document from standard input: task, proposals, criteria, a summary of the contract, what
git has changed, recent pull requests. It answers with one JSON object on standard output: agreement (match,
compatible, divergent), verdict (proceed, amend, stop), rationale, perhaps an addendum.

It runs in a sandbox: it can neither read nor change the ledger, the rollouts of the task's sessions or the state
root, nor reach a process that could. Its directory is a private one, its environment all but empty. The network is
open, because a model must be reached. Without a sandbox it is not run. Everything that goes wrong is recorded as
verdict stop, with exit code 0: read verdict and operator_routing_required.

Example:
  conveyor continuation-reviewer demo --correlation-id ID --reviewer-session-id reviewer-1 \\
    --manager-session-id manager-1 --path ./ledger.db --reviewer-command -- ./review.sh --model fast
  conveyor continuation-reviewer demo --correlation-id ID --reviewer-session-id reviewer-1 \\
    --manager-session-id manager-1 --dry-run --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let state_root = app.state_root()?;
        // The reviewer looks at the project that it is started in.
        app.cwd()?;
        let mut cx = app.open(&self.db, Access::Read)?;
        let environment = &app.host.environment;
        let own;
        let launcher = match &environment.launcher {
            Some(launcher) => launcher,
            None => {
                own = std::env::current_exe()?;
                &own
            }
        };
        let request = ReviewRequest {
            task: &self.task,
            correlation_id: &self.correlation_id,
            reviewer_session_id: &self.reviewer_session_id,
            manager_session_id: &self.manager_session_id,
            command: &self.reviewer_command,
            seconds: self.timeout,
            environment: &environment.passed_on,
            state_root: &state_root,
            launcher,
            engines: environment.sandboxes.as_deref().unwrap_or(Engine::of_system()),
        };
        if self.dry_run {
            let preview = continuation::preview(&mut cx, &request)?;
            return app.out().json(&preview);
        }
        let stderr = &mut app.host.stderr;
        let review = continuation::review_by_program(&mut cx, &request, &mut |line| {
            // Nobody is left to warn when standard error is gone.
            let _ = writeln!(stderr, "warning: {}", crate::out::printable(line));
        })?;
        app.out().json(&review)
    }
}
