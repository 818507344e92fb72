//! Telemetry: the searchable record of what happened. Every event has a twin in the search
//! table, written in the same transaction.

use conveyor_model::records::TelemetryEvent;
use conveyor_model::{Actor, IdPrefix, Severity, json};
use serde_json::Value;

use crate::dialect::Engine;
use crate::held::HeldEvent;
use crate::{Param, Row, StoreError, Tx, params, search};

/// An event about to be written.
pub struct Emit<'a> {
    /// Set when the event belongs to a run.
    pub run_id: Option<&'a str>,
    /// Set when a task is known.
    pub task_id: Option<&'a str>,
    /// Who caused it.
    pub actor: Actor,
    /// Lower-case words joined by `_`.
    pub event_type: &'a str,
    /// How it went.
    pub severity: Severity,
    /// One short sentence naming the object; no message contents.
    pub summary: String,
    /// Ids and names that tie this event to others: a JSON object.
    pub correlation: Value,
    /// Facts about the event: a JSON object.
    pub attributes: Value,
    /// When it happened.
    pub moment: Moment<'a>,
}

/// When an event happened, and how that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment<'a> {
    /// Now, with milliseconds.
    Now,
    /// Now, in whole seconds, as some chapters demand.
    ThisSecond,
    /// At this moment, as it is written.
    At(&'a str),
}

impl<'a> Emit<'a> {
    /// An event with severity `info`, millisecond time, and no run or task.
    #[must_use]
    pub fn info(
        actor: Actor,
        event_type: &'a str,
        summary: String,
        correlation: Value,
        attributes: Value,
    ) -> Self {
        Self {
            run_id: None,
            task_id: None,
            actor,
            event_type,
            severity: Severity::Info,
            summary,
            correlation,
            attributes,
            moment: Moment::Now,
        }
    }

    /// The same event, of a task.
    #[must_use]
    pub fn of_task(mut self, task_id: Option<&'a str>) -> Self {
        self.task_id = task_id;
        self
    }

    /// The same event, of a run.
    #[must_use]
    pub fn of_run(mut self, run_id: Option<&'a str>) -> Self {
        self.run_id = run_id;
        self
    }

    /// The same event with another severity.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// The same event with its time in whole seconds.
    #[must_use]
    pub fn in_whole_seconds(mut self) -> Self {
        self.moment = Moment::ThisSecond;
        self
    }

    /// The same event of another moment, as it is written.
    #[must_use]
    pub fn of_moment(mut self, at: &'a str) -> Self {
        self.moment = Moment::At(at);
        self
    }
}

/// Records an event with its search twin; gives the event's id. The rows are written together with
/// those of the transaction's other events: before it commits, or before it reads telemetry.
///
/// # Errors
/// A failing statement.
pub fn emit(tx: &mut Tx<'_>, event: &Emit<'_>) -> Result<String, StoreError> {
    let id = tx.fresh_id(IdPrefix::Telemetry);
    let now = tx.now()?;
    let timestamp = match event.moment {
        Moment::Now => now.to_ms_text(),
        Moment::ThisSecond => now.to_s_text(),
        Moment::At(at) => at.to_owned(),
    };
    tx.held.push(HeldEvent {
        id: id.clone(),
        run_id: event.run_id.map(str::to_owned),
        task_id: event.task_id.map(str::to_owned),
        timestamp,
        actor: event.actor.as_str(),
        event_type: event.event_type.to_owned(),
        severity: event.severity.as_str(),
        summary: event.summary.clone(),
        correlation: json::compact(&event.correlation),
        attributes: json::compact(&event.attributes),
    });
    if tx.held.is_full() {
        write_held(tx)?;
    }
    Ok(id)
}

/// Writes the events that were recorded and not written yet. The full-text index costs far less
/// for many rows at once, above all outside a savepoint, and so does a server's round trip.
///
/// # Errors
/// A failing statement.
pub(crate) fn write_held(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    // Taken out, because the statements need the transaction themselves.
    let held = std::mem::take(&mut tx.held);
    let written = insert(tx, held.unwritten());
    tx.held = held;
    if written.is_ok() {
        tx.held.note_written();
    }
    written
}

fn insert(tx: &mut Tx<'_>, events: &[HeldEvent]) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    tx.insert_many(
        "telemetry_events (id, run_id, task_id, timestamp, actor, event_type, severity, summary, \
         correlation_json, attributes_json)",
        &[],
        events.iter().map(|event| {
            [
                Param::from(&event.id),
                Param::from(&event.run_id),
                Param::from(&event.task_id),
                Param::from(&event.timestamp),
                Param::from(event.actor),
                Param::from(&event.event_type),
                Param::from(event.severity),
                Param::from(&event.summary),
                Param::from(&event.correlation),
                Param::from(&event.attributes),
            ]
        }),
    )?;
    const TWIN: &str = "event_id, task_id, run_id, actor, event_type, summary, attributes";
    match tx.engine() {
        Engine::Sqlite => {
            tx.insert_many(&format!("telemetry_events_fts ({TWIN})"), &[], events.iter().map(twin))?
        }
        Engine::Postgres => tx.insert_many(
            &format!("telemetry_events_fts ({TWIN}, search_text)"),
            &[],
            events.iter().map(|event| {
                let [id, task, run, actor, event_type, summary, attributes] = twin(event);
                let document = Param::from(search::document(&event.summary, &event.attributes));
                [id, task, run, actor, event_type, summary, attributes, document]
            }),
        )?,
    };
    Ok(())
}

