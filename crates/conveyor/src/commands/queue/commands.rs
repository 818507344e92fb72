//! `commands`: list the queue.

use conveyor_core::queue::{self, ListRequest};
use conveyor_model::CommandState;
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;
use crate::values;

/// Arguments of `commands`.
#[derive(clap::Args)]
pub struct Commands {
    /// Only commands of this task (id or name)
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// Only commands in this state
    #[arg(long, value_name = "STATE", value_parser = clap::builder::PossibleValuesParser::new(CommandState::TEXTS))]
    state: Option<String>,
    /// Only commands of this type
    #[arg(long = "type", value_name = "TYPE")]
    command_type: Option<String>,
    /// Only commands of this legacy worker id
    #[arg(long, value_name = "ID")]
    worker: Option<String>,
    /// Only commands of this legacy manager id
    #[arg(long, value_name = "ID")]
    manager: Option<String>,
    /// Add the attempt history of every command
    #[arg(long)]
    attempts: bool,
    /// Accepted for old scripts; the whole list is printed
    #[arg(long, value_name = "N", value_parser = values::non_negative_integer, hide = true)]
    limit: Option<i64>,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for Commands {
    const NAME: &'static str = "commands";
    const GROUP: Group = Group::Queue;
    const ABOUT: &'static str = "List queued messages and what became of them";
    const HELP: &'static str = "\
The list is in queue order. States: pending (waits), attempted (a dispatcher holds it), succeeded (in the
receiver's inbox), failed (with an error), blocked (stopped by a gate).

Example:
  conveyor commands --task demo --state pending --path ./ledger.db
  conveyor commands --task demo --attempts --json --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Read)?;
        let request = ListRequest {
            task: self.task.as_deref(),
            worker_id: self.worker.as_deref(),
            manager_id: self.manager.as_deref(),
            state: self.state.as_deref().and_then(CommandState::from_text),
            command_type: self.command_type.as_deref(),
            with_attempts: self.attempts,
        };
        let mut out = app.out();
        if self.json.json {
            let mut elements = out.json_array();
            queue::list(&mut cx, &request, &mut |command| elements.push(&command))?;
            return elements.end();
        }
        let heading = ["ID", "STATE", "TYPE", "TASK", "ATTEMPTS"];
        let mut rows = out.rows(if self.attempts { &heading } else { &heading[..4] });
        queue::list(&mut cx, &request, &mut |command| {
            let task = command.task_name.or(command.task_id).unwrap_or_default();
            let attempts = format!("attempts={}", command.attempt_history.map_or(0, |history| history.len()));
            let fields = [command.id.as_str(), &command.state, &command.command_type, &task, &attempts];
            rows.push(if self.attempts { &fields } else { &fields[..4] })
        })?;
        rows.end()
    }
}
