//! `nudge`: send a text to a worker's or session's terminal.

use conveyor_core::typing::nudge::{self, Reached, Request};

use super::{GuardFlags, refused};
use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;

/// Arguments of `nudge`.
#[derive(clap::Args)]
pub struct Nudge {
    /// The worker of the state root, or the session
    #[arg(value_name = "NAME")]
    name: String,
    /// The text; line ends are kept
    #[arg(value_name = "TEXT")]
    text: String,
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

impl Subcommand for Nudge {
    const NAME: &'static str = "nudge";
    const GROUP: Group = Group::Typing;
    const ABOUT: &'static str = "Send a text to the terminal of a worker of the state root, or of a session";
    const HELP: &'static str = "\
The text is typed under the same proofs as with session-nudge, and the exit codes 3 and 4 mean the same. Of a worker
of the state root nothing proves what it does, unless a session is registered for its terminal: it needs --force.
A message that may wait until the agent is idle belongs into the queue: see enqueue-nudge-worker, or
enqueue-notify-manager for a manager.

Example:
  conveyor nudge worker-1 \"Run the tests again\" --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let guard = self.guard.guard(app)?;
        let mut place = app.place(&self.db)?;
        let request = Request { name: &self.name, text: &self.text, dry_run: self.dry_run, guard };
        let reached =
            nudge::by_name(&mut place, &request).map_err(|error| refused(app, self.json.json, error))?;
        let unconfirmed = match reached {
            Reached::Worker(unconfirmed) => {
                let verb = if self.dry_run { "would send" } else { "sent" };
                app.out().line(&format!("{verb} nudge to {}", self.name))?;
                unconfirmed
            }
            Reached::Session(nudged) => {
                app.out().json(&nudged.sent)?;
                nudged.unconfirmed
            }
        };
        unconfirmed.map_or(Ok(()), |error| Err(error.into()))
    }
}
