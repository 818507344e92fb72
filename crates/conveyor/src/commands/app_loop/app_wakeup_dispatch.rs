//! `app-wakeup-dispatch`: decide whom to wake, with a receipt.

use conveyor_core::app_loop::{self, Planned, WakeAction};
use conveyor_store::Access;

use super::{JudgeOptions, show_dispatcher, show_prompt};
use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;

/// Arguments of `app-wakeup-dispatch`.
#[derive(clap::Args)]
pub struct AppWakeupDispatch {
    /// The task (id or name)
    #[arg(value_name = "TASK")]
    task: String,
    #[command(flatten)]
    judge: JudgeOptions,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for AppWakeupDispatch {
    const NAME: &'static str = "app-wakeup-dispatch";
    const GROUP: Group = Group::AppLoop;
    const ABOUT: &'static str = "Decide whom of a task to wake, and leave a receipt";
    const HELP: &'static str = "\
Nothing is sent: whoever owns the app's thread tools sends the prompt of each action that is ready_to_send to
its thread, and then records what it did with `app-wakeup-record-delivery` and the receipt printed here.

Example:
  conveyor app-wakeup-dispatch demo --json --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Write)?;
        let planned = app_loop::dispatch(&mut cx, &self.task, self.judge.judge())?;
        if self.json.json {
            return app.out().json(&planned);
        }
        show(app, &planned)
    }
}

fn show(app: &mut App<'_>, planned: &Planned) -> Result<(), Failure> {
    app.out().line(&format!("Wake-up decisions of task {}", planned.status.task.name))?;
    show_dispatcher(&mut app.out(), &planned.dispatcher)?;
    app.out().line(&format!("Receipt: {} {}", planned.receipt.event_type, planned.receipt.event_id))?;
    planned.actions.iter().try_for_each(|action| show_action(app, action))
}

fn show_action(app: &mut App<'_>, action: &WakeAction) -> Result<(), Failure> {
    let mut out = app.out();
    out.line(&format!("{}: {}, {}", action.role, action.status, action.reason))?;
    if let Some(blocker) = &action.blocker {
        out.line(&format!("Blocked: {blocker}"))?;
    }
    if let (true, Some(id)) = (action.send_ready, &action.thread.id) {
        let title = action.thread.title.as_deref().unwrap_or("(no title)");
        out.line(&format!("Thread: {title}, {id}"))?;
    }
    match &action.prompt {
        Some(prompt) => show_prompt(app, prompt),
        None => Ok(()),
    }
}
