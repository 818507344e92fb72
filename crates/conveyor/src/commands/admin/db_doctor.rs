//! `db-doctor`: check the ledger itself.

use conveyor_core::doctor;
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::values;

/// Arguments of `db-doctor`.
#[derive(clap::Args)]
pub struct DbDoctor {
    /// Compare the ledger with the terminals and processes of this machine as well
    #[arg(long)]
    live: bool,
    /// With --live: warn of managers of older versions that were not seen for so long
    #[arg(long, value_name = "N", default_value = "300", value_parser = values::non_negative_integer)]
    manager_stale_seconds: i64,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for DbDoctor {
    const NAME: &'static str = "db-doctor";
    const GROUP: Group = Group::Admin;
    const ABOUT: &'static str = "Check the ledger: settings, version, completeness, references";
    const HELP: &'static str = "\
Prints every check with what it found, as JSON, and ends with exit code 1 when one of them is not ok. Nothing is
repaired. With --live the workers and managers of every task are looked for in tmux and among the processes, and
commands that are not finished are listed.

Example:
  conveyor db-doctor --path ./ledger.db
  conveyor db-doctor --live --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Read)?;
        let report = doctor::examine(&mut cx, self.live.then_some(self.manager_stale_seconds))?;
        app.out().json(&report)?;
        if report.ok { Ok(()) } else { Err(Failure::Verdict(1)) }
    }
}
