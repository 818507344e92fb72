//! Completion events of bound workers that have not been routed yet.

use std::collections::BTreeSet;

use conveyor_model::records::Object;

use crate::codex_events::BY_DISPATCHER;
use crate::{Param, Row, StoreError, Tx, lacking, params};

/// The subtype of a completion.
pub const COMPLETION: &str = "task_complete";

/// A completion of a bound worker that no notification refers to.
#[derive(Clone, Debug)]
pub struct Unrouted {
    /// The event's id.
    pub event_id: i64,
    /// The event's time as stored.
    pub timestamp: String,
    /// The event's payload.
    pub payload: Object,
    /// The worker's session.
    pub worker_session_id: String,
    /// Its name.
    pub worker_name: String,
    /// The live binding.
    pub binding_id: String,
    /// When the binding was made.
    pub binding_created_at: String,
    /// The task.
    pub task_id: String,
    /// Its name.
    pub task_name: String,
    /// The manager's session; a legacy binding may have none.
    pub manager_session_id: Option<String>,
    /// Whether a dispatcher read it from the rollout.
    pub is_read_by_dispatcher: bool,
}

fn unrouted_row(row: &Row<'_>) -> Result<Unrouted, StoreError> {
    Ok(Unrouted {
        event_id: row.int(0)?,
        timestamp: row.text(1)?,
        payload: row.object(2)?,
        worker_session_id: row.text(3)?,
        worker_name: row.text(4)?,
        binding_id: row.text(5)?,
        binding_created_at: row.text(6)?,
        task_id: row.text(7)?,
        task_name: row.text(8)?,
        manager_session_id: row.opt_text(9)?,
        is_read_by_dispatcher: row.opt_text(10)?.as_deref() == Some(BY_DISPATCHER),
    })
}

/// The first `limit` completions of bound workers without a notification, oldest event first,
/// without those of the tasks in `skipped_tasks`; of all of them, or of the sessions `of` alone. Only
/// events behind each session's routed mark are looked at, so the work does not grow with history.
///
/// # Errors
/// A failing statement.
pub fn unrouted<'a>(
    tx: &mut Tx<'_>,
    limit: usize,
    skipped_tasks: &'a [String],
    of: Option<&'a BTreeSet<String>>,
) -> Result<Vec<Unrouted>, StoreError> {
    oldest_unrouted(tx, limit, skipped_tasks, of, OURS)
}

/// The same for who only wants to know, and may meet a ledger without what is ours.
///
/// # Errors
/// A failing statement.
pub fn plannable(tx: &mut Tx<'_>, limit: usize) -> Result<Vec<Unrouted>, StoreError> {
    let ours = ["codex_events.ingested_by", "sessions.routed_event_id", "conveyor_bindings_live"];
    let how = if lacking::has_all(tx, &ours)? { OURS } else { ("", "null", "0") };
    oldest_unrouted(tx, limit, &[], None, how)
}

/// The index that is used, who read an event, and the session's routed mark.
const OURS: (&str, &str, &str) = ("{by_live}", "e.ingested_by", "coalesce(w.routed_event_id, 0)");

fn oldest_unrouted<'a>(
    tx: &mut Tx<'_>,
    limit: usize,
    skipped_tasks: &'a [String],
    of: Option<&'a BTreeSet<String>>,
    (by_live, reader, mark): (&str, &str, &str),
) -> Result<Vec<Unrouted>, StoreError> {
    let mut values: Vec<Param<'_>> = vec![(limit as i64).into()];
    let mut list = |items: &mut dyn Iterator<Item = &'a String>| {
        let places: Vec<String> = items
            .map(|item| {
                values.push(item.into());
                format!("${}", values.len())
            })
            .collect();
        places.join(", ")
    };
    let mut skip = String::new();
    if !skipped_tasks.is_empty() {
        skip = format!("and b.task_id not in ({})", list(&mut skipped_tasks.iter()));
    }
    if let Some(of) = of {
        if of.is_empty() {
            return Ok(Vec::new());
        }
        skip.push_str(&format!(" and b.worker_session_id in ({})", list(&mut of.iter())));
    }
    // `cross join` keeps SQLite from starting at the big table.
    let sql = format!(
        "select e.id, e.timestamp, e.payload_json, w.id, w.name, b.id, b.created_at, t.id, t.name, \
         b.manager_session_id, {reader} from bindings b {by_live} cross join sessions w cross join tasks t \
         cross join codex_events e where b.state in ('active', 'ending') and w.id = b.worker_session_id \
         and t.id = b.task_id and e.session_id = w.id and e.subtype = 'task_complete' \
         and e.id > {mark} {skip} \
         and not exists (select 1 from routed_notifications n where n.source_event_id = e.id) \
         order by e.id limit $1"
    );
    tx.all(&sql, &values, unrouted_row)
}

