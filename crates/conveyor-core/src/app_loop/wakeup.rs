//! Wake-ups: what to send to the threads that sleep, and the receipt for what was decided.

use conveyor_model::{Actor, LeaseState, Role, Severity, WakeStatus};
use conveyor_store::Tx;
use conveyor_store::telemetry::{self, Emit};
use serde::Serialize;
use serde_json::{Value, json};

use super::commands::dispatcher_command;
use super::prompts::wake_prompt;
use super::status::{LoopStatus, RoleStatus, of_task};
use super::{Judge, Receipt};
use crate::{Cx, Result, reference};

/// The event that a decision leaves as its receipt.
pub(super) const PLANNED: &str = "app_wakeup_dispatch_planned";

const SIDES: [Role; 2] = [Role::Manager, Role::Worker];

/// The prompts to send now.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// What keeps messages moving.
    pub dispatcher: Dispatcher,
    /// The state of the loop.
    pub status: LoopStatus,
    /// One per side whose lease is not healthy, manager first.
    pub wakeups: Vec<Wakeup>,
}

/// What keeps messages moving.
#[derive(Debug, Serialize)]
pub struct Dispatcher {
    /// How to start it.
    pub command: String,
    /// Whether it has to be started.
    pub required: bool,
    /// The verdict on its lease.
    pub state: LeaseState,
}

/// A prompt for a side that sleeps.
#[derive(Debug, Serialize)]
pub struct Wakeup {
    /// What to send.
    pub prompt: String,
    /// Why.
    pub reason: String,
    /// To which side.
    pub role: Role,
    /// To which thread.
    pub thread: Thread,
}

/// A thread of the app, as far as it is known.
#[derive(Clone, Debug, Serialize)]
pub struct Thread {
    /// Its id.
    pub id: Option<String>,
    /// Its title.
    pub title: Option<String>,
}

/// The decisions of one round, and their receipt.
#[derive(Debug, Serialize)]
pub struct Planned {
    /// Manager, then worker.
    pub actions: Vec<WakeAction>,
    /// What keeps messages moving.
    pub dispatcher: Dispatcher,
    /// The event that records the decisions.
    pub receipt: Receipt,
    /// The state of the loop.
    pub status: LoopStatus,
    /// The decisions counted.
    pub summary: Summary,
}

/// The decision for one side.
#[derive(Debug, Serialize)]
pub struct WakeAction {
    /// What keeps the prompt from being sent.
    pub blocker: Option<String>,
    /// What to send.
    pub prompt: Option<String>,
    /// Why.
    pub reason: String,
    /// The side.
    pub role: Role,
    /// Whether the prompt can be sent to the thread as it is.
    pub send_ready: bool,
    /// The decision.
    pub status: WakeStatus,
    /// The side's thread.
    pub thread: Thread,
}

/// Decisions counted.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs, reason = "one count per status, and whether a dispatcher must be started")]
pub struct Summary {
    pub blocked: usize,
    pub dispatcher_required: bool,
    pub ready_to_send: usize,
    pub skipped: usize,
    pub total_actions: usize,
}

/// Plans the wake-ups of a task's loop. Reads only.
///
/// # Errors
/// An unknown task, or one without live binding.
pub fn plan(cx: &mut Cx, task: &str, judge: Judge<'_>) -> Result<Plan> {
    let ledger = cx.ledger();
    cx.db.read(|tx| {
        let task = reference::task(tx, task)?;
        let status = of_task(tx, &task, judge, &ledger)?;
        let wakeups = SIDES
            .into_iter()
            .filter(|role| status.side(*role).lease.state != LeaseState::Healthy)
            .map(|role| {
                let side = status.side(role);
                let prompt = wake_prompt(&task.name, role, side);
                Wakeup { prompt, reason: side.reason(role), role, thread: Thread::of(side) }
            })
            .collect();
        Ok(Plan { dispatcher: Dispatcher::of(&status, &ledger), status, wakeups })
    })
}

