//! A session's inbox: the delivered notifications that nobody has consumed yet.

use conveyor_model::records::Object;
use serde::Serialize;

use crate::{Row, StoreError, Tx, params};

/// A notification with the names of its task and its two sessions, as inboxes show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct SessionInboxItem {
    pub id: i64,
    pub task_id: String,
    pub task_name: String,
    pub binding_id: String,
    pub correlation_id: String,
    pub dedupe_key: String,
    pub signal_type: String,
    pub source_session_id: String,
    pub source_session_name: String,
    pub source_session_role: String,
    pub target_session_id: String,
    pub target_session_name: String,
    pub target_session_role: String,
    pub source_event_id: Option<i64>,
    pub source_event_timestamp: Option<String>,
    pub command_id: Option<String>,
    pub created_at: String,
    pub delivered_at: Option<String>,
    pub consumed_at: Option<String>,
    pub consumed_by_session_id: Option<String>,
    pub consumed_manager_cycle_id: Option<i64>,
    pub delivery_mode: String,
    pub state: String,
    pub claimed_by: Option<String>,
    pub claimed_at: Option<String>,
    pub claim_expires_at: Option<String>,
    pub side_effect_started: bool,
    pub side_effect_completed: bool,
    pub payload: Object,
    pub error: Option<String>,
}

const COLUMNS: &str = "n.id, n.task_id, t.name, n.binding_id, n.correlation_id, n.dedupe_key, n.signal_type, \
                       n.source_session_id, s.name, s.role, n.target_session_id, r.name, r.role, \
                       n.source_event_id, n.source_event_timestamp, n.command_id, n.created_at, n.delivered_at, \
                       n.consumed_at, n.consumed_by_session_id, n.consumed_manager_cycle_id, n.delivery_mode, \
                       n.state, n.claimed_by, n.claimed_at, n.claim_expires_at, n.side_effect_started, \
                       n.side_effect_completed, n.payload_json, n.error";

/// The tables around a notification `n`.
const NAMES: &str = "left join tasks t on t.id = n.task_id \
                     left join sessions s on s.id = n.source_session_id \
                     left join sessions r on r.id = n.target_session_id";

/// What is in the inbox of session `$1`, in its order. On PostgreSQL these are the words of the
/// index `conveyor_inbox`.
const WAITING: &str =
    "target_session_id = $1 and state = 'delivered' and consumed_at is null order by created_at, id";

fn from_row(row: &Row<'_>) -> Result<SessionInboxItem, StoreError> {
    Ok(SessionInboxItem {
        id: row.int(0)?,
        task_id: row.text(1)?,
        task_name: row.text(2)?,
        binding_id: row.text(3)?,
        correlation_id: row.text(4)?,
        dedupe_key: row.text(5)?,
        signal_type: row.text(6)?,
        source_session_id: row.text(7)?,
        source_session_name: row.text(8)?,
        source_session_role: row.text(9)?,
        target_session_id: row.text(10)?,
        target_session_name: row.text(11)?,
        target_session_role: row.text(12)?,
        source_event_id: row.opt_int(13)?,
        source_event_timestamp: row.opt_text(14)?,
        command_id: row.opt_text(15)?,
        created_at: row.text(16)?,
        delivered_at: row.opt_text(17)?,
        consumed_at: row.opt_text(18)?,
        consumed_by_session_id: row.opt_text(19)?,
        consumed_manager_cycle_id: row.opt_int(20)?,
        delivery_mode: row.text(21)?,
        state: row.text(22)?,
        claimed_by: row.opt_text(23)?,
        claimed_at: row.opt_text(24)?,
        claim_expires_at: row.opt_text(25)?,
        side_effect_started: row.boolean(26)?,
        side_effect_completed: row.boolean(27)?,
        payload: row.object(28)?,
        error: row.opt_text(29)?,
    })
}

/// The limit is taken before the names are looked up.
fn list_statement() -> String {
    format!(
        "select {COLUMNS} from (select * from routed_notifications where {WAITING} limit $2) n {NAMES} \
         order by n.created_at, n.id"
    )
}

/// The moment is the statement's own: on a server one that was asked for before may be earlier than
/// the delivery of what the statement finds.
fn consume_statement() -> String {
    format!(
        "update routed_notifications set consumed_at = conveyor_now(), consumed_by_session_id = $1 where id = \
         (select id from routed_notifications where {WAITING} limit 1{{skip_locked}}) \
         and consumed_at is null returning id"
    )
}

