//! `divergences`: the observations that a manager should have noticed.

use conveyor_core::divergences;
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::values;

/// Arguments of `divergences`.
#[derive(clap::Args)]
pub struct Divergences {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    /// Show at most so many
    #[arg(long, value_name = "N", default_value = "50", value_parser = values::non_negative_integer)]
    limit: i64,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for Divergences {
    const NAME: &'static str = "divergences";
    const GROUP: Group = Group::Observing;
    const ABOUT: &'static str = "Show the cycles in which the worker's terminal showed something notable";
    const HELP: &'static str = "\
Newest first, with the whole stored status of each: dialogs that waited for an answer, work that looked stuck,
terminals that were missing.

Example:
  conveyor divergences demo --limit 5 --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Read)?;
        let mut out = app.out();
        let mut elements = out.json_array();
        divergences::list(&mut cx, &self.task, self.limit, &mut |divergence| elements.push(&divergence))?;
        elements.end()
    }
}
