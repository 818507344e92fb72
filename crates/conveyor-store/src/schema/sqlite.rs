//! SQLite files: what a file is, making a new one, and our additions to it.

use std::path::Path;

use conveyor_model::{Clock, Ids};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::additions::{ADDITIONS, Addition, RECORD};
use super::catalogue::{INDEXES, NEWEST, SEARCH_SQLITE, TRIGGERS, VERSION, is_ours};
use super::tables::tables;
use super::upgrade;
use crate::StoreError;

/// What a file turned out to be. Files that cannot be used are errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No table yet.
    Empty,
    /// An older version, or an interrupted creation (version 0).
    Old(i64),
    /// A version that is used as it is.
    Current(i64),
}

/// Tells what the file is; reads only.
pub(crate) fn identify(conn: &Connection, path: &Path) -> Result<Found, StoreError> {
    let location = || path.display().to_string();
    match user_version(conn).map_err(|e| StoreError::from_sqlite(&e, path))? {
        0 => identify_by_tables(conn, path),
        version @ 1..VERSION => Ok(Found::Old(version)),
        version @ VERSION..=NEWEST => Ok(Found::Current(version)),
        found if found > NEWEST => Err(StoreError::Newer { location: location(), found, supported: NEWEST }),
        found => Err(StoreError::UnknownVersion { location: location(), found }),
    }
}

fn identify_by_tables(conn: &Connection, path: &Path) -> Result<Found, StoreError> {
    let names = table_names(conn).map_err(|e| StoreError::from_sqlite(&e, path))?;
    if names.is_empty() {
        Ok(Found::Empty)
    } else if names.iter().any(|name| name == "schema_migrations") || names.iter().all(|name| is_ours(name)) {
        Ok(Found::Old(0))
    } else {
        Err(StoreError::Foreign { path: path.to_owned() })
    }
}

/// Brings a file to the present shape: creates, upgrades or repairs it, each in one transaction.
/// A file that needs nothing costs one query. The connection must have its busy timeout set and
/// foreign keys enforced.
pub(crate) fn prepare(
    conn: &mut Connection,
    path: &Path,
    found: Found,
    clock: &dyn Clock,
    ids: &dyn Ids,
) -> Result<(), StoreError> {
    match found {
        Found::Current(_) => upgrade::repair(conn, path),
        Found::Old(_) => upgrade::upgrade(conn, path, clock, ids),
        Found::Empty => match create(conn, path, clock)? {
            Found::Empty => Ok(()),
            // Another process was faster.
            other => prepare(conn, path, other, clock, ids),
        },
    }
}

/// Creates the schema if the file is still empty under the write lock; says what it found there.
fn create(conn: &mut Connection, path: &Path, clock: &dyn Clock) -> Result<Found, StoreError> {
    let wrap = |error: rusqlite::Error| StoreError::from_sqlite(&error, path);
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(wrap)?;
    let found = identify(&tx, path)?;
    if found == Found::Empty {
        define_everything(&tx, clock).map_err(wrap)?;
        tx.commit().map_err(wrap)?;
    }
    Ok(found)
}

fn define_everything(conn: &Connection, clock: &dyn Clock) -> rusqlite::Result<()> {
    let now = clock.now().to_ms_text();
    for table in tables() {
        conn.execute_batch(&table.create_sqlite(&[]))?;
    }
    conn.execute_batch(SEARCH_SQLITE)?;
    define_indexes_and_triggers(conn)?;
    apply_additions(conn, &now)?;
    record_version(conn, &now)
}

/// Creates the indexes and triggers that are missing.
pub(super) fn define_indexes_and_triggers(conn: &Connection) -> rusqlite::Result<()> {
    for index in INDEXES {
        conn.execute_batch(&index.create_sqlite())?;
    }
    define_triggers(conn)
}

/// Creates the triggers that are missing.
pub(super) fn define_triggers(conn: &Connection) -> rusqlite::Result<()> {
    TRIGGERS.iter().try_for_each(|(_, sql)| conn.execute_batch(sql))
}

