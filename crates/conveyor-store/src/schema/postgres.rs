//! The ledger in a PostgreSQL schema: creation once, however many programs start at the same time,
//! and our additions.

use conveyor_model::Clock;
use postgres::error::SqlState;
use postgres::{Client, SimpleQueryMessage, Transaction};

use super::additions::{ADDITIONS, Addition};
use super::catalogue::{INDEXES, SEARCH_TABLE, VERSION};
use super::tables::tables;
use crate::StoreError;
use crate::postgres::quote_identifier;

/// First half of the advisory lock under which a schema is made; the second is the schema's name.
const LOCK: i32 = 0x636f_6e76;

/// The oldest server that has what the schema uses.
pub(crate) const OLDEST_SERVER: i32 = 140_000;

/// How long a program waits while another one makes the schema.
const PATIENCE: &str = "60s";

/// Search, triggers and functions.
const BEYOND_TABLES: &str = include_str!("postgres.sql");

/// What a schema says about itself.
struct State {
    version: Option<i64>,
    additions: Vec<String>,
}

/// Brings `schema` to the present shape: one round trip when it already is.
pub(crate) fn prepare(
    client: &mut Client,
    schema: &str,
    location: &str,
    clock: &dyn Clock,
) -> Result<(), StoreError> {
    match read_state(client, schema).map_err(|e| StoreError::from_postgres(&e, location))? {
        Some(state) if is_complete(&state, location)? => return Ok(()),
        _ => {}
    }
    migrate(client, schema, location, &clock.now().to_ms_text())
}

/// Whether nothing is missing; an error when the schema is not for this program.
fn is_complete(state: &State, location: &str) -> Result<bool, StoreError> {
    let location = location.to_owned();
    match state.version {
        Some(VERSION) => Ok(ADDITIONS.iter().all(|addition| state.additions.contains(&addition.name()))),
        Some(found) if found > VERSION => Err(StoreError::Newer { location, found, supported: VERSION }),
        found => Err(StoreError::UnknownVersion { location, found: found.unwrap_or(0) }),
    }
}

/// What the schema says about itself; `None` when it is not there.
fn read_state(client: &mut Client, schema: &str) -> Result<Option<State>, postgres::Error> {
    match client.simple_query(&state_query(schema)) {
        Ok(messages) => Ok(Some(state_of(&messages))),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn state_query(schema: &str) -> String {
    let schema = quote_identifier(schema);
    format!(
        "select (select max(version) from {schema}.schema_migrations),
                (select string_agg(name, ' ') from {schema}.conveyor_schema)"
    )
}

fn state_of(messages: &[SimpleQueryMessage]) -> State {
    let mut state = State { version: None, additions: Vec::new() };
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            state.version = row.get(0).and_then(|text| text.parse().ok());
            state.additions = row.get(1).unwrap_or_default().split(' ').map(str::to_owned).collect();
        }
    }
    state
}

fn is_missing(error: &postgres::Error) -> bool {
    error.code().is_some_and(|code| [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME].contains(code))
}

/// Creates what is missing, in one transaction, after everybody else who is doing the same.
fn migrate(client: &mut Client, schema: &str, location: &str, now: &str) -> Result<(), StoreError> {
    let wrap = |error: postgres::Error| StoreError::from_postgres(&error, location);
    let mut tx = client.transaction().map_err(wrap)?;
    tx.batch_execute(&format!("set local lock_timeout = '{PATIENCE}'")).map_err(wrap)?;
    tx.execute("select pg_advisory_xact_lock($1, hashtext($2))", &[&LOCK, &schema]).map_err(wrap)?;
    refuse_unsuitable_server(&mut tx, location)?;
    let state = if has_relation(&mut tx, schema, &["conveyor_schema"]).map_err(wrap)? {
        state_of(&tx.simple_query(&state_query(schema)).map_err(wrap)?)
    } else {
        create(&mut tx, schema, location, now)?;
        State { version: Some(VERSION), additions: Vec::new() }
    };
    if !is_complete(&state, location)? {
        add(&mut tx, schema, &state.additions, now).map_err(wrap)?;
    }
    tx.commit().map_err(wrap)
}

