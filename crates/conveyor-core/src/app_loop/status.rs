//! The verdict on the three leases that keep a loop alive: dispatcher, manager, worker.

use conveyor_model::records::{Binding, Session, Task};
use conveyor_model::{LeaseState, Role, Timestamp};
use conveyor_store::Tx;
use serde::Serialize;

use super::Judge;
use super::commands::{direct_inbox_command, dispatcher_command, poll_command};
use crate::dispatch::life::{self, Life};
use crate::tasks::TaskRef;
use crate::{Cx, Error, Result, reference};

/// The dispatcher that is judged when none is named and this one has ever run.
const DEFAULT_DISPATCHER: &str = "dispatch-local";

/// The state of a loop.
#[derive(Debug, Serialize)]
pub struct LoopStatus {
    /// The dispatcher.
    pub dispatch: DispatchStatus,
    /// The manager's side.
    pub manager: RoleStatus,
    /// The worker's side.
    pub worker: RoleStatus,
    /// One per lease that is not healthy: dispatcher, manager, worker.
    pub next_actions: Vec<NextAction>,
    /// Whether all three leases are healthy.
    pub ok: bool,
    /// The task.
    pub task: TaskRef,
}

/// The lease of a dispatcher.
#[derive(Debug, Serialize)]
pub struct DispatchStatus {
    /// Which one is judged.
    pub dispatcher_id: String,
    /// Set when it has said that it ends.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub has_ended: bool,
    /// Its last life sign, as stored.
    pub last_heartbeat_at: Option<String>,
    /// The verdict.
    pub state: LeaseState,
}

/// One side of a loop.
#[derive(Debug, Serialize)]
pub struct RoleStatus {
    /// The app's thread of the session.
    pub codex_app_thread_id: Option<String>,
    /// The thread's title.
    pub codex_app_thread_title: Option<String>,
    /// How the session fetches its next message.
    pub direct_inbox_command: String,
    /// The verdict on its life signs.
    pub lease: Lease,
    /// The session's name, if the side is taken.
    pub name: Option<String>,
    /// How the session says that it is alive.
    pub poll_command: String,
    /// `push` into a terminal, or `pull`.
    pub receive_style: &'static str,
    /// The session's id, if the side is taken.
    pub session_id: Option<String>,
    /// `tmux`, `codex_app` or `no_tmux`.
    pub session_kind: &'static str,
}

/// A verdict on life signs.
#[derive(Debug, Serialize)]
pub struct Lease {
    /// Whole seconds since the last one; absent when there is none or its time is unreadable.
    pub age_seconds: Option<i64>,
    /// The last one, as stored.
    pub last_heartbeat_at: Option<String>,
    /// The limit that was used.
    pub stale_after_seconds: f64,
    /// The verdict.
    pub state: LeaseState,
}

