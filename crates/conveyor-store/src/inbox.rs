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

/// What is in the inbox of session `$1`, in its order: the words of the index `conveyor_inbox`.
const WAITING: &str = "target_session_id = $1 and state = 'delivered' and consumed_at is null order by created_at, id";

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

fn consume_statement() -> String {
    format!(
        "update routed_notifications set consumed_at = $2, consumed_by_session_id = $1 where id = \
         (select id from routed_notifications where {WAITING} limit 1{{skip_locked}}) \
         and consumed_at is null returning id"
    )
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
    let statement = format!("select id from routed_notifications where {WAITING} limit 1");
    Ok(tx.first(&statement, params![session_id], |row| row.int(0))?.is_some())
}

/// Takes the first item out of a session's inbox; gives it as it is afterwards. `None` when
/// nothing is there, or other consumers have their hands on all that is.
///
/// # Errors
/// A failing statement.
pub fn consume_next(tx: &mut Tx<'_>, session_id: &str) -> Result<Option<SessionInboxItem>, StoreError> {
    let now = tx.now()?.to_ms_text();
    let consumed = tx.first(&consume_statement(), params![session_id, now], |row| row.int(0))?;
    match consumed {
        Some(id) => tx.first(
            &format!("select {COLUMNS} from routed_notifications n {NAMES} where n.id = $1"),
            params![id],
            from_row,
        ),
        None => Ok(None),
    }
}
