//! Facts of the ledger that no longer match the machine, and their repair.

use std::path::Path;

use conveyor_agents::rollout;
use conveyor_model::records::Session;
use conveyor_model::{Timestamp, json};
use conveyor_store::audit::{self, AuditEvent};
use conveyor_store::bindings::{self, Dangling};
use conveyor_store::doctor::{self, Check};
use conveyor_store::sessions::{self, Filter, Liveness};
use conveyor_store::{Tx, cycles};
use serde::Serialize;
use serde_json::{Value, json};

use crate::addressing::{Life, Lives};
use crate::disposable::ORIGINATOR;
use crate::spawn::intent::{self, Left, LeftRecord};
use crate::{Cx, Error, Result};

/// What to look for, and whether to repair it.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Repair what can be repaired.
    pub apply: bool,
    /// A bound task that was not observed for longer is stuck.
    pub stale_cycles_seconds: f64,
}

/// What was found, before any repair.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was repaired, if anything was to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
    /// Sides of live bindings whose session is gone.
    pub dangling_bindings: Vec<Dangling>,
    /// Active sessions whose process is not there.
    pub dead_pid_sessions: Vec<DeadSession>,
    /// The checks of the ledger itself.
    pub schema_health: SchemaHealth,
    /// Starts of sessions that were cut off, with what they left.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spawn_intents: Vec<LeftRecord>,
    /// Bound tasks that were not observed for long.
    pub stuck_tasks: Vec<StuckTask>,
}

/// A session whose process is not there.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct DeadSession {
    pub last_heartbeat_at: Option<String>,
    pub name: String,
    pub pid: i64,
    pub role: String,
    #[serde(skip)]
    id: String,
}

/// A bound task that was not observed for long.
#[derive(Clone, Debug, Serialize)]
pub struct StuckTask {
    /// How long ago that was.
    pub age_seconds: Value,
    /// The live binding.
    pub binding_id: String,
    /// When it was observed last.
    pub last_cycle_at: String,
    /// The task's name.
    pub task_name: String,
}

/// The checks of the ledger itself.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are as `db-doctor` prints them")]
pub struct SchemaHealth {
    pub checks: Vec<Check>,
    pub ok: bool,
    pub schema_version: Option<i64>,
    pub user_version: Option<i64>,
}

/// What was repaired.
#[derive(Debug, Default, Serialize)]
pub struct Applied {
    /// Ids of bindings that are void now.
    pub bindings_marked_invalid: Vec<String>,
    /// Names of sessions that are gone now.
    pub sessions_marked_gone: Vec<String>,
    /// Names of starts that were cut off and are forgotten now, because no terminal is left of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spawn_intents_ended: Vec<String>,
}

/// Looks for facts that no longer match the machine; repairs them if asked to. Tasks and runs are
/// not touched, and nothing is killed.
///
/// # Errors
/// A failing ledger.
pub fn reconcile(cx: &mut Cx, request: &Request) -> Result<Report> {
    let now = cx.now();
    let (mut report, candidates, lives, left) = cx.db.read(|tx| look(tx, request, now))?;
    report.dead_pid_sessions = dead_sessions(&cx.cwd, candidates, &lives);
    let ledger = cx.ledger();
    report.spawn_intents = left.iter().map(|left| left.record(&cx.tmux, &ledger)).collect();
    if request.apply {
        report.applied = Some(cx.db.write(|tx| repair(tx, &report))?);
    }
    Ok(report)
}

/// What the ledger alone tells, the sessions whose processes are to be looked for, and the starts
/// that were cut off.
fn look(
    tx: &mut Tx<'_>,
    request: &Request,
    now: Timestamp,
) -> Result<(Report, Vec<Session>, Lives, Vec<Left>)> {
    let mut candidates = Vec::new();
    let filter = Filter { liveness: Liveness::Active, ..Filter::default() };
    sessions::each(tx, &filter, &mut |session| {
        candidates.push(session);
        Ok::<(), Error>(())
    })?;
    candidates.sort_by(|a, b| a.name.cmp(&b.name));
    let examined = doctor::examine(tx)?;
    let report = Report {
        applied: None,
        dangling_bindings: bindings::dangling(tx)?,
        dead_pid_sessions: Vec::new(),
        schema_health: SchemaHealth {
            ok: examined.checks.iter().all(|check| check.ok),
            checks: examined.checks,
            schema_version: examined.schema_version,
            user_version: examined.user_version,
        },
        spawn_intents: Vec::new(),
        stuck_tasks: stuck_tasks(tx, request.stale_cycles_seconds, now)?,
    };
    Ok((report, candidates, Lives::load(tx)?, intent::all_left(tx)?))
}

