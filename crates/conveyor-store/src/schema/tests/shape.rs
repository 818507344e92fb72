//! The schema read back from SQLite against the format's description.

use super::*;
use crate::schema::additions::{ADDITIONS, Addition};
use crate::schema::catalogue::{INDEXES, required_tables};

/// A file of the baseline, without our additions.
fn baseline() -> (Place, Connection) {
    let place = place();
    let conn = connect(&place.path);
    old_files::define(&conn, 24);
    (place, conn)
}

fn table_text(conn: &Connection, table: &str) -> String {
    one(conn, &format!("select sql from sqlite_master where type = 'table' and name = '{table}'"))
}

#[test]
fn every_column_is_as_described() {
    let (_place, conn) = baseline();
    for (table, columns) in listed_tables() {
        let found = rows(
            &conn,
            &format!("select name, type, \"notnull\", dflt_value, pk from pragma_table_info('{table}')"),
        );
        let listed: Vec<_> = columns
            .iter()
            .map(|c| {
                let default = match (&c.default, c.kind.as_str()) {
                    (None, _) => "null".to_owned(),
                    (Some(text), "text") => format!("\"'{text}'\""),
                    (Some(text), _) => format!("{text:?}"),
                };
                format!(
                    "{:?}|{:?}|{}|{default}|{}",
                    c.name,
                    c.kind.to_uppercase(),
                    u8::from(c.not_null),
                    u8::from(c.key)
                )
            })
            .collect();
        let found: Vec<_> = found
            .iter()
            .map(|row| {
                row.replace("\"text\"", "\"TEXT\"")
                    .replace("\"integer\"", "\"INTEGER\"")
                    .replace("\"real\"", "\"REAL\"")
            })
            .collect();
        assert_eq!(found, listed, "{table}");
    }
}

#[test]
fn every_check_and_reference_is_as_described() {
    let (_place, conn) = baseline();
    for (table, columns) in listed_tables() {
        let text = table_text(&conn, &table);
        for column in &columns {
            let line = text
                .lines()
                .find(|line| line.trim_start().starts_with(&format!("{} ", column.name)))
                .unwrap();
            let name = &column.name;
            let check = if let Some(limit) = &column.limit {
                format!(" check ({name} >= 0 and {name} <= {limit})")
            } else if column.json && column.not_null {
                format!(" check (json_valid({name}))")
            } else if column.json {
                format!(" check ({name} is null or json_valid({name}))")
            } else if column.allowed == ["0", "1"] {
                format!(" check ({name} in (0, 1))")
            } else if !column.allowed.is_empty() {
                format!(" check ({name} in ('{}'))", column.allowed.join("', '"))
            } else {
                match column.least {
                    Some(0) => format!(" check ({name} >= 0)"),
                    Some(_) => format!(" check ({name} > 0)"),
                    None => String::new(),
                }
            };
            assert!(line.trim_end_matches(',').ends_with(&check), "{table}: {line} lacks{check}");
            assert_eq!(line.contains(" check "), !check.is_empty(), "{table}: {line}");
            assert_eq!(line.contains(" autoincrement"), column.counted, "{table}: {line}");
            assert_eq!(line.contains(" unique"), column.unique, "{table}: {line}");
        }
        let listed: Vec<_> = columns
            .iter()
            .filter_map(|column| Some(format!("{:?}|{:?}|\"id\"", column.name, column.parent.as_ref()?)))
            .collect();
        let sql = format!(
            "select \"from\", \"table\", \"to\" from pragma_foreign_key_list('{table}') order by id desc"
        );
        assert_eq!(rows(&conn, &sql), listed, "{table}");
    }
}

#[test]
fn every_index_is_as_described() {
    let (_place, conn) = baseline();
    let listed = listed_indexes();
    assert_eq!(INDEXES.len(), listed.len());
    for index in listed {
        let name = index.name;
        let columns: Vec<String> = rows(
            &conn,
            &format!("select name || iif(\"desc\", ' desc', '') from pragma_index_xinfo('{name}') where key order by seqno"),
        )
        .iter()
        .map(|column| column.trim_matches('"').to_owned())
        .collect();
        assert_eq!(columns.join(", "), index.columns, "{name}");
        let sql = format!(
            "select \"unique\", partial from pragma_index_list('{}') where name = '{name}'",
            index.table
        );
        let flags = format!("{}|{}", u8::from(index.unique), u8::from(!index.filter.is_empty()));
        assert_eq!(rows(&conn, &sql), [flags], "{name}");
        let text: String = one(&conn, &format!("select sql from sqlite_master where name = '{name}'"));
        assert!(text.ends_with(index.filter), "{text}");
    }
}

#[test]
fn there_are_no_other_tables_than_described() {
    let mut listed: Vec<_> = listed_tables().into_keys().collect();
    listed.push("telemetry_events_fts".to_owned());
    listed.sort();
    assert_eq!(required_tables(24), listed);
    assert_eq!(required_tables(25).len(), listed.len());
    assert_eq!(required_tables(26).len(), listed.len() + 7);
}

#[test]
fn the_search_table_is_as_described() {
    let (_place, conn) = baseline();
    let columns = list(&conn, "select name from pragma_table_info('telemetry_events_fts')");
    assert_eq!(columns, ["event_id", "task_id", "run_id", "actor", "event_type", "summary", "attributes"]);
    conn.execute_batch(
        "insert into telemetry_events_fts values ('e', 't', 'r', 'worker', 'x_y', 'Well done', '{}')",
    )
    .unwrap();
    let hits = |word: &str| -> i64 {
        one(
            &conn,
            &format!("select count(*) from telemetry_events_fts where telemetry_events_fts match '{word}'"),
        )
    };
    assert_eq!((hits("DONE"), hits("worker")), (1, 0), "the first five columns are not searched");
}

#[test]
fn object_names_are_lower_case_and_unquoted() {
    let (_place, conn) = baseline();
    for name in list(&conn, "select name from sqlite_master") {
        assert_eq!(name.to_lowercase(), name);
    }
    for text in list(
        &conn,
        "select sql from sqlite_master where sql is not null and name not like 'telemetry_events_fts_%'",
    ) {
        assert!(!text.contains('"'), "{text}");
    }
    assert!(table_text(&conn, "commands").contains("'blocked'"));
    assert!(table_text(&conn, "command_attempts").contains("'blocked'"));
    assert!(table_text(&conn, "telemetry_events").contains("'dispatch'"));
}

#[test]
fn audit_events_can_only_be_added() {
    let (_place, conn) = baseline();
    conn.execute_batch(
        "insert into events (created_at, actor, type, payload_json) values ('', 'workerctl', 'x', '{}')",
    )
    .unwrap();
    for sql in ["update events set type = 'y'", "delete from events"] {
        let error = conn.execute(sql, []).unwrap_err();
        assert!(error.to_string().contains("events are append-only"), "{error}");
    }
}

#[test]
fn additions_break_no_writer_that_does_not_know_them() {
    for addition in ADDITIONS {
        match addition {
            Addition::Table(table) => {
                let ours = ["session_endpoints", "session_states", "deliveries"];
                assert!(table.name.starts_with("conveyor_") || ours.contains(&table.name));
            }
            Addition::Index(index) => {
                assert!(index.name.starts_with("conveyor_") || index.name.starts_with("deliveries_"));
            }
            Addition::Column(_, column) => {
                let sql = column.sqlite();
                assert!(!sql.contains("not null") || sql.contains("default"), "{sql}");
                assert!(!sql.contains("unique") && !sql.contains("check"), "{sql}");
            }
        }
    }
}
