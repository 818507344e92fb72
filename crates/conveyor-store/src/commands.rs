//! The command queue: creating, listing, claiming and finishing commands, and their attempts.

use conveyor_model::records::{Attempt, Command, Object};
use conveyor_model::{AttemptState, CommandState, CommandType, IdPrefix, json};
use serde_json::Value;

use crate::{Param, Row, StoreError, Tx, lacking, params};

/// A command about to be queued.
pub struct NewCommand<'a> {
    /// Its type.
    pub command_type: CommandType,
    /// The task it belongs to.
    pub task_id: &'a str,
    /// Given, or generated.
    pub correlation_id: Option<&'a str>,
    /// Given, or the command's id.
    pub idempotency_key: Option<&'a str>,
    /// Checked when a dispatcher executes it; stored as given.
    pub required_permission: Option<&'a str>,
    /// A JSON object.
    pub payload: Value,
}

/// What identifies a queued command.
pub struct Queued {
    /// The command's id.
    pub id: String,
    /// Given or generated.
    pub correlation_id: String,
    /// Given or the id.
    pub idempotency_key: String,
}

/// Queues a command.
///
/// # Errors
/// [`StoreError::Unique`] when the idempotency key is taken; a failing statement.
pub fn insert(tx: &mut Tx<'_>, new: &NewCommand<'_>) -> Result<Queued, StoreError> {
    let id = tx.fresh_id(IdPrefix::Command);
    let correlation_id =
        new.correlation_id.map_or_else(|| tx.fresh_id(IdPrefix::Dispatch), ToOwned::to_owned);
    let idempotency_key = new.idempotency_key.unwrap_or(&id).to_owned();
    let now = tx.now()?.to_ms_text();
    tx.execute(
        "insert into commands (id, idempotency_key, created_at, updated_at, task_id, correlation_id, type, state, \
         required_permission, payload_json) values ($1, $2, $3, $3, $4, $5, $6, 'pending', $7, $8)",
        params![
            &id,
            &idempotency_key,
            now,
            new.task_id,
            &correlation_id,
            new.command_type.as_str(),
            new.required_permission,
            json::compact(&new.payload),
        ],
    )?;
    tx.wake_waiters();
    Ok(Queued { id, correlation_id, idempotency_key })
}

/// Whether an idempotency key is taken.
///
/// # Errors
/// A failing statement.
pub fn key_is_taken(tx: &mut Tx<'_>, key: &str) -> Result<bool, StoreError> {
    let found =
        tx.first("select id from commands where idempotency_key = $1", params![key], |row| row.text(0))?;
    Ok(found.is_some())
}

/// Which commands a list shows; all given conditions hold together.
#[derive(Clone, Debug, Default)]
pub struct Filter<'a> {
    /// A task id.
    pub task_id: Option<&'a str>,
    /// A legacy worker id.
    pub worker_id: Option<&'a str>,
    /// A legacy manager id.
    pub manager_id: Option<&'a str>,
    /// A command state.
    pub state: Option<CommandState>,
    /// A command type, any text.
    pub command_type: Option<&'a str>,
}

/// Hands every matching command to `each`, in queue order; with its attempt history, oldest attempt
/// first, if wanted.
///
/// # Errors
/// A failing statement, or what `each` returns.
pub fn each<E: From<StoreError>>(
    tx: &mut Tx<'_>,
    filter: &Filter<'_>,
    with_attempts: bool,
    each: &mut dyn FnMut(Command) -> Result<(), E>,
) -> Result<(), E> {
    let (condition, values) = condition(filter);
    let (attempt, join, order) = if with_attempts {
        (ATTEMPT, "left join command_attempts a on a.command_id = c.id", ", a.id")
    } else {
        ("null", "", "")
    };
    let sql = format!(
        "select {LISTED}, {attempt} from commands c left join tasks t on t.id = c.task_id {join} \
         where {condition} order by c.created_at, c.rowid{order}"
    );
    // One row per attempt; the rows of one command stand together.
    let mut held: Option<Command> = None;
    tx.each(&sql, &values, &mut |row| {
        let id = row.text(0)?;
        if held.as_ref().is_none_or(|command| command.id != id) {
            if let Some(command) = held.take() {
                each(command)?;
            }
            held = Some(from_row(row, with_attempts)?);
        }
        if with_attempts && row.opt_int(FIRST_OF_ATTEMPT)?.is_some() {
            let history = held.as_mut().and_then(|command| command.attempt_history.as_mut());
            history.map_or(Ok(()), |history| attempt_row(row).map(|attempt| history.push(attempt)))?;
        }
        Ok::<(), E>(())
    })?;
    held.map_or(Ok(()), each)
}

