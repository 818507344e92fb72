//! Files as earlier versions made them: the present definitions with everything taken away that
//! came later, and rows in every table.

use rusqlite::types::Value;

use super::*;
use crate::schema::catalogue::{INDEXES, SEARCH_SQLITE, TRIGGERS};
use crate::schema::tables::tables;

/// The last version that lacks a table.
const LATE_TABLES: &[(i64, &str)] = &[
    (4, "sessions"),
    (4, "worker_handoffs"),
    (6, "codex_events"),
    (6, "acceptance_criteria"),
    (6, "manager_configs"),
    (8, "telemetry_events"),
    (8, "telemetry_events_fts"),
    (8, "runs"),
    (14, "task_acknowledgements"),
    (14, "task_continuations"),
    (14, "continuation_reviews"),
    (14, "epilogue_runs"),
    (14, "routed_notifications"),
    (15, "command_attempts"),
    (17, "manager_cycle_spans"),
];

/// The last version that lacks columns.
const LATE_COLUMNS: &[(i64, &str, &[&str])] = &[
    (4, "bindings", &["worker_session_id", "manager_session_id"]),
    (5, "sessions", &["last_ingest_offset"]),
    (
        14,
        "manager_configs",
        &["tools_json", "epilogues_json", "nudge_on_completion", "require_acks", "revision"],
    ),
    (15, "task_acknowledgements", &["manager_config_revision"]),
    (
        15,
        "commands",
        &[
            "correlation_id",
            "available_at",
            "claimed_by",
            "claimed_at",
            "claim_expires_at",
            "attempts",
            "max_attempts",
        ],
    ),
    (16, "commands", &["required_permission"]),
    (
        19,
        "routed_notifications",
        &[
            "consumed_manager_cycle_id",
            "consumed_at",
            "claimed_by",
            "claimed_at",
            "claim_expires_at",
            "side_effect_started",
            "side_effect_completed",
        ],
    ),
    (20, "routed_notifications", &["delivery_mode", "consumed_by_session_id"]),
    (22, "manager_configs", &["recipe_name"]),
    (23, "sessions", &["codex_app_thread_id", "codex_app_thread_title"]),
];

/// The last version whose definition of a table differs in another way: text now, text then.
const LATE_TEXTS: &[(i64, &str, &str, &str)] = &[
    (4, "bindings", "worker_id text references", "worker_id text not null references"),
    (14, "telemetry_events", "'dispatch', ", ""),
    (21, "commands", ", 'blocked'", ""),
    (21, "command_attempts", ", 'blocked'", ""),
];

pub(super) fn lacks_table(version: i64, table: &str) -> bool {
    LATE_TABLES.iter().any(|(last, late)| version <= *last && *late == table)
}

/// Makes the tables, indexes and triggers of this version, and its number.
pub(super) fn define(conn: &Connection, version: i64) {
    for table in tables().filter(|table| !lacks_table(version, table.name)) {
        let late = |column: &str| {
            LATE_COLUMNS
                .iter()
                .any(|(last, of, columns)| version <= *last && *of == table.name && columns.contains(&column))
        };
        let columns: Vec<_> =
            table.columns.iter().filter(|column| !late(column.name)).map(|c| c.sqlite()).collect();
        let mut sql = format!("create table {} (\n  {}\n)", table.name, columns.join(",\n  "));
        for (last, of, now, then) in LATE_TEXTS {
            if version <= *last && *of == table.name {
                assert!(sql.contains(now), "{sql}");
                sql = sql.replace(now, then);
            }
        }
        conn.execute_batch(&sql).unwrap();
    }
    if !lacks_table(version, "telemetry_events_fts") {
        conn.execute_batch(SEARCH_SQLITE).unwrap();
    }
    for index in INDEXES {
        // Those of later tables and columns cannot be made.
        let _ = conn.execute_batch(&index.create_sqlite());
    }
    for (_, sql) in TRIGGERS {
        conn.execute_batch(sql).unwrap();
    }
    conn.execute("insert into schema_migrations values (?1, '2025-01-01T00:00:00Z')", [version]).unwrap();
    conn.pragma_update(None, "user_version", version).unwrap();
}

/// Fills every table with rows that use every column.
pub(super) fn fill(conn: &Connection, count: i64) {
    conn.pragma_update(None, "foreign_keys", false).unwrap();
    let present = list(conn, "select name from sqlite_master where type = 'table'");
    for (table, columns) in listed_tables() {
        if table == "schema_migrations" || !present.contains(&table) {
            continue;
        }
        let not_null =
            list(conn, &format!("select name from pragma_table_info('{table}') where \"notnull\""));
        let there = list(conn, &format!("select name from pragma_table_info('{table}')"));
        let columns: Vec<_> = columns.into_iter().filter(|column| there.contains(&column.name)).collect();
        let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
        let marks = vec!["?"; names.len()].join(", ");
        let sql = format!("insert into {table} ({}) values ({marks})", names.join(", "));
        for number in 1..=count {
            let value = |column: &Listed| {
                let empty = number == 2 && !not_null.contains(&column.name);
                let parent_missing = column.parent.as_ref().is_some_and(|parent| !present.contains(parent));
                if empty || parent_missing { Value::Null } else { value(&table, column, number) }
            };
            conn.execute(&sql, rusqlite::params_from_iter(columns.iter().map(value))).unwrap();
        }
    }
    if present.iter().any(|name| name == "telemetry_events_fts") {
        conn.execute_batch(
            "insert into telemetry_events_fts
             select id, task_id, run_id, actor, event_type, summary, attributes_json from telemetry_events",
        )
        .unwrap();
    }
    assert!(rows(conn, "pragma foreign_key_check").is_empty());
    conn.pragma_update(None, "foreign_keys", true).unwrap();
}

fn value(table: &str, column: &Listed, number: i64) -> Value {
    let text = match (&column.parent, column.kind.as_str()) {
        (Some(parent), "text") => format!("{parent}-{number}"),
        (None, "text") if column.key => format!("{table}-{number}"),
        (None, "text") if column.json => format!(r#"{{"n": {number}, "t": "\u00e9"}}"#),
        // The second one is allowed by every version.
        (None, "text") if !column.allowed.is_empty() => column.allowed[1].clone(),
        (None, "text") if column.name.ends_with("_at") => format!("2025-01-0{number}T00:00:00Z"),
        (None, "text") => format!("{} {number} of {table}", column.name),
        (_, "real") => return Value::Real(1.5),
        _ if column.allowed == ["0", "1"] => return Value::Integer(1),
        _ => return Value::Integer(number),
    };
    Value::Text(text)
}

/// A filled file of a version.
pub(super) fn file(version: i64) -> Place {
    let place = place();
    let conn = connect(&place.path);
    define(&conn, version);
    fill(&conn, 3);
    place
}
