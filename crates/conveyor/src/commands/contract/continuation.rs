//! `continuation`: what worker and manager propose to do next.

use conveyor_core::continuation;
use conveyor_model::records::Object;
use conveyor_model::{Reader, Role};
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::{input, values};

/// Arguments of `continuation`.
#[derive(clap::Args)]
pub struct Continuation {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    /// Record a proposal of this side; its JSON object is read from standard input
    #[arg(long, value_name = "ROLE", value_parser = values::one_of(Role::TEXTS, Role::from_text))]
    submit: Option<Role>,
    /// Record a review of a turn; its JSON object is read from standard input
    #[arg(long)]
    review: bool,
    /// List proposals and reviews
    #[arg(long)]
    list: bool,
    /// Read the JSON object; needed for --submit and --review
    #[arg(long)]
    from_stdin: bool,
    /// The turn [default with --submit worker: generated; with --list: all turns]
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// List what this role may read
    #[arg(
        long, value_name = "ROLE", default_value = "all", requires = "list",
        value_parser = values::one_of(Reader::TEXTS, Reader::from_text)
    )]
    as_role: Reader,
    /// Show what was proposed
    #[arg(long, alias = "include-content", requires = "list")]
    include_payload: bool,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for Continuation {
    const NAME: &'static str = "continuation";
    const GROUP: Group = Group::Contract;
    const ABOUT: &'static str = "Propose what to do next, review two proposals, or list them";
    const HELP: &'static str = "\
After a completed turn the worker proposes first, and its correlation_id names the turn; the manager proposes for the
same turn without having read the worker's proposal. A reviewer that is neither of them compares the two. A review
needs the permission context.spawn_reviewer; `continuation-reviewer` has a program make it.

A proposal is any JSON object. A review has agreement (match, compatible, divergent), verdict (proceed, amend, stop),
rationale, perhaps an addendum, and subagent_run with reviewer_session_id, manager_session_id (another one) and
manager_rollout_access (false).

Example:
  echo '{\"next\": \"Write the migration\"}' |
    conveyor continuation demo --submit worker --from-stdin --path ./ledger.db
  echo '{\"next\": \"Migrate, then measure\"}' |
    conveyor continuation demo --submit manager --from-stdin --correlation-id ID --path ./ledger.db
  conveyor continuation demo --list --as-role manager --include-payload --correlation-id ID --path ./ledger.db
  echo '{\"agreement\": \"compatible\", \"verdict\": \"amend\", \"rationale\": \"Measuring is missing\",
    \"addendum\": \"Measure before and after\", \"subagent_run\": {\"reviewer_session_id\": \"reviewer-1\",
    \"manager_session_id\": \"manager-1\", \"manager_rollout_access\": false}}' |
    conveyor continuation demo --review --from-stdin --correlation-id ID --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let writes = self.submit.is_some() || self.review;
        if writes && !self.from_stdin {
            return Err(Failure::usage("continuation requires --from-stdin for --submit or --review"));
        }
        let chosen = [self.submit.is_some(), self.review, self.list].iter().filter(|one| **one).count();
        if chosen != 1 {
            return Err(Failure::usage("continuation needs exactly one of --submit, --review and --list"));
        }
        if self.list {
            return self.show(app);
        }
        let payload = input::stdin_object(app.host)?;
        match self.submit {
            Some(proposer) => self.propose(app, proposer, &payload),
            None => self.record_review(app, &payload),
        }
    }
}

impl Continuation {
    fn show(&self, app: &mut App<'_>) -> Result<(), Failure> {
        if self.from_stdin {
            return Err(Failure::usage("--from-stdin is for --submit and --review, not for --list"));
        }
        let mut cx = app.open(&self.db, Access::Read)?;
        let turn = self.correlation_id.as_deref();
        let listed = continuation::list(&mut cx, &self.task, turn, self.as_role, self.include_payload)?;
        app.out().json(&listed)
    }

    fn propose(&self, app: &mut App<'_>, proposer: Role, payload: &Object) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Read)?;
        let turn = self.correlation_id.as_deref();
        let recorded = continuation::submit(&mut cx, &self.task, proposer, turn, payload)?;
        app.out().json(&recorded)
    }

    fn record_review(&self, app: &mut App<'_>, payload: &Object) -> Result<(), Failure> {
        let Some(turn) = self.correlation_id.as_deref() else {
            return Err(Failure::usage("continuation --review requires --correlation-id"));
        };
        let mut cx = app.open(&self.db, Access::Read)?;
        let review = continuation::review(&mut cx, &self.task, turn, payload)?;
        app.out().json(&review)
    }
}