const LISTED: &str = "c.id, c.idempotency_key, c.created_at, c.updated_at, c.task_id, c.worker_id, c.manager_id, \
                      c.correlation_id, c.type, c.state, c.available_at, c.claimed_by, c.claimed_at, \
                      c.claim_expires_at, c.attempts, c.max_attempts, c.required_permission, c.payload_json, \
                      c.result_json, c.error, t.name";

const ATTEMPT: &str = "a.id, a.command_id, a.correlation_id, a.dispatcher_id, a.started_at, a.finished_at, a.state, \
                       a.result_json, a.error, a.side_effect_started, a.side_effect_completed";

fn condition<'a>(filter: &Filter<'a>) -> (String, Vec<Param<'a>>) {
    let given = [
        ("task_id", filter.task_id),
        ("worker_id", filter.worker_id),
        ("manager_id", filter.manager_id),
        ("state", filter.state.map(CommandState::as_str)),
        ("type", filter.command_type),
    ];
    let mut conditions = vec!["1 = 1".to_owned()];
    let mut values = Vec::new();
    for (column, value) in given {
        if let Some(value) = value {
            values.push(value.into());
            conditions.push(format!("c.{column} = ${}", values.len()));
        }
    }
    (conditions.join(" and "), values)
}

fn from_row(row: &Row<'_>, with_attempts: bool) -> Result<Command, StoreError> {
    Ok(Command {
        id: row.text(0)?,
        idempotency_key: row.text(1)?,
        created_at: row.text(2)?,
        updated_at: row.text(3)?,
        task_id: row.opt_text(4)?,
        worker_id: row.opt_text(5)?,
        manager_id: row.opt_text(6)?,
        correlation_id: row.opt_text(7)?,
        command_type: row.text(8)?,
        state: row.text(9)?,
        available_at: row.opt_text(10)?,
        claimed_by: row.opt_text(11)?,
        claimed_at: row.opt_text(12)?,
        claim_expires_at: row.opt_text(13)?,
        attempts: row.int(14)?,
        max_attempts: row.int(15)?,
        required_permission: row.opt_text(16)?,
        payload: row.object(17)?,
        result: json::optional_object(row.opt_text(18)?.as_deref()),
        error: row.opt_text(19)?,
        task_name: row.opt_text(20)?,
        attempt_history: with_attempts.then(Vec::new),
    })
}

/// Where the columns of an attempt begin in a row of the list.
const FIRST_OF_ATTEMPT: usize = 21;

fn attempt_row(row: &Row<'_>) -> Result<Attempt, StoreError> {
    let first = FIRST_OF_ATTEMPT;
    Ok(Attempt {
        id: row.int(first)?,
        command_id: row.text(first + 1)?,
        correlation_id: row.text(first + 2)?,
        dispatcher_id: row.text(first + 3)?,
        started_at: row.text(first + 4)?,
        finished_at: row.opt_text(first + 5)?,
        state: row.text(first + 6)?,
        result: json::optional_object(row.opt_text(first + 7)?.as_deref()),
        error: row.opt_text(first + 8)?,
        side_effect_started: row.boolean(first + 9)?,
        side_effect_completed: row.boolean(first + 10)?,
    })
}