/// The values of a search row, but for what PostgreSQL searches in.
fn twin(event: &HeldEvent) -> [Param<'_>; 7] {
    [
        Param::from(&event.id),
        Param::from(&event.task_id),
        Param::from(&event.run_id),
        Param::from(event.actor),
        Param::from(&event.event_type),
        Param::from(&event.summary),
        Param::from(&event.attributes),
    ]
}

const COLUMNS: &str = "id, run_id, task_id, timestamp, actor, event_type, severity, summary, correlation_json, \
                       attributes_json";

fn from_row(row: &Row<'_>) -> Result<TelemetryEvent, StoreError> {
    Ok(TelemetryEvent {
        id: row.text(0)?,
        run_id: row.opt_text(1)?,
        task_id: row.opt_text(2)?,
        timestamp: row.text(3)?,
        actor: row.text(4)?,
        event_type: row.text(5)?,
        severity: row.text(6)?,
        summary: row.text(7)?,
        correlation: row.object(8)?,
        attributes: row.object(9)?,
    })
}

/// The event with this id.
///
/// # Errors
/// A failing statement.
pub fn find(tx: &mut Tx<'_>, id: &str) -> Result<Option<TelemetryEvent>, StoreError> {
    write_held(tx)?;
    tx.first(&format!("select {COLUMNS} from telemetry_events where id = $1"), params![id], from_row)
}

/// What the record tells of one event: its place, its type, and the session that it ties itself to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Later events have larger ones.
    pub place: i64,
    /// Its type.
    pub event_type: String,
    /// The session's id.
    pub session_id: Option<String>,
}

/// Where the record ends; `None` on a server, where events are not committed in the order of their
/// places.
///
/// # Errors
/// A failing statement.
pub fn end_of_record(tx: &mut Tx<'_>) -> Result<Option<i64>, StoreError> {
    match tx.engine() {
        Engine::Sqlite => {
            tx.one("select coalesce(max(rowid), 0) from telemetry_events", &[], |row| row.opt_int(0))
        }
        Engine::Postgres => Ok(None),
    }
}

/// The first `limit` events behind a place of [`end_of_record`].
///
/// # Errors
/// A failing statement.
pub fn recorded_since(tx: &mut Tx<'_>, place: i64, limit: usize) -> Result<Vec<Recorded>, StoreError> {
    tx.all(
        "select rowid, event_type, json_extract(correlation_json, '$.session_id') from telemetry_events \
         where rowid > $1 order by rowid limit $2",
        params![place, limit as i64],
        |row| Ok(Recorded { place: row.int(0)?, event_type: row.text(1)?, session_id: row.opt_text(2)? }),
    )
}

/// Processes that write at the same time commit in another order than their clocks say; so many
/// further rows are looked at, so that the oldest of them are found nevertheless.
const STRAGGLERS: i64 = 200;

/// Events whose summary or attributes hold every term of `text`, or whose type is exactly `text`;
/// oldest first, at most `limit`. A blank text finds nothing.
///
/// # Errors
/// A failing statement.
pub fn search(tx: &mut Tx<'_>, text: &str, limit: i64) -> Result<Vec<TelemetryEvent>, StoreError> {
    write_held(tx)?;
    // The limit is taken inside the index, whose order is that of writing: a frequent word must not
    // make it read all its rows. The server's index has no such order.
    let first = match tx.engine() {
        Engine::Sqlite => format!(" order by rowid limit {}", limit.saturating_add(STRAGGLERS)),
        Engine::Postgres => String::new(),
    };
    let mut found = match search::query(text, tx.engine()) {
        Some(query) => tx.all(
            &format!(
                "select {COLUMNS} from telemetry_events where id in \
                 (select event_id from telemetry_events_fts where {{search_matches}}{first}) \
                 order by timestamp, rowid limit $2"
            ),
            params![query, limit],
            from_row,
        )?,
        None => Vec::new(),
    };
    if search::is_one_word(text) {
        let by_type = tx.all(
            &format!("select {COLUMNS} from telemetry_events where event_type = $1 order by timestamp, rowid limit $2"),
            params![text, limit],
            from_row,
        )?;
        found = merge(found, by_type, usize::try_from(limit).unwrap_or(usize::MAX));
    }
    Ok(found)
}

/// Joins two lists that are each ordered by time into one of at most `limit` distinct events.
fn merge(left: Vec<TelemetryEvent>, right: Vec<TelemetryEvent>, limit: usize) -> Vec<TelemetryEvent> {
    let known: std::collections::HashSet<String> = left.iter().map(|event| event.id.clone()).collect();
    let mut merged = left;
    merged.extend(right.into_iter().filter(|event| !known.contains(&event.id)));
    merged.sort_by(|a, b| a.timestamp.cmp(&b.timestamp));
    merged.truncate(limit);
    merged
}
