//! Messages on their way to agents, from the intent to the proof. A row in flight is also the lock
//! on its receiver: the database itself forbids a second one.

use conveyor_model::{Adapter, DeliveryPurpose, DeliveryStage, IdPrefix, json};
use serde_json::{Value, json};

use crate::{Row, StoreError, Tx, params};

/// How long whoever sends a message holds it, unless it is renewed: longer than any one step of
/// typing and of its proof takes.
const LEASE_SECONDS: i64 = 30;

/// After so long the fate of a message that was not proven is looked for.
const FIRST_CHECK_MILLIS: i64 = 1000;

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

/// What is known once a parked message is about to be typed.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    /// The notification it carries.
    pub notification_id: i64,
    /// The attempt at its command.
    pub attempt_id: Option<i64>,
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

/// Moves a parked message on to `sending`, before its first byte. `false` when it is not parked any
/// more.
///
/// # Errors
/// [`StoreError::Unique`] when another message to the receiver is in flight; a failing statement.
pub fn start_typing(tx: &mut Tx<'_>, id: &str, start: &Start<'_>) -> Result<bool, StoreError> {
    let now = tx.now()?.to_ms_text();
    let changed = tx.execute(
        "update deliveries set stage = 'sending', adapter = $2, mode = 'typed', reason = null, error = null, \
         notification_id = $3, attempt_id = $4, incarnation = $5, body_sha256 = $6, body_bytes = $7, \
         external_json = $8, lease_by = $9, lease_expires_at = conveyor_after($10), next_check_at = null, \
         not_before = null, updated_at = $11 where id = $1 and stage = 'parked'",
        params![
            id,
            Adapter::Tmux.as_str(),
            start.notification_id,
            start.attempt_id,
            start.incarnation,
            start.body_sha256,
            i64::try_from(start.body_bytes).unwrap_or(i64::MAX),
            json::compact(&start.external),
            start.lease_by,
            LEASE_SECONDS,
            now,
        ],
    )?;
    Ok(changed > 0)
}

/// Holds a message that is being sent for longer. `false` when it is no longer the sender's: then
/// not one further key may be pressed.
///
/// # Errors
/// A failing statement.
pub fn renew(tx: &mut Tx<'_>, id: &str, lease_by: &str) -> Result<bool, StoreError> {
    let now = tx.now()?.as_millis();
    let changed = tx.execute(
        "update deliveries set lease_expires_at = conveyor_after($3) where id = $1 and lease_by = $2 \
         and stage = 'sending' and conveyor_ms(lease_expires_at) > $4",
        params![id, lease_by, LEASE_SECONDS, now],
    )?;
    Ok(changed > 0)
}

/// A message whose fate is open.
#[derive(Clone, Debug)]
pub struct InFlight {
    /// The delivery.
    pub id: String,
    /// The receiver.
    pub session_id: String,
    /// The id under which the receiver may know it.
    pub client_message_id: String,
    /// When it was begun or last settled, in milliseconds since 1970.
    pub begun_ms: i64,
    /// The attempt at its command.
    pub attempt_id: Option<i64>,
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
    /// Whether a command waits for its fate, or a notification of no command.
    pub is_awaited: bool,
    /// Whether the claim of who waits has lapsed.
    pub claim_lapsed: bool,
}

const IN_FLIGHT: &str = "select d.id, d.stage, d.external_json, coalesce(conveyor_ms(d.lease_expires_at), 0), \
                         d.command_id, d.notification_id, d.client_message_id, conveyor_ms(d.updated_at), \
                         d.attempt_id, \
                         case when c.state = 'attempted' then coalesce(conveyor_ms(c.claim_expires_at), 0) \
                         when d.command_id is null and n.state = 'pending' \
                         then coalesce(conveyor_ms(n.claim_expires_at), 0) end, d.session_id \
                         from deliveries d left join commands c on c.id = d.command_id \
                         left join routed_notifications n on n.id = d.notification_id \
                         where d.stage in ('sending', 'accepted', 'unknown')";

fn in_flight_row(row: &Row<'_>, now: i64) -> Result<InFlight, StoreError> {
    let stage = DeliveryStage::from_text(&row.text(1)?);
    let claim = row.opt_int(9)?;
    Ok(InFlight {
        id: row.text(0)?,
        session_id: row.text(10)?,
        stage: stage.ok_or(StoreError::Type { column: 1, expected: "delivery stage" })?,
        external: Value::Object(row.object(2)?),
        lapsed: row.int(3)? <= now,
        command_id: row.opt_text(4)?,
        notification_id: row.opt_int(5)?,
        client_message_id: row.text(6)?,
        begun_ms: row.int(7)?,
        attempt_id: row.opt_int(8)?,
        is_awaited: claim.is_some(),
        claim_lapsed: claim.is_none_or(|until| until <= now),
    })
}