/// A command that a dispatcher may claim now.
#[derive(Clone, Debug)]
pub struct Claimable {
    /// The command's id.
    pub id: String,
    /// Its type.
    pub command_type: CommandType,
    /// The task it belongs to.
    pub task_id: Option<String>,
    /// Kept, or generated at the claim.
    pub correlation_id: Option<String>,
    /// Checked before anything is routed.
    pub required_permission: Option<String>,
    /// The payload object.
    pub payload: Object,
    /// Why it was put off, if it was.
    pub parked_reason: Option<String>,
    /// Attempts so far.
    pub attempts: i64,
    /// Claims that lapsed so far.
    pub lapses: i64,
    order: (String, i64),
}

impl Claimable {
    /// Place in the queue: time of enqueueing, then order of insertion.
    #[must_use]
    pub fn order(&self) -> (&str, i64) {
        (&self.order.0, self.order.1)
    }
}

const CLAIMABLE: &str = "id, type, task_id, correlation_id, required_permission, payload_json, parked_reason, \
                         attempts, lapses, created_at, rowid";

/// The same where our columns are missing.
const CLAIMABLE_OF_OLD: &str = "id, type, task_id, correlation_id, required_permission, payload_json, null, attempts, \
                                0, created_at, rowid";

fn claimable_row(row: &Row<'_>) -> Result<Claimable, StoreError> {
    let text = row.text(1)?;
    let command_type =
        CommandType::from_text(&text).ok_or(StoreError::Type { column: 1, expected: "command type" })?;
    Ok(Claimable {
        id: row.text(0)?,
        command_type,
        task_id: row.opt_text(2)?,
        correlation_id: row.opt_text(3)?,
        required_permission: row.opt_text(4)?,
        payload: row.object(5)?,
        parked_reason: row.opt_text(6)?,
        attempts: row.int(7)?,
        lapses: row.int(8)?,
        order: (row.text(9)?, row.int(10)?),
    })
}

/// The first `limit` claimable commands of these types in queue order, without those of the tasks
/// in `skipped_tasks`. Nothing is claimed yet.
///
/// # Errors
/// A failing statement.
pub fn claimable(
    tx: &mut Tx<'_>,
    types: &[CommandType],
    limit: usize,
    skipped_tasks: &[String],
) -> Result<Vec<Claimable>, StoreError> {
    in_queue_order(tx, types, limit, skipped_tasks, (CLAIMABLE, "{by_ready}"))
}

/// The same for who only wants to know, and may meet a ledger without what is ours.
///
/// # Errors
/// A failing statement.
pub fn plannable(tx: &mut Tx<'_>, types: &[CommandType], limit: usize) -> Result<Vec<Claimable>, StoreError> {
    let ours = ["commands.lapses", "commands.parked_reason", "conveyor_commands_ready"];
    let how = if lacking::has_all(tx, &ours)? { (CLAIMABLE, "{by_ready}") } else { (CLAIMABLE_OF_OLD, "") };
    in_queue_order(tx, types, limit, &[], how)
}

fn in_queue_order(
    tx: &mut Tx<'_>,
    types: &[CommandType],
    limit: usize,
    skipped_tasks: &[String],
    (columns, by_ready): (&str, &str),
) -> Result<Vec<Claimable>, StoreError> {
    let now = tx.now()?;
    let mut found = Vec::new();
    let places: Vec<String> = (0..skipped_tasks.len()).map(|n| format!("${}", n + 3)).collect();
    let skip = match places.as_slice() {
        [] => String::new(),
        places => format!("and (task_id is null or task_id not in ({}))", places.join(", ")),
    };
    // Two ordered reads of two indexes instead of one with `or`, which would be sorted.
    let ready = format!(
        "select {columns} from commands {by_ready} where type = $1 and state = 'pending' \
         and available_at is null and attempts < max_attempts {skip} order by created_at, rowid limit $2"
    );
    // The text bound finds a superset whatever the stored precision; the instant decides.
    let due = format!(
        "select {columns} from commands where type = $1 and state = 'pending' \
         and available_at is not null and available_at <= '{bound}' and conveyor_ms(available_at) <= {instant} \
         and attempts < max_attempts {skip} order by available_at limit $2",
        bound = now.to_s_text(),
        instant = now.as_millis(),
    );
    for command_type in types {
        let mut values = vec![command_type.as_str().into(), (limit as i64).into()];
        values.extend(skipped_tasks.iter().map(Into::into));
        found.extend(tx.all(&ready, &values, claimable_row)?);
        found.extend(tx.all(&due, &values, claimable_row)?);
    }
    found.sort_by(|a, b| a.order().cmp(&b.order()));
    found.truncate(limit);
    Ok(found)
}

