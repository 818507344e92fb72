//! The ledger in a PostgreSQL schema.

use conveyor_model::Timestamp;
use conveyor_testkit::postgres::TestSchema;
use postgres::Client;

use super::*;
use crate::schema::additions::ADDITIONS;
use crate::schema::postgres::prepare as prepare_schema;

/// Prepares the schema as every command does.
fn try_prepare(client: &mut Client, schema: &str) -> Result<(), StoreError> {
    prepare_schema(client, schema, "postgres://test", &clock())
}

/// A prepared schema with a connection whose search path is that schema; nothing when tests on
/// PostgreSQL are switched off.
fn prepared() -> Option<(TestSchema, Client)> {
    let schema = TestSchema::if_enabled()?;
    let mut client = schema.client();
    try_prepare(&mut client, schema.name()).unwrap();
    Some((schema, client))
}

/// The first column of all rows.
fn texts(client: &mut Client, sql: &str) -> Vec<String> {
    let rows = client.query(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter().map(|row| row.get(0)).collect()
}

fn number(client: &mut Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

#[test]
fn every_column_is_as_described() {
    let Some((_schema, mut client)) = prepared() else { return };
    for (table, columns) in listed_tables() {
        let found = texts(
            &mut client,
            &format!(
                "select concat_ws('|', attname, format_type(atttypid, atttypmod), attnotnull::int, attidentity,
                                  coalesce((select collname from pg_collation c where c.oid = attcollation), '-'),
                                  coalesce(pg_get_expr(adbin, adrelid), '-'))
                   from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
                  where attrelid = '{table}'::regclass and attnum > 0 and not attisdropped order by attnum"
            ),
        );
        let listed: Vec<_> = columns
            .iter()
            .map(|c| {
                let (kind, collation) = match c.kind.as_str() {
                    "text" => ("text", "C"),
                    "integer" => ("bigint", "-"),
                    _ => ("double precision", "-"),
                };
                let default = match (&c.default, kind) {
                    (None, _) => "-".to_owned(),
                    (Some(text), "text") => format!("'{text}'::text"),
                    (Some(number), _) => format!("'{number}'::bigint"),
                };
                let default = default.replace("'0'::bigint", "0").replace("'1'::bigint", "1");
                let identity = if c.counted { "d" } else { "" };
                format!("{}|{kind}|{}|{identity}|{collation}|{default}", c.name, u8::from(c.not_null))
            })
            .collect();
        let ours = |row: &&String| {
            let name = row.split('|').next().unwrap();
            name != "rowid" && !ADDITIONS.iter().any(|addition| addition.name() == format!("{table}.{name}"))
        };
        assert_eq!(found.iter().filter(ours).cloned().collect::<Vec<_>>(), listed, "{table}");
        let has_text_key = columns.iter().any(|c| c.key && c.kind == "text");
        assert_eq!(found.contains(&"rowid|bigint|1|d|-|-".to_owned()), has_text_key, "{table}");
    }
}

#[test]
fn every_reference_key_and_index_is_as_described() {
    let Some((schema, mut client)) = prepared() else { return };
    for (table, columns) in listed_tables() {
        let constraints = texts(
            &mut client,
            &format!(
                "select pg_get_constraintdef(oid) from pg_constraint where conrelid = '{table}'::regclass"
            ),
        );
        for column in columns {
            let name = &column.name;
            let has =
                |text: String| assert!(constraints.contains(&text), "{table}: {text} not in {constraints:?}");
            column
                .parent
                .iter()
                .for_each(|parent| has(format!("FOREIGN KEY ({name}) REFERENCES {parent}(id)")));
            if column.key {
                has(format!("PRIMARY KEY ({name})"));
            }
            if column.unique {
                has(format!("UNIQUE ({name})"));
            }
            let check = constraints.iter().find(|text| {
                text.starts_with("CHECK")
                    && text.contains(&format!("({name} ")) | text.contains(&format!("({name})"))
            });
            let checked =
                column.json || !column.allowed.is_empty() || column.least.is_some() || column.limit.is_some();
            assert_eq!(check.is_some(), checked, "{table}.{name}: {check:?}");
            for allowed in column.allowed.iter().filter(|_| column.kind == "text") {
                assert!(check.unwrap().contains(&format!("'{allowed}'::text")), "{table}.{name}: {check:?}");
            }
        }
    }
    for index in listed_indexes() {
        let text = texts(
            &mut client,
            &format!(
                "select indexdef from pg_indexes where schemaname = '{}' and indexname = '{}'",
                schema.name(),
                index.name
            ),
        );
        let text = text.first().unwrap_or_else(|| panic!("no index {}", index.name)).replace('"', "");
        // A long text is compared by its digest.
        let text = text.replace("md5(criterion)", "criterion");
        assert_eq!(text.contains("UNIQUE"), index.unique, "{text}");
        assert!(
            text.contains(&format!(
                ".{} USING btree ({})",
                index.table,
                index.columns.replace(" desc", " DESC")
            )),
            "{text}"
        );
        assert_eq!(text.contains(" WHERE "), !index.filter.is_empty(), "{text}");
        for word in index.filter.split('\'').skip(1).step_by(2) {
            assert!(text.contains(&format!("'{word}'")), "{text}");
        }
    }
}

#[test]
fn programs_that_start_together_migrate_once() {
    let Some(schema) = TestSchema::if_enabled() else { return };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| try_prepare(&mut schema.client(), schema.name()).unwrap());
        }
    });
    let mut client = schema.client();
    assert_eq!(number(&mut client, "select count(*) from schema_migrations"), 1);
    let recorded = texts(&mut client, "select name from conveyor_schema order by rowid");
    assert_eq!(recorded, ADDITIONS.iter().map(|addition| addition.name()).collect::<Vec<_>>());
}

