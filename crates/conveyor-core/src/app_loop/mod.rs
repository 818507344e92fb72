//! Loops of agents that live in an app: no terminal to type into, asleep between turns. Their
//! heartbeats are leases; when one runs out, a wake-up is prepared for the layer that can reach
//! the app's threads, and what it did is recorded. Nothing here talks to an app.

mod commands;
mod delivery;
mod heartbeat;
mod prompts;
mod status;
mod wakeup;

pub use commands::{direct_inbox_command, dispatcher_command, poll_command};
pub use delivery::{Delivery, DeliveryRecorded, DeliveryRequest, Source, record_delivery};
pub use heartbeat::{Beat, Heartbeat, Next, heartbeat};
pub use status::{DispatchStatus, Lease, LoopStatus, NextAction, RoleStatus, status};
pub use wakeup::{Dispatcher, Plan, Planned, Summary, Thread, WakeAction, Wakeup, dispatch, plan};

use serde::Serialize;

/// How leases are judged.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    /// Whose dispatcher lease; `None` lets the ledger decide.
    pub dispatcher_id: Option<&'a str>,
    /// Seconds after which a life sign is too old.
    pub stale_after: f64,
}

/// The event that proves what an operation did.
#[derive(Debug, Serialize)]
pub struct Receipt {
    /// Its id.
    pub event_id: String,
    /// Its type.
    pub event_type: &'static str,
    /// Its time, in whole seconds.
    pub recorded_at: String,
}
