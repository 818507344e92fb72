//! New files.

use std::sync::Barrier;

use super::*;
use crate::schema::catalogue::{required_indexes, required_tables, required_triggers};

#[test]
fn a_new_file_is_complete() {
    let place = place();
    let (conn, found) = try_open(&place.path).unwrap();
    assert_eq!(found, Found::Empty);
    assert_complete(&conn);
    assert_eq!(identify(&conn, &place.path).unwrap(), Found::Current(24));
}

/// Version, required objects and the database's own checks.
pub(super) fn assert_complete(conn: &Connection) {
    assert_eq!(one::<i64>(conn, "pragma user_version"), 24);
    assert_eq!(one::<i64>(conn, "select max(version) from schema_migrations"), 24);
    assert_eq!(one::<i64>(conn, "select count(*) from schema_migrations where version = 24"), 1);
    let has = |kind: &str, name: &str| {
        let sql = format!("select count(*) from sqlite_master where type = '{kind}' and name = '{name}'");
        assert_eq!(one::<i64>(conn, &sql), 1, "{kind} {name}");
    };
    required_tables(24).iter().for_each(|name| has("table", name));
    required_indexes().iter().for_each(|name| has("index", name));
    has("index", "routed_notifications_consumed_cycle");
    required_triggers().iter().for_each(|name| has("trigger", name));
    assert!(rows(conn, "pragma foreign_key_check").is_empty());
    assert_eq!(one::<String>(conn, "pragma integrity_check"), "ok");
    assert_eq!(one::<i64>(conn, "pragma foreign_keys"), 1, "enforced again");
    assert_eq!(one::<i64>(conn, "pragma legacy_alter_table"), 0);
    assert_eq!(
        rows(conn, "select id from telemetry_events order by id"),
        rows(conn, "select event_id from telemetry_events_fts order by event_id"),
        "every event can be found"
    );
}

#[test]
fn processes_that_start_together_all_succeed() {
    for _ in 0..5 {
        let place = place();
        let start = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    let conn = open_to_write(&place.path);
                    assert_eq!(one::<i64>(&conn, "pragma user_version"), 24);
                    conn.execute(
                        "insert into tasks values (hex(randomblob(8)), 't', 'g', null, 'candidate', '', '')",
                        [],
                    )
                    .unwrap();
                });
            }
        });
        let conn = open(&place.path);
        assert_complete(&conn);
        assert_eq!(one::<i64>(&conn, "select count(*) from tasks"), 8);
    }
}

#[test]
fn a_process_that_was_slower_finds_the_work_done() {
    let place = place();
    let mut slow = connect(&place.path);
    let found = identify(&slow, &place.path).unwrap();
    let fast = open(&place.path);
    prepare(&mut slow, &place.path, found, &clock(), &ids()).unwrap();
    assert_complete(&slow);
    drop(fast);
}

#[test]
fn a_file_with_nothing_but_sqlites_own_tables_is_new() {
    let place = place();
    connect(&place.path)
        .execute_batch("create table gone (id integer primary key autoincrement); drop table gone")
        .unwrap();
    assert_complete(&open(&place.path));
}

#[test]
fn a_prepared_file_costs_one_query_and_no_write() {
    let place = place();
    drop(open_to_write(&place.path));
    let writer = connect(&place.path);
    writer.execute_batch("begin immediate").unwrap();
    let mut reader = Connection::open(&place.path).unwrap();
    reader.busy_timeout(Duration::ZERO).unwrap();
    let found = identify(&reader, &place.path).unwrap();
    prepare(&mut reader, &place.path, found, &clock(), &ids()).unwrap();
    ensure_additions(&mut reader, &place.path, &clock()).unwrap();
}
