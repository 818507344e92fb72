//! Commands that only read add nothing to a file of agent-conveyor 0.1.10.

use std::path::Path;

use crate::harness::{World, on_sqlite};

/// Takes everything from a ledger that we have added to it.
fn strip(file: &Path) {
    let raw = rusqlite::Connection::open(file).unwrap();
    let names = |sql: &str| -> Vec<String> {
        let mut statement = raw.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    let added = names("select name from conveyor_schema");
    let of_kind = |kind: &str| names(&format!("select name from sqlite_master where type = '{kind}'"));
    let (indexes, tables) = (of_kind("index"), of_kind("table"));
    for index in added.iter().filter(|name| indexes.contains(name)) {
        raw.execute_batch(&format!("drop index {index}")).unwrap();
    }
    for (table, column) in added.iter().filter_map(|name| name.split_once('.')) {
        if !added.iter().any(|name| name == table) {
            raw.execute_batch(&format!("alter table {table} drop column {column}")).unwrap();
        }
    }
    for table in added.iter().filter(|name| tables.contains(name)) {
        raw.execute_batch(&format!("drop table {table}")).unwrap();
    }
    raw.execute_batch("pragma wal_checkpoint(truncate)").unwrap();
}

fn reads(world: &World) -> Vec<Vec<&'static str>> {
    let lines = [
        "commands",
        "commands --attempts --json",
        "dispatch --dry-run --json",
        "dispatch --dry-run --json --type nudge_worker",
        "manager-config demo --questions",
        "manager-permission demo repo.open_pr",
        "tasks",
        "sessions",
        "discover demo",
        "search demo",
        "worker-inbox demo",
        "manager-inbox demo",
        "app-loop-status demo",
        "app-wakeup-plan demo",
        "db-doctor",
        "reconcile",
        "list",
        "criteria demo --list",
        "divergences demo",
        "mutation-audit demo",
        "transcript-show demo",
        "tail demo-worker",
        "manager-recipes --list",
    ];
    assert!(world.is_sqlite());
    lines.iter().map(|line| line.split(' ').collect()).collect()
}

#[test]
fn reading_adds_nothing_to_an_old_file() {
    on_sqlite(|world| {
        world.bind("demo");
        world.json(&["enqueue-nudge-worker", "demo", "--message", "hi", "--json"]);
        world.sql(
            "insert into codex_events (session_id, timestamp, type, subtype, payload_json, byte_offset, ingested_at) \
             values ('session-demo-w', '2026-06-11T12:00:00Z', 'event_msg', 'task_complete', '{}', 0, \
             '2026-06-11T12:00:00Z')",
        );
        strip(&world.file());
        // Some record in the tables that there are that they were run.
        let shape = "select type || ' ' || name || ' ' || coalesce(sql, '') from sqlite_master order by name";
        let before = world.column(shape);
        for words in reads(world) {
            let ran = world.run(&words);
            assert_eq!(ran.code, 0, "{words:?}: {}", ran.stderr);
            assert_eq!(world.column(shape), before, "{words:?}");
        }
        let planned = world.run(&["dispatch", "--dry-run", "--json"]).stdout;
        assert!(planned.contains("nudge_worker") && planned.contains("worker_task_complete"), "{planned}");
        // The first command that writes adds what it needs, and everything goes on.
        let report = world.json(&["dispatch", "--once", "--json"]);
        assert_eq!(report["processed_count"], 2, "{report}");
    });
}
