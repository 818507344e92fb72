//! Files that are not ours to use stay as they are, byte for byte.

use super::*;

/// Writes a file with the given statements, tries to open it, and returns why that failed.
fn refused(sql: &str) -> StoreError {
    let place = place();
    let conn = Connection::open(&place.path).unwrap();
    conn.execute_batch(sql).unwrap();
    drop(conn);
    refusal_of(&place)
}

fn refusal_of(place: &Place) -> StoreError {
    let before = std::fs::read(&place.path).unwrap();
    let conn = Connection::open(&place.path).unwrap();
    let error = identify(&conn, &place.path).unwrap_err();
    drop(conn);
    assert_eq!(std::fs::read(&place.path).unwrap(), before);
    let beside = std::fs::read_dir(place.path.parent().unwrap()).unwrap().count();
    assert_eq!(beside, 1, "no file appeared beside it");
    error
}

#[test]
fn databases_of_other_programs() {
    let error = refused("create table users (id integer); create table orders (id integer)");
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    let error = refused("create table tasks (id integer); create table orders (id integer)");
    assert!(matches!(error, StoreError::Foreign { .. }), "one name in common proves nothing: {error}");
}

#[test]
fn newer_and_impossible_versions() {
    let error = refused("pragma user_version = 27");
    assert!(matches!(error, StoreError::Newer { found: 27, supported: 26, .. }), "{error}");
    let error = refused("create table tasks (id integer); pragma user_version = -1");
    assert!(matches!(error, StoreError::UnknownVersion { found: -1, .. }), "{error}");
}

#[test]
fn files_that_are_no_databases() {
    let place = place();
    std::fs::write(&place.path, "a letter, longer than the header of a database file\n".repeat(9)).unwrap();
    let error = refusal_of(&place);
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn versions_25_and_26_are_used_and_keep_their_number() {
    for version in [25, 26] {
        let place = place();
        open(&place.path).pragma_update(None, "user_version", version).unwrap();
        let (conn, found) = try_open(&place.path).unwrap();
        assert_eq!(found, Found::Current(version));
        drop(conn);
        assert_eq!(one::<i64>(&open_to_write(&place.path), "pragma user_version"), version);
    }
}

#[test]
fn an_interrupted_creation_is_completed() {
    for sql in [
        "create table tasks (id text primary key, name text not null, goal text not null, summary text,
           state text not null, created_at text not null, updated_at text not null)",
        "create table schema_migrations (version integer primary key, applied_at text not null);
         create table notes (id integer)",
    ] {
        let place = place();
        connect(&place.path).execute_batch(sql).unwrap();
        let (conn, found) = try_open(&place.path).unwrap();
        assert_eq!(found, Found::Old(0));
        creation::assert_complete(&conn);
    }
}

#[test]
fn gaps_in_a_file_of_the_present_version_stay() {
    let place = place();
    open(&place.path)
        .execute_batch(
            "drop table budgets; drop index events_task_id; drop trigger events_no_update;
             drop table schema_migrations; drop table routed_notifications; drop table telemetry_events",
        )
        .unwrap();
    let before = dump(&connect(&place.path));
    assert_eq!(dump(&open_to_write(&place.path)), before);
}
