//! `discover` (also `search`): find tasks, sessions and bindings.

use conveyor_core::discover::{self, Request};
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::values;

/// Arguments of `discover`.
#[derive(clap::Args)]
pub struct Discover {
    /// Part of a name, goal or directory, in upper or lower case [default: everything]
    #[arg(value_name = "QUERY")]
    query: Option<String>,
    /// Show at most so many of each kind
    #[arg(long, value_name = "N", default_value = "10", value_parser = values::non_negative_integer)]
    limit: i64,
    /// Show closed tasks and gone sessions as well
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for Discover {
    const NAME: &'static str = "discover";
    const ALIASES: &'static [&'static str] = &["search"];
    const GROUP: Group = Group::Sessions;
    const ABOUT: &'static str =
        "Find tasks, sessions, bindings and telemetry, with advice on what to do next";
    const HELP: &'static str = "\
Prints one JSON object. Tasks, sessions and bindings match when a field contains the query; telemetry is searched
only with a query, for events that contain all of its words. Suggestions say what is missing before the work can
begin: a binding, a worker session, a manager session.

Example:
  conveyor discover --path ./ledger.db
  conveyor discover login --all --limit 50 --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Read)?;
        let request = Request {
            query: self.query.as_deref().unwrap_or_default(),
            limit: usize::try_from(self.limit).unwrap_or(usize::MAX),
            all: self.all,
        };
        let found = discover::discover(&mut cx, &request)?;
        app.out().json(&found)
    }
}
