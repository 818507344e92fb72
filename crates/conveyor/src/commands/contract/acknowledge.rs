//! `worker-ack`, `manager-ack`: say what one side understood the task to be, or show it.

use conveyor_core::contract::acknowledgements;
use conveyor_model::Role;
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, Subcommand};
use crate::failure::Failure;
use crate::input;

/// Arguments shared by both commands.
#[derive(clap::Args)]
struct AckArgs {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    /// Record the JSON object on standard input
    #[arg(long)]
    from_stdin: bool,
    /// Show the latest one, or null; with --from-stdin it is recorded first
    #[arg(long)]
    json: bool,
    /// Mark the record, so that it can be found again
    #[arg(long, value_name = "ID", requires = "from_stdin")]
    correlation_id: Option<String>,
    #[command(flatten)]
    db: DbPath,
}

impl AckArgs {
    fn run(self, role: Role, app: &mut App<'_>) -> Result<(), Failure> {
        if !self.from_stdin && !self.json {
            let need = format!(
                "`{role}-ack` needs --from-stdin to record, or --json to show: see `conveyor {role}-ack --help`"
            );
            return Err(Failure::usage(need));
        }
        if !self.from_stdin {
            let mut cx = app.open(&self.db, Access::Read)?;
            let latest = acknowledgements::latest(&mut cx, &self.task, role)?;
            return app.out().json(&latest);
        }
        let payload = input::stdin_object(app.host)?;
        let mut cx = app.open(&self.db, Access::Write)?;
        let recorded =
            acknowledgements::record(&mut cx, &self.task, role, &payload, self.correlation_id.as_deref())?;
        app.out().json(&recorded)
    }
}

/// Arguments of `worker-ack`.
#[derive(clap::Args)]
pub struct WorkerAck {
    #[command(flatten)]
    ack: AckArgs,
}

impl Subcommand for WorkerAck {
    const NAME: &'static str = "worker-ack";
    const GROUP: Group = Group::Contract;
    const ABOUT: &'static str = "Say as the worker what the task is understood to be, or show it";
    const HELP: &'static str = "\
The worker restates the task in its own words before it edits anything, so that a misunderstanding shows at the
start. The object is free; the fields below are what managers look for. It stands for the present binding and the
present revision of the task's configuration: change either, and it is out of date.

Example:
  conveyor worker-ack demo --from-stdin --path ./ledger.db <<'JSON'
  {
    \"goal_restatement\": \"Make the date parser accept ISO week dates\",
    \"proposed_criteria\": {
      \"must_have\": [\"cargo test dates passes\"],
      \"follow_up\": [\"Document the new format\"]
    },
    \"expected_tools\": [\"cargo\"],
    \"open_questions\": [],
    \"ready_to_start\": true
  }
  JSON
  conveyor worker-ack demo --json --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        self.ack.run(Role::Worker, app)
    }
}

/// Arguments of `manager-ack`.
#[derive(clap::Args)]
pub struct ManagerAck {
    #[command(flatten)]
    ack: AckArgs,
}

impl Subcommand for ManagerAck {
    const NAME: &'static str = "manager-ack";
    const GROUP: Group = Group::Contract;
    const ABOUT: &'static str = "Say as the manager how the task will be supervised, or show it";
    const HELP: &'static str = "\
The manager states the contract that it supervises under before it acts. The object is free; the fields below are
what people look for. It stands for the present binding and the present revision of the task's configuration:
change either, and it is out of date.

Example:
  conveyor manager-ack demo --from-stdin --path ./ledger.db <<'JSON'
  {
    \"task\": \"demo\",
    \"manager_session\": \"manager-1\",
    \"supervision_contract\": \"Guided: wait while the worker is busy, accept nothing without a test run\",
    \"will_not_edit_project_files\": true
  }
  JSON
  conveyor manager-ack demo --json --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        self.ack.run(Role::Manager, app)
    }
}
