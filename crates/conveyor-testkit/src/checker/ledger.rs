//! The rows of a ledger as texts, the same from both engines, from one snapshot.

use std::collections::HashMap;

use rusqlite::types::ValueRef;
use serde_json::Value;

use super::{Findings, Source};

/// The tables that are judged: columns and order.
const TABLES: [(&str, &str, &str); 11] = [
    (
        "commands",
        "id, idempotency_key, created_at, updated_at, task_id, correlation_id, type, state, claimed_by, \
         claim_expires_at, attempts, max_attempts, lapses, payload_json, error",
        "created_at, rowid",
    ),
    (
        "command_attempts",
        "id, command_id, correlation_id, dispatcher_id, started_at, finished_at, state, error, \
         side_effect_started, side_effect_completed",
        "id",
    ),
    (
        "routed_notifications",
        "id, task_id, binding_id, correlation_id, source_session_id, target_session_id, signal_type, \
         source_event_id, dedupe_key, command_id, created_at, delivered_at, consumed_by_session_id, consumed_at, \
         delivery_mode, state, payload_json, error",
        "id",
    ),
    ("codex_events", "id, session_id, type, subtype, payload_json, byte_offset", "id"),
    ("tasks", "id, name, state", "id"),
    ("sessions", "id, name, role, state, codex_session_path, last_ingest_offset", "id"),
    ("bindings", "id, task_id, worker_session_id, manager_session_id, state", "id"),
    ("runs", "id, task_id", "id"),
    ("events", "id, task_id, type, payload_json", "id"),
    ("telemetry_events", "id, task_id, event_type, summary, correlation_json, attributes_json", "id"),
    ("telemetry_events_fts", "event_id, task_id, event_type, summary, attributes", "event_id"),
];

/// One row: texts by column, nulls absent.
#[derive(Debug, Default)]
pub(super) struct Row(HashMap<&'static str, String>);

impl Row {
    /// A column's text; empty when null.
    pub(super) fn text(&self, column: &str) -> &str {
        self.opt(column).unwrap_or("")
    }

    pub(super) fn opt(&self, column: &str) -> Option<&str> {
        self.0.get(column).map(String::as_str)
    }

    /// A column's number; 0 when null.
    pub(super) fn int(&self, column: &str) -> i64 {
        self.opt(column).map_or(0, |text| text.parse().unwrap_or_else(|e| panic!("{column} {text:?}: {e}")))
    }

    /// A column's JSON; null when it is none.
    pub(super) fn json(&self, column: &str) -> Value {
        serde_json::from_str(self.text(column)).unwrap_or_default()
    }

    /// A column's moment in a form that compares, whatever precision it was stored in; `None` when
    /// it is null.
    pub(super) fn moment(&self, column: &str) -> Option<String> {
        let bare = self.opt(column)?.trim_end_matches('Z');
        let (seconds, fraction) = bare.split_once('.').unwrap_or((bare, ""));
        Some(format!("{seconds}.{fraction:0<3}"))
    }
}

/// Everything that is judged.
pub(super) struct Ledger {
    tables: HashMap<&'static str, Vec<Row>>,
}

impl Ledger {
    pub(super) fn rows(&self, table: &str) -> &[Row] {
        &self.tables[table]
    }

    /// Rows by a column that is unique; later ones win, which the uniqueness checks report.
    pub(super) fn by<'l>(&'l self, table: &str, column: &str) -> HashMap<&'l str, &'l Row> {
        self.rows(table).iter().filter_map(|row| Some((row.opt(column)?, row))).collect()
    }

    /// Rows grouped by a column, each group in the table's order.
    pub(super) fn groups<'l>(&'l self, table: &str, column: &str) -> HashMap<&'l str, Vec<&'l Row>> {
        let mut groups: HashMap<&str, Vec<&Row>> = HashMap::new();
        for row in self.rows(table) {
            if let Some(value) = row.opt(column) {
                groups.entry(value).or_default().push(row);
            }
        }
        groups
    }
}

