//! `status`: show what a worker or session reports and whether its terminal runs.

use conveyor_core::terminal::{self, Refresh};

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::values;

/// Arguments of `status`.
#[derive(clap::Args)]
pub struct Status {
    /// The worker or session
    #[arg(value_name = "NAME")]
    name: String,
    /// Do not capture the terminal
    #[arg(long)]
    no_refresh: bool,
    /// Capture so many lines above the screen as well
    #[arg(long, value_name = "N", default_value = "200", value_parser = values::integer)]
    lines: i64,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for Status {
    const NAME: &'static str = "status";
    const GROUP: Group = Group::Legacy;
    const ABOUT: &'static str = "Show what a worker or session reports and whether its terminal runs";
    const HELP: &'static str = "\
The terminal is captured first, as `conveyor capture` does it, unless --no-refresh is given. Trouble with the
terminal is part of the answer: see terminal_capture_error.

Example:
  conveyor status worker-1 --path ./ledger.db
  conveyor status worker-1 --no-refresh --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut place = app.place(&self.db)?;
        let refresh = if self.no_refresh { Refresh::No } else { Refresh::Lines(self.lines) };
        let observed = terminal::status(&mut place, &self.name, refresh)?;
        app.out().json(&observed)
    }
}
