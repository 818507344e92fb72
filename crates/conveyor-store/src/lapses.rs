//! Claims that end without a result: their dispatcher died, or their effect did not begin after all.

use conveyor_model::{AttemptState, CommandState, CommandType};

use crate::commands::quoted;
use crate::{StoreError, Tx, params};

/// A claim that lapsed, with its newest running attempt.
#[derive(Clone, Debug)]
pub struct Lapsed {
    /// The command's id.
    pub id: String,
    /// Its type.
    pub command_type: String,
    /// Its task.
    pub task_id: Option<String>,
    /// Its correlation id.
    pub correlation_id: Option<String>,
    /// Lapses so far.
    pub lapses: i64,
    /// The running attempt, and whether its effect had begun.
    pub attempt: Option<(i64, bool)>,
}

/// The first `limit` claims of these types that have lapsed, oldest lapse first; without those of
/// typed messages whose fate is open: that is found out first.
///
/// # Errors
/// A failing statement.
pub fn lapsed(tx: &mut Tx<'_>, types: &[CommandType], limit: usize) -> Result<Vec<Lapsed>, StoreError> {
    let now = tx.now()?;
    if types.is_empty() {
        return Ok(Vec::new());
    }
    let found = tx.all(
        &format!(
            "select id, type, task_id, correlation_id, lapses from commands {{by_claimed}} \
             where state = 'attempted' and claim_expires_at is not null and claim_expires_at <= $1 \
             and conveyor_ms(claim_expires_at) <= $2 and type in ({}) \
             and not exists (select 1 from deliveries d where d.command_id = commands.id \
             and d.stage in ('sending', 'accepted', 'unknown')) order by claim_expires_at, created_at, rowid limit $3",
            quoted(types)
        ),
        params![now.to_s_text(), now.as_millis(), limit as i64],
        |row| {
            Ok(Lapsed {
                id: row.text(0)?,
                command_type: row.text(1)?,
                task_id: row.opt_text(2)?,
                correlation_id: row.opt_text(3)?,
                lapses: row.int(4)?,
                attempt: None,
            })
        },
    )?;
    found.into_iter().map(|lapsed| with_attempt(tx, lapsed)).collect()
}

fn with_attempt(tx: &mut Tx<'_>, mut lapsed: Lapsed) -> Result<Lapsed, StoreError> {
    lapsed.attempt = tx.first(
        "select id, side_effect_started from command_attempts where command_id = $1 and state = 'running' \
         order by id desc limit 1",
        params![&lapsed.id],
        |row| Ok((row.int(0)?, row.boolean(1)?)),
    )?;
    Ok(lapsed)
}

/// What becomes of a lapsed claim.
pub struct Recovery<'a> {
    /// The command's next state.
    pub command: CommandState,
    /// The attempt's last state.
    pub attempt: AttemptState,
    /// Whether the lapse is given back as no attempt.
    pub uncounted: bool,
    /// Why, for the attempt.
    pub error: &'a str,
}

/// Ends a lapsed claim. `false` when the claim was ended or renewed meanwhile.
///
/// # Errors
/// A failing statement.
pub fn recover(tx: &mut Tx<'_>, lapsed: &Lapsed, recovery: &Recovery<'_>) -> Result<bool, StoreError> {
    let now = tx.now()?;
    let error = (recovery.command == CommandState::Failed).then_some(recovery.error);
    let back = i64::from(recovery.uncounted);
    let changed = tx.execute(
        "update commands set state = $2, updated_at = $3, error = $4, claimed_by = null, claimed_at = null, \
         claim_expires_at = null, attempts = case when attempts < $5 then 0 else attempts - $5 end, \
         lapses = lapses + $5 \
         where id = $1 and state = 'attempted' and conveyor_ms(claim_expires_at) <= $6",
        params![&lapsed.id, recovery.command.as_str(), now.to_ms_text(), error, back, now.as_millis()],
    )?;
    if changed == 0 {
        return Ok(false);
    }
    if let Some((attempt_id, _)) = lapsed.attempt {
        tx.execute(
            "update command_attempts set state = $2, finished_at = $3, error = $4 where id = $1 and state = 'running'",
            params![attempt_id, recovery.attempt.as_str(), now.to_ms_text(), recovery.error],
        )?;
    }
    Ok(true)
}

/// Takes a claim back whose effect proved not to have begun after all: as a lapse, it is no attempt.
/// The command can be claimed again in `seconds`.
///
/// # Errors
/// A failing statement.
pub fn withdraw(
    tx: &mut Tx<'_>,
    id: &str,
    attempt_id: i64,
    seconds: i64,
    reason: &str,
) -> Result<(), StoreError> {
    let now = tx.now()?;
    let until = now.plus_millis(seconds * 1000).to_ms_text();
    let ended = tx.execute(
        "update command_attempts set state = 'abandoned', finished_at = $2, error = $3, side_effect_started = 0 \
         where id = $1 and state = 'running'",
        params![attempt_id, now.to_ms_text(), reason],
    )?;
    if ended > 0 {
        tx.execute(
            "update commands set state = 'pending', updated_at = $2, available_at = $3, parked_reason = $4, \
             claimed_by = null, claimed_at = null, claim_expires_at = null, error = null, \
             attempts = case when attempts < 1 then 0 else attempts - 1 end, lapses = lapses + 1 \
             where id = $1 and state = 'attempted'",
            params![id, now.to_ms_text(), until, reason],
        )?;
    }
    Ok(())
}
