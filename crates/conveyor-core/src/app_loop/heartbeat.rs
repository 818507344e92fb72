//! A session of an app says that it is alive, and learns what to do next.

use conveyor_model::records::Task;
use conveyor_model::{Role, SessionState};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{Tx, bindings, sessions};
use serde::Serialize;
use serde_json::json;

use super::status::{LoopStatus, of_binding};
use super::{Judge, commands};
use crate::tasks::TaskRef;
use crate::{Cx, Error, Result, reference};

/// The reply of [`heartbeat`].
#[derive(Debug, Serialize)]
pub struct Heartbeat {
    /// What was recorded.
    pub heartbeat: Beat,
    /// What the session runs next.
    pub next: Next,
    /// Its side.
    pub role: Role,
    /// The state of the loop with this heartbeat in it.
    pub status: LoopStatus,
    /// The task.
    pub task: TaskRef,
}

/// A renewed lease.
#[derive(Debug, Serialize)]
pub struct Beat {
    /// When, in whole seconds.
    pub recorded_at: String,
    /// Always `recorded`.
    pub state: &'static str,
}

/// What a session runs next.
#[derive(Debug, Serialize)]
pub struct Next {
    /// Take the next message.
    pub direct_inbox_command: String,
    /// The next heartbeat.
    pub poll_command: String,
}

/// Renews the lease of the session bound to `role`, and judges the loop.
///
/// # Errors
/// An unknown task, or no active session bound in this role; nothing is written then.
pub fn heartbeat(cx: &mut Cx, task: &str, role: Role, judge: Judge<'_>) -> Result<Heartbeat> {
    let ledger = cx.ledger();
    cx.db.write(|tx| {
        let task = reference::task(tx, task)?;
        let no_session = || Error::NoBoundSession { task: task.name.clone(), role };
        let binding = bindings::live_of_task(tx, &task.id)?.ok_or_else(no_session)?;
        let session = reference::bound_session(tx, &binding, role)?
            .filter(|session| session.role == role.as_str() && session.state == SessionState::Active.as_str())
            .ok_or_else(no_session)?;
        let recorded_at = tx.now()?.to_s_text();
        sessions::set_heartbeat(tx, &session.id, &recorded_at)?;
        let next = Next {
            direct_inbox_command: commands::direct_inbox_command(&task.name, role, &ledger),
            poll_command: commands::poll_command(&task.name, role, &ledger),
        };
        emit(tx, &task, role, &session.id, &next)?;
        let status = of_binding(tx, &task, &binding, judge, &ledger)?;
        let heartbeat = Beat { recorded_at, state: "recorded" };
        Ok(Heartbeat { heartbeat, next, role, status, task: (&task).into() })
    })
}

fn emit(tx: &mut Tx<'_>, task: &Task, role: Role, session_id: &str, next: &Next) -> Result<()> {
    let attributes = json!({
        "direct_inbox_command": next.direct_inbox_command,
        "role": role,
        "session_id": session_id,
        "task": task.name,
    });
    let summary = format!("Heartbeat of the {role} of task {}.", task.name);
    let event =
        Emit::info(role.into(), "app_heartbeat", summary, json!({ "command": "app-heartbeat" }), attributes);
    telemetry::emit(tx, &event.of_task(Some(&task.id)).in_whole_seconds())?;
    Ok(())
}
