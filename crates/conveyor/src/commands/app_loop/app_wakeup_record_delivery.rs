//! `app-wakeup-record-delivery`: what became of a wake-up.

use conveyor_core::app_loop::{self, DeliveryRecorded, DeliveryRequest};
use conveyor_model::{DeliveryStatus, Role};
use conveyor_store::Access;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;
use crate::out::Out;

/// Arguments of `app-wakeup-record-delivery`.
#[derive(clap::Args)]
pub struct AppWakeupRecordDelivery {
    /// The task (id or name)
    #[arg(value_name = "TASK")]
    task: String,
    /// The side whose action it was
    #[arg(long, value_name = "ROLE", value_parser = super::role())]
    role: Role,
    /// The receipt.event_id that `app-wakeup-dispatch` printed
    #[arg(long, value_name = "ID")]
    dispatch_receipt: String,
    /// What was done with the action
    #[arg(long, value_name = "STATUS", value_parser = delivery_status())]
    delivery_status: DeliveryStatus,
    /// The thread the prompt was sent to; needed for `sent`
    #[arg(long, value_name = "ID")]
    thread_id: Option<String>,
    /// Why, in free text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    db: DbPath,
}

fn delivery_status() -> impl TypedValueParser<Value = DeliveryStatus> {
    PossibleValuesParser::new(DeliveryStatus::TEXTS)
        .try_map(|text| DeliveryStatus::from_text(&text).ok_or("must be sent, skipped or blocked"))
}

impl Subcommand for AppWakeupRecordDelivery {
    const NAME: &'static str = "app-wakeup-record-delivery";
    const GROUP: Group = Group::AppLoop;
    const ABOUT: &'static str = "Record what was done with a wake-up decision";
    const HELP: &'static str = "\
An action that was ready_to_send is recorded as sent, with its thread; one that was skipped_healthy as skipped;
one that was blocked_missing_thread as blocked. Only the woken session's own `app-heartbeat` proves that it woke.

Example:
  conveyor app-wakeup-record-delivery demo --role worker --dispatch-receipt telemetry-1 \\
    --delivery-status sent --thread-id thread-worker --json --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Write)?;
        let request = DeliveryRequest {
            task: &self.task,
            role: self.role,
            dispatch_receipt: &self.dispatch_receipt,
            status: self.delivery_status,
            thread_id: self.thread_id.as_deref(),
            reason: self.reason.as_deref(),
        };
        let recorded = app_loop::record_delivery(&mut cx, &request)?;
        if self.json.json {
            return app.out().json(&recorded);
        }
        show(&mut app.out(), &recorded)
    }
}

fn show(out: &mut Out<'_>, recorded: &DeliveryRecorded) -> Result<(), Failure> {
    let delivery = &recorded.delivery;
    out.line(&format!(
        "Recorded {} for the {} of task {}",
        delivery.status, delivery.role, recorded.task.name
    ))?;
    out.line(&format!("Source receipt: {}", recorded.source.dispatch_receipt))?;
    out.line(&format!("Receipt: {}", recorded.receipt.event_id))?;
    let dispatcher = if recorded.source.dispatch_required { "required" } else { "healthy" };
    out.line(&format!("Dispatcher at the source: {dispatcher}"))
}
