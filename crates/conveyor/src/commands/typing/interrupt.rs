//! `interrupt`: break off what a worker of the state root does.

use conveyor_core::typing::interrupt::{self, Request};

use super::{GuardFlags, refused};
use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;

/// Arguments of `interrupt`.
#[derive(clap::Args)]
pub struct Interrupt {
    /// The worker of the state root
    #[arg(value_name = "NAME")]
    name: String,
    /// Press this key, named as tmux names it, instead of just ending the turn
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// What to say afterwards, instead of the request to pause and report
    #[arg(long, value_name = "TEXT", conflicts_with = "no_followup", allow_hyphen_values = true)]
    followup: Option<String>,
    /// Say nothing afterwards
    #[arg(long)]
    no_followup: bool,
    /// Send nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    guard: GuardFlags,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for Interrupt {
    const NAME: &'static str = "interrupt";
    const GROUP: Group = Group::Typing;
    const ABOUT: &'static str = "Break off what a worker of the state root does, and ask it to report";
    const HELP: &'static str = "\
Works as session-interrupt, for workers that are directories of the state root. The follow-up needs the proofs that
every message needs; where they are missing the interrupt stands, the follow-up is not sent, and the exit code is 3.

Example:
  conveyor interrupt worker-1 --no-followup --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let guard = self.guard.guard(app)?;
        let mut place = app.place(&self.db)?;
        let request = Request {
            name: &self.name,
            key: self.key.as_deref(),
            followup: self.followup.as_deref(),
            dry_run: self.dry_run,
            guard,
        };
        let interrupted = interrupt::worker(&mut place, &request, self.no_followup)
            .map_err(|error| refused(app, self.json.json, error))?;
        app.out().json(&interrupted.report)?;
        interrupted.followup_error.map_or(Ok(()), |error| Err(error.into()))
    }
}
