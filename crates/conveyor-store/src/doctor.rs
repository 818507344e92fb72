//! Checks of the ledger itself: settings, versions, completeness, references.

use conveyor_model::records::Object;
use serde::Serialize;
use serde_json::{Value, json};

use crate::dialect::Engine;
use crate::schema::catalogue::{NEWEST, VERSION, required_indexes, required_tables, required_triggers};
use crate::schema::postgres::OLDEST_SERVER;
use crate::{BUSY_TIMEOUT, StoreError, Tx};

/// One check and what it found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// Whether it is as it must be.
    pub ok: bool,
    /// What was found, under names that depend on the check.
    #[serde(flatten)]
    pub findings: Object,
}

/// The result of all checks.
#[derive(Clone, Debug, PartialEq)]
pub struct Examination {
    /// The checks, in documented order.
    pub checks: Vec<Check>,
    /// The newest version that the ledger says it was brought to.
    pub schema_version: Option<i64>,
    /// The version number in a file's header; a server has none.
    pub user_version: Option<i64>,
}

/// The oldest SQLite without the race at the reset of the write-ahead log, as its version number.
const OLDEST_SQLITE: i32 = 3_051_003;

/// The version of the SQLite inside this program, and whether it is new enough.
#[must_use]
pub fn bundled_sqlite() -> (&'static str, bool) {
    (rusqlite::version(), rusqlite::version_number() >= OLDEST_SQLITE)
}

/// Examines the ledger; reads only.
///
/// # Errors
/// A failing statement.
pub fn examine(tx: &mut Tx<'_>) -> Result<Examination, StoreError> {
    match tx.engine() {
        Engine::Sqlite => examine_file(tx),
        Engine::Postgres => examine_server(tx),
    }
}

fn examine_file(tx: &mut Tx<'_>) -> Result<Examination, StoreError> {
    let enforced = tx.one("pragma foreign_keys", &[], |row| row.int(0))?;
    let mode = tx.one("pragma journal_mode", &[], |row| row.text(0))?;
    let timeout = tx.one("pragma busy_timeout", &[], |row| row.int(0))?;
    let user_version = tx.one("pragma user_version", &[], |row| row.int(0))?;
    let objects = |kind: &str| format!("select name from sqlite_master where type = '{kind}'");
    let tables = names(tx, &objects("table"))?;
    let schema_version = newest_migration(tx, &tables)?;
    let checks = vec![
        check("foreign_keys", enforced == 1, "value", enforced),
        check("journal_mode_wal", mode == "wal", "value", mode),
        check(
            "busy_timeout",
            u128::try_from(timeout).is_ok_and(|timeout| timeout >= BUSY_TIMEOUT.as_millis()),
            "value",
            timeout,
        ),
        version_check("schema_version", schema_version),
        version_check("user_version", Some(user_version)),
        missing_check("required_tables", required_tables(user_version), &tables),
        missing_check("required_indexes", required_indexes(), &names(tx, &objects("index"))?),
        missing_check("required_triggers", required_triggers(), &names(tx, &objects("trigger"))?),
        reference_check(file_violations(tx)?),
        engine_check(tx.engine(), rusqlite::version_number() >= OLDEST_SQLITE, rusqlite::version()),
    ];
    Ok(Examination { checks, schema_version, user_version: Some(user_version) })
}

/// What can be asked of a server: it has no journal mode, no busy timeout and no number in a
/// header, and it does not let a row lose its partner.
fn examine_server(tx: &mut Tx<'_>) -> Result<Examination, StoreError> {
    let enforced = tx.one(
        "select case current_setting('session_replication_role') when 'replica' then 0 else 1 end::bigint",
        &[],
        |row| row.int(0),
    )?;
    let (number, version) = tx.one(
        "select current_setting('server_version_num')::bigint, current_setting('server_version')",
        &[],
        |row| Ok((row.int(0)?, row.text(1)?)),
    )?;
    let tables = names(tx, "select tablename::text from pg_tables where schemaname = current_schema()")?;
    let indexes = names(tx, "select indexname::text from pg_indexes where schemaname = current_schema()")?;
    let triggers = names(
        tx,
        "select tgname::text from pg_trigger where not tgisinternal and tgenabled in ('O', 'A') and tgrelid in \
         (select oid from pg_class where relnamespace = current_schema()::regnamespace)",
    )?;
    let schema_version = newest_migration(tx, &tables)?;
    let checks = vec![
        check("foreign_keys", enforced == 1, "value", enforced),
        version_check("schema_version", schema_version),
        missing_check("required_tables", required_tables(VERSION), &tables),
        missing_check("required_indexes", required_indexes(), &indexes),
        missing_check("required_triggers", required_triggers(), &triggers),
        reference_check(Vec::new()),
        engine_check(tx.engine(), number >= OLDEST_SERVER.into(), &version),
    ];
    Ok(Examination { checks, schema_version, user_version: None })
}

fn names(tx: &mut Tx<'_>, sql: &str) -> Result<Vec<String>, StoreError> {
    tx.all(sql, &[], |row| row.text(0))
}

fn newest_migration(tx: &mut Tx<'_>, tables: &[String]) -> Result<Option<i64>, StoreError> {
    if !tables.iter().any(|name| name == "schema_migrations") {
        return Ok(None);
    }
    tx.one("select max(version) from schema_migrations", &[], |row| row.opt_int(0))
}

/// Rows that refer to a row that is not there.
fn file_violations(tx: &mut Tx<'_>) -> Result<Vec<Value>, StoreError> {
    tx.all("pragma foreign_key_check", &[], |row| {
        let (table, rowid, parent, fkid) = (row.text(0)?, row.opt_int(1)?, row.text(2)?, row.int(3)?);
        Ok(json!({ "table": table, "rowid": rowid, "parent": parent, "fkid": fkid }))
    })
}

fn check(name: &'static str, ok: bool, finding: &str, value: impl Into<Value>) -> Check {
    Check { name, ok, findings: Object::from_iter([(finding.to_owned(), value.into())]) }
}

fn version_check(name: &'static str, version: Option<i64>) -> Check {
    check(name, version.is_some_and(|version| (VERSION..=NEWEST).contains(&version)), "value", version)
}

fn missing_check(name: &'static str, required: Vec<&'static str>, present: &[String]) -> Check {
    let missing: Vec<&str> =
        required.into_iter().filter(|name| !present.iter().any(|present| present == name)).collect();
    check(name, missing.is_empty(), "missing", missing)
}

fn reference_check(violations: Vec<Value>) -> Check {
    check("foreign_key_check", violations.is_empty(), "violations", violations)
}

fn engine_check(engine: Engine, new_enough: bool, version: &str) -> Check {
    let mut check = check("engine", new_enough, "value", engine.as_str());
    check.findings.insert("version".to_owned(), version.into());
    check
}
