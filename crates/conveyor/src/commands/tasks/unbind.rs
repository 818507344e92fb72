//! `unbind`: end the binding of a task.

use conveyor_core::bindings;
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;

/// Arguments of `unbind`.
#[derive(clap::Args)]
pub struct Unbind {
    /// Task id or name
    #[arg(long, value_name = "TASK")]
    task: String,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for Unbind {
    const NAME: &'static str = "unbind";
    const GROUP: Group = Group::Tasks;
    const ABOUT: &'static str = "End the binding of a task";
    const HELP: &'static str = "\
The task's state, its sessions and its queued messages stay as they are.

Example:
  conveyor unbind --task demo --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Write)?;
        bindings::unbind(&mut cx, &self.task)?;
        app.out().compact_line(&[("task", &self.task), ("state", "ended")])
    }
}