/// Whether the end of a turn of the event's worker was announced already, by another event.
///
/// # Errors
/// A failing statement.
pub fn is_announced(tx: &mut Tx<'_>, event: &Unrouted, turn_id: &str) -> Result<bool, StoreError> {
    let session = event.worker_session_id.as_str();
    let announced = tx.one(
        "select count(*) from codex_events e join routed_notifications n on n.source_event_id = e.id \
         where e.session_id = $1 and e.subtype = 'task_complete' and {turn_of_event} = $2 and e.id <> $3",
        params![session, turn_id, event.event_id],
        |row| row.int(0),
    )?;
    Ok(announced > 0)
}

/// Moves a session's routed mark forward: every completion up to this event has been routed.
///
/// # Errors
/// A failing statement.
pub fn mark_routed(tx: &mut Tx<'_>, session_id: &str, event_id: i64) -> Result<(), StoreError> {
    tx.execute(
        "update sessions set routed_event_id = $2 where id = $1 and coalesce(routed_event_id, 0) < $2",
        params![session_id, event_id],
    )?;
    Ok(())
}

/// Sessions of live bindings whose mark lags behind their newest completion, with that event, as
/// far as all their completions have been routed. One statement tells both, because on a server a
/// completion may be committed between two.
///
/// # Errors
/// A failing statement.
pub fn lagging_marks(tx: &mut Tx<'_>) -> Result<Vec<(String, i64)>, StoreError> {
    tx.all(
        "select id, newest from (select w.id, coalesce(w.routed_event_id, 0) as mark, \
         (select max(e.id) from codex_events e where e.session_id = w.id and e.subtype = 'task_complete') as newest \
         from bindings b {by_live} cross join sessions w where b.state in ('active', 'ending') \
         and w.id = b.worker_session_id) as marks where newest > mark \
         and not exists (select 1 from codex_events e where e.session_id = marks.id and e.subtype = 'task_complete' \
         and e.id > marks.mark and not exists (select 1 from routed_notifications n where n.source_event_id = e.id))",
        &[],
        |row| Ok((row.text(0)?, row.int(1)?)),
    )
}

/// The newest completion of a session that a dispatcher read, from event `first` on, that is older
/// than the moment `before` (as stored).
///
/// # Errors
/// A failing statement.
pub fn newest_before(
    tx: &mut Tx<'_>,
    session_id: &str,
    first: i64,
    before: &str,
) -> Result<Option<i64>, StoreError> {
    tx.one(
        "select max(id) from codex_events where session_id = $1 and subtype = 'task_complete' and id >= $2 \
         and conveyor_ms(timestamp) < conveyor_ms($3) and ingested_by = $4",
        params![session_id, first, before, BY_DISPATCHER],
        |row| row.opt_int(0),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use conveyor_testkit::{ManualClock, SequentialIds};

    use super::*;
    use crate::{Access, Db, Location, OpenOptions};

    /// On a server a completion may be committed after the look for unrouted ones: a mark that
    /// passed it would lose it.
    #[test]
    fn no_mark_passes_an_unrouted_completion() {
        let dir = tempfile::tempdir().unwrap();
        let options = OpenOptions {
            clock: Arc::new(ManualClock::default()),
            ids: Arc::new(SequentialIds::new()),
            machine: conveyor_model::Machine::default(),
            server_password: None,
            password_file: None,
        };
        let mut db = Db::open(&Location::File(dir.path().join("x.db")), Access::Write, options).unwrap();
        let at = "2026-06-11T12:00:00Z";
        let session = |role: &str| {
            format!(
                "insert into sessions (id, name, role, identity_token, cwd, registered_at, state) \
                 values ('{role}', '{role}', '{role}', '{role}', '', '{at}', 'active')"
            )
        };
        let mut look = |statements: &[String]| {
            db.write(|tx| {
                for statement in statements {
                    tx.execute(statement, &[])?;
                }
                lagging_marks(tx)
            })
            .unwrap()
        };
        let bound = [
            format!(
                "insert into tasks (id, name, goal, state, created_at, updated_at) \
                 values ('t', 't', 'g', 'managed', '{at}', '{at}')"
            ),
            session("worker"),
            session("manager"),
            format!(
                "insert into bindings (id, task_id, worker_session_id, manager_session_id, state, created_at) \
                 values ('b', 't', 'worker', 'manager', 'active', '{at}')"
            ),
            format!(
                "insert into codex_events (session_id, timestamp, type, subtype, payload_json, byte_offset, \
                 ingested_at) values ('worker', '{at}', 'event_msg', 'task_complete', '{{}}', 0, '{at}')"
            ),
        ];
        assert_eq!(look(&bound), []);
        let routed = format!(
            "insert into routed_notifications (task_id, binding_id, correlation_id, source_session_id, \
             target_session_id, signal_type, source_event_id, dedupe_key, created_at, state, payload_json) \
             values ('t', 'b', 'c', 'worker', 'manager', 'worker_task_complete', 1, 'k', '{at}', 'pending', '{{}}')"
        );
        assert_eq!(look(&[routed]), [("worker".to_owned(), 1)]);
    }
}
