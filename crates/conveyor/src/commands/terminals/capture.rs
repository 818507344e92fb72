//! `capture`: record what a terminal shows.

use conveyor_core::terminal;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::values;

/// Arguments of `capture`.
#[derive(clap::Args)]
pub struct Capture {
    /// The worker or session
    #[arg(value_name = "NAME")]
    name: String,
    /// Capture so many lines above the screen as well
    #[arg(long, value_name = "N", default_value = "200", value_parser = values::integer)]
    lines: i64,
    /// Print the text instead of facts about it
    #[arg(long)]
    include_content: bool,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for Capture {
    const NAME: &'static str = "capture";
    const GROUP: Group = Group::Terminals;
    const ABOUT: &'static str = "Record what the terminal of a worker or session shows";
    const HELP: &'static str = "\
The text goes into the ledger when it differs from the last capture, and to transcript.txt in the worker's
directory of the state root. It is printed only with --include-content, because whatever is printed inside an
agent's terminal becomes part of its context. A program that shows an alternate screen has no history to capture:
the report then says alternate_screen.

Example:
  conveyor capture worker-1 --path ./ledger.db
  conveyor capture worker-1 --lines 50 --include-content --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut place = app.place(&self.db)?;
        let captured = terminal::capture(&mut place, &self.name, self.lines)?;
        if !self.include_content {
            return app.out().json(&captured);
        }
        app.out().verbatim(&format!("{}\n", captured.text))
    }
}
