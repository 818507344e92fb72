//! `tail`: show the newest events of a session.

use conveyor_core::tail::{self, Request};
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::values;

/// Arguments of `tail`.
#[derive(clap::Args)]
pub struct Tail {
    /// The session
    #[arg(value_name = "SESSION")]
    session: String,
    /// Show at most so many events
    #[arg(long, value_name = "N", default_value = "50", value_parser = values::non_negative_integer)]
    limit: i64,
    /// Show only events of exactly this subtype, for example task_complete
    #[arg(long, value_name = "SUBTYPE")]
    subtype: Option<String>,
    /// Show the texts of messages, commands and outputs
    #[arg(long)]
    include_content: bool,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for Tail {
    const NAME: &'static str = "tail";
    const GROUP: Group = Group::Sessions;
    const ABOUT: &'static str = "Show the newest ingested events of a session";
    const HELP: &'static str = "\
Newest first, as JSON. Texts are left out, with their sizes in their place, because whatever is printed inside an
agent's terminal becomes part of its context; --include-content shows them. Nothing is read from the rollout:
see `conveyor ingest`.

Example:
  conveyor tail worker-1 --limit 5 --path ./ledger.db
  conveyor tail worker-1 --subtype task_complete --include-content --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Read)?;
        let request = Request {
            session: &self.session,
            limit: self.limit,
            subtype: self.subtype.as_deref(),
            include_content: self.include_content,
        };
        let mut out = app.out();
        let mut elements = out.json_array();
        tail::tail(&mut cx, &request, &mut |event| elements.push(&event))?;
        elements.end()
    }
}