/// The command of this id, if it can still be claimed, due or not.
///
/// # Errors
/// A failing statement.
pub fn unclaimed(tx: &mut Tx<'_>, id: &str) -> Result<Option<Claimable>, StoreError> {
    tx.first(
        &format!(
            "select {CLAIMABLE} from commands where id = $1 and state = 'pending' and attempts < max_attempts"
        ),
        params![id],
        claimable_row,
    )
}

/// A claimed command with its running attempt, if that is the one of this id.
///
/// # Errors
/// A failing statement.
pub fn claimed(tx: &mut Tx<'_>, id: &str, attempt_id: i64) -> Result<Option<(Claimable, Claim)>, StoreError> {
    let command = tx.first(
        &format!("select {CLAIMABLE} from commands where id = $1 and state = 'attempted'"),
        params![id],
        claimable_row,
    )?;
    let claim = tx.first(
        "select a.correlation_id, coalesce(c.claim_expires_at, ''), c.attempts from command_attempts a \
         join commands c on c.id = a.command_id where a.id = $1 and a.state = 'running'",
        params![attempt_id],
        |row| {
            Ok(Claim {
                attempt_id,
                correlation_id: row.text(0)?,
                claim_expires_at: row.text(1)?,
                attempts: row.int(2)?,
            })
        },
    )?;
    Ok(command.zip(claim))
}

/// Pending commands of a task that go to the same side and stand before `command` in the queue,
/// but were put off: they go first when that side can be reached again.
///
/// # Errors
/// A failing statement.
pub fn put_off_before(
    tx: &mut Tx<'_>,
    command: &Claimable,
    types: &[CommandType],
) -> Result<Vec<Claimable>, StoreError> {
    let Some(task_id) = &command.task_id else { return Ok(Vec::new()) };
    let (created_at, _) = command.order();
    let earlier = tx.all(
        &format!(
            "select {CLAIMABLE} from commands where task_id = $1 and state = 'pending' and created_at <= $2 \
             and parked_reason is not null and attempts < max_attempts and type in ({}) order by created_at, rowid",
            quoted(types)
        ),
        params![task_id, created_at],
        claimable_row,
    )?;
    Ok(earlier
        .into_iter()
        .filter(|other| other.order() < command.order())
        .filter(|other| other.command_type.target() == command.command_type.target())
        .collect())
}

/// Command types as SQL literals; they come from an enum, never from a user.
pub(crate) fn quoted(types: &[CommandType]) -> String {
    types.iter().map(|kind| format!("'{kind}'")).collect::<Vec<_>>().join(", ")
}

/// Puts a pending command off until `seconds` from now, with the reason; gives that moment as
/// stored. It stays pending and unclaimed, so that older dispatchers see it as not yet due.
///
/// # Errors
/// A failing statement.
pub fn put_off(tx: &mut Tx<'_>, id: &str, seconds: i64, reason: &str) -> Result<String, StoreError> {
    let now = tx.now()?;
    let until = now.plus_millis(seconds * 1000).to_ms_text();
    tx.execute(
        "update commands set available_at = $2, updated_at = $3, parked_reason = $4 \
         where id = $1 and state = 'pending'",
        params![id, &until, now.to_ms_text(), reason],
    )?;
    Ok(until)
}

/// A claim on a command.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The attempt: the fencing token of everything done under this claim.
    pub attempt_id: i64,
    /// The command's correlation id.
    pub correlation_id: String,
    /// When the claim lapses.
    pub claim_expires_at: String,
    /// Attempts including this one.
    pub attempts: i64,
}

