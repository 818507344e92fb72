//! Files of earlier versions: the upgrade to the present one, and the repair of files that say
//! they are of the present version but lack columns.
//!
//! Both go by what they find in the file and not by its number, so that files that an interrupted
//! upgrade left half way are completed too. Each is one transaction; a failure leaves the file as
//! it was, and no row is ever dropped.

use std::collections::HashMap;
use std::path::Path;

use conveyor_model::{Clock, IdPrefix, Ids};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::catalogue::{SEARCH_SQLITE, SEARCH_TABLE, TRIGGERS, VERSION};
use super::define::{Column, Table};
use super::sqlite::{
    column_names, define_indexes_and_triggers, define_triggers, has_table, is_plain_failure, record_version,
    stored_text, user_version,
};
use super::tables::{table, tables};
use crate::StoreError;

/// The columns that older versions lack and that can be added in place.
const LATE_COLUMNS: [(&str, &[&str]); 4] = [
    ("sessions", &["last_ingest_offset", "codex_app_thread_id", "codex_app_thread_title"]),
    (
        "manager_configs",
        &["tools_json", "epilogues_json", "nudge_on_completion", "require_acks", "revision", "recipe_name"],
    ),
    (
        "routed_notifications",
        &[
            "consumed_manager_cycle_id",
            "consumed_at",
            "consumed_by_session_id",
            "delivery_mode",
            "claimed_by",
            "claimed_at",
            "claim_expires_at",
            "side_effect_started",
            "side_effect_completed",
        ],
    ),
    ("task_acknowledgements", &["manager_config_revision"]),
];

/// Tables whose old forms must be rebuilt because a column's constraints changed, with the literal
/// that the text of the present form contains.
const REBUILT: [(&str, &str); 4] = [
    ("bindings", "worker_session_id"),
    ("telemetry_events", "'dispatch'"),
    ("commands", "'blocked'"),
    ("command_attempts", "'blocked'"),
];

/// Those of them that are also looked at in files of the present version.
const REPAIRED: [(&str, &str); 2] = [REBUILT[1], REBUILT[2]];

