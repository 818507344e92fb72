//! `session-inbox`: the messages addressed to a session.

use conveyor_core::inbox::Inbox;

use super::inbox::InboxOptions;
use crate::app::App;
use crate::commands::{Group, Subcommand};
use crate::failure::Failure;

/// Arguments of `session-inbox`.
#[derive(clap::Args)]
pub struct SessionInbox {
    /// The session's name
    #[arg(value_name = "SESSION")]
    session: String,
    #[command(flatten)]
    options: InboxOptions,
}

impl Subcommand for SessionInbox {
    const NAME: &'static str = "session-inbox";
    const GROUP: Group = Group::Queue;
    const ABOUT: &'static str = "Look at, wait for or take the messages addressed to a session";
    const HELP: &'static str = "\
An inbox belongs to the session, not to a task, and is read oldest message first. Looking changes nothing;
--consume-next takes one message out, and no other reader ever gets the same one. Waiting holds no lock and
ends as soon as a message arrives. Reading an inbox is not a heartbeat.

Example:
  conveyor session-inbox demo-worker --path ./ledger.db
  conveyor session-inbox demo-worker --consume-next --wait --timeout 60 --json --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        self.options.visit(app, Inbox::Session(&self.session))
    }
}
