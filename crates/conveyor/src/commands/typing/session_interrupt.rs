//! `session-interrupt`: break off what a session does.

use conveyor_core::typing::interrupt::{self, Request};
use conveyor_store::Access;

use super::{GuardFlags, refused};
use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;

/// Arguments of `session-interrupt`.
#[derive(clap::Args)]
pub struct SessionInterrupt {
    /// The session
    #[arg(value_name = "SESSION")]
    session: String,
    /// Press this key, named as tmux names it, instead of just ending the turn
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// What to say once the session is idle
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    followup: Option<String>,
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

impl Subcommand for SessionInterrupt {
    const NAME: &'static str = "session-interrupt";
    const GROUP: Group = Group::Typing;
    const ABOUT: &'static str = "Break off the turn that a session is at";
    const HELP: &'static str = "\
The turn is ended through the agent's server where that can be reached, else with the key Escape. When no turn runs,
nothing is sent. C-c is pressed only while a turn runs, because it ends a Codex that is idle. No key is pressed while
a dialog is open, which it would answer, or while somebody's draft stands in the composer. Commands that the agent
runs in the background are left on purpose (background, and background_commands where its server counts them); stop
ends them.

Exit code 3: the key, or the follow-up after it, would do harm now and was not sent. Exit code 4: the follow-up was
typed, but no turn was seen. The result is JSON.

Example:
  conveyor session-interrupt worker-1 --followup \"Stop editing; report first\" --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let guard = self.guard.guard(app)?;
        let mut cx = app.open(&self.db, Access::Write)?;
        let request = Request {
            name: &self.session,
            key: self.key.as_deref(),
            followup: self.followup.as_deref(),
            dry_run: self.dry_run,
            guard,
        };
        let interrupted =
            interrupt::session(&mut cx, &request).map_err(|error| refused(app, self.json.json, error))?;
        app.out().json(&interrupted.report)?;
        interrupted.followup_error.map_or(Ok(()), |error| Err(error.into()))
    }
}
