//! `reconcile`: find facts that no longer match the machine.

use conveyor_core::reconcile::{self, Request};
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::values;

/// Arguments of `reconcile`.
#[derive(clap::Args)]
pub struct Reconcile {
    /// Repair what can be repaired
    #[arg(long)]
    apply: bool,
    /// A bound task that was not observed for longer is reported as stuck
    #[arg(long, alias = "stale-cycle-seconds", value_name = "SECONDS", default_value = "3600",
          value_parser = values::non_negative_number)]
    stale_cycles_seconds: f64,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for Reconcile {
    const NAME: &'static str = "reconcile";
    const GROUP: Group = Group::Tasks;
    const ABOUT: &'static str = "Find what no longer matches the machine, and repair it";
    const HELP: &'static str = "\
Reports active sessions whose process is gone, bindings with a session that is gone, bound tasks that nobody has
observed for long, and the checks of `conveyor db-doctor`. With --apply such sessions become gone and their bindings
invalid; the report is the one from before. Tasks and runs are never touched, and nothing is killed.

Example:
  conveyor reconcile --path ./ledger.db
  conveyor reconcile --apply --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, if self.apply { Access::Write } else { Access::Read })?;
        let request = Request { apply: self.apply, stale_cycles_seconds: self.stale_cycles_seconds };
        let report = reconcile::reconcile(&mut cx, &request)?;
        app.out().json(&report)
    }
}
