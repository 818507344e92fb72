//! What we add to the format, and writers that know nothing of it.

use super::*;
use crate::schema::additions::ADDITIONS;

fn recorded(conn: &Connection) -> Vec<String> {
    list(conn, "select name from conveyor_schema order by rowid")
}

#[test]
fn a_new_file_has_them() {
    let place = place();
    let conn = open(&place.path);
    let names: Vec<_> = ADDITIONS.iter().map(|addition| addition.name()).collect();
    assert_eq!(recorded(&conn), names);
}

#[test]
fn a_file_of_another_writer_gets_them_once() {
    let place = place();
    let conn = connect(&place.path);
    old_files::define(&conn, 24);
    old_files::fill(&conn, 3);
    let rows_before: i64 = one(&conn, "select count(*) from commands");
    drop(conn);
    assert!(
        !list(&open(&place.path), "select name from sqlite_master").contains(&"conveyor_schema".to_owned())
    );
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| open_to_write(&place.path));
        }
    });
    let conn = open_to_write(&place.path);
    assert_eq!(recorded(&conn).len(), ADDITIONS.len());
    assert_eq!(one::<i64>(&conn, "select count(*) from commands where lapses = 0"), rows_before);
    assert_eq!(one::<i64>(&conn, "pragma user_version"), 24);
}

#[test]
fn what_exists_without_being_recorded_is_recorded() {
    let place = place();
    let conn = open(&place.path);
    let before = dump(&conn);
    conn.execute_batch("delete from conveyor_schema where name <> 'commands.lapses'").unwrap();
    drop(conn);
    let conn = open_to_write(&place.path);
    assert_eq!(recorded(&conn).len(), ADDITIONS.len());
    let definitions = |text: &str| text.lines().filter(|line| !line.starts_with("conveyor_schema: ")).count();
    assert_eq!(definitions(&dump(&conn)), definitions(&before));
}

/// The statements with which agent-conveyor 0.1.10 writes: columns by name, none of ours.
const WRITES: &str = r#"
insert into tasks (id, name, goal, summary, state, created_at, updated_at)
  values ('task-1', 'demo', 'ship', null, 'candidate', '2026-01-01T12:00:00.000Z', '2026-01-01T12:00:00.000Z');
insert into sessions (id, name, role, identity_token, tmux_session, tmux_pane_id, codex_session_path,
    codex_session_id, codex_app_thread_id, codex_app_thread_title, pid, cwd, registered_at, last_heartbeat_at, state)
  values ('session-1', 'w', 'worker', 'session-token-1', null, null, '/r', 'x', null, null, 7, '/', '', null, 'active'),
         ('session-2', 'm', 'manager', 'session-token-2', null, null, '/r', 'x', null, null, 8, '/', '', null, 'active');
insert into bindings (id, task_id, worker_session_id, manager_session_id, state, created_at)
  values ('binding-1', 'task-1', 'session-1', 'session-2', 'active', '');
update sessions set last_ingest_offset = 10, last_heartbeat_at = '2026-01-01T12:00:00Z' where id = 'session-1';
insert into commands (id, idempotency_key, created_at, updated_at, task_id, worker_id, manager_id, correlation_id,
    type, state, available_at, max_attempts, required_permission, payload_json)
  values ('command-1', 'command-1', '2026-01-01T12:00:00.000Z', '', 'task-1', null, null, 'dispatch-1',
    'notify_manager', 'pending', null, 1, null, '{"message": "\u00e9"}');
update commands set state = 'attempted', claimed_by = 'd', claimed_at = '2026-01-01T12:00:01.000Z',
    claim_expires_at = '2026-01-01T12:01:01Z', attempts = attempts + 1 where id = 'command-1' and state = 'pending';
insert into command_attempts (command_id, correlation_id, dispatcher_id, started_at, state)
  values ('command-1', 'dispatch-1', 'd', '', 'running');
insert into codex_events (session_id, timestamp, type, subtype, payload_json, byte_offset, ingested_at)
  values ('session-1', '', 'event_msg', 'task_complete', '{"a": 1}', 0, '');