fn refuse_unsuitable_server(tx: &mut Transaction<'_>, location: &str) -> Result<(), StoreError> {
    let sql = "select current_setting('server_encoding'), current_setting('server_version_num')::int,
                      current_setting('server_version')";
    let row = tx.query_one(sql, &[]).map_err(|e| StoreError::from_postgres(&e, location))?;
    let (encoding, number, version): (String, i32, String) = (row.get(0), row.get(1), row.get(2));
    if encoding != "UTF8" {
        let reason = format!("the database at {location} has the encoding {encoding}; Conveyor needs UTF8");
        return Err(StoreError::Url { reason });
    }
    if number < OLDEST_SERVER {
        let reason = format!("the server at {location} is PostgreSQL {version}; Conveyor needs 14 or newer");
        return Err(StoreError::Url { reason });
    }
    Ok(())
}

fn has_relation(tx: &mut Transaction<'_>, schema: &str, names: &[&str]) -> Result<bool, postgres::Error> {
    let sql = "select exists (select 1 from pg_class join pg_namespace on pg_namespace.oid = relnamespace
                               where nspname = $1 and relname = any($2))";
    Ok(tx.query_one(sql, &[&schema, &names])?.get(0))
}

/// Creates everything of the baseline in a schema that holds nothing of the same names.
fn create(tx: &mut Transaction<'_>, schema: &str, location: &str, now: &str) -> Result<(), StoreError> {
    let wrap = |error: postgres::Error| StoreError::from_postgres(&error, location);
    let names: Vec<_> = tables().map(|table| table.name).chain([SEARCH_TABLE]).collect();
    if has_relation(tx, schema, &names).map_err(wrap)? {
        return Err(StoreError::Foreign { path: format!("{location} (schema {schema})").into() });
    }
    // `if not exists` would ask for the right to create schemas even when there is nothing to do.
    let there = tx.query_opt("select from pg_namespace where nspname = $1", &[&schema]).map_err(wrap)?;
    if there.is_none() {
        tx.batch_execute(&format!("create schema {}", quote_identifier(schema))).map_err(wrap)?;
    }
    tx.batch_execute(&creation(schema)).map_err(wrap)?;
    tx.execute("insert into schema_migrations (version, applied_at) values ($1, $2)", &[&VERSION, &now])
        .map(|_| ())
        .map_err(wrap)
}

/// The statements that make the baseline.
fn creation(schema: &str) -> String {
    let mut sql = vec![within(schema)];
    sql.extend(tables().map(super::define::Table::create_postgres));
    sql.extend(tables().filter_map(super::define::Table::foreign_keys_postgres));
    sql.extend(INDEXES.iter().map(super::define::Index::create_postgres));
    sql.push(BEYOND_TABLES.to_owned());
    sql.join(";\n")
}

fn within(schema: &str) -> String {
    format!("set local search_path = {}", quote_identifier(schema))
}

/// Makes the additions that are not recorded yet.
fn add(
    tx: &mut Transaction<'_>,
    schema: &str,
    recorded: &[String],
    now: &str,
) -> Result<(), postgres::Error> {
    tx.batch_execute(&within(schema))?;
    for addition in ADDITIONS {
        let name = addition.name();
        if recorded.contains(&name) {
            continue;
        }
        tx.batch_execute(&match addition {
            Addition::Table(table) => {
                let keys = table.foreign_keys_postgres().unwrap_or_default();
                format!("{};\n{keys}", table.create_postgres())
            }
            Addition::Column(table, column) => {
                format!("alter table {table} add column if not exists {}", column.postgres())
            }
            Addition::Index(index) => index.create_postgres(),
        })?;
        tx.execute("insert into conveyor_schema (name, applied_at) values ($1, $2)", &[&name, &now])?;
    }
    Ok(())
}