/// Decides for both sides of a task's loop and leaves a receipt. Sends nothing.
///
/// # Errors
/// An unknown task, or one without live binding; nothing is written then.
pub fn dispatch(cx: &mut Cx, task: &str, judge: Judge<'_>) -> Result<Planned> {
    let ledger = cx.ledger();
    cx.db.write(|tx| {
        let task = reference::task(tx, task)?;
        let status = of_task(tx, &task, judge, &ledger)?;
        let dispatcher = Dispatcher::of(&status, &ledger);
        let actions: Vec<WakeAction> =
            SIDES.into_iter().map(|role| WakeAction::decide(&task.name, role, status.side(role))).collect();
        let summary = Summary::of(&actions, &dispatcher);
        let receipt = emit(tx, &status, &dispatcher, &actions, summary)?;
        Ok(Planned { actions, dispatcher, receipt, status, summary })
    })
}

impl Dispatcher {
    fn of(status: &LoopStatus, ledger: &str) -> Self {
        let state = status.dispatch.state;
        let command = dispatcher_command(&status.dispatch.dispatcher_id, ledger);
        Self { command, required: state != LeaseState::Healthy, state }
    }
}

impl Thread {
    fn of(side: &RoleStatus) -> Self {
        Self { id: side.codex_app_thread_id.clone(), title: side.codex_app_thread_title.clone() }
    }
}

impl WakeAction {
    fn decide(task: &str, role: Role, side: &RoleStatus) -> Self {
        let thread = Thread::of(side);
        let status = match (side.lease.state, &thread.id) {
            (LeaseState::Healthy, _) => WakeStatus::SkippedHealthy,
            (_, Some(_)) => WakeStatus::ReadyToSend,
            (_, None) => WakeStatus::BlockedMissingThread,
        };
        let blocker = (status == WakeStatus::BlockedMissingThread).then(|| {
            format!(
                "no app thread of the {role} is known: deliver the prompt by hand, or register the session with its \
                 thread (--codex-app-thread-id) before using the app's send tool"
            )
        });
        Self {
            blocker,
            prompt: (status != WakeStatus::SkippedHealthy).then(|| wake_prompt(task, role, side)),
            reason: side.reason(role),
            role,
            send_ready: status == WakeStatus::ReadyToSend,
            status,
            thread,
        }
    }

    /// The decision as its receipt keeps it: without the prompt.
    fn recorded(&self) -> Value {
        json!({
            "blocker": self.blocker,
            "reason": self.reason,
            "role": self.role,
            "send_ready": self.send_ready,
            "status": self.status,
            "thread_id": self.thread.id,
            "thread_title": self.thread.title,
        })
    }
}

impl Summary {
    fn of(actions: &[WakeAction], dispatcher: &Dispatcher) -> Self {
        let count = |status| actions.iter().filter(|action| action.status == status).count();
        Self {
            blocked: count(WakeStatus::BlockedMissingThread),
            dispatcher_required: dispatcher.required,
            ready_to_send: count(WakeStatus::ReadyToSend),
            skipped: count(WakeStatus::SkippedHealthy),
            total_actions: actions.len(),
        }
    }
}

fn emit(
    tx: &mut Tx<'_>,
    status: &LoopStatus,
    dispatcher: &Dispatcher,
    actions: &[WakeAction],
    summary: Summary,
) -> Result<Receipt> {
    let needs_attention = summary.blocked > 0 || summary.dispatcher_required;
    let correlation =
        json!({ "command": "app-wakeup-dispatch", "dispatcher_id": status.dispatch.dispatcher_id });
    let attributes = json!({
        "actions": actions.iter().map(WakeAction::recorded).collect::<Vec<_>>(),
        "dispatcher": dispatcher,
        "status_ok": status.ok,
        "summary": summary,
    });
    let text = format!("Decided on the wake-ups of task {}.", status.task.name);
    let event = Emit::info(Actor::Manager, PLANNED, text, correlation, attributes)
        .of_task(Some(&status.task.id))
        .severity(if needs_attention { Severity::Warning } else { Severity::Info })
        .in_whole_seconds();
    let event_id = telemetry::emit(tx, &event)?;
    Ok(Receipt { event_id, event_type: PLANNED, recorded_at: tx.now()?.to_s_text() })
}
