//! `bind`: let a manager supervise a worker for a task.

use conveyor_core::bindings;
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;

/// Arguments of `bind`.
#[derive(clap::Args)]
pub struct Bind {
    /// Task id or name
    #[arg(long, value_name = "TASK")]
    task: String,
    /// A registered worker session
    #[arg(long, value_name = "SESSION")]
    worker: String,
    /// A registered manager session
    #[arg(long, value_name = "SESSION")]
    manager: String,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for Bind {
    const NAME: &'static str = "bind";
    const GROUP: Group = Group::Tasks;
    const ABOUT: &'static str = "Bind a worker and a manager session for a task";
    const HELP: &'static str = "\
From then on messages of the task go to these two sessions. A task has at most one live binding, and a session is
in at most one. The task's state stays as it is.

Example:
  conveyor bind --task demo --worker worker-1 --manager manager-1 --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Write)?;
        let bound = bindings::bind(&mut cx, &self.task, &self.worker, &self.manager)?;
        app.out().json(&bound)
    }
}
