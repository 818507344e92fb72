//! `db-doctor`: check the ledger itself.

use conveyor_core::doctor;
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;

/// Arguments of `db-doctor`.
#[derive(clap::Args)]
pub struct DbDoctor {
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
repaired.

Example:
  conveyor db-doctor --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Read)?;
        let report = doctor::examine(&mut cx)?;
        app.out().json(&report)?;
        if report.ok { Ok(()) } else { Err(Failure::Verdict(1)) }
    }
}
