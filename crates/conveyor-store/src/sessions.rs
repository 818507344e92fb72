//! Registered sessions.

use conveyor_model::records::Session;

use crate::{Row, StoreError, Tx, params};

pub(crate) const COLUMNS: &str = "id, name, role, identity_token, tmux_session, tmux_pane_id, codex_session_path, \
                                  codex_session_id, codex_app_thread_id, codex_app_thread_title, pid, cwd, \
                                  registered_at, last_heartbeat_at, state, last_ingest_offset";

pub(crate) fn from_row(row: &Row<'_>) -> Result<Session, StoreError> {
    Ok(Session {
        id: row.text(0)?,
        name: row.text(1)?,
        role: row.text(2)?,
        identity_token: row.text(3)?,
        tmux_session: row.opt_text(4)?,
        tmux_pane_id: row.opt_text(5)?,
        codex_session_path: row.opt_text(6)?,
        codex_session_id: row.opt_text(7)?,
        codex_app_thread_id: row.opt_text(8)?,
        codex_app_thread_title: row.opt_text(9)?,
        pid: row.opt_int(10)?,
        cwd: row.text(11)?,
        registered_at: row.text(12)?,
        last_heartbeat_at: row.opt_text(13)?,
        state: row.text(14)?,
        last_ingest_offset: row.opt_int(15)?,
    })
}

/// The session of this exact name.
///
/// # Errors
/// A failing statement.
pub fn by_name(tx: &mut Tx<'_>, name: &str) -> Result<Option<Session>, StoreError> {
    tx.first(&format!("select {COLUMNS} from sessions where name = $1"), params![name], from_row)
}

/// The session with this id.
///
/// # Errors
/// A failing statement.
pub fn by_id(tx: &mut Tx<'_>, id: &str) -> Result<Option<Session>, StoreError> {
    tx.first(&format!("select {COLUMNS} from sessions where id = $1"), params![id], from_row)
}

/// Renews a session's lease.
///
/// # Errors
/// A failing statement.
pub fn set_heartbeat(tx: &mut Tx<'_>, id: &str, at: &str) -> Result<(), StoreError> {
    tx.execute("update sessions set last_heartbeat_at = $2 where id = $1", params![id, at])?;
    Ok(())
}

/// Marks a session as gone; its heartbeat becomes the moment it went.
///
/// # Errors
/// A failing statement.
pub fn set_gone(tx: &mut Tx<'_>, id: &str) -> Result<(), StoreError> {
    let now = tx.now()?.to_ms_text();
    tx.execute("update sessions set state = 'gone', last_heartbeat_at = $2 where id = $1", params![id, now])?;
    Ok(())
}
