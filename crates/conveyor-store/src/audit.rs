//! The append-only audit log of state changes (table `events`).

use conveyor_model::records::Object;
use conveyor_model::{Actor, json};
use serde_json::Value;

use crate::{StoreError, Tx, params};

/// A session is about to be started.
pub const SPAWN_INTENT: &str = "session_spawn_intent";

/// The thread of a session that is being started exists.
pub const SPAWN_THREAD: &str = "session_spawn_thread";

/// Nothing is left of a start that failed.
pub const SPAWN_ENDED: &str = "session_spawn_ended";

/// An audit event about to be written by this program.
pub struct AuditEvent<'a> {
    /// What happened, for example `task_created`.
    pub event_type: &'a str,
    /// The task concerned.
    pub task_id: Option<&'a str>,
    /// The command concerned.
    pub command_id: Option<&'a str>,
    /// The facts: a JSON object.
    pub payload: Value,
}

/// An audit event about a legacy worker.
pub struct WorkerEvent<'a> {
    /// When it happened, as it is written.
    pub created_at: &'a str,
    /// Who caused it: `workerctl`, or `compat` for what older files tell.
    pub actor: &'a str,
    /// The legacy worker's row.
    pub worker_id: &'a str,
    /// What happened.
    pub event_type: &'a str,
    /// The facts: a JSON object.
    pub payload: Value,
}

/// Writes an audit event about a legacy worker.
///
/// # Errors
/// A failing statement.
pub fn record_of_worker(tx: &mut Tx<'_>, event: &WorkerEvent<'_>) -> Result<(), StoreError> {
    tx.execute(
        "insert into events (created_at, actor, worker_id, type, payload_json) values ($1, $2, $3, $4, $5)",
        params![
            event.created_at,
            event.actor,
            event.worker_id,
            event.event_type,
            json::compact(&event.payload)
        ],
    )?;
    Ok(())
}

/// Writes an audit event with actor `workerctl`.
///
/// # Errors
/// A failing statement.
pub fn record(tx: &mut Tx<'_>, event: &AuditEvent<'_>) -> Result<(), StoreError> {
    record_tied(tx, event, Ties::default())
}

/// Who caused an audit event, and what it belongs to besides its task and command.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ties<'a> {
    /// The manager of older versions that the task has.
    pub manager_id: Option<&'a str>,
    /// The turn, message or step it belongs to.
    pub correlation_id: Option<&'a str>,
}

/// Writes an audit event with actor `workerctl` that belongs to more than its task and command.
///
/// # Errors
/// A failing statement.
pub fn record_tied(tx: &mut Tx<'_>, event: &AuditEvent<'_>, ties: Ties<'_>) -> Result<(), StoreError> {
    let now = tx.now()?.to_ms_text();
    tx.execute(
        "insert into events (created_at, actor, command_id, correlation_id, manager_id, task_id, type, payload_json) \
         values ($1, 'workerctl', $2, $3, $4, $5, $6, $7)",
        params![
            now,
            event.command_id,
            ties.correlation_id,
            ties.manager_id,
            event.task_id,
            event.event_type,
            json::compact(&event.payload)
        ],
    )?;
    Ok(())
}

/// Writes the audit event that the terminal of one side of a task was captured; `legacy` are the
/// rows of a worker and a manager of older versions.
///
/// # Errors
/// A failing statement.
pub fn record_of_terminal(
    tx: &mut Tx<'_>,
    event_type: &str,
    task_id: &str,
    legacy: (Option<&str>, Option<&str>),
    payload: &Value,
) -> Result<(), StoreError> {
    let now = tx.now()?.to_ms_text();
    let (worker_id, manager_id) = legacy;
    tx.execute(
        "insert into events (created_at, actor, task_id, worker_id, manager_id, type, payload_json) \
         values ($1, 'workerctl', $2, $3, $4, $5, $6)",
        params![now, task_id, worker_id, manager_id, event_type, json::compact(payload)],
    )?;
    Ok(())
}

/// An event about the start of a session.
#[derive(Clone, Debug)]
pub struct SpawnEvent {
    /// When it happened.
    pub created_at: String,
    /// [`SPAWN_INTENT`], [`SPAWN_THREAD`] or [`SPAWN_ENDED`].
    pub event_type: String,
    /// The facts.
    pub payload: Object,
}

/// All events about starts of sessions, in order.
///
/// # Errors
/// A failing statement.
pub fn spawn_events(tx: &mut Tx<'_>) -> Result<Vec<SpawnEvent>, StoreError> {
    // The condition is the one of the index `conveyor_spawns`.
    tx.all(
        "select created_at, type, payload_json from events \
         where type in ('session_spawn_intent', 'session_spawn_thread', 'session_spawn_ended') order by id",
        &[],
        |row| Ok(SpawnEvent { created_at: row.text(0)?, event_type: row.text(1)?, payload: row.object(2)? }),
    )
}

/// Writes an audit event about a turn or a closing step: with who caused it and what ties it to others.
///
/// # Errors
/// A failing statement.
pub fn record_in_turn(
    tx: &mut Tx<'_>,
    actor: Actor,
    correlation_id: &str,
    event: &AuditEvent<'_>,
) -> Result<(), StoreError> {
    let now = tx.now()?.to_ms_text();
    tx.execute(
        "insert into events (created_at, actor, command_id, correlation_id, task_id, type, payload_json) \
         values ($1, $2, $3, $4, $5, $6, $7)",
        params![
            now,
            actor.as_str(),
            event.command_id,
            correlation_id,
            event.task_id,
            event.event_type,
            json::compact(&event.payload)
        ],
    )?;
    Ok(())
}