/// The message to a session whose fate is open, if there is one.
///
/// # Errors
/// A failing statement.
pub fn in_flight_to(tx: &mut Tx<'_>, session_id: &str) -> Result<Option<InFlight>, StoreError> {
    let now = tx.now()?.as_millis();
    tx.first(&format!("{IN_FLIGHT} and d.session_id = $1"), params![session_id], |row| {
        in_flight_row(row, now)
    })
}

/// The messages whose fate is open to a session, which come first, or to a pane and process under
/// whatever name.
///
/// # Errors
/// A failing statement.
pub fn in_flight_on(
    tx: &mut Tx<'_>,
    session_id: &str,
    incarnation: &str,
) -> Result<Vec<InFlight>, StoreError> {
    let now = tx.now()?.as_millis();
    let mut found = tx.all(
        &format!("{IN_FLIGHT} and (d.session_id = $1 or (d.incarnation = $2 and d.incarnation <> '')) order by d.created_at, d.id"),
        params![session_id, incarnation],
        |row| in_flight_row(row, now),
    )?;
    found.sort_by_key(|one| one.session_id != session_id);
    Ok(found)
}

/// The turns that prove other messages to the same receiver, or to another name of its terminal, since a
/// message was begun.
///
/// # Errors
/// A failing statement.
pub fn proofs_of_others(tx: &mut Tx<'_>, message: &InFlight) -> Result<Vec<String>, StoreError> {
    let proofs = tx.all(
        "select d.evidence_json from deliveries d join deliveries m on m.id = $1 \
         where d.stage = 'seen' and d.id <> m.id and d.seen_at >= m.created_at and d.session_id in \
         (select s.id from sessions s join sessions o on o.id = m.session_id where s.id = o.id \
         or s.codex_session_path = o.codex_session_path or s.tmux_session = o.tmux_session)",
        params![&message.id],
        |row| row.text(0),
    )?;
    let turns = proofs.iter().filter_map(|text| {
        let proof: Value = serde_json::from_str(text).ok()?;
        Some(proof.get(0)?.get("ref")?.as_str()?.to_owned())
    });
    Ok(turns.collect())
}

/// Receivers of messages for which a command or notification waits and after whose fate somebody
/// must look now: nobody sends them any more, and nothing is known yet.
///
/// # Errors
/// A failing statement.
pub fn unsettled_receivers(tx: &mut Tx<'_>, limit: usize) -> Result<Vec<String>, StoreError> {
    let now = tx.now()?.as_millis();
    tx.all(
        &format!(
            "select session_id from deliveries where stage in ('sending', 'unknown') \
             and (command_id is not null or notification_id is not null) \
             and conveyor_ms(coalesce(next_check_at, lease_expires_at)) <= {now} \
             order by stage, next_check_at limit $1"
        ),
        params![limit as i64],
        |row| row.text(0),
    )
}

/// Has the fate of the message to a session looked for now, if it is unknown: the session's record has
/// grown.
///
/// # Errors
/// A failing statement.
pub fn look_now(tx: &mut Tx<'_>, session_id: &str) -> Result<(), StoreError> {
    let now = tx.now()?.to_ms_text();
    tx.execute(
        "update deliveries set next_check_at = $2 where session_id = $1 and stage = 'unknown'",
        params![session_id, now],
    )?;
    Ok(())
}

/// Looks after a message's fate again later. A message whose sender is gone is unknown from now on.
///
/// # Errors
/// A failing statement.
pub fn look_again(tx: &mut Tx<'_>, id: &str, stage: DeliveryStage, seconds: i64) -> Result<bool, StoreError> {
    let check = tx.now()?.plus_millis(seconds * 1000).to_ms_text();
    let changed = tx.execute(
        "update deliveries set stage = 'unknown', next_check_at = $3, lease_by = null, \
         lease_expires_at = null, reason = coalesce(reason, 'sender_lost') where id = $1 and stage = $2",
        params![id, stage.as_str(), check],
    )?;
    Ok(changed > 0)
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
    let moment = tx.now()?;
    let now = moment.to_ms_text();
    let seen = (outcome.stage == DeliveryStage::Seen).then_some(now.as_str());
    let is_open = outcome.stage == DeliveryStage::Unknown;
    let check = is_open.then(|| moment.plus_millis(FIRST_CHECK_MILLIS).to_ms_text());
    let evidence = if outcome.proof.is_null() { json!([]) } else { json!([&outcome.proof]) };
    let changed = tx.execute(
        "update deliveries set stage = $3, reason = $4, error = $5, evidence_json = $6, updated_at = $7, \
         seen_at = coalesce($8, seen_at), lease_by = null, lease_expires_at = null, \
         next_check_at = $9 where id = $1 and stage = $2",
        params![
            id,
            from.as_str(),
            outcome.stage.as_str(),
            outcome.reason,
            outcome.error,
            json::compact(&evidence),
            now.as_str(),
            seen,
            check,
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
