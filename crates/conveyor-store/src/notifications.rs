//! Routed notifications: what a dispatcher puts into inboxes. Reading and consuming them is in
//! `inbox`.

use conveyor_model::records::Object;
use conveyor_model::{DeliveryMode, NotificationState, WORKER_TASK_COMPLETE, json};
use serde_json::Value;

use crate::{Row, StoreError, Tx, params};

/// A notification about to be inserted.
pub struct NewNotification<'a> {
    /// The task.
    pub task_id: &'a str,
    /// The binding it travels along.
    pub binding_id: &'a str,
    /// Of the command, or fresh.
    pub correlation_id: &'a str,
    /// Who it comes from.
    pub source_session_id: &'a str,
    /// Whose inbox it goes to.
    pub target_session_id: &'a str,
    /// The command type, or `worker_task_complete`.
    pub signal_type: &'a str,
    /// The completion event and its time.
    pub source_event: Option<(i64, &'a str)>,
    /// One notification per key, ever.
    pub dedupe_key: &'a str,
    /// The command, unless it is a completion.
    pub command_id: Option<&'a str>,
    /// Push or pull.
    pub delivery_mode: DeliveryMode,
    /// Delivered at once (pull), pending, or suppressed.
    pub state: NotificationState,
    /// A JSON object.
    pub payload: Value,
    /// Why it is not delivered.
    pub error: Option<&'a str>,
}

/// Inserts a notification; gives its id.
///
/// # Errors
/// [`StoreError::Unique`] when the dedupe key exists; a failing statement.
pub fn insert(tx: &mut Tx<'_>, new: &NewNotification<'_>) -> Result<i64, StoreError> {
    let now = tx.now()?.to_ms_text();
    let delivered_at = (new.state == NotificationState::Delivered).then_some(now.as_str());
    let id = tx.one(
        "insert into routed_notifications (task_id, binding_id, correlation_id, source_session_id, \
         target_session_id, signal_type, source_event_id, source_event_timestamp, dedupe_key, command_id, \
         created_at, delivered_at, delivery_mode, state, payload_json, error) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) returning id",
        params![
            new.task_id,
            new.binding_id,
            new.correlation_id,
            new.source_session_id,
            new.target_session_id,
            new.signal_type,
            new.source_event.map(|(id, _)| id),
            new.source_event.map(|(_, at)| at),
            new.dedupe_key,
            new.command_id,
            now.as_str(),
            delivered_at,
            new.delivery_mode.as_str(),
            new.state.as_str(),
            json::compact(&new.payload),
            new.error,
        ],
        |row| row.int(0),
    )?;
    tx.wake_waiters();
    Ok(id)
}

/// What is known of a notification that exists already.
#[derive(Clone, Debug)]
pub struct Existing {
    /// Its id.
    pub id: i64,
    /// Its state as stored.
    pub state: String,
    /// Whether an effect outside has begun.
    pub side_effect_started: bool,
}

/// The notification with this dedupe key.
///
/// # Errors
/// A failing statement.
pub fn by_dedupe_key(tx: &mut Tx<'_>, key: &str) -> Result<Option<Existing>, StoreError> {
    tx.first(
        "select id, state, side_effect_started from routed_notifications where dedupe_key = $1",
        params![key],
        |row| Ok(Existing { id: row.int(0)?, state: row.text(1)?, side_effect_started: row.boolean(2)? }),
    )
}

/// Puts a pending notification into its receiver's inbox.
///
/// # Errors
/// A failing statement.
pub fn deliver_by_pull(tx: &mut Tx<'_>, id: i64) -> Result<(), StoreError> {
    let now = tx.now()?.to_ms_text();
    tx.execute(
        "update routed_notifications set state = 'delivered', delivered_at = $2, delivery_mode = 'pull_required', \
         side_effect_completed = 0, error = null where id = $1",
        params![id, now],
    )?;
    tx.wake_waiters();
    Ok(())
}

