//! What a dispatcher writes for each queued command, a hundred commands to a transaction.

use std::collections::HashMap;

use rusqlite::Connection;

use crate::{Outcome, Random};

/// As many as the dispatcher takes.
const BATCH: usize = 100;
const AT: &str = "2026-06-01T12:00:00.000Z";
const LEASE_END: &str = "2026-06-01T12:01:00Z";
const DISPATCHER: &str = "dispatch-local";

/// Binding and both sessions of a task, by task id.
type Routes = HashMap<String, (String, String, String)>;

struct Queued {
    id: String,
    task: String,
    correlation: String,
    payload: String,
}

pub fn run(file: &str, limit: &str) -> Outcome {
    let connection = crate::open(file)?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.set_prepared_statement_cache_capacity(32);
    let routes = routes(&connection)?;
    let mut random = Random::new();
    let mut left: usize = limit.parse()?;
    while left > 0 {
        connection.prepare_cached("begin immediate")?.execute([])?;
        let queue = queued(&connection, left.min(BATCH))?;
        if queue.is_empty() {
            return Err("the queue is shorter than the limit".into());
        }
        for command in &queue {
            let route = routes.get(&command.task).ok_or("a command's task is not bound")?;
            route_one(&connection, &mut random, command, route)?;
        }
        connection.prepare_cached("commit")?.execute([])?;
        left -= queue.len();
    }
    Ok(())
}

fn routes(connection: &Connection) -> Outcome<Routes> {
    let mut statement = connection.prepare(
        "select task_id, id, manager_session_id, worker_session_id from bindings where state = 'active'",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn queued(connection: &Connection, limit: usize) -> Outcome<Vec<Queued>> {
    let mut statement = connection.prepare_cached(
        "select id, task_id, correlation_id, payload_json from commands indexed by conveyor_commands_ready \
         where type = 'nudge_worker' and state = 'pending' and available_at is null \
         order by created_at, rowid limit ?1",
    )?;
    let rows = statement.query_map([limit as i64], |row| {
        Ok(Queued { id: row.get(0)?, task: row.get(1)?, correlation: row.get(2)?, payload: row.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn route_one(
    connection: &Connection,
    random: &mut Random,
    command: &Queued,
    (binding, source, target): &(String, String, String),
) -> Outcome {
    let Queued { id, task, correlation, payload } = command;
    connection
        .prepare_cached(
            "update commands set state = 'attempted', updated_at = ?2, claimed_at = ?2, claimed_by = ?3, \
             claim_expires_at = ?4, attempts = attempts + 1, error = null where id = ?1 and state = 'pending'",
        )?
        .execute((id, AT, DISPATCHER, LEASE_END))?;
    connection
        .prepare_cached(
            "insert into command_attempts (command_id, correlation_id, dispatcher_id, started_at, state) \
             values (?1, ?2, ?3, ?4, 'running')",
        )?
        .execute((id, correlation, DISPATCHER, AT))?;
    let attempt = connection.last_insert_rowid();
    let tied = format!(
        r#"{{"attempt_id":{attempt},"command_id":"{id}","command_type":"nudge_worker","correlation_id":"{correlation}","dispatcher_id":"{DISPATCHER}""#
    );
    let mut tell = |kind: &str, summary: &str, correlation: String, attributes: &str| {
        tell(connection, &random.id("telemetry"), task, kind, summary, &correlation, attributes)
    };
    let claimed =
        format!(r#"{{"attempts":1,"claim_expires_at":"{LEASE_END}","manager_id":null,"worker_id":null}}"#);
    tell("dispatch_command_claimed", "Claimed command nudge_worker.", format!("{tied}}}"), &claimed)?;
    connection
        .prepare_cached(
            "insert into routed_notifications (task_id, binding_id, correlation_id, source_session_id, \
             target_session_id, signal_type, dedupe_key, command_id, created_at, delivered_at, delivery_mode, \
             state, payload_json) values (?1, ?2, ?3, ?4, ?5, 'nudge_worker', ?6, ?7, ?8, ?8, 'pull_required', \
             'delivered', ?9)",
        )?
        .execute((
            task,
            binding,
            correlation,
            source,
            target,
            format!("{binding}:nudge_worker:{id}"),
            id,
            AT,
            format!(
                r#"{{"command_id":"{id}","command_type":"nudge_worker","delivery_mode":"pull_required","dispatcher_id":"{DISPATCHER}","message":{payload},"permission_check":null,"source_session":"{source}","target_session":"{target}","task_id":"{task}"}}"#
            ),
        ))?;
    let notification = connection.last_insert_rowid();
    let routed = format!(r#"{tied},"routed_notification_id":{notification}"#);
    let both = format!(
        r#"{{"delivery_mode":"pull_required","permission_check":null,"source_session":"{source}","target_session":"{target}"}}"#
    );
    tell("dispatch_command_attempted", "Attempted command nudge_worker.", format!("{routed}}}"), &both)?;
    tell(
        "dispatch_signal_pull_required",
        &format!("nudge_worker waits in the inbox of {target}."),
        format!(r#"{routed},"binding_id":"{binding}","signal_type":"nudge_worker"}}"#),
        &format!(r#"{{"delivery_mode":"pull_required","target_session":"{target}"}}"#),
    )?;
    let result = format!(
        r#"{tied},"delivery_mode":"pull_required","dry_run":false,"notification_id":{notification},"permission_check":null,"side_effect_completed":false,"side_effect_started":false,"state":"pull_required","target_session":"{target}"}}"#
    );
    connection
        .prepare_cached(
            "update command_attempts set state = 'succeeded', finished_at = ?2, result_json = ?3 where id = ?1",
        )?
        .execute((attempt, AT, &result))?;
    connection
        .prepare_cached(
            "update commands set state = 'succeeded', updated_at = ?2, result_json = ?3 where id = ?1",
        )?
        .execute((id, AT, &result))?;
    tell(
        "dispatch_command_succeeded",
        "Command nudge_worker succeeded.",
        format!("{tied}}}"),
        &format!(
            r#"{{"error":null,"manager_id":null,"result":{result},"side_effect_completed":false,"side_effect_started":false,"worker_id":null}}"#
        ),
    )
}

/// A telemetry row and its search row.
fn tell(
    connection: &Connection,
    id: &str,
    task: &str,
    kind: &str,
    summary: &str,
    correlation: &str,
    attributes: &str,
) -> Outcome {
    connection
        .prepare_cached(
            "insert into telemetry_events (id, task_id, timestamp, actor, event_type, severity, summary, \
             correlation_json, attributes_json) values (?1, ?2, ?3, 'dispatch', ?4, 'info', ?5, ?6, ?7)",
        )?
        .execute((id, task, AT, kind, summary, correlation, attributes))?;
    connection
        .prepare_cached(
            "insert into telemetry_events_fts (event_id, task_id, run_id, actor, event_type, summary, attributes) \
             values (?1, ?2, null, 'dispatch', ?3, ?4, ?5)",
        )?
        .execute((id, task, kind, summary, attributes))?;
    Ok(())
}