insert into routed_notifications (task_id, binding_id, correlation_id, source_session_id, target_session_id,
    signal_type, source_event_id, dedupe_key, command_id, created_at, delivered_at, delivery_mode, state, payload_json)
  values ('task-1', 'binding-1', 'dispatch-1', 'session-1', 'session-2', 'worker_task_complete', 1, 'k', null, '', '',
    'pull_required', 'delivered', '{}');
update routed_notifications set consumed_by_session_id = 'session-2', consumed_at = '' where id = 1;
insert into telemetry_events (id, run_id, task_id, timestamp, actor, event_type, severity, summary,
    correlation_json, attributes_json)
  values ('telemetry-1', null, null, '2026-01-01T12:00:00.000Z', 'dispatch', 'dispatch_watch_heartbeat', 'info',
    'beat', '{"dispatcher_id": "dispatch-local"}', '{"dry_run": false}');
insert into telemetry_events_fts (event_id, task_id, run_id, actor, event_type, summary, attributes)
  values ('telemetry-1', null, null, 'dispatch', 'dispatch_watch_heartbeat', 'beat', '{"dry_run": false}');
insert into events (created_at, actor, command_id, correlation_id, task_id, type, payload_json)
  values ('', 'workerctl', 'command-1', 'dispatch-1', 'task-1', 'x', '{}');
insert into manager_configs (task_id, supervision_mode, guidelines_json, acceptance_criteria_json,
    reference_paths_json, permissions_json, created_at, updated_at)
  values ('task-1', 'guided', '[]', '[]', '[]', '{}', '', '');
"#;

#[test]
fn a_writer_that_does_not_know_them_goes_on_working() {
    let place = place();
    drop(open_to_write(&place.path));
    let conn = connect(&place.path);
    conn.execute_batch(WRITES).unwrap();
    assert_eq!(one::<i64>(&conn, "select lapses from commands"), 0);
    assert_eq!(one::<String>(&conn, "select delivery_mode from routed_notifications"), "pull_required");
    drop(conn);
    creation::assert_complete(&open_to_write(&place.path));
}

#[test]
fn the_planner_uses_the_indexes_for_what_they_are_made() {
    let place = place();
    let conn = open_to_write(&place.path);
    let plan = |sql: &str, index: &str| {
        let plan = rows(&conn, &format!("explain query plan {sql}")).join("\n");
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
    };
    plan(
        "select id from commands where state = 'pending' and available_at is null and type = 'nudge_worker'
          order by created_at, rowid limit 1",
        "conveyor_commands_ready",
    );
    plan(
        "select id from commands where state = 'attempted' and claim_expires_at <= 'x'",
        "conveyor_commands_claimed",
    );
    plan("select id from commands order by created_at, rowid", "conveyor_commands_created");
    plan(
        "select max(timestamp) from telemetry_events where event_type = 'dispatch_watch_heartbeat'
          and json_extract(correlation_json, '$.dispatcher_id') = 'd'",
        "conveyor_heartbeats",
    );
    plan(
        "select id from codex_events where session_id = 's' and subtype = 'task_complete' and id > 5 order by id",
        "conveyor_completions",
    );
    plan("select id from codex_events where session_id = 's' and byte_offset = 5", "conveyor_event_place");
    plan(
        "select id from codex_events where session_id = 's'
          and subtype in ('task_started', 'user_message', 'task_complete', 'turn_aborted')
          and type = 'event_msg' order by id desc limit 1",
        "conveyor_turns",
    );
    plan(
        "select id from manager_cycles where task_id = 't'
          and json_extract(status_json, '$.notable_pane_pattern') is not null order by id desc limit 5",
        "conveyor_divergences",
    );
    plan("select max(completed_at) from manager_cycles where task_id = 't'", "conveyor_cycles_ended");
    plan(
        "select id from bindings where task_id = 't' order by created_at desc, rowid desc limit 1",
        "conveyor_bindings_task",
    );
    plan(
        "select id from tasks where name = 'n' order by created_at desc, rowid desc limit 1",
        "conveyor_tasks_name",
    );
}