#[test]
fn a_prepared_schema_is_only_read() {
    let Some((schema, mut client)) = prepared() else { return };
    let mut other = schema.client();
    let mut tx = other.transaction().unwrap();
    tx.batch_execute("lock table schema_migrations, conveyor_schema in exclusive mode").unwrap();
    client.batch_execute("set default_transaction_read_only = on; set lock_timeout = '1s'").unwrap();
    try_prepare(&mut client, schema.name()).unwrap();
}

#[test]
fn missing_additions_are_made() {
    let Some((schema, mut client)) = prepared() else { return };
    client
        .batch_execute(
            "alter table sessions drop column routed_event_id; drop index conveyor_tasks_name;
             delete from conveyor_schema where name in ('sessions.routed_event_id', 'conveyor_tasks_name')",
        )
        .unwrap();
    try_prepare(&mut client, schema.name()).unwrap();
    client.batch_execute("select routed_event_id from sessions").unwrap();
    assert_eq!(
        number(&mut client, "select count(*) from conveyor_schema"),
        ADDITIONS.len().cast_signed() as i64
    );
    let there = format!(
        "select count(*) from pg_indexes where schemaname = '{}' and indexname = 'conveyor_tasks_name'",
        schema.name()
    );
    assert_eq!(number(&mut client, &there), 1);
}

#[test]
fn schemas_that_are_not_ours_to_use_are_refused() {
    let Some((schema, mut client)) = prepared() else { return };
    client.batch_execute("insert into schema_migrations values (25, '')").unwrap();
    let error = try_prepare(&mut client, schema.name()).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 25, supported: 24, .. }), "{error}");
    client.batch_execute("delete from schema_migrations").unwrap();
    let error = try_prepare(&mut client, schema.name()).unwrap_err();
    assert!(matches!(error, StoreError::UnknownVersion { .. }), "{error}");

    for sql in ["create table tasks (id int)", "create table schema_migrations (version varchar)"] {
        let schema = TestSchema::new();
        let mut client = schema.client();
        let name = schema.name();
        client
            .batch_execute(&format!(
                "create schema if not exists \"{name}\"; set search_path = \"{name}\"; {sql}"
            ))
            .unwrap();
        let error = try_prepare(&mut client, schema.name()).unwrap_err();
        assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    }
}