/// Marks the file as one of the present version.
pub(super) fn record_version(conn: &Connection, now: &str) -> rusqlite::Result<()> {
    conn.execute(
        "insert into schema_migrations (version, applied_at) values (?1, ?2) on conflict do nothing",
        (VERSION, now),
    )?;
    conn.pragma_update(None, "user_version", VERSION)
}

/// Makes our additions to a prepared file as far as they are missing; one query when none is.
pub(crate) fn ensure_additions(
    conn: &mut Connection,
    path: &Path,
    clock: &dyn Clock,
) -> Result<(), StoreError> {
    let wrap = |error: rusqlite::Error| StoreError::from_sqlite(&error, path);
    let recorded = recorded_additions(conn).map_err(wrap)?;
    if ADDITIONS.iter().all(|addition| recorded.contains(&addition.name())) {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(wrap)?;
    apply_additions(&tx, &clock.now().to_ms_text()).map_err(wrap)?;
    tx.commit().map_err(wrap)
}

/// The names of the additions made so far; none when there is no record yet.
fn recorded_additions(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = match conn.prepare("select name from conveyor_schema") {
        Ok(statement) => statement,
        Err(error) if is_plain_failure(&error) && !has_table(conn, RECORD.name)? => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    statement.query_map([], |row| row.get(0))?.collect()
}

/// Whether the error may be about a missing table or column.
pub(super) fn is_plain_failure(error: &rusqlite::Error) -> bool {
    let code = match error {
        rusqlite::Error::SqliteFailure(error, _) | rusqlite::Error::SqlInputError { error, .. } => {
            error.extended_code
        }
        _ => return false,
    };
    code == rusqlite::ffi::SQLITE_ERROR
}

fn apply_additions(conn: &Connection, now: &str) -> rusqlite::Result<()> {
    let recorded = recorded_additions(conn)?;
    for addition in ADDITIONS {
        let name = addition.name();
        if !recorded.contains(&name) && apply(conn, addition)? {
            conn.execute(
                "insert into conveyor_schema (name, applied_at) values (?1, ?2) on conflict do nothing",
                (&name, now),
            )?;
        }
    }
    Ok(())
}

/// Makes one addition unless it is there; `false` when the table it belongs to is missing, which
/// is for `db-doctor` to report and not for us to trip over.
fn apply(conn: &Connection, addition: &Addition) -> rusqlite::Result<bool> {
    match addition {
        Addition::Table(table) => {
            if !has_table(conn, table.name)? {
                conn.execute_batch(&table.create_sqlite(&[]))?;
            }
        }
        Addition::Column(table, column) => {
            if !has_table(conn, table)? {
                return Ok(false);
            }
            if !column_names(conn, table)?.iter().any(|name| name == column.name) {
                conn.execute_batch(&format!("alter table {table} add column {}", column.sqlite()))?;
            }
        }
        Addition::Index(index) => {
            if !has_table(conn, index.table)? {
                return Ok(false);
            }
            conn.execute_batch(&index.create_sqlite())?;
        }
    }
    Ok(true)
}

/// The version number in the file's header.
pub(super) fn user_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// The names of all tables but SQLite's own.
fn table_names(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = conn.prepare(
        "select name from sqlite_master where type = 'table' and name not like 'sqlite\\_%' escape '\\'",
    )?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// Whether there is such a table.
pub(super) fn has_table(conn: &Connection, name: &str) -> rusqlite::Result<bool> {
    Ok(stored_text(conn, name)?.is_some())
}

/// The text of a table's definition; `None` when there is no such table.
pub(super) fn stored_text(conn: &Connection, table: &str) -> rusqlite::Result<Option<String>> {
    let sql = "select coalesce(sql, '') from sqlite_master where type = 'table' and name = ?1";
    conn.query_row(sql, [table], |row| row.get(0)).optional()
}

/// The names of a table's columns; none when there is no such table.
pub(super) fn column_names(conn: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = conn.prepare("select name from pragma_table_info(?1)")?;
    statement.query_map([table], |row| row.get(0))?.collect()
}
