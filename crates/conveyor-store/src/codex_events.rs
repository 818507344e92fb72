//! Events read from sessions' rollouts.

use std::collections::HashSet;

use conveyor_model::json;
use conveyor_model::records::Object;

use crate::{Param, Row, StoreError, Tx, params};

/// An event about to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewEvent<'a> {
    /// Where its line begins in the rollout.
    pub byte_offset: i64,
    /// The record's own time; the moment of storing when it has none.
    pub timestamp: Option<&'a str>,
    /// The record's type.
    pub event_type: &'a str,
    /// The payload's type, of records of type `event_msg`.
    pub subtype: Option<&'a str>,
    /// The payload: compact JSON of an object, keys sorted.
    pub payload: &'a str,
}

/// Who reads events from a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// A dispatcher that follows the sessions of live bindings.
    Dispatcher,
    /// A command that somebody ran for it.
    Command,
}

impl Reader {
    fn as_stored(self) -> Option<&'static str> {
        match self {
            Self::Dispatcher => Some(BY_DISPATCHER),
            Self::Command => None,
        }
    }
}

/// How it is stored that a dispatcher read an event.
pub(crate) const BY_DISPATCHER: &str = "dispatch";

/// A stored event.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Event {
    pub id: i64,
    pub timestamp: String,
    pub event_type: String,
    pub subtype: Option<String>,
    pub payload: Object,
    pub byte_offset: i64,
}

const COLUMNS: &str = "id, timestamp, type, subtype, payload_json, byte_offset";

fn from_row(row: &Row<'_>) -> Result<Event, StoreError> {
    Ok(Event {
        id: row.int(0)?,
        timestamp: row.text(1)?,
        event_type: row.text(2)?,
        subtype: row.opt_text(3)?,
        payload: row.object(4)?,
        byte_offset: row.int(5)?,
    })
}

/// Stores the events of a session, given in the order of their places, but for those that are
/// stored already: the same place, type, own time and payload. Gives how many are new.
///
/// # Errors
/// A failing statement.
pub fn insert_new(
    tx: &mut Tx<'_>,
    session_id: &str,
    events: &[NewEvent<'_>],
    reader: Reader,
) -> Result<u64, StoreError> {
    let known = known(tx, session_id, events)?;
    let now = tx.now()?.to_ms_text();
    let rows = events.iter().enumerate().filter(|(at, _)| !known.contains(at)).map(|(_, event)| {
        [
            Param::from(event.timestamp.unwrap_or(&now)),
            Param::from(event.event_type),
            Param::from(event.subtype),
            Param::from(event.payload),
            Param::from(event.byte_offset),
        ]
    });
    tx.insert_many(
        "codex_events (session_id, ingested_at, ingested_by, timestamp, type, subtype, payload_json, byte_offset)",
        &[Param::from(session_id), Param::from(&now), Param::from(reader.as_stored())],
        rows,
    )
}

/// Which of the events, by position, are stored already. One look into an index when the session
/// has nothing in this part of the rollout, which is always so unless it was registered anew.
fn known(tx: &mut Tx<'_>, session_id: &str, events: &[NewEvent<'_>]) -> Result<HashSet<usize>, StoreError> {
    let mut known = HashSet::new();
    let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(known) };
    tx.each(
        "select byte_offset, type, timestamp, payload_json from codex_events \
         where session_id = $1 and byte_offset between $2 and $3",
        params![session_id, first.byte_offset, last.byte_offset],
        &mut |row| {
            let place = row.int(0)?;
            if let Ok(at) = events.binary_search_by_key(&place, |event| event.byte_offset) {
                let (event_type, timestamp) = (row.text(1)?, row.text(2)?);
                if is_same(&events[at], &event_type, &timestamp, &row.text(3)?) {
                    known.insert(at);
                }
            }
            Ok::<(), StoreError>(())
        },
    )?;
    Ok(known)
}

/// Whether an event of the same place is stored with these values.
fn is_same(event: &NewEvent<'_>, event_type: &str, timestamp: &str, payload: &str) -> bool {
    event.event_type == event_type
        // Without a time of its own the stored one is the moment at which it was stored.
        && event.timestamp.is_none_or(|own| own == timestamp)
        // Other programs write the same JSON with spaces or escapes, older builds with other last digits.
        && json::agree(event.payload, payload)
}

/// The newest step of a turn of a session: the newest event that begins or ends one.
///
/// # Errors
/// A failing statement.
pub fn newest_turn_step(tx: &mut Tx<'_>, session_id: &str) -> Result<Option<Event>, StoreError> {
    // The words of the index `conveyor_turns`.
    tx.first(
        &format!(
            "select {COLUMNS} from codex_events where session_id = $1 \
             and subtype in ('task_started', 'user_message', 'task_complete', 'turn_aborted') \
             and type = 'event_msg' order by id desc limit 1"
        ),
        params![session_id],
        from_row,
    )
}

/// The subtype of a session's newest event; `None` without an event, or when it has none.
///
/// # Errors
/// A failing statement.
pub fn newest_subtype(tx: &mut Tx<'_>, session_id: &str) -> Result<Option<String>, StoreError> {
    let newest = tx.first(
        "select subtype from codex_events where session_id = $1 order by id desc limit 1",
        params![session_id],
        |row| row.opt_text(0),
    )?;
    Ok(newest.flatten())
}

/// The newest completion of a session.
///
/// # Errors
/// A failing statement.
pub fn newest_completion(tx: &mut Tx<'_>, session_id: &str) -> Result<Option<Event>, StoreError> {
    tx.first(
        &format!(
            "select {COLUMNS} from codex_events where session_id = $1 and subtype = 'task_complete' \
             order by id desc limit 1"
        ),
        params![session_id],
        from_row,
    )
}

/// Which events of a session: the newest, one subtype only if given.
#[derive(Clone, Copy, Debug)]
pub struct Newest<'a> {
    /// The session.
    pub session_id: &'a str,
    /// This subtype exactly; `None`: all.
    pub subtype: Option<&'a str>,
    /// At most so many.
    pub limit: i64,
    /// None after the one with this id.
    pub until: i64,
}

impl Newest<'_> {
    fn selection(&self, columns: &str) -> String {
        let filter = if self.subtype.is_some() { " and subtype = $4" } else { "" };
        format!(
            "select {columns} from codex_events where session_id = $1 and id <= $3{filter} order by id desc limit $2"
        )
    }

    fn params(&self) -> Vec<Param<'_>> {
        let mut params = vec![Param::from(self.session_id), Param::from(self.limit), Param::from(self.until)];
        params.extend(self.subtype.map(Param::from));
        params
    }
}

/// How many events there are in the selection, and the id of the newest.
///
/// # Errors
/// A failing statement.
pub fn count(tx: &mut Tx<'_>, newest: &Newest<'_>) -> Result<(i64, Option<i64>), StoreError> {
    let sql = format!("select count(*), max(id) from ({}) newest", newest.selection("id"));
    tx.one(&sql, &newest.params(), |row| Ok((row.int(0)?, row.opt_int(1)?)))
}

/// Hands the events of the selection to `each`, newest first.
///
/// # Errors
/// A failing statement, or what `each` returns.
pub fn each<E: From<StoreError>>(
    tx: &mut Tx<'_>,
    newest: &Newest<'_>,
    each: &mut dyn FnMut(Event) -> Result<(), E>,
) -> Result<(), E> {
    tx.each(&newest.selection(COLUMNS), &newest.params(), &mut |row| each(from_row(row)?))
}
