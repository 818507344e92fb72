//! `session-nudge`: send a text to a session's terminal.

use conveyor_core::typing::nudge::{self, Request};
use conveyor_store::Access;

use super::{GuardFlags, refused};
use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;

/// Arguments of `session-nudge`.
#[derive(clap::Args)]
pub struct SessionNudge {
    /// The session
    #[arg(value_name = "SESSION")]
    session: String,
    /// The text; line ends are kept
    #[arg(value_name = "TEXT")]
    text: String,
    /// Say where it would go, without sending it
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    guard: GuardFlags,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for SessionNudge {
    const NAME: &'static str = "session-nudge";
    const GROUP: Group = Group::Typing;
    const ABOUT: &'static str = "Send a text to a session's terminal, as one message";
    const HELP: &'static str = "\
The text is typed only while it is proven that the agent is idle and its composer is empty, so that it can neither
answer a dialog nor mix with what somebody types. It counts as delivered once the agent's own record has a turn
that begins with it. A text that begins with / or !, that is the path of an image and nothing else, or that has
control characters is no message to the agent's composer and is refused.

Exit code 3: the terminal does not take a message now; nothing was sent, and trying again is safe (--json prints
why). Exit code 4: the text was typed, but no turn was seen; look before you send it again. The result is JSON.

Example:
  conveyor session-nudge worker-1 \"Run the tests again\" --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let guard = self.guard.guard(app)?;
        let mut cx = app.open(&self.db, Access::Write)?;
        let request = Request { name: &self.session, text: &self.text, dry_run: self.dry_run, guard };
        let nudged =
            nudge::session(&mut cx, &request).map_err(|error| refused(app, self.json.json, error))?;
        app.out().json(&nudged.sent)?;
        nudged.unconfirmed.map_or(Ok(()), |error| Err(error.into()))
    }
}
