//! Files of all earlier versions.

use std::sync::Barrier;

use super::old_files::{define, file, fill, lacks_table};
use super::*;

/// Rows by table, each with its number and the given columns.
type Content = BTreeMap<String, (Vec<String>, Vec<String>)>;

fn content(conn: &Connection) -> Content {
    let tables =
        list(conn, "select name from sqlite_master where type = 'table' and name not like 'sqlite_%'");
    let with_columns =
        tables.into_iter().filter(|table| !table.starts_with("telemetry_events_fts_")).map(|table| {
            let columns = list(conn, &format!("select name from pragma_table_info('{table}')"));
            let rows = rows_of(conn, &table, &columns);
            (table, (columns, rows))
        });
    with_columns.collect()
}

fn rows_of(conn: &Connection, table: &str, columns: &[String]) -> Vec<String> {
    let columns: Vec<_> = columns.iter().map(|column| format!("\"{column}\"")).collect();
    rows(conn, &format!("select rowid, {} from {table} order by rowid", columns.join(", ")))
}

/// What a column of a table is like, in any order.
fn shapes(conn: &Connection, table: &str) -> Vec<String> {
    let sql = format!(
        "select name, type, \"notnull\", dflt_value, pk from pragma_table_info('{table}') order by name"
    );
    rows(conn, &sql)
}

#[test]
fn no_row_is_lost_and_nothing_is_missing() {
    let present = place();
    let present = connect(&present.path);
    define(&present, 24);
    for version in 2..=23 {
        let place = file(version);
        let before = content(&connect(&place.path));
        let (conn, found) = try_open(&place.path).unwrap();
        assert_eq!(found, Found::Old(version));
        creation::assert_complete(&conn);
        for (table, (columns, rows)) in before {
            let after = rows_of(&conn, &table, &columns);
            if table == "schema_migrations" {
                assert_eq!(after[..], [rows, vec!["24|24|\"2026-01-01T12:00:00.000Z\"".to_owned()]].concat());
            } else {
                assert_eq!(after, rows, "version {version}, {table}");
            }
        }
        for table in listed_tables().into_keys() {
            assert_eq!(shapes(&conn, &table), shapes(&present, &table), "version {version}, {table}");
        }
        let texts = list(&conn, "select sql from sqlite_master where sql is not null");
        assert!(texts.iter().all(|text| !text.contains("conveyor_old_")), "version {version}");
        assert_constraints_hold(&conn);
        let once = dump(&conn);
        drop(conn);
        assert_eq!(dump(&open(&place.path)), once, "version {version}: opening again changes nothing");
    }
}

/// The constraints that upgrades bring.
fn assert_constraints_hold(conn: &Connection) {
    for sql in [
        "update commands set state = 'blocked' where id = 'commands-1'",
        "update telemetry_events set actor = 'dispatch' where id = 'telemetry_events-1'",
        "update bindings set worker_id = null where id = 'bindings-1'",
    ] {
        conn.execute(sql, []).unwrap_or_else(|error| panic!("{sql}: {error}"));
        conn.execute_batch(&sql.replace("'blocked'", "'pending'").replace("'dispatch'", "'worker'")).unwrap();
    }
    for sql in [
        "update commands set state = 'lost'",
        "update commands set attempts = -1",
        "update telemetry_events set actor = 'nobody'",
        "update bindings set worker_session_id = 'nobody'",
        "update manager_configs set nudge_on_completion = 'never'",
        "update routed_notifications set side_effect_started = 2",
    ] {
        let table = sql.split(' ').nth(1).unwrap();
        let filled: i64 = one(conn, &format!("select count(*) from {table}"));
        assert!(filled == 0 || conn.execute(sql, []).is_err(), "{sql}");
    }
    conn.execute_batch("update bindings set worker_id = 'workers-1' where id = 'bindings-1'").unwrap();
}

#[test]
fn defaults_of_the_columns_that_were_missing() {
    let place = file(15);
    let conn = open(&place.path);
    assert_eq!(
        rows(
            &conn,
            "select attempts, max_attempts, correlation_id, required_permission from commands limit 1"
        ),
        ["0|1|null|null"]
    );
    let place = file(19);
    let conn = open(&place.path);
    assert_eq!(
        rows(
            &conn,
            "select delivery_mode, side_effect_started, consumed_at from routed_notifications limit 1"
        ),
        ["\"push\"|0|null"]
    );
    let place = file(14);
    let conn = open(&place.path);
    assert_eq!(
        rows(
            &conn,
            "select tools_json, epilogues_json, nudge_on_completion, require_acks, revision, recipe_name
                       from manager_configs limit 1"
        ),
        ["\"[]\"|\"[]\"|\"ask-operator\"|0|1|null"]
    );
}

