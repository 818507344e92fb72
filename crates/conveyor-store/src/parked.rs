//! Messages that wait until their receiver's terminal takes one: rows of `deliveries` before
//! anything was sent.

use conveyor_model::{DeliveryPurpose, IdPrefix};

use crate::{Row, StoreError, Tx, params};

/// A message that waits for a terminal.
#[derive(Clone, Debug)]
pub struct Parked {
    /// The delivery.
    pub id: String,
    /// The id under which the receiver may know it later.
    pub client_message_id: String,
    /// The receiver.
    pub session_id: String,
    /// The command it executes; `None`: it carries a completion.
    pub command_id: Option<String>,
    /// The notification it carries, once there is one.
    pub notification_id: Option<i64>,
    /// Why it waits; `None`: nobody has looked at the terminal yet.
    pub reason: Option<String>,
}

const COLUMNS: &str = "d.id, d.client_message_id, d.session_id, d.command_id, d.notification_id, d.reason";

fn from_row(row: &Row<'_>) -> Result<Parked, StoreError> {
    Ok(Parked {
        id: row.text(0)?,
        client_message_id: row.text(1)?,
        session_id: row.text(2)?,
        command_id: row.opt_text(3)?,
        notification_id: row.opt_int(4)?,
        reason: row.opt_text(5)?,
    })
}

/// A message about to wait.
#[derive(Clone, Copy, Debug)]
pub struct NewParked<'a> {
    /// The receiver.
    pub session_id: &'a str,
    /// The task it belongs to.
    pub task_id: &'a str,
    /// The command it executes.
    pub command_id: Option<&'a str>,
    /// The notification it carries.
    pub notification_id: Option<i64>,
    /// Digest of what it says.
    pub body_sha256: &'a str,
    /// The length of that.
    pub body_bytes: usize,
}

/// Has a message wait for its receiver's terminal.
///
/// # Errors
/// A failing statement.
pub fn insert(tx: &mut Tx<'_>, new: &NewParked<'_>) -> Result<Parked, StoreError> {
    let (id, message_id) = (tx.fresh_id(IdPrefix::Delivery), tx.fresh_id(IdPrefix::ClientMessage));
    let now = tx.now()?.to_ms_text();
    let purpose = if new.command_id.is_some() { DeliveryPurpose::Nudge } else { DeliveryPurpose::Signal };
    tx.execute(
        "insert into deliveries (id, client_message_id, session_id, task_id, notification_id, command_id, purpose, \
         priority, stage, body_sha256, body_bytes, external_json, evidence_json, created_at, updated_at) \
         values ($1, $2, $3, $4, $5, $6, $7, 'normal', 'parked', $8, $9, '{}', '[]', $10, $10)",
        params![
            &id,
            &message_id,
            new.session_id,
            new.task_id,
            new.notification_id,
            new.command_id,
            purpose.as_str(),
            new.body_sha256,
            i64::try_from(new.body_bytes).unwrap_or(i64::MAX),
            now,
        ],
    )?;
    Ok(Parked {
        id,
        client_message_id: message_id,
        session_id: new.session_id.to_owned(),
        command_id: new.command_id.map(ToOwned::to_owned),
        notification_id: new.notification_id,
        reason: None,
    })
}

/// The message of a command, if it waits.
///
/// # Errors
/// A failing statement.
pub fn of_command(tx: &mut Tx<'_>, command_id: &str) -> Result<Option<Parked>, StoreError> {
    tx.first(
        &format!("select {COLUMNS} from deliveries d where d.command_id = $1 and d.stage = 'parked' limit 1"),
        params![command_id],
        from_row,
    )
}

/// The message that carries a notification of no command, if it waits.
///
/// # Errors
/// A failing statement.
pub fn of_notification(tx: &mut Tx<'_>, notification_id: i64) -> Result<Option<Parked>, StoreError> {
    tx.first(
        &format!(
            "select {COLUMNS} from deliveries d where d.notification_id = $1 and d.command_id is null \
             and d.stage = 'parked' limit 1"
        ),
        params![notification_id],
        from_row,
    )
}

