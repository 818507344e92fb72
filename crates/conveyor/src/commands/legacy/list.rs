//! `list`: list the workers of the state root.

use conveyor_core::legacy;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;

/// Arguments of `list`.
#[derive(clap::Args)]
pub struct List {
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for List {
    const NAME: &'static str = "list";
    const GROUP: Group = Group::Legacy;
    const ABOUT: &'static str = "List the workers of the state root";
    const HELP: &'static str = "\
Name, whether the terminal runs, reported state and current task, in order of their directories. Registered
sessions without a directory are not in it: see `conveyor sessions`. Nothing is written.

Example:
  conveyor list
  conveyor list --json --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut place = app.place(&self.db)?;
        let workers = legacy::list(&mut place)?;
        let mut out = app.out();
        if self.json.json {
            return out.json(&workers);
        }
        let mut rows = out.rows(&["NAME", "STATUS", "STATE", "TASK"]);
        for worker in &workers {
            rows.push(&[&worker.name, worker.status, &worker.state, &worker.current_task])?;
        }
        rows.end()
    }
}
