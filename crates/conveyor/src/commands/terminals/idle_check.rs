//! `idle-check`: judge whether a worker or session goes on.

use conveyor_core::terminal::{self, IdleRequest, Refresh};

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::values;

/// Arguments of `idle-check`.
#[derive(clap::Args)]
pub struct IdleCheck {
    /// The worker or session
    #[arg(value_name = "NAME")]
    name: String,
    /// From which age on its status is stale
    #[arg(long, value_name = "N", default_value = "300", value_parser = values::integer)]
    status_stale_seconds: i64,
    /// From which age on an unchanged terminal is stale
    #[arg(long, value_name = "N", default_value = "300", value_parser = values::integer)]
    terminal_stale_seconds: i64,
    /// From which age of its status on running work is remarkable
    #[arg(long, value_name = "N", default_value = "90", value_parser = values::integer)]
    busy_wait_seconds: i64,
    /// Capture so many lines above the screen as well
    #[arg(long, value_name = "N", default_value = "200", value_parser = values::integer)]
    lines: i64,
    /// Do not record a capture first
    #[arg(long)]
    no_refresh: bool,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for IdleCheck {
    const NAME: &'static str = "idle-check";
    const GROUP: Group = Group::Terminals;
    const ABOUT: &'static str = "Judge whether a worker or session goes on, waits or is stuck";
    const HELP: &'static str = "\
From what it reports, when its terminal changed, and what its screen shows. Health: stopped, blocked, done,
unknown (the terminal cannot be looked at), busy_wait (a dialog, or running work without a report), stale, quiet,
status_stale, active. The recommended action says what to do; a dialog is never to be confirmed blindly.

Example:
  conveyor idle-check worker-1 --path ./ledger.db
  conveyor idle-check worker-1 --no-refresh --status-stale-seconds 600 --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut place = app.place(&self.db)?;
        let request = IdleRequest {
            name: &self.name,
            refresh: if self.no_refresh { Refresh::No } else { Refresh::Lines(self.lines) },
            busy_wait_seconds: self.busy_wait_seconds,
            status_stale_seconds: self.status_stale_seconds,
            terminal_stale_seconds: self.terminal_stale_seconds,
        };
        let idle = terminal::idle_check(&mut place, &request)?;
        app.out().json(&idle)
    }
}
