//! `enqueue-notify-manager` and `enqueue-nudge-worker`: queue a message for the other side.

use conveyor_core::queue::{self, EnqueueRequest};
use conveyor_model::CommandType;
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;

/// Arguments that both commands share.
#[derive(clap::Args)]
struct Message {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    /// The text to convey
    #[arg(long, value_name = "TEXT")]
    message: String,
    /// A manager permission that must be granted when the message is dispatched, such as repo.open_pr
    #[arg(long, value_name = "NAME")]
    required_permission: Option<String>,
    /// Refuse to queue the same message twice: one command per key, ever
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Ties this message to others in telemetry [default: generated]
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    db: DbPath,
}

impl Message {
    fn enqueue(self, command_type: CommandType, app: &mut App<'_>) -> Result<(), Failure> {
        let request = EnqueueRequest {
            command_type,
            task: &self.task,
            message: &self.message,
            correlation_id: self.correlation_id.as_deref(),
            idempotency_key: self.idempotency_key.as_deref(),
            required_permission: self.required_permission.as_deref(),
        };
        request.check()?;
        let mut cx = app.open(&self.db, Access::Write)?;
        let queued = queue::enqueue(&mut cx, &request)?;
        if self.json.json {
            return app.out().json(&queued);
        }
        app.out().line(&format!("Queued {} as {}.", queued.command_type, queued.command_id))
    }
}

/// Arguments of `enqueue-notify-manager`.
#[derive(clap::Args)]
pub struct EnqueueNotifyManager {
    #[command(flatten)]
    message: Message,
}

impl Subcommand for EnqueueNotifyManager {
    const NAME: &'static str = "enqueue-notify-manager";
    const GROUP: Group = Group::Queue;
    const ABOUT: &'static str = "Queue a message from the worker's side to the manager";
    const HELP: &'static str = "\
The message waits in the queue until a dispatcher routes it to the manager session of the task's binding.
Queueing needs no binding yet.

Example:
  conveyor enqueue-notify-manager demo --message 'Tests are green; please review' --path ./ledger.db
  conveyor dispatch --once --path ./ledger.db
  conveyor manager-inbox demo --consume-next --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        self.message.enqueue(CommandType::NotifyManager, app)
    }
}

/// Arguments of `enqueue-nudge-worker`.
#[derive(clap::Args)]
pub struct EnqueueNudgeWorker {
    #[command(flatten)]
    message: Message,
}

impl Subcommand for EnqueueNudgeWorker {
    const NAME: &'static str = "enqueue-nudge-worker";
    const GROUP: Group = Group::Queue;
    const ABOUT: &'static str = "Queue a message from the manager to the worker";
    const HELP: &'static str = "\
The message waits in the queue until a dispatcher routes it to the worker session of the task's binding.
Queueing needs no binding yet.

Example:
  conveyor enqueue-nudge-worker demo --message 'Run the linter and fix what it finds' --path ./ledger.db
  conveyor dispatch --once --type nudge_worker --path ./ledger.db
  conveyor worker-inbox demo --consume-next --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        self.message.enqueue(CommandType::NudgeWorker, app)
    }
}
