//! What the parts of the schema are tested with: files in a temporary directory, and the tables
//! and indexes as the format's description lists them.

mod additions;
mod creation;
mod looking;
mod old_files;
mod refusal;
mod repair;
mod server;
mod shape;
mod upgrade;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use conveyor_testkit::{ManualClock, SequentialIds};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::sqlite::{Found, ensure_additions, identify, prepare};
use crate::StoreError;

fn clock() -> ManualClock {
    ManualClock::at("2026-01-01T12:00:00Z")
}

fn ids() -> SequentialIds {
    SequentialIds::new()
}

/// A directory that goes away, with the path of a ledger in it.
struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("workerctl.db");
    Place { _dir: dir, path }
}

/// A connection in the state in which the schema's functions expect it.
fn connect(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.busy_timeout(Duration::from_secs(20)).unwrap();
    conn.pragma_update(None, "foreign_keys", true).unwrap();
    // Changing the journal mode does not wait for locks by itself.
    while conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())).is_err() {
        std::thread::sleep(Duration::from_millis(1));
    }
    conn
}

/// Opens a file like every command does.
fn try_open(path: &Path) -> Result<(Connection, Found), StoreError> {
    let mut conn = connect(path);
    let found = identify(&conn, path)?;
    prepare(&mut conn, path, found, &clock(), &ids())?;
    Ok((conn, found))
}

fn open(path: &Path) -> Connection {
    try_open(path).unwrap().0
}

/// Opens a file like every command that writes does.
fn open_to_write(path: &Path) -> Connection {
    let mut conn = open(path);
    ensure_additions(&mut conn, path, &clock()).unwrap();
    conn
}

/// A column as the format's description lists it.
#[derive(Clone, Debug, Default)]
struct Listed {
    name: String,
    kind: String,
    not_null: bool,
    key: bool,
    counted: bool,
    unique: bool,
    json: bool,
    default: Option<String>,
    parent: Option<String>,
    allowed: Vec<String>,
    least: Option<i64>,
    limit: Option<String>,
}

/// All tables as listed, by name.
fn listed_tables() -> BTreeMap<String, Vec<Listed>> {
    let mut tables: BTreeMap<String, Vec<Listed>> = BTreeMap::new();
    for line in include_str!("columns.txt").lines() {
        let mut words = line.split(' ');
        let mut next = || words.next().unwrap().to_owned();
        let (table, name, kind) = (next(), next(), next());
        let mut column = Listed { name, kind, ..Listed::default() };
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("notnull", _) => column.not_null = true,
                ("pk", _) => column.key = true,
                ("autoincrement", _) => column.counted = true,
                ("unique", _) => column.unique = true,
                ("json", _) => column.json = true,
                ("default", text) => column.default = Some(text.to_owned()),
                ("refs", table) => column.parent = Some(table.to_owned()),
                ("in", texts) => column.allowed = texts.split(',').map(str::to_owned).collect(),
                ("min", number) => column.least = Some(number.parse().unwrap()),
                ("upto", other) => column.limit = Some(other.to_owned()),
                other => panic!("columns.txt: {other:?}"),
            }
        }
        tables.entry(table).or_default().push(column);
    }
    tables
}

/// An index as the format's description lists it.
struct ListedIndex {
    name: &'static str,
    table: &'static str,
    unique: bool,
    columns: &'static str,
    filter: &'static str,
}

fn listed_indexes() -> Vec<ListedIndex> {
    let parse = |line: &'static str| {
        let fields: Vec<_> = line.split('|').collect();
        let [name, table, unique, columns, filter] = fields[..] else { panic!("indexes.txt: {line}") };
        ListedIndex { name, table, unique: unique == "unique", columns, filter }
    };
    include_str!("indexes.txt").lines().map(parse).collect()
}

/// One value of the first row.
fn one<T: rusqlite::types::FromSql>(conn: &Connection, sql: &str) -> T {
    conn.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// The first column of all rows.
fn list(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// All rows of a query as text.
fn rows(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let width = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let mut found = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let cells = (0..width).map(|column| match row.get_ref(column).unwrap() {
            ValueRef::Null => "null".to_owned(),
            ValueRef::Integer(value) => value.to_string(),
            ValueRef::Real(value) => format!("{value:?}"),
            ValueRef::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
            ValueRef::Blob(bytes) => format!("{bytes:?}"),
        });
        found.push(cells.collect::<Vec<_>>().join("|"));
    }
    found
}

/// Everything that is in a file: version, definitions, rows.
fn dump(conn: &Connection) -> String {
    let mut text = format!("version {}\n", one::<i64>(conn, "pragma user_version"));
    for line in rows(conn, "select type, name, tbl_name, sql from sqlite_master order by rowid") {
        text.push_str(&line);
        text.push('\n');
    }
    for table in list(conn, "select name from sqlite_master where type = 'table' order by name") {
        for line in rows(conn, &format!("select * from \"{table}\"")) {
            text.push_str(&format!("{table}: {line}\n"));
        }
    }
    text
}