/// Claims a pending command for a dispatcher and begins an attempt. `None` if somebody else has it.
///
/// # Errors
/// A failing statement.
pub fn claim(
    tx: &mut Tx<'_>,
    command: &Claimable,
    dispatcher_id: &str,
    lease_seconds: i64,
) -> Result<Option<Claim>, StoreError> {
    let now = tx.now()?.to_ms_text();
    let fresh = tx.fresh_id(IdPrefix::Dispatch);
    let correlation_id = command.correlation_id.clone().unwrap_or(fresh);
    let claimed = tx.first(
        "update commands set state = 'attempted', updated_at = $2, claimed_at = $2, claimed_by = $3, \
         claim_expires_at = conveyor_after($4), attempts = attempts + 1, correlation_id = $5, parked_reason = null, \
         error = null where id = $1 and state = 'pending' and attempts < max_attempts \
         returning claim_expires_at, attempts",
        params![&command.id, &now, dispatcher_id, lease_seconds, &correlation_id],
        |row| Ok((row.text(0)?, row.int(1)?)),
    )?;
    let Some((claim_expires_at, attempts)) = claimed else { return Ok(None) };
    let attempt_id = tx.one(
        "insert into command_attempts (command_id, correlation_id, dispatcher_id, started_at, state) \
         values ($1, $2, $3, $4, 'running') returning id",
        params![&command.id, &correlation_id, dispatcher_id, &now],
        |row| row.int(0),
    )?;
    Ok(Some(Claim { attempt_id, correlation_id, claim_expires_at, attempts }))
}

/// Records, before its first byte, that an attempt has an effect outside.
///
/// # Errors
/// A failing statement.
pub fn begin_effect(tx: &mut Tx<'_>, attempt_id: i64) -> Result<(), StoreError> {
    tx.execute(
        "update command_attempts set side_effect_started = 1 where id = $1 and state = 'running'",
        params![attempt_id],
    )?;
    Ok(())
}

/// Holds a claim for longer while its attempt runs, because what became of its effect is still to
/// be found out.
///
/// # Errors
/// A failing statement.
pub fn renew(tx: &mut Tx<'_>, id: &str, seconds: i64) -> Result<(), StoreError> {
    tx.execute(
        "update commands set claim_expires_at = conveyor_after($2) where id = $1 and state = 'attempted'",
        params![id, seconds],
    )?;
    Ok(())
}

/// How an attempt ended.
pub struct Outcome<'a> {
    /// Succeeded, failed or blocked; the command takes the same state.
    pub state: AttemptState,
    /// The result object, stored with attempt and command.
    pub result: &'a Value,
    /// The text of the failure.
    pub error: Option<&'a str>,
    /// Whether its effect outside is known to be complete.
    pub completed: bool,
}

/// Finishes a running attempt and its command. `false`, and nothing changed, when the attempt is
/// no longer running: the claim lapsed and somebody else decided.
///
/// # Errors
/// A failing statement.
pub fn finish(
    tx: &mut Tx<'_>,
    command_id: &str,
    attempt_id: i64,
    outcome: &Outcome<'_>,
) -> Result<bool, StoreError> {
    let now = tx.now()?.to_ms_text();
    let result = json::compact(outcome.result);
    let finished = tx.execute(
        "update command_attempts set state = $2, finished_at = $3, result_json = $4, error = $5, \
         side_effect_completed = $6 where id = $1 and state = 'running'",
        params![
            attempt_id,
            outcome.state.as_str(),
            &now,
            &result,
            outcome.error,
            i64::from(outcome.completed)
        ],
    )?;
    if finished == 0 {
        return Ok(false);
    }
    tx.execute(
        "update commands set state = $2, updated_at = $3, result_json = $4, error = $5 where id = $1",
        params![command_id, outcome.state.as_str(), &now, &result, outcome.error],
    )?;
    Ok(true)
}

/// Takes a task for routing: whoever cannot have it now goes on with another task, so that one
/// task's items keep their order however many dispatchers there are.
///
/// # Errors
/// A failing statement.
pub fn take_task(tx: &mut Tx<'_>, task_id: &str) -> Result<bool, StoreError> {
    let taken =
        tx.first("select id from tasks where id = $1{lock_task}", params![task_id], |row| row.text(0))?;
    // Whoever held the task before has written later moments than we may know.
    tx.renew_now();
    Ok(taken.is_some())
}