/// Why an upgrade cannot be completed.
enum Failure {
    Sqlite(rusqlite::Error),
    /// A table has rows that point nowhere and did not do so before.
    References(String),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Failure {
    fn into_store(self, path: &Path) -> StoreError {
        let reason = match self {
            Self::References(table) => format!("rows of {table} would point to rows that do not exist"),
            Self::Sqlite(error) => match StoreError::from_sqlite(&error, path) {
                known @ (StoreError::Busy { .. } | StoreError::Damaged { .. }) => return known,
                _ => error.to_string(),
            },
        };
        StoreError::Upgrade { location: path.display().to_string(), reason }
    }
}

/// Brings an older file to the present version.
pub(super) fn upgrade(
    conn: &mut Connection,
    path: &Path,
    clock: &dyn Clock,
    ids: &dyn Ids,
) -> Result<(), StoreError> {
    without_foreign_keys(conn, path, |tx| {
        let version = user_version(tx)?;
        if version >= VERSION {
            // Another process was faster.
            return Ok(());
        }
        let now = clock.now().to_ms_text();
        rebuild_outdated(tx, &REBUILT)?;
        let search_is_new = create_missing_tables(tx)?;
        add_late_columns(tx)?;
        define_indexes_and_triggers(tx)?;
        if version < 2 {
            rename_workers(tx, ids, &now)?;
        }
        if version < 5 {
            register_legacy_agents(tx, ids)?;
        }
        if search_is_new {
            index_telemetry(tx)?;
        }
        Ok(record_version(tx, &now)?)
    })
}

/// Completes a file that says it is of the present version but lacks columns of late versions.
/// One query when nothing is missing. Tables that are missing altogether stay so.
pub(super) fn repair(conn: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let wrap = |error: rusqlite::Error| StoreError::from_sqlite(&error, path);
    if looks_complete(conn).map_err(wrap)? || !has_repairable_gap(conn).map_err(wrap)? {
        return Ok(());
    }
    without_foreign_keys(conn, path, |tx| {
        rebuild_outdated(tx, &REPAIRED)?;
        add_late_columns(tx)
    })
}

/// The cheap test: a statement that names every column can only be prepared when all are there.
fn looks_complete(conn: &Connection) -> rusqlite::Result<bool> {
    let texts = REPAIRED
        .map(|(table, marker)| format!("name = '{table}' and instr(sql, '{}')", marker.replace('\'', "''")));
    let mut sql =
        format!("select count(*) from sqlite_master where type = 'table' and ({})", texts.join(" or "));
    for (table, columns) in watched_columns() {
        // With the table's name, lest a missing column be taken for one of `sqlite_master`.
        let columns: Vec<_> = columns.iter().map(|column| format!("{table}.{column}")).collect();
        sql.push_str(&format!(" and not exists (select {} from {table} where false)", columns.join(", ")));
    }
    match conn.query_row(&sql, [], |row| row.get::<_, isize>(0)) {
        Ok(definitions) => Ok(definitions == REPAIRED.len().cast_signed()),
        Err(error) if is_plain_failure(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The columns that the cheap test looks for: the late ones and all of the queue.
fn watched_columns() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    let queue =
        table("commands").map(|table| (table.name, table.columns.iter().map(|column| column.name).collect()));
    LATE_COLUMNS.iter().map(|(table, columns)| (*table, columns.to_vec())).chain(queue)
}

fn has_repairable_gap(conn: &Connection) -> rusqlite::Result<bool> {
    Ok(!missing_late_columns(conn)?.is_empty() || !outdated(conn, &REPAIRED)?.is_empty())
}

/// Runs `work` in one immediate transaction with foreign keys switched off around it, and refuses
/// to commit when it leaves rows pointing nowhere that did not do so before.
fn without_foreign_keys(
    conn: &mut Connection,
    path: &Path,
    work: impl FnOnce(&Transaction<'_>) -> Result<(), Failure>,
) -> Result<(), StoreError> {
    // In the legacy mode, renaming a table leaves the other tables' references to it alone.
    let switched = conn.execute_batch("pragma foreign_keys = off; pragma legacy_alter_table = on");
    let outcome = switched.map_err(Failure::from).and_then(|()| {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before = dangling_rows(&tx)?;
        work(&tx)?;
        if let Some(row) = dangling_rows(&tx)?.into_iter().find(|row| before.get(&row.0) < Some(&row.1)) {
            return Err(Failure::References(row.0.0));
        }
        Ok(tx.commit()?)
    });
    let restored = conn.execute_batch("pragma legacy_alter_table = off; pragma foreign_keys = on");
    outcome.and_then(|()| Ok(restored?)).map_err(|failure| failure.into_store(path))
}

/// A row that points nowhere: its table, its number, the table it points to.
type Dangling = (String, Option<i64>, String);

/// The rows that point nowhere, with the number of such pointers.
fn dangling_rows(conn: &Connection) -> rusqlite::Result<HashMap<Dangling, usize>> {
    let mut statement = conn.prepare("pragma foreign_key_check")?;
    let mut rows = statement.query([])?;
    let mut found = HashMap::new();
    while let Some(row) = rows.next()? {
        *found.entry((row.get(0)?, row.get(1)?, row.get(2)?)).or_insert(0) += 1;
    }
    Ok(found)
}

/// Which of these tables have an old form: without the literal, or without a column of the queue.
fn outdated(conn: &Connection, of: &[(&str, &str)]) -> rusqlite::Result<Vec<&'static Table>> {
    let mut found = Vec::new();
    for (name, marker) in of {
        let (Some(table), Some(text)) = (table(name), stored_text(conn, name)?) else { continue };
        let present = column_names(conn, name)?;
        let incomplete = table.columns.iter().any(|column| !present.iter().any(|name| name == column.name));
        if !text.contains(marker) || incomplete {
            found.push(table);
        }
    }
    Ok(found)
}

fn rebuild_outdated(tx: &Transaction<'_>, of: &[(&str, &str)]) -> Result<(), Failure> {
    for table in outdated(tx, of)? {
        rebuild(tx, table)?;
    }
    Ok(())
}

/// Gives a table its present form and keeps everything else: rows and their order, columns that
/// are not ours, indexes, triggers, and the count of numbers already used.
fn rebuild(tx: &Transaction<'_>, table: &Table) -> Result<(), Failure> {
    let name = table.name;
    let mut attached = tx.prepare(
        "select sql from sqlite_master where tbl_name = ?1 and type in ('index', 'trigger') and sql is not null",
    )?;
    let attached: Vec<String> = attached.query_map([name], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let old_columns = column_names(tx, name)?;
    let foreign = foreign_columns(tx, table)?;
    let used = last_number(tx, name)?;

    tx.execute_batch(&format!("alter table {name} rename to conveyor_old_{name}"))?;
    tx.execute_batch(&table.create_sqlite(&foreign))?;
    let mut copied: Vec<String> = old_columns.iter().map(|column| quoted(column)).collect();
    if table.has_text_key() {
        copied.push("rowid".to_owned());
    }
    let copied = copied.join(", ");
    tx.execute_batch(&format!(
        "insert into {name} ({copied}) select {copied} from conveyor_old_{name} order by rowid;
         drop table conveyor_old_{name};"
    ))?;
    if let Some(used) = used {
        tx.execute("delete from sqlite_sequence where name = ?1", [name])?;
        tx.execute("insert into sqlite_sequence (name, seq) values (?1, ?2)", (name, used))?;
    }
    for sql in attached {
        tx.execute_batch(&sql)?;
    }
    Ok(())
}

/// The definitions of the columns that the file's table has and ours has not.
fn foreign_columns(conn: &Connection, table: &Table) -> rusqlite::Result<Vec<String>> {
    let mut statement =
        conn.prepare("select name, type, \"notnull\", dflt_value from pragma_table_info(?1)")?;
    let mut rows = statement.query([table.name])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        if table.columns.iter().any(|column| column.name == name) {
            continue;
        }
        let mut sql = format!("{} {}", quoted(&name), row.get::<_, String>(1)?);
        if row.get(2)? {
            sql.push_str(" not null");
        }
        if let Some(default) = row.get::<_, Option<String>>(3)? {
            sql.push_str(&format!(" default ({default})"));
        }
        found.push(sql);
    }
    Ok(found)
}

/// The greatest number that an autoincrement table has ever given.
fn last_number(conn: &Connection, table: &str) -> rusqlite::Result<Option<i64>> {
    if !has_table(conn, "sqlite_sequence")? {
        return Ok(None);
    }
    conn.query_row("select seq from sqlite_sequence where name = ?1", [table], |row| row.get(0)).optional()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Creates the tables that are missing; says whether the search table was among them.
fn create_missing_tables(tx: &Transaction<'_>) -> Result<bool, Failure> {
    for table in tables() {
        if !has_table(tx, table.name)? {
            tx.execute_batch(&table.create_sqlite(&[]))?;
        }
    }
    let search_is_new = !has_table(tx, SEARCH_TABLE)?;
    if search_is_new {
        tx.execute_batch(SEARCH_SQLITE)?;
    }
    Ok(search_is_new)
}

fn missing_late_columns(conn: &Connection) -> rusqlite::Result<Vec<(&'static str, &'static Column)>> {
    let mut missing = Vec::new();
    for (name, late) in LATE_COLUMNS {
        let (Some(table), present) = (table(name), column_names(conn, name)?) else { continue };
        if present.is_empty() {
            continue;
        }
        let absent = |column: &&Column| {
            late.contains(&column.name) && !present.iter().any(|present| present == column.name)
        };
        missing.extend(table.columns.iter().filter(absent).map(|column| (name, column)));
    }
    Ok(missing)
}

fn add_late_columns(tx: &Transaction<'_>) -> Result<(), Failure> {
    for (table, column) in missing_late_columns(tx)? {
        tx.execute_batch(&format!("alter table {table} add column {}", column.sqlite()))?;
    }
    Ok(())
}

/// Version 1 used a worker's name as its id; every other version has random ids.
fn rename_workers(tx: &Transaction<'_>, ids: &dyn Ids, now: &str) -> Result<(), Failure> {
    let mut named = tx.prepare("select id from workers where id = name order by rowid")?;
    let named: Vec<String> = named.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for (trigger, _) in TRIGGERS {
        tx.execute_batch(&format!("drop trigger if exists {trigger}"))?;
    }
    for old in named {
        let new = ids.fresh(IdPrefix::Worker);
        tx.execute("update workers set id = ?1 where id = ?2", (&new, &old))?;
        for table in tables() {
            for column in table.columns.iter().filter(|column| column.refers_to("workers")) {
                let sql = format!(
                    "update {} set {column} = ?1 where {column} = ?2",
                    table.name,
                    column = column.name
                );
                tx.execute(&sql, (&new, &old))?;
            }
        }
        let payload = serde_json::json!({"new_worker_id": new, "old_worker_id": old}).to_string();
        tx.execute(
            "insert into events (created_at, actor, worker_id, type, payload_json)
             values (?1, 'workerctl', ?2, 'worker_id_migrated', ?3)",
            (now, &new, payload),
        )?;
    }
    Ok(define_triggers(tx)?)
}

/// Before version 5 there were no sessions: every legacy worker and manager becomes one.
fn register_legacy_agents(tx: &Transaction<'_>, ids: &dyn Ids) -> Result<(), Failure> {
    tx.execute_batch(
        "insert into sessions
           (id, name, role, identity_token, tmux_session, tmux_pane_id, pid, cwd, registered_at, state)
         select id, name, 'worker', identity_token, tmux_session, tmux_pane_id, null, cwd, created_at, 'active'
           from workers as old
          where not exists (select 1 from sessions where id = old.id or name = old.name)
          order by rowid",
    )?;
    let mut managers = tx.prepare(
        "select id from managers as old
          where not exists (select 1 from sessions where id = old.id or name = old.name) order by rowid",
    )?;
    let managers: Vec<String> = managers.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for id in managers {
        tx.execute(
            "insert into sessions
               (id, name, role, identity_token, tmux_session, tmux_pane_id, pid, cwd, registered_at, state)
             select id, name, 'manager', ?2, tmux_session, tmux_pane_id, null, '', started_at, 'active'
               from managers where id = ?1",
            (&id, ids.fresh(IdPrefix::LegacyManagerToken)),
        )?;
    }
    Ok(())
}

fn index_telemetry(tx: &Transaction<'_>) -> Result<(), Failure> {
    tx.execute_batch(
        "insert into telemetry_events_fts (event_id, task_id, run_id, actor, event_type, summary, attributes)
         select id, task_id, run_id, actor, event_type, summary, attributes_json
           from telemetry_events order by rowid",
    )?;
    Ok(())
}
