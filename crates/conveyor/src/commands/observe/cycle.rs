//! `cycle`: observe the worker of a task once.

use conveyor_core::cycle::{self, Request};
use conveyor_store::Access;

use crate::app::App;
use crate::commands::sessions::ingest::Bar;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::values;

/// Arguments of `cycle`.
#[derive(clap::Args)]
pub struct Cycle {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    /// From how many seconds of silence on running work looks stuck
    #[arg(long, value_name = "SECONDS", default_value = "90", value_parser = values::non_negative_integer)]
    busy_wait_seconds: i64,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for Cycle {
    const NAME: &'static str = "cycle";
    const GROUP: Group = Group::Observing;
    const ABOUT: &'static str = "Observe a task's worker once, for its manager";
    const HELP: &'static str = "\
Reads what is new in the worker's rollout, tells whether it is busy or idle, looks at its terminal for dialogs and
stuck work, takes the manager's inbox, and prints all of that together with the task's contract. A manager repeats:
cycle, decide, act. Each cycle is recorded with its phases, also one that fails.

A dead process or a missing terminal is a finding, not a failure. When the task's configuration requires
acknowledgements, both sides must have given them first.

Example:
  conveyor cycle demo --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Write)?;
        let request = Request { task: &self.task, busy_wait_seconds: self.busy_wait_seconds };
        let mut bar = Bar::new(app.host.stderr_is_terminal);
        let report = cycle::cycle(&mut cx, &request, &mut |read, size| bar.show(read, size));
        bar.clear();
        app.out().json_record(&report?)
    }
}
