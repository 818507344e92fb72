//! `deregister`: mark a session as gone.

use conveyor_core::sessions;
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;

/// Arguments of `deregister`.
#[derive(clap::Args)]
pub struct Deregister {
    /// The session
    #[arg(value_name = "SESSION")]
    session: String,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for Deregister {
    const NAME: &'static str = "deregister";
    const GROUP: Group = Group::Sessions;
    const ABOUT: &'static str = "Mark a session as gone";
    const HELP: &'static str = "\
A session in a live binding is refused, and the refusal is recorded: unbind its task first. Its terminal and its
process keep running. It comes back by registering the same name again.

Example:
  conveyor unbind --task demo --path ./ledger.db
  conveyor deregister worker-1 --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Write)?;
        sessions::deregister(&mut cx, &self.session)?;
        app.out().compact_line(&[("name", &self.session), ("state", "gone")])
    }
}