fn dead_sessions(directory: &Path, candidates: Vec<Session>, lives: &Lives) -> Vec<DeadSession> {
    let dead = candidates.into_iter().filter_map(|session| {
        let pid = session.pid?;
        if lives.of(&session.id, Some(pid)) != Life::Dead || has_no_process(directory, &session) {
            return None;
        }
        let Session { id, name, role, last_heartbeat_at, .. } = session;
        Some(DeadSession { last_heartbeat_at, name, pid, role, id })
    });
    dead.collect()
}

/// Whether a session never had a process of its own: the pid of a disposable one is that of whoever
/// made it.
fn has_no_process(directory: &Path, session: &Session) -> bool {
    let Some(path) = session.codex_session_path.as_deref().filter(|_| session.tmux().is_none()) else {
        return false;
    };
    rollout::session_meta(&directory.join(path))
        .is_ok_and(|meta| meta.originator.as_deref() == Some(ORIGINATOR))
}

fn stuck_tasks(tx: &mut Tx<'_>, limit: f64, now: Timestamp) -> Result<Vec<StuckTask>> {
    let observed = cycles::last_of_bound_tasks(tx)?;
    let stuck = observed.into_iter().filter_map(|last| {
        let at = Timestamp::parse(&last.completed_at)?;
        #[allow(clippy::cast_precision_loss, reason = "an age in milliseconds is far below 2^53")]
        let age = (now.as_millis() - at.as_millis()) as f64 / 1000.0;
        (age > limit).then(|| StuckTask {
            age_seconds: json::number(age),
            binding_id: last.binding_id,
            last_cycle_at: last.completed_at,
            task_name: last.task_name,
        })
    });
    Ok(stuck.collect())
}

fn repair(tx: &mut Tx<'_>, report: &Report) -> Result<Applied> {
    let mut applied = Applied::default();
    for left in report.spawn_intents.iter().filter(|left| left.terminal_alive == Some(false)) {
        intent::end(tx, &left.name, "no terminal is left of it")?;
        applied.spawn_intents_ended.push(left.name.clone());
    }
    for session in &report.dead_pid_sessions {
        // It may have been registered anew since we looked.
        let now = sessions::by_id(tx, &session.id)?;
        if !now.is_some_and(|now| now.pid == Some(session.pid) && now.state == "active") {
            continue;
        }
        sessions::set_gone_in_seconds(tx, &session.id)?;
        let reason = format!("no process has the pid {}", session.pid);
        let payload = json!({ "name": session.name, "pid": session.pid, "reason": reason });
        record(tx, "session_marked_gone_by_reconcile", None, payload)?;
        applied.sessions_marked_gone.push(session.name.clone());
    }
    for side in bindings::dangling(tx)? {
        // Both sides may be gone; the first one names the cause.
        if applied.bindings_marked_invalid.contains(&side.binding_id) {
            continue;
        }
        bindings::invalidate(tx, &side.binding_id)?;
        let payload = json!({
            "binding_id": side.binding_id,
            "gone_role": side.gone_role,
            "gone_session_name": side.gone_session_name,
            "task_name": side.task_name,
        });
        record(tx, "binding_marked_invalid_by_reconcile", Some(&side.task_id), payload)?;
        applied.bindings_marked_invalid.push(side.binding_id);
    }
    tx.wake_waiters();
    Ok(applied)
}

fn record(tx: &mut Tx<'_>, event_type: &str, task_id: Option<&str>, payload: Value) -> Result<()> {
    Ok(audit::record(tx, &AuditEvent { event_type, task_id, command_id: None, payload })?)
}