#[test]
fn a_database_in_another_encoding_is_refused() {
    let Some(schema) = TestSchema::if_enabled() else { return };
    let mut client = schema.client();
    let name = format!("{}_latin", schema.name());
    client
        .batch_execute(&format!("create database {name} encoding 'LATIN1' locale 'C' template template0"))
        .unwrap();
    let mut other: postgres::Config = schema.url().parse().unwrap();
    let mut other = other.dbname(&name).connect(postgres::NoTls).unwrap();
    let error = try_prepare(&mut other, "conveyor").unwrap_err();
    assert!(matches!(error, StoreError::Url { .. }) && error.to_string().contains("LATIN1"), "{error}");
    drop(other);
    client.batch_execute(&format!("drop database {name}")).unwrap();
}

#[test]
fn a_schema_may_have_any_name() {
    let Some(schema) = TestSchema::if_enabled() else { return };
    let mut client = schema.client();
    let name = format!("{} \"A\"", schema.name());
    let quoted = crate::postgres::quote_identifier(&name);
    try_prepare(&mut client, &name).unwrap();
    try_prepare(&mut client, &name).unwrap();
    assert_eq!(number(&mut client, &format!("select count(*) from {quoted}.tasks")), 0);
    client.batch_execute(&format!("drop schema {quoted} cascade")).unwrap();
}

#[test]
fn rows_are_checked_as_on_sqlite() {
    let Some((_schema, mut client)) = prepared() else { return };
    let mut refused = |sql: &str, why: &str| {
        let error = client.batch_execute(sql).unwrap_err();
        let text = error.as_db_error().unwrap().message().to_owned();
        assert!(text.contains(why), "{sql}: {text}");
    };
    let event = "insert into events (created_at, actor, type, payload_json)";
    refused(&format!("{event} values ('', 'a', 't', 'no json')"), "json");
    refused(&format!("{event} values ('', 'a', 't', null)"), "not-null");
    refused(
        "insert into tasks (id, name, goal, state, created_at, updated_at) values ('t', '', '', 'x', '', '')",
        "check",
    );
    refused(
        "insert into runs (id, task_id, name, status, started_at, metadata_json) values ('r', 'x', '', 'active', '', '{}')",
        "foreign key",
    );
    client.batch_execute(&format!("{event} values ('', 'a', 't', '{{\"a\":\"\\u0000\"}}')")).unwrap();
    client
        .batch_execute(
            "insert into tasks (id, name, goal, state, created_at, updated_at) values ('t', '', '', 'paused', '', '');
             insert into epilogue_runs (task_id, step_name, state, started_at) values ('t', '', 'pending', '')",
        )
        .unwrap();
    for sql in ["update events set type = 'y'", "delete from events"] {
        let error = client.batch_execute(sql).unwrap_err();
        assert!(error.as_db_error().unwrap().message().contains("events are append-only"), "{error}");
    }
    client
        .batch_execute(
            "insert into tasks (id, name, goal, state, created_at, updated_at) values ('a', '', '', 'paused', '', '')",
        )
        .unwrap();
    assert_eq!(
        texts(&mut client, "select id from tasks order by rowid"),
        ["t", "a"],
        "the order of insertion"
    );
}

#[test]
fn search_finds_phrases() {
    let Some((_schema, mut client)) = prepared() else { return };
    client
        .batch_execute(
            "insert into telemetry_events_fts (event_id, actor, event_type, summary, attributes, search_text)
             values ('e', 'worker', 'x', 's', '{}', 'tests pass 3d model 1e5 42 creme')",
        )
        .unwrap();
    let mut hits = |query: &str| {
        let sql =
            format!("select count(*) from telemetry_events_fts where search_vector @@ '{query}'::tsquery");
        number(&mut client, &sql)
    };
    assert_eq!(hits("''tests'' <-> ''pass'' & ''3d''"), 1);
    assert_eq!(hits("''1e5'' <-> ''42''"), 1);
    assert_eq!(hits("''pass'' <-> ''tests''"), 0);
    assert_eq!(hits("''test''"), 0, "whole words");
}