fn has_items_statement() -> String {
    format!("select id from routed_notifications where {WAITING} limit 1")
}

/// The first `limit` items of a session's inbox, in order.
///
/// # Errors
/// A failing statement.
pub fn list(tx: &mut Tx<'_>, session_id: &str, limit: i64) -> Result<Vec<SessionInboxItem>, StoreError> {
    tx.all(&list_statement(), params![session_id, limit], from_row)
}

/// Whether anything is in a session's inbox.
///
/// # Errors
/// A failing statement.
pub fn has_items(tx: &mut Tx<'_>, session_id: &str) -> Result<bool, StoreError> {
    Ok(tx.first(&has_items_statement(), params![session_id], |row| row.int(0))?.is_some())
}

/// Takes the first item out of a session's inbox; gives it as it is afterwards. `None` when
/// nothing is there, or other consumers have their hands on all that is.
///
/// # Errors
/// A failing statement.
pub fn consume_next(tx: &mut Tx<'_>, session_id: &str) -> Result<Option<SessionInboxItem>, StoreError> {
    let consumed = tx.first(&consume_statement(), params![session_id], |row| row.int(0))?;
    match consumed {
        Some(id) => tx.first(
            &format!("select {COLUMNS} from routed_notifications n {NAMES} where n.id = $1"),
            params![id],
            from_row,
        ),
        None => Ok(None),
    }
}

/// Takes everything of one binding out of a session's inbox, for a cycle; gives how much that was.
///
/// # Errors
/// A failing statement.
pub fn consume_for_cycle(
    tx: &mut Tx<'_>,
    session_id: &str,
    binding_id: &str,
    cycle_id: i64,
) -> Result<u64, StoreError> {
    tx.execute(
        "update routed_notifications set consumed_at = conveyor_now(), consumed_manager_cycle_id = $3 \
         where target_session_id = $1 and state = 'delivered' and consumed_at is null and binding_id = $2",
        params![session_id, binding_id, cycle_id],
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use conveyor_testkit::postgres::TestSchema;
    use conveyor_testkit::{ManualClock, SequentialIds};

    use super::*;
    use crate::dialect::{Engine, render};
    use crate::{Access, Db, Location, OpenOptions};

    fn create(location: &Location) {
        let options = OpenOptions {
            clock: Arc::new(ManualClock::default()),
            ids: Arc::new(SequentialIds::new()),
            machine: conveyor_model::Machine::default(),
            server_password: None,
            password_file: None,
        };
        Db::open(location, Access::Write, options).unwrap();
    }

    #[test]
    fn sqlite_reads_inboxes_in_the_order_of_their_index() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        create(&Location::File(path.clone()));
        let raw = rusqlite::Connection::open(&path).unwrap();
        for sql in [list_statement(), consume_statement(), has_items_statement()] {
            let sql = format!("explain query plan {}", render(&sql, Engine::Sqlite));
            // The program's own function is not known to a bare connection.
            let sql = sql.replace("conveyor_now()", "'now'");
            let mut statement = raw.prepare(&sql).unwrap();
            let parameters = vec![1; statement.parameter_count()];
            let plan: Vec<String> = statement
                .query_map(rusqlite::params_from_iter(parameters), |row| row.get(3))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            let plan = plan.join("\n");
            let index =
                "INDEX routed_notifications_target_inbox (target_session_id=? AND consumed_at=? AND state=?)";
            assert!(plan.contains(index), "{plan}");
            // In its order, and as far as the limit only.
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        }
    }

    #[test]
    fn postgres_reads_inboxes_in_the_order_of_their_index() {
        let Some(schema) = TestSchema::if_enabled() else { return };
        create(&Location::server(schema.url()).unwrap());
        let mut client = schema.client();
        // An empty table would be read as a whole whatever the indexes.
        client.batch_execute("set enable_seqscan = off; set enable_bitmapscan = off").unwrap();
        for sql in [list_statement(), consume_statement(), has_items_statement()] {
            let sql =
                render(&sql, Engine::Postgres).replace("$1", "'session-w'").replace("limit $2", "limit 10");
            let rows = client.query(&format!("explain {sql}"), &[]).unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            let plan = plan.join("\n");
            // In its order, and as far as the limit only.
            let (_, limited) = plan.split_once("Limit ").unwrap();
            let (above, _) = limited.split_once("using conveyor_inbox on routed_notifications").unwrap();
            assert!(!above.contains("Sort"), "{plan}");
        }
    }
}