/// Records who takes a completion to its receiver, and until when that is its business.
///
/// # Errors
/// A failing statement.
pub fn claim(tx: &mut Tx<'_>, id: i64, dispatcher_id: &str, lease_seconds: i64) -> Result<(), StoreError> {
    let now = tx.now()?.to_ms_text();
    tx.execute(
        "update routed_notifications set claimed_by = $2, claimed_at = $3, claim_expires_at = conveyor_after($4) \
         where id = $1",
        params![id, dispatcher_id, now, lease_seconds.max(1)],
    )?;
    Ok(())
}

/// Puts a pending completion off until `seconds` from now, with the reason. The claim columns hold
/// the moment, which every dispatcher, older ones included, respects.
///
/// # Errors
/// A failing statement.
pub fn put_off(
    tx: &mut Tx<'_>,
    id: i64,
    dispatcher_id: &str,
    seconds: i64,
    mode: DeliveryMode,
    reason: Option<&str>,
) -> Result<(), StoreError> {
    let now = tx.now()?.to_ms_text();
    tx.execute(
        "update routed_notifications set claimed_by = $2, claimed_at = $3, claim_expires_at = conveyor_after($4), \
         delivery_mode = $5, error = $6 where id = $1 and state = 'pending'",
        params![id, dispatcher_id, now, seconds, mode.as_str(), reason],
    )?;
    Ok(())
}

/// Records, before its first byte, that a notification is being typed; a completion is held
/// meanwhile. `false` when it is not pending, or was begun before.
///
/// # Errors
/// A failing statement.
pub fn begin_push(tx: &mut Tx<'_>, id: i64, holder: Option<(&str, i64)>) -> Result<bool, StoreError> {
    let now = tx.now()?.to_ms_text();
    let changed = tx.execute(
        "update routed_notifications set side_effect_started = 1, delivery_mode = 'push', error = null, \
         claimed_by = $2, claimed_at = $3 where id = $1 and state = 'pending' and side_effect_started = 0",
        params![id, holder.map(|(by, _)| by), holder.map(|_| now)],
    )?;
    match holder {
        Some((_, seconds)) if changed > 0 => hold(tx, id, seconds)?,
        _ => {}
    }
    Ok(changed > 0)
}

/// Holds a pending completion for longer.
///
/// # Errors
/// A failing statement.
pub fn hold(tx: &mut Tx<'_>, id: i64, seconds: i64) -> Result<(), StoreError> {
    tx.execute(
        "update routed_notifications set claim_expires_at = conveyor_after($2) where id = $1 and state = 'pending'",
        params![id, seconds],
    )?;
    Ok(())
}

/// A typed notification has arrived. `false` when it is not pending any more.
///
/// # Errors
/// A failing statement.
pub fn pushed(tx: &mut Tx<'_>, id: i64) -> Result<bool, StoreError> {
    let now = tx.now()?.to_ms_text();
    let changed = tx.execute(
        "update routed_notifications set state = 'delivered', delivered_at = $2, side_effect_completed = 1, \
         error = null where id = $1 and state = 'pending' and side_effect_started = 1",
        params![id, now],
    )?;
    tx.wake_waiters();
    Ok(changed > 0)
}

/// A notification that was to be typed was not, because nothing could reach the terminal: it waits
/// again, with the reason.
///
/// # Errors
/// A failing statement.
pub fn withdraw_push(tx: &mut Tx<'_>, id: i64, reason: &str) -> Result<(), StoreError> {
    tx.execute(
        "update routed_notifications set side_effect_started = 0, error = $2, claimed_by = null, claimed_at = null, \
         claim_expires_at = null where id = $1 and state = 'pending'",
        params![id, reason],
    )?;
    Ok(())
}