/// What brings a lease back.
#[derive(Debug, Serialize)]
pub struct NextAction {
    /// `start_dispatch`, `wake_manager` or `wake_worker`.
    pub kind: &'static str,
    /// What to run.
    pub prompt: String,
    /// Why.
    pub reason: String,
    /// The side to wake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// Judges a task's loop. Reads only; an unhealthy loop is no error.
///
/// # Errors
/// An unknown task, or one without live binding.
pub fn status(cx: &mut Cx, task: &str, judge: Judge<'_>) -> Result<LoopStatus> {
    let ledger = cx.ledger();
    cx.db.read(|tx| {
        let task = reference::task(tx, task)?;
        of_task(tx, &task, judge, &ledger)
    })
}

/// Judges the loop of a task, which must have a live binding.
pub(super) fn of_task(tx: &mut Tx<'_>, task: &Task, judge: Judge<'_>, ledger: &str) -> Result<LoopStatus> {
    let binding = reference::live_binding(tx, task)?;
    of_binding(tx, task, &binding, judge, ledger)
}

/// Judges the loop of a task whose live binding is known.
pub(super) fn of_binding(
    tx: &mut Tx<'_>,
    task: &Task,
    binding: &Binding,
    judge: Judge<'_>,
    ledger: &str,
) -> Result<LoopStatus> {
    let now = tx.now()?;
    let dispatch = dispatch_status(tx, judge, now)?;
    let [manager, worker] = [Role::Manager, Role::Worker].map(|role| {
        let session = reference::bound_session(tx, binding, role)?;
        let heartbeat = session.as_ref().and_then(|session| session.last_heartbeat_at.clone());
        let lease = Lease::judged(heartbeat, judge.stale_after, now);
        Ok::<_, Error>(role_status(session, task, role, lease, ledger))
    });
    let (manager, worker) = (manager?, worker?);
    let next_actions = next_actions(&dispatch, &manager, &worker, ledger);
    Ok(LoopStatus { ok: next_actions.is_empty(), dispatch, manager, worker, next_actions, task: task.into() })
}

impl LoopStatus {
    /// One side.
    #[must_use]
    pub fn side(&self, role: Role) -> &RoleStatus {
        match role {
            Role::Worker => &self.worker,
            Role::Manager => &self.manager,
        }
    }
}

impl RoleStatus {
    /// Why the side is woken, or is not.
    pub(super) fn reason(&self, role: Role) -> String {
        format!("the {role}'s heartbeat is {}", self.lease.state)
    }
}

fn dispatch_status(tx: &mut Tx<'_>, judge: Judge<'_>, now: Timestamp) -> Result<DispatchStatus> {
    let mut look = |dispatcher| life::of(tx, dispatcher, judge.stale_after, now);
    let (named, life) = match judge.dispatcher_id {
        Some(id) => (id, look(Some(id))?),
        None => match look(Some(DEFAULT_DISPATCHER))? {
            Some(life) => (DEFAULT_DISPATCHER, Some(life)),
            None => (DEFAULT_DISPATCHER, look(None)?),
        },
    };
    Ok(match life {
        Some(Life { last, runs, has_ended }) => DispatchStatus {
            dispatcher_id: last.dispatcher_id,
            has_ended,
            last_heartbeat_at: Some(last.at),
            state: if runs { LeaseState::Healthy } else { LeaseState::Stale },
        },
        None => DispatchStatus {
            dispatcher_id: named.to_owned(),
            has_ended: false,
            last_heartbeat_at: None,
            state: LeaseState::Missing,
        },
    })
}

fn role_status(session: Option<Session>, task: &Task, role: Role, lease: Lease, ledger: &str) -> RoleStatus {
    let in_terminal = session.as_ref().is_some_and(|session| session.tmux().is_some());
    let (session_id, name, thread_id, thread_title) = session.map_or((None, None, None, None), |session| {
        (Some(session.id), Some(session.name), session.codex_app_thread_id, session.codex_app_thread_title)
    });
    // A stored empty id names no thread.
    let thread_id = thread_id.filter(|id| !id.is_empty());
    let session_kind = match (in_terminal, thread_id.is_some()) {
        (true, _) => "tmux",
        (false, true) => "codex_app",
        (false, false) => "no_tmux",
    };
    RoleStatus {
        codex_app_thread_id: thread_id,
        codex_app_thread_title: thread_title,
        direct_inbox_command: direct_inbox_command(&task.name, role, ledger),
        lease,
        name,
        poll_command: poll_command(&task.name, role, ledger),
        receive_style: if in_terminal { "push" } else { "pull" },
        session_id,
        session_kind,
    }
}

impl Lease {
    /// Judges a life sign by a limit at a moment.
    fn judged(last_heartbeat_at: Option<String>, stale_after: f64, now: Timestamp) -> Self {
        let (state, age_seconds) = verdict(last_heartbeat_at.as_deref(), stale_after, now);
        Self { age_seconds, last_heartbeat_at, stale_after_seconds: stale_after, state }
    }
}

/// The verdict on the last life sign, and its age.
fn verdict(last: Option<&str>, stale_after: f64, now: Timestamp) -> (LeaseState, Option<i64>) {
    let Some(last) = last else { return (LeaseState::Missing, None) };
    let Some(age) = life::age_seconds(last, now) else { return (LeaseState::Stale, None) };
    #[allow(clippy::cast_precision_loss, reason = "an age fits an f64 for some hundred million years")]
    let state = if age as f64 <= stale_after { LeaseState::Healthy } else { LeaseState::Stale };
    (state, Some(age))
}

fn next_actions(
    dispatch: &DispatchStatus,
    manager: &RoleStatus,
    worker: &RoleStatus,
    ledger: &str,
) -> Vec<NextAction> {
    let mut actions = Vec::new();
    if dispatch.state != LeaseState::Healthy {
        let id = &dispatch.dispatcher_id;
        let reason = match dispatch.has_ended {
            true => format!("dispatcher {id} has ended"),
            false => format!("the heartbeat of dispatcher {id} is {}", dispatch.state),
        };
        actions.push(NextAction {
            kind: "start_dispatch",
            prompt: format!("Run: {}", dispatcher_command(id, ledger)),
            reason,
            role: None,
        });
    }
    let sides = [("wake_manager", Role::Manager, manager), ("wake_worker", Role::Worker, worker)];
    for (kind, role, side) in sides {
        if side.lease.state != LeaseState::Healthy {
            let (prompt, reason) = (side.poll_command.clone(), side.reason(role));
            actions.push(NextAction { kind, prompt, reason, role: Some(role) });
        }
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_judged_in_whole_seconds_and_the_limit_is_inclusive() {
        let now = Timestamp::parse("2026-06-11T12:03:00.999Z").unwrap();
        let judged = |last, limit| verdict(last, limit, now);
        assert_eq!(judged(Some("2026-06-11T12:00:00Z"), 180.0), (LeaseState::Healthy, Some(180)));
        assert_eq!(judged(Some("2026-06-11T11:59:59.999Z"), 180.0), (LeaseState::Stale, Some(181)));
        assert_eq!(judged(Some("2026-06-11T12:03:00Z"), 0.0), (LeaseState::Healthy, Some(0)));
        assert_eq!(judged(Some("2026-06-11T12:02:59.999Z"), 0.5), (LeaseState::Stale, Some(1)));
        assert_eq!(
            judged(Some("2027-01-01T00:00:00Z"), 0.0),
            (LeaseState::Healthy, Some(0)),
            "in the future"
        );
        assert_eq!(judged(Some("yesterday"), 1e9), (LeaseState::Stale, None));
        assert_eq!(judged(None, 1e9), (LeaseState::Missing, None));
    }
}