/// The first message to a session that waits, in queue order.
///
/// # Errors
/// A failing statement.
pub fn first(tx: &mut Tx<'_>, session_id: &str) -> Result<Option<Parked>, StoreError> {
    tx.first(
        &format!(
            "select {COLUMNS} from deliveries d left join commands c on c.id = d.command_id \
             left join routed_notifications n on n.id = d.notification_id \
             where d.session_id = $1 and d.stage = 'parked' \
             order by conveyor_ms(coalesce(c.created_at, n.created_at, d.created_at)), \
             coalesce(c.rowid, n.id) limit 1"
        ),
        params![session_id],
        from_row,
    )
}

/// Whether another message to the receiver waits or is in flight.
///
/// # Errors
/// A failing statement.
pub fn is_behind_another(tx: &mut Tx<'_>, parked: &Parked) -> Result<bool, StoreError> {
    let found = tx.first(
        "select id from deliveries where session_id = $1 and id <> $2 \
         and stage in ('parked', 'sending', 'accepted', 'unknown') limit 1",
        params![&parked.session_id, &parked.id],
        |row| row.text(0),
    )?;
    Ok(found.is_some())
}

/// Makes another session the receiver: the task is bound to it now.
///
/// # Errors
/// A failing statement.
pub fn redirect(tx: &mut Tx<'_>, id: &str, session_id: &str) -> Result<(), StoreError> {
    tx.execute(
        "update deliveries set session_id = $2, reason = null, error = null where id = $1 and stage = 'parked'",
        params![id, session_id],
    )?;
    Ok(())
}

/// Says why a message waits, and for how long nobody needs to look again.
///
/// # Errors
/// A failing statement.
pub fn put_off(
    tx: &mut Tx<'_>,
    id: &str,
    reason: &str,
    detail: Option<&str>,
    seconds: i64,
) -> Result<(), StoreError> {
    let now = tx.now()?;
    let until = now.plus_millis(seconds * 1000).to_ms_text();
    tx.execute(
        "update deliveries set reason = $2, error = $3, not_before = $4, updated_at = $5 \
         where id = $1 and stage = 'parked'",
        params![id, reason, detail, until, now.to_ms_text()],
    )?;
    Ok(())
}

/// Withdraws a message that waits.
///
/// # Errors
/// A failing statement.
pub fn cancel(tx: &mut Tx<'_>, id: &str, reason: &str) -> Result<(), StoreError> {
    let now = tx.now()?.to_ms_text();
    tx.execute(
        "update deliveries set stage = 'cancelled', reason = $2, error = null, updated_at = $3 \
         where id = $1 and stage = 'parked'",
        params![id, reason, now],
    )?;
    Ok(())
}

/// Withdraws all messages of a task that wait for terminals, because nobody is bound any more: a
/// completion is recorded as suppressed, with the reason; a command is due at once, to be refused or
/// routed along another binding.
///
/// # Errors
/// A failing statement.
pub fn cancel_of_task(tx: &mut Tx<'_>, task_id: &str, reason: &str) -> Result<(), StoreError> {
    let now = tx.now()?.to_ms_text();
    tx.execute(
        "update commands set available_at = $2 where state = 'pending' and id in \
         (select command_id from deliveries where task_id = $1 and stage = 'parked')",
        params![task_id, &now],
    )?;
    tx.execute(
        "update routed_notifications set state = 'suppressed', error = $2 where state = 'pending' \
         and side_effect_started = 0 and id in (select notification_id from deliveries where task_id = $1 \
         and stage = 'parked' and command_id is null)",
        params![task_id, reason],
    )?;
    tx.execute(
        "update deliveries set stage = 'cancelled', reason = 'unbound', error = $2, updated_at = $3 \
         where task_id = $1 and stage = 'parked'",
        params![task_id, reason, now],
    )?;
    Ok(())
}

/// Has the first message that waits for a session looked at now: something about it has changed.
/// `false` when none waits.
///
/// # Errors
/// A failing statement.
pub fn release(tx: &mut Tx<'_>, session_id: &str) -> Result<bool, StoreError> {
    let Some(first) = first(tx, session_id)? else { return Ok(false) };
    let now = tx.now()?.to_ms_text();
    match (&first.command_id, first.notification_id) {
        (Some(command), _) => tx.execute(
            "update commands set available_at = $2 where id = $1 and state = 'pending'",
            params![command, now],
        )?,
        (None, notification) => tx.execute(
            "update routed_notifications set claim_expires_at = $2 where id = $1 and state = 'pending' \
             and side_effect_started = 0",
            params![notification, now],
        )?,
    };
    tx.wake_waiters();
    Ok(true)
}
