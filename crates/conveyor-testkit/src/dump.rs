//! The whole content of a ledger as text, for comparing before and after.
//!
//! One line per row, `table column=value …`, tables by name and rows by their text, so that two
//! dumps are equal exactly when the same rows are there. The tables behind a full-text index are
//! left out; the content of the index itself is in.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

/// The endings of the tables in which FTS5 keeps its index.
const SHADOWS: [&str; 5] = ["_data", "_idx", "_content", "_docsize", "_config"];

/// All rows of all tables of an SQLite file. Reads only.
///
/// # Panics
/// When the file cannot be read.
#[must_use]
pub fn dump_sqlite(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .unwrap_or_else(|e| panic!("opening {}: {e}", path.display()));
    connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    // One snapshot for all tables.
    connection.execute_batch("begin").unwrap();
    let tables: Vec<(String, bool)> = connection
        .prepare(
            "select name, sql like 'create virtual table%' from sqlite_master \
             where type = 'table' and name not like 'sqlite\\_%' escape '\\' order by name",
        )
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let shadows: Vec<String> = tables
        .iter()
        .filter(|(_, is_virtual)| *is_virtual)
        .flat_map(|(name, _)| SHADOWS.iter().map(move |ending| format!("{name}{ending}")))
        .collect();
    let mut dump = String::new();
    for (table, _) in tables.iter().filter(|(name, _)| !shadows.contains(name)) {
        let mut statement = connection.prepare(&format!("select * from \"{table}\"")).unwrap();
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement.query([]).unwrap();
        let mut lines = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let values = (0..columns.len()).map(|index| show_sqlite(row.get_ref_unwrap(index)));
            lines.push(line(table, &columns, values));
        }
        append(&mut dump, lines);
    }
    dump
}

/// All rows of all tables of one PostgreSQL schema, in the same form. Generated columns are left
/// out. Reads only; an absent schema gives an empty text.
///
/// # Panics
/// When a query fails.
#[must_use]
pub fn dump_postgres(client: &mut postgres::Client, schema: &str) -> String {
    // One snapshot for all tables.
    let mut tx =
        client.build_transaction().isolation_level(postgres::IsolationLevel::RepeatableRead).start().unwrap();
    let described = tx
        .query(
            "select c.table_name::text, c.column_name::text from information_schema.columns c \
             join information_schema.tables t using (table_schema, table_name) \
             where c.table_schema = $1 and t.table_type = 'BASE TABLE' and c.is_generated = 'NEVER' \
             order by c.table_name collate \"C\", c.ordinal_position",
            &[&schema],
        )
        .unwrap();
    let mut tables: Vec<(String, Vec<String>)> = Vec::new();
    for row in described {
        let (table, column): (String, String) = (row.get(0), row.get(1));
        match tables.last_mut() {
            Some((last, columns)) if *last == table => columns.push(column),
            _ => tables.push((table, vec![column])),
        }
    }
    let mut dump = String::new();
    for (table, columns) in &tables {
        let list: Vec<String> = columns.iter().map(|column| format!("\"{column}\"::text")).collect();
        let rows =
            tx.query(&format!("select {} from \"{schema}\".\"{table}\"", list.join(", ")), &[]).unwrap();
        let lines = rows.iter().map(|row| {
            let values = (0..columns.len()).map(|index| match row.get::<_, Option<String>>(index) {
                Some(text) => format!("{text:?}"),
                None => "null".to_owned(),
            });
            line(table, columns, values)
        });
        append(&mut dump, lines.collect());
    }
    tx.rollback().unwrap();
    dump
}

fn show_sqlite(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "null".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => format!("{number:?}"),
        ValueRef::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => format!("blob of {} bytes {bytes:?}", bytes.len()),
    }
}

fn line(table: &str, columns: &[String], values: impl Iterator<Item = String>) -> String {
    let fields: Vec<String> =
        columns.iter().zip(values).map(|(column, value)| format!(" {column}={value}")).collect();
    format!("{table}{}\n", fields.concat())
}

fn append(dump: &mut String, mut lines: Vec<String>) {
    lines.sort_unstable();
    dump.extend(lines);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sqlite_dump_has_rows_and_search_content_but_no_index_tables() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "pragma journal_mode = wal;
                 create table b (id integer primary key, note text, size real);
                 create virtual table a using fts5(words);
                 insert into b (note, size) values ('zwei', null), ('eins', 0.5);
                 insert into a (words) values ('hello world');",
            )
            .unwrap();
        let dump = dump_sqlite(&path);
        assert_eq!(
            dump,
            "a words=\"hello world\"\nb id=1 note=\"zwei\" size=null\nb id=2 note=\"eins\" size=0.5\n"
        );
        connection.execute_batch("update b set size = 1").unwrap();
        assert_ne!(dump_sqlite(&path), dump);
    }

    #[test]
    fn a_postgres_dump_leaves_generated_columns_out() {
        let Some(schema) = crate::postgres::TestSchema::if_enabled() else { return };
        let mut client = schema.client();
        assert_eq!(dump_postgres(&mut client, schema.name()), "");
        client
            .batch_execute(&format!(
                "create schema {0}; create table {0}.b (id bigint, note text, twice bigint generated always as (id * 2) stored);
                 insert into {0}.b values (2, null), (1, 'a\"b')",
                schema.name()
            ))
            .unwrap();
        assert_eq!(
            dump_postgres(&mut client, schema.name()),
            "b id=\"1\" note=\"a\\\"b\"\nb id=\"2\" note=null\n"
        );
    }
}