#[test]
fn stored_times_are_read_like_in_the_program() {
    let Some((_schema, mut client)) = prepared() else { return };
    let sql = client.prepare("select conveyor_ms($1)").unwrap();
    for text in [
        "2026-01-01T12:00:00Z",
        "2026-01-01T12:00:00.678Z",
        "2026-01-01T12:00:00.6789Z",
        "2026-01-01T12:00:00.5Z",
        "2026-01-01T12:00:00+00:00",
        "2026-01-01T12:00:00.123456+00:00",
        "2026-01-01T12:00:00.250+02:30",
        "2026-01-01T01:00:00-05:45",
        "2024-02-29T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2000-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "1969-12-31T23:59:59.999Z",
        "9999-12-30T00:00:00Z",
        "yesterday",
        "",
        "2026-01-01",
        "2026-01-01T12:00:00",
    ] {
        let read: Option<i64> = client.query_one(&sql, &[&text]).unwrap().get(0);
        assert_eq!(read, Timestamp::parse(text).map(Timestamp::as_millis), "{text}");
    }
    let read: Option<i64> = client.query_one(&sql, &[&None::<&str>]).unwrap().get(0);
    assert_eq!(read, None);
}

#[test]
fn the_clock_in_statements_can_be_set() {
    let Some((_schema, mut client)) = prepared() else { return };
    let at = Timestamp::from_millis(1_767_268_800_678);
    client.batch_execute(&format!("set conveyor.now_ms = '{}'", at.as_millis())).unwrap();
    assert_eq!(texts(&mut client, "select conveyor_now()"), [at.to_ms_text()]);
    for seconds in [-5, 0, 1, 60, 86_400] {
        let end = texts(&mut client, &format!("select conveyor_after({seconds})"));
        assert_eq!(end, [at.lease_end(seconds).to_s_text()]);
    }
    client.batch_execute("set conveyor.now_ms = '1767268800000'").unwrap();
    assert_eq!(texts(&mut client, "select conveyor_after(1)"), ["2026-01-01T12:00:01Z"]);

    client.batch_execute("set conveyor.now_ms = ''").unwrap();
    let drift =
        "select abs(conveyor_ms(conveyor_now()) - (extract(epoch from clock_timestamp()) * 1000)::bigint)";
    assert!(number(&mut client, drift) < 1000);
    client.batch_execute("reset conveyor.now_ms").unwrap();
    assert!(number(&mut client, drift) < 1000);
}

#[test]
fn functions_do_not_depend_on_the_callers_search_path() {
    let Some((schema, mut client)) = prepared() else { return };
    let name = crate::postgres::quote_identifier(schema.name());
    client.batch_execute("set conveyor.now_ms = '1767268800678'; set timezone = 'Asia/Tokyo'; set datestyle = 'German'; set search_path = pg_temp").unwrap();
    assert_eq!(texts(&mut client, &format!("select {name}.conveyor_now()")), ["2026-01-01T12:00:00.678Z"]);
    assert_eq!(texts(&mut client, &format!("select {name}.conveyor_after(1)")), ["2026-01-01T12:00:02Z"]);
    assert_eq!(
        number(&mut client, &format!("select {name}.conveyor_ms('2026-01-01T12:00:00Z')")),
        1_767_268_800_000
    );
    let error = client.batch_execute(&format!("insert into {name}.events (created_at, actor, type, payload_json) values ('', '', '', '{{}}'); delete from {name}.events"));
    assert!(error.unwrap_err().as_db_error().unwrap().message().contains("append-only"));
}
