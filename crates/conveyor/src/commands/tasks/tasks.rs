//! `tasks`: list tasks, or create one.

use conveyor_core::tasks::{self, TaskRecord};
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;

/// Arguments of `tasks`.
#[derive(clap::Args)]
pub struct Tasks {
    /// Create a task with this name (needs --goal)
    #[arg(long, value_name = "NAME")]
    create: Option<String>,
    /// What the task is to achieve
    #[arg(long, value_name = "TEXT", requires = "create")]
    goal: Option<String>,
    /// A short description
    #[arg(long, value_name = "TEXT", requires = "create")]
    summary: Option<String>,
    /// List only open tasks: candidate, managed or paused
    #[arg(long, conflicts_with = "create")]
    active: bool,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for Tasks {
    const NAME: &'static str = "tasks";
    const GROUP: Group = Group::Tasks;
    const ABOUT: &'static str = "List tasks, or create one";
    const HELP: &'static str = "\
A task is one unit of supervised work. Names need not be unique: a command that is given a name takes the
newest task of that name.

Example:
  conveyor tasks --create demo --goal 'Make the test suite pass' --path ./ledger.db
  conveyor tasks --active --json --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        if let Some(name) = &self.create {
            let Some(goal) = &self.goal else {
                return Err(Failure::usage("tasks --create needs --goal TEXT: what the task is to achieve"));
            };
            let mut cx = app.open(&self.db, Access::Write)?;
            let created = tasks::create(&mut cx, name, goal, self.summary.as_deref())?;
            return app.out().json(&created);
        }
        let mut cx = app.open(&self.db, Access::Read)?;
        let mut out = app.out();
        if self.json.json {
            let mut elements = out.json_array();
            tasks::list(&mut cx, self.active, &mut |task| elements.push(&task))?;
            return elements.end();
        }
        let mut rows = out.rows(&["NAME", "STATE", "GOAL"]);
        tasks::list(&mut cx, self.active, &mut |TaskRecord { name, state, goal, .. }| {
            rows.push(&[&name, &state, &goal])
        })?;
        rows.end()
    }
}
