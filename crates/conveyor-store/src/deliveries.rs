//! Messages on their way to agents, from the intent to the proof. A row in flight is also the lock
//! on its receiver: the database itself forbids a second one.

use conveyor_model::{Adapter, DeliveryPurpose, DeliveryStage, IdPrefix, json};
use serde_json::{Value, json};

use crate::{Row, StoreError, Tx, params};

/// How long whoever sends a message holds it. Longer than typing and its proof take.
const LEASE_SECONDS: i64 = 30;

/// A message about to be typed.
#[derive(Clone, Debug)]
pub struct NewDelivery<'a> {
    /// The receiver.
    pub session_id: &'a str,
    /// The task, if it belongs to one.
    pub task_id: Option<&'a str>,
    /// The notification it carries.
    pub notification_id: Option<i64>,
    /// The command it executes.
    pub command_id: Option<&'a str>,
    /// The attempt at that command.
    pub attempt_id: Option<i64>,
    /// What it is for.
    pub purpose: DeliveryPurpose,
    /// Which process or thread it is meant for.
    pub incarnation: &'a str,
    /// Digest of the exact text.
    pub body_sha256: &'a str,
    /// Its length.
    pub body_bytes: usize,
    /// Facts that a later look-up needs: a JSON object.
    pub external: Value,
    /// Who sends it.
    pub lease_by: &'a str,
}

/// Records that a message is being typed, before its first byte; gives the delivery's id. `None`
/// when another message to the receiver is in flight.
///
/// # Errors
/// A failing statement.
pub fn begin_typing(tx: &mut Tx<'_>, new: &NewDelivery<'_>) -> Result<Option<String>, StoreError> {
    let id = tx.fresh_id(IdPrefix::Delivery);
    let now = tx.now()?.to_ms_text();
    let inserted = tx.execute(
        "insert into deliveries (id, client_message_id, session_id, task_id, notification_id, command_id, attempt_id, \
         purpose, priority, stage, adapter, mode, incarnation, body_sha256, body_bytes, external_json, evidence_json, \
         lease_by, lease_expires_at, created_at, updated_at) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, 'normal', 'sending', $9, 'typed', $10, $11, $12, $13, '[]', $14, \
         conveyor_after($15), $16, $16) on conflict do nothing",
        params![
            &id,
            tx.fresh_id(IdPrefix::ClientMessage),
            new.session_id,
            new.task_id,
            new.notification_id,
            new.command_id,
            new.attempt_id,
            new.purpose.as_str(),
            Adapter::Tmux.as_str(),
            new.incarnation,
            new.body_sha256,
            i64::try_from(new.body_bytes).unwrap_or(i64::MAX),
            json::compact(&new.external),
            new.lease_by,
            LEASE_SECONDS,
            now,
        ],
    )?;
    Ok((inserted > 0).then_some(id))
}

/// A message whose fate is open.
#[derive(Clone, Debug)]
pub struct InFlight {
    /// The delivery.
    pub id: String,
    /// Sending, accepted or unknown.
    pub stage: DeliveryStage,
    /// What a look-up needs.
    pub external: Value,
    /// Whether nobody holds it any more.
    pub lapsed: bool,
    /// The command it executes.
    pub command_id: Option<String>,
    /// The notification it carries.
    pub notification_id: Option<i64>,
}

const IN_FLIGHT: &str = "select id, stage, external_json, \
                         coalesce(conveyor_ms(lease_expires_at), 0), command_id, notification_id \
                         from deliveries where stage in ('sending', 'accepted', 'unknown')";

fn in_flight_row(row: &Row<'_>, now: i64) -> Result<InFlight, StoreError> {
    let stage = DeliveryStage::from_text(&row.text(1)?);
    Ok(InFlight {
        id: row.text(0)?,
        stage: stage.ok_or(StoreError::Type { column: 1, expected: "delivery stage" })?,
        external: Value::Object(row.object(2)?),
        lapsed: row.int(3)? <= now,
        command_id: row.opt_text(4)?,
        notification_id: row.opt_int(5)?,
    })
}

/// The message to a session whose fate is open, if there is one.
///
/// # Errors
/// A failing statement.
pub fn in_flight_to(tx: &mut Tx<'_>, session_id: &str) -> Result<Option<InFlight>, StoreError> {
    let now = tx.now()?.as_millis();
    tx.first(&format!("{IN_FLIGHT} and session_id = $1"), params![session_id], |row| in_flight_row(row, now))
}

/// What became of a message.
#[derive(Clone, Debug)]
pub struct Outcome<'a> {
    /// The next stage.
    pub stage: DeliveryStage,
    /// Why, where it did not arrive.
    pub reason: Option<&'a str>,
    /// What that means for a person.
    pub error: Option<&'a str>,
    /// What proved it: a JSON object, or null.
    pub proof: Value,
}

/// Moves a message on from `from`; `false`, and nothing changed, when somebody else has.
///
/// # Errors
/// A failing statement.
pub fn settle(
    tx: &mut Tx<'_>,
    id: &str,
    from: DeliveryStage,
    outcome: &Outcome<'_>,
) -> Result<bool, StoreError> {
    let now = tx.now()?.to_ms_text();
    let seen = (outcome.stage == DeliveryStage::Seen).then_some(now.as_str());
    let evidence = if outcome.proof.is_null() { json!([]) } else { json!([&outcome.proof]) };
    let changed = tx.execute(
        "update deliveries set stage = $3, reason = $4, error = $5, evidence_json = $6, updated_at = $7, \
         seen_at = coalesce($8, seen_at), lease_by = null, lease_expires_at = null where id = $1 and stage = $2",
        params![
            id,
            from.as_str(),
            outcome.stage.as_str(),
            outcome.reason,
            outcome.error,
            json::compact(&evidence),
            now.as_str(),
            seen,
        ],
    )?;
    Ok(changed > 0)
}

/// Records that a message is being given to an agent's server, before its first byte; gives the
/// delivery's id and the id by which the message is found again. `None` when another message to the
/// receiver is in flight.
///
/// # Errors
/// A failing statement.
pub fn begin_start(tx: &mut Tx<'_>, new: &NewDelivery<'_>) -> Result<Option<(String, String)>, StoreError> {
    let (id, message_id) = (tx.fresh_id(IdPrefix::Delivery), tx.fresh_id(IdPrefix::ClientMessage));
    let now = tx.now()?.to_ms_text();
    let inserted = tx.execute(
        "insert into deliveries (id, client_message_id, session_id, task_id, purpose, priority, stage, adapter, mode, \
         incarnation, body_sha256, body_bytes, external_json, evidence_json, lease_by, lease_expires_at, created_at, \
         updated_at) values ($1, $2, $3, $4, $5, 'normal', 'sending', $6, 'start', $7, $8, $9, $10, '[]', $11, \
         conveyor_after($12), $13, $13) on conflict do nothing",
        params![
            &id,
            &message_id,
            new.session_id,
            new.task_id,
            new.purpose.as_str(),
            Adapter::Codex.as_str(),
            new.incarnation,
            new.body_sha256,
            i64::try_from(new.body_bytes).unwrap_or(i64::MAX),
            json::compact(&new.external),
            new.lease_by,
            LEASE_SECONDS,
            now,
        ],
    )?;
    Ok((inserted > 0).then_some((id, message_id)))
}
