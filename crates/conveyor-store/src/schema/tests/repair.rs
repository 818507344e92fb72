//! Files that say they are of the present version but lack what came late.

use super::old_files::{define, file};
use super::*;

/// A filled file of an old version that was marked as one of the present version; what the
/// mislabelling upgrade did make is made here too.
fn mislabelled(version: i64, mark: i64) -> Place {
    let place = file(version);
    let conn = connect(&place.path);
    let complete = super::place();
    define(&connect(&complete.path), 24);
    let complete = connect(&complete.path);
    for (kind, name, sql) in objects(&complete) {
        let there: i64 = one(&conn, &format!("select count(*) from sqlite_master where name = '{name}'"));
        if there == 0 && !name.starts_with("telemetry_events_fts_") {
            // Indexes of columns that are missing cannot be made.
            assert!(conn.execute_batch(&sql).is_ok() || kind == "index", "{sql}");
        }
    }
    conn.execute("insert into schema_migrations values (24, '')", []).unwrap();
    conn.pragma_update(None, "user_version", mark).unwrap();
    place
}

fn objects(conn: &Connection) -> Vec<(String, String, String)> {
    let mut statement = conn
        .prepare(
            "select type, name, sql from sqlite_master where sql is not null and name not like 'sqlite_%'",
        )
        .unwrap();
    statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

#[test]
fn late_columns_and_definitions_are_completed() {
    for version in [5, 7, 8, 9, 12, 15, 20, 22, 23] {
        for mark in [24, 26] {
            let place = mislabelled(version, mark);
            let count =
                |conn: &Connection, table: &str| one::<i64>(conn, &format!("select count(*) from {table}"));
            let tables = ["sessions", "manager_configs", "commands", "telemetry_events"];
            let before = tables.map(|table| count(&connect(&place.path), table));
            let (conn, found) = try_open(&place.path).unwrap();
            assert_eq!(found, Found::Current(mark));
            assert_eq!(one::<i64>(&conn, "pragma user_version"), mark);
            assert_eq!(tables.map(|table| count(&conn, table)), before);
            let complete = super::place();
            let complete = connect(&complete.path);
            define(&complete, 24);
            for table in
                ["sessions", "manager_configs", "routed_notifications", "task_acknowledgements", "commands"]
            {
                let names =
                    |conn: &Connection| list(conn, &format!("select name from pragma_table_info('{table}')"));
                let present = names(&conn);
                let missing: Vec<_> =
                    names(&complete).into_iter().filter(|name| !present.contains(name)).collect();
                assert!(missing.is_empty(), "version {version}, {table}: {missing:?}");
            }
            for (table, text) in [("telemetry_events", "'dispatch'"), ("commands", "'blocked'")] {
                let sql = format!("select sql from sqlite_master where name = '{table}'");
                assert!(one::<String>(&conn, &sql).contains(text), "version {version}, {table}");
            }
            let kept = "select count(*) from sqlite_master where name in
                          ('telemetry_events_type_timestamp', 'commands_task_state_created')";
            assert_eq!(one::<i64>(&conn, kept), 2, "indexes come back with a rebuilt table");
            assert!(rows(&conn, "pragma foreign_key_check").is_empty());
            let once = dump(&conn);
            drop(conn);
            assert_eq!(dump(&open(&place.path)), once);
        }
    }
}

#[test]
fn our_indexes_come_back_with_a_rebuilt_table() {
    let place = place();
    let conn = open_to_write(&place.path);
    conn.execute_batch(
        "insert into telemetry_events values ('telemetry-1', null, null, '', 'worker', 'x', 'info', 's', '{}', '{}');
         pragma writable_schema = on;
         update sqlite_master set sql = replace(sql, '''dispatch'', ', '') where name = 'telemetry_events';
         pragma writable_schema = off",
    )
    .unwrap();
    drop(conn);
    let conn = open(&place.path);
    assert!(
        one::<String>(&conn, "select sql from sqlite_master where name = 'telemetry_events'")
            .contains("'dispatch'")
    );
    let indexes = list(&conn, "select name from pragma_index_list('telemetry_events') where origin = 'c'");
    assert_eq!(indexes.len(), 5, "{indexes:?}");
    assert_eq!(one::<i64>(&conn, "select count(*) from telemetry_events"), 1);
}
