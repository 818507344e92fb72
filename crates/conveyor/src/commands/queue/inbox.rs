//! What the three inbox commands have in common: their options and how their reply is shown.

use std::io::Write;

use conveyor_core::inbox::{self, Inbox, Reply, Request};
use conveyor_store::Access;
use conveyor_store::inbox::SessionInboxItem;

use crate::app::App;
use crate::commands::{DbPath, JsonFlag};
use crate::failure::Failure;
use crate::out::Out;
use crate::values;

/// Options of the inbox commands.
#[derive(clap::Args)]
pub struct InboxOptions {
    /// Take the first message out; with --wait, wait until there is one
    #[arg(long)]
    consume_next: bool,
    /// Wait until a message is there or the timeout has passed
    #[arg(long)]
    wait: bool,
    /// With --wait: the longest wait; 0 looks once
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = values::non_negative_number)]
    timeout: f64,
    /// With --wait: look again after so long, even if nothing seems to have happened
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = values::positive_number)]
    interval: f64,
    /// Most messages listed
    #[arg(long, value_name = "N", default_value = "10", value_parser = values::non_negative_integer)]
    limit: i64,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    db: DbPath,
}

impl InboxOptions {
    /// Visits an inbox and shows what was found.
    ///
    /// # Errors
    /// Whatever makes the visit fail.
    pub fn visit(&self, app: &mut App<'_>, inbox: Inbox<'_>) -> Result<(), Failure> {
        // Consuming brings old ledgers the index that keeps inboxes in order.
        let access = if self.consume_next { Access::Write } else { Access::Read };
        let mut cx = app.open(&self.db, access)?;
        let request = Request {
            inbox,
            consume: self.consume_next,
            wait: self.wait,
            timeout: self.timeout,
            interval: self.interval,
            limit: self.limit,
        };
        let stderr = &mut app.host.stderr;
        let reply = inbox::visit(&mut cx, &request, &mut |line| {
            // Nobody is left to warn when standard error is gone.
            let _ = writeln!(stderr, "{}", crate::out::printable(line));
        })?;
        if self.json.json {
            return app.out().json(&reply);
        }
        show(&mut app.out(), &reply)
    }
}

fn show(out: &mut Out<'_>, reply: &Reply) -> Result<(), Failure> {
    let task = reply.task.as_ref().map(|task| format!(" (task {})", task.name)).unwrap_or_default();
    out.line(&format!("Inbox of {} {}{task}", reply.session.role, reply.session.name))?;
    if let Some(item) = &reply.consumed {
        let at = item.consumed_at.as_deref().unwrap_or("unknown");
        out.line(&format!("Consumed {}, consumed {at}, correlation {}", route(item), item.correlation_id))?;
        // A consumed message is not listed again, so its text is shown now.
        let message = item.payload.get("message").and_then(serde_json::Value::as_str).unwrap_or_default();
        for line in message.lines() {
            out.line(&format!("  {line}"))?;
        }
    }
    if reply.items.is_empty() {
        let waited = if reply.wait.timed_out { " after waiting" } else { "" };
        return out.line(&format!("Nothing pending{waited}."));
    }
    out.line(&format!("{} pending:", reply.items.len()))?;
    for item in &reply.items {
        let at = item.delivered_at.as_deref().unwrap_or("unknown");
        out.line(&format!("  {}, delivered {at}, correlation {}", route(item), item.correlation_id))?;
    }
    Ok(())
}

/// Number, kind and way of a message.
fn route(item: &SessionInboxItem) -> String {
    format!(
        "#{} {} ({}) from {} to {}",
        item.id, item.signal_type, item.delivery_mode, item.source_session_name, item.target_session_name
    )
}