/// A completion notification that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its id.
    pub id: i64,
    /// The task.
    pub task_id: String,
    /// The binding it travels along.
    pub binding_id: String,
    /// Its correlation id.
    pub correlation_id: String,
    /// Whose inbox it goes to.
    pub target_session_id: String,
    /// The completion event.
    pub source_event_id: Option<i64>,
    /// One notification per key, ever.
    pub dedupe_key: String,
    /// The payload object.
    pub payload: Object,
    /// Why it waits.
    pub error: Option<String>,
    /// The dispatcher that held it last.
    pub claimed_by: Option<String>,
    /// Until when it is held.
    pub claim_expires_at: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// Whose turn has ended.
    pub source_session_id: String,
}

fn waiting_row(row: &Row<'_>) -> Result<Waiting, StoreError> {
    Ok(Waiting {
        id: row.int(0)?,
        task_id: row.text(1)?,
        binding_id: row.text(2)?,
        correlation_id: row.text(3)?,
        target_session_id: row.text(4)?,
        source_event_id: row.opt_int(5)?,
        dedupe_key: row.text(6)?,
        payload: row.object(7)?,
        error: row.opt_text(8)?,
        claimed_by: row.opt_text(9)?,
        claim_expires_at: row.opt_text(10)?,
        created_at: row.text(11)?,
        source_session_id: row.text(12)?,
    })
}

const WAITING: &str = "id, task_id, binding_id, correlation_id, target_session_id, source_event_id, dedupe_key, \
                       payload_json, error, claimed_by, claim_expires_at, created_at, source_session_id";

/// The completion of this id, while it is pending.
///
/// # Errors
/// A failing statement.
pub fn pending_completion(tx: &mut Tx<'_>, id: i64) -> Result<Option<Waiting>, StoreError> {
    tx.first(
        &format!(
            "select {WAITING} from routed_notifications where id = $1 and state = 'pending' and command_id is null"
        ),
        params![id],
        waiting_row,
    )
}

/// Completions of which a push has begun whose claim has lapsed, without those whose fate is still to
/// be found out: what became of them is unknown.
///
/// # Errors
/// A failing statement.
pub fn half_done_completions(tx: &mut Tx<'_>, limit: usize) -> Result<Vec<Waiting>, StoreError> {
    let given_up = "not exists (select 1 from deliveries d where d.notification_id = routed_notifications.id \
                    and d.stage in ('sending', 'accepted', 'unknown')) \
                    and claim_expires_at is not null and conveyor_ms(claim_expires_at) <=";
    completions_in_wait(tx, 1, given_up, limit)
}

/// Completions that wait and that no dispatcher holds now.
///
/// # Errors
/// A failing statement.
pub fn retryable_completions(tx: &mut Tx<'_>, limit: usize) -> Result<Vec<Waiting>, StoreError> {
    completions_in_wait(tx, 0, "coalesce(conveyor_ms(claim_expires_at), 0) <=", limit)
}

fn completions_in_wait(
    tx: &mut Tx<'_>,
    started: i64,
    claim_condition: &str,
    limit: usize,
) -> Result<Vec<Waiting>, StoreError> {
    let now = tx.now()?.as_millis();
    let order = if started == 1 { "claim_expires_at, id" } else { "created_at, id" };
    tx.all(
        &format!(
            "select {WAITING} from routed_notifications where state = 'pending' and signal_type = $1 and side_effect_started = $2 and side_effect_completed = 0 \
             and {claim_condition} {now} order by {order} limit $3"
        ),
        params![WORKER_TASK_COMPLETE, started, limit as i64],
        waiting_row,
    )
}

/// Gives a half-done push up: it is never typed a second time.
///
/// # Errors
/// A failing statement.
pub fn give_up(tx: &mut Tx<'_>, id: i64, error: &str) -> Result<bool, StoreError> {
    let changed = tx.execute(
        "update routed_notifications set state = 'failed', error = $2 where id = $1 and state = 'pending' \
         and side_effect_started = 1",
        params![id, error],
    )?;
    Ok(changed > 0)
}
