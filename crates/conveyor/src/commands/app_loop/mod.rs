//! Agents that live in an app: leases and wake-ups.

pub mod app_heartbeat;
pub mod app_loop_status;
pub mod app_wakeup_dispatch;
pub mod app_wakeup_plan;
pub mod app_wakeup_record_delivery;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use conveyor_core::app_loop::{Dispatcher, Judge};
use conveyor_model::Role;

use crate::app::App;
use crate::failure::Failure;
use crate::out::Out;
use crate::values;

/// How leases are judged.
#[derive(clap::Args)]
pub struct JudgeOptions {
    /// Whose dispatcher heartbeat counts [default: dispatch-local, or, if that one never ran, the
    /// dispatcher with the newest heartbeat]
    #[arg(long, value_name = "ID")]
    dispatcher_id: Option<String>,
    /// Age in seconds from which a heartbeat is too old
    #[arg(long, value_name = "SECONDS", default_value = "180", value_parser = values::non_negative_number)]
    stale_after: f64,
}

impl JudgeOptions {
    fn judge(&self) -> Judge<'_> {
        Judge { dispatcher_id: self.dispatcher_id.as_deref(), stale_after: self.stale_after }
    }
}

/// Reads `manager` or `worker`.
fn role() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::TEXTS)
        .try_map(|text| Role::from_text(&text).ok_or("must be manager or worker"))
}

/// The dispatcher's state, with the command that starts it if that is needed.
fn show_dispatcher(out: &mut Out<'_>, dispatcher: &Dispatcher) -> Result<(), Failure> {
    let command = if dispatcher.required { format!(" [{}]", dispatcher.command) } else { String::new() };
    out.line(&format!("Dispatcher: {}{command}", dispatcher.state))
}

/// A prompt line by line, ready to be copied.
fn show_prompt(app: &mut App<'_>, prompt: &str) -> Result<(), Failure> {
    let mut out = app.out();
    prompt.lines().try_for_each(|line| out.line(line))
}