/// An open ledger.
pub(super) enum Reader {
    Sqlite(rusqlite::Connection),
    Postgres(postgres::Client),
}

impl Reader {
    pub(super) fn open(source: Source<'_>) -> Self {
        match source {
            Source::Sqlite(path) => {
                let raw =
                    rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)
                        .unwrap_or_else(|e| panic!("opening {}: {e}", path.display()));
                raw.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
                Self::Sqlite(raw)
            }
            Source::Postgres(schema) => Self::Postgres(schema.client()),
        }
    }

    /// What the engine itself says about the file. The server looks after its own files and keys.
    pub(super) fn integrity(&mut self, findings: &mut Findings) {
        let Self::Sqlite(raw) = self else { return };
        let mut statement = raw.prepare("pragma integrity_check").unwrap();
        let said: Result<Vec<String>, _> = statement.query_map([], |row| row.get(0)).unwrap().collect();
        match said {
            Ok(lines) => {
                for line in lines.iter().filter(|line| *line != "ok") {
                    findings.add(format!("integrity_check: {line}"));
                }
            }
            Err(error) => findings.add(format!("integrity_check failed: {error}")),
        }
        let mut statement = raw.prepare("pragma foreign_key_check").unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let (table, parent): (String, String) = (row.get_unwrap(0), row.get_unwrap(2));
            findings.add(format!("foreign_key_check: a row of {table} refers to a missing row of {parent}"));
        }
    }

    pub(super) fn load(&mut self) -> Ledger {
        let tables = match self {
            Self::Sqlite(raw) => {
                raw.execute_batch("begin").unwrap();
                let tables = TABLES.map(|table| (table.0, from_sqlite(raw, table)));
                raw.execute_batch("rollback").unwrap();
                tables
            }
            Self::Postgres(client) => {
                let level = postgres::IsolationLevel::RepeatableRead;
                let mut tx = client.build_transaction().isolation_level(level).start().unwrap();
                let tables = TABLES.map(|table| (table.0, from_postgres(&mut tx, table)));
                tx.rollback().unwrap();
                tables
            }
        };
        Ledger { tables: tables.into() }
    }
}

fn names(columns: &'static str) -> Vec<&'static str> {
    columns.split(',').map(str::trim).collect()
}

fn from_sqlite(raw: &rusqlite::Connection, (table, columns, order): (&str, &'static str, &str)) -> Vec<Row> {
    let names = names(columns);
    let mut statement = raw.prepare(&format!("select {columns} from {table} order by {order}")).unwrap();
    let mut found = statement.query([]).unwrap();
    let mut rows = Vec::new();
    while let Some(row) = found.next().unwrap() {
        let mut texts = HashMap::new();
        for (at, name) in names.iter().enumerate() {
            let text = match row.get_ref_unwrap(at) {
                ValueRef::Null => continue,
                ValueRef::Integer(number) => number.to_string(),
                ValueRef::Real(number) => number.to_string(),
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            };
            texts.insert(*name, text);
        }
        rows.push(Row(texts));
    }
    rows
}

fn from_postgres(
    tx: &mut postgres::Transaction<'_>,
    (table, columns, order): (&str, &'static str, &str),
) -> Vec<Row> {
    let names = names(columns);
    let list: Vec<String> = names.iter().map(|name| format!("t.{name}::text")).collect();
    // The order's columns must be the table's own, not the texts of the list.
    let order: Vec<String> = order.split(", ").map(|column| format!("t.{column}")).collect();
    let sql = format!("select {} from {table} t order by {}", list.join(", "), order.join(", "));
    let rows = tx.query(&sql, &[]).unwrap_or_else(|e| panic!("{sql}: {e}"));
    rows.iter()
        .map(|row| {
            let text = |(at, name): (usize, &&'static str)| Some((*name, row.get::<_, Option<String>>(at)?));
            Row(names.iter().enumerate().filter_map(text).collect())
        })
        .collect()
}