#[test]
fn version_1_named_workers_get_ids_of_their_own() {
    let place = place();
    let conn = connect(&place.path);
    define(&conn, 1);
    fill(&conn, 3);
    conn.execute_batch("update workers set name = id where id <> 'workers-3'").unwrap();
    let references = |conn: &Connection| {
        [
            "bindings",
            "statuses",
            "transcript_captures",
            "commands",
            "events",
            "terminal_captures",
            "agent_observations",
        ]
        .map(|table| rows(conn, &format!("select worker_id from {table} where id in ('{table}-1', 1)")))
    };
    assert!(references(&conn).iter().all(|ids| *ids == ["\"workers-1\""]));
    drop(conn);

    let conn = open(&place.path);
    creation::assert_complete(&conn);
    let new = |number: i64| format!("worker-00000000-0000-4000-8000-{number:012}");
    assert_eq!(list(&conn, "select id from workers order by name"), ["workers-3".to_owned(), new(1), new(2)]);
    assert!(references(&conn).iter().all(|ids| *ids == [format!("{:?}", new(1))]));
    assert_eq!(
        rows(
            &conn,
            "select actor, worker_id, task_id, payload_json from events where type = 'worker_id_migrated'"
        ),
        [1, 2].map(|number| {
            let payload =
                format!(r#"{{"new_worker_id":"{}","old_worker_id":"workers-{number}"}}"#, new(number));
            format!("\"workerctl\"|{:?}|null|{payload:?}", new(number))
        })
    );
    assert!(conn.execute("delete from events", []).is_err(), "append-only again");
}

#[test]
fn legacy_agents_become_sessions_before_version_5() {
    let place = place();
    let conn = connect(&place.path);
    define(&conn, 4);
    fill(&conn, 3);
    conn.execute_batch("update managers set name = (select name from workers where id = 'workers-1') where id = 'managers-1'")
        .unwrap();
    drop(conn);
    let conn = open(&place.path);
    let columns = "id, name, role, identity_token, tmux_session, tmux_pane_id, pid, cwd, registered_at, state, last_heartbeat_at";
    assert_eq!(
        rows(&conn, &format!("select {columns} from sessions order by rowid")),
        [
            r#""workers-1"|"name 1 of workers"|"worker"|"identity_token 1 of workers"|"tmux_session 1 of workers"|"tmux_pane_id 1 of workers"|null|"cwd 1 of workers"|"2025-01-01T00:00:00Z"|"active"|null"#,
            r#""workers-2"|"name 2 of workers"|"worker"|"identity_token 2 of workers"|"tmux_session 2 of workers"|null|null|"cwd 2 of workers"|"2025-01-02T00:00:00Z"|"active"|null"#,
            r#""workers-3"|"name 3 of workers"|"worker"|"identity_token 3 of workers"|"tmux_session 3 of workers"|"tmux_pane_id 3 of workers"|null|"cwd 3 of workers"|"2025-01-03T00:00:00Z"|"active"|null"#,
            r#""managers-2"|"name 2 of managers"|"manager"|"legacy-manager-token-00000000-0000-4000-8000-000000000001"|"tmux_session 2 of managers"|null|null|""|"2025-01-02T00:00:00Z"|"active"|null"#,
            r#""managers-3"|"name 3 of managers"|"manager"|"legacy-manager-token-00000000-0000-4000-8000-000000000002"|"tmux_session 3 of managers"|"tmux_pane_id 3 of managers"|null|""|"2025-01-03T00:00:00Z"|"active"|null"#,
        ]
    );
    drop(conn);
    for version in [5, 8] {
        let place = file(version);
        assert_eq!(
            one::<i64>(&open(&place.path), "select count(*) from sessions"),
            3,
            "not from version 5 on"
        );
    }
}

#[test]
fn events_from_before_the_search_table_are_indexed() {
    let place = file(12);
    let conn = connect(&place.path);
    conn.execute_batch("drop table telemetry_events_fts").unwrap();
    drop(conn);
    let conn = open(&place.path);
    creation::assert_complete(&conn);
    assert_eq!(
        rows(
            &conn,
            "select event_id, task_id, actor, summary, attributes from telemetry_events_fts
                      where telemetry_events_fts match 'summary AND 1'"
        ),
        [
            r#""telemetry_events-1"|"tasks-1"|"manager"|"summary 1 of telemetry_events"|"{\"n\": 1, \"t\": \"\\u00e9\"}""#
        ]
    );
}

#[test]
fn what_others_added_stays() {
    let place = file(21);
    let conn = connect(&place.path);
    conn.execute_batch(
        "alter table commands add column note text not null default 'it''s';
         update commands set note = 'mine' where id = 'commands-2';
         create index my_notes on commands(note);
         create table log (id text);
         create trigger my_log after insert on commands begin insert into log values (new.id); end;
         create view my_view as select id, note from commands;
         delete from command_attempts where id > 1;
         update sqlite_sequence set seq = 40 where name = 'command_attempts'",
    )
    .unwrap();
    drop(conn);
    let conn = open(&place.path);
    creation::assert_complete(&conn);
    assert_eq!(list(&conn, "select note from my_view order by id"), ["it's", "mine", "it's"]);
    assert_eq!(
        one::<i64>(&conn, "select count(*) from sqlite_master where name in ('my_notes', 'my_log')"),
        2
    );
    assert_eq!(one::<i64>(&conn, "select count(*) from log"), 0, "copying is not inserting");
    conn.execute_batch(
        "insert into command_attempts (command_id, correlation_id, dispatcher_id, started_at, state)
         values ('commands-1', '', '', '', 'blocked');
         insert into commands (id, idempotency_key, created_at, updated_at, type, state, payload_json)
         values ('c', 'c', '', '', 't', 'blocked', '{}')",
    )
    .unwrap();
    assert_eq!(one::<i64>(&conn, "select max(id) from command_attempts"), 41, "numbers are never used again");
    assert_eq!(list(&conn, "select id from log"), ["c"]);
}

#[test]
fn rows_that_pointed_nowhere_before_are_no_obstacle() {
    let place = file(20);
    let conn = connect(&place.path);
    conn.execute_batch(
        "pragma foreign_keys = off; update commands set task_id = 'gone' where id = 'commands-1'",
    )
    .unwrap();
    drop(conn);
    let conn = open(&place.path);
    assert_eq!(one::<String>(&conn, "select task_id from commands where id = 'commands-1'"), "gone");
    assert_eq!(rows(&conn, "pragma foreign_key_check").len(), 1);
}

/// Breaks a file so that its upgrade fails, and shows that it stays as it was.
fn fails(version: i64, breaking: &str) -> String {
    let place = file(version);
    let conn = connect(&place.path);
    conn.execute_batch(&format!("pragma foreign_keys = off; {breaking}")).unwrap();
    let before = dump(&conn);
    drop(conn);
    let mut conn = connect(&place.path);
    let found = identify(&conn, &place.path).unwrap();
    let error = prepare(&mut conn, &place.path, found, &clock(), &ids()).unwrap_err();
    assert!(matches!(error, StoreError::Upgrade { .. }), "{error}");
    assert_eq!(dump(&conn), before);
    assert_eq!(one::<i64>(&conn, "pragma foreign_keys"), 1, "enforced again");
    error.to_string()
}

#[test]
fn a_failure_leaves_the_file_as_it_was() {
    // At the rebuild, near the end, and at the final check of references.
    fails(
        21,
        "pragma ignore_check_constraints = on; update commands set state = 'lost' where id = 'commands-3'",
    );
    fails(3, "drop table schema_migrations; create table schema_migrations (version integer primary key)");
    let reason = fails(
        1,
        "update workers set name = id;
         create table notes (worker text references workers(id)); insert into notes values ('workers-1')",
    );
    assert!(reason.contains("rows of notes"), "{reason}");
}

#[test]
fn processes_that_start_together_upgrade_once() {
    let place = file(1);
    connect(&place.path).execute_batch("update workers set name = id").unwrap();
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                open_to_write(&place.path);
            });
        }
    });
    let conn = open(&place.path);
    creation::assert_complete(&conn);
    assert_eq!(one::<i64>(&conn, "select count(*) from events where type = 'worker_id_migrated'"), 3);
}

#[test]
fn the_old_files_of_these_tests_are_old() {
    assert!(lacks_table(4, "sessions") && !lacks_table(5, "sessions"));
    let text = |version: i64, table: &str| -> String {
        one(&connect(&file(version).path), &format!("select sql from sqlite_master where name = '{table}'"))
    };
    assert!(
        !text(14, "telemetry_events").contains("dispatch")
            && text(15, "telemetry_events").contains("dispatch")
    );
    assert!(!text(21, "commands").contains("blocked") && text(22, "commands").contains("blocked"));
    assert!(!text(4, "bindings").contains("worker_session_id"));
}
