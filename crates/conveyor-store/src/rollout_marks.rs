//! How far each session's rollout has been read, and which file that was.

use crate::{Row, StoreError, Tx, params};

/// What tells a rollout file from another one under the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The device that holds it.
    pub device: String,
    /// Its number there; used again once the file is gone.
    pub inode: String,
    /// Digest of its first line, which never changes and moves with it; `None` when that line is
    /// too long to be read.
    pub digest: Option<String>,
}

/// A session's place in its rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The session.
    pub session_id: String,
    /// Its name.
    pub session: String,
    /// Its state; only an `active` one is read.
    pub state: String,
    /// Its rollout file, if it has one.
    pub path: Option<String>,
    /// Everything before this byte has been read; `None`: nothing since the session was registered.
    pub offset: Option<i64>,
    /// The file that was read so far, as far as known.
    pub identity: Option<Identity>,
}

const COLUMNS: &str = "id, name, state, codex_session_path, last_ingest_offset, rollout_device, rollout_inode, \
                       rollout_digest";

fn from_row(row: &Row<'_>) -> Result<Mark, StoreError> {
    let offset = row.opt_int(4)?;
    let identity = match (row.opt_text(5)?, row.opt_text(6)?) {
        (Some(device), Some(inode)) => Some(Identity { device, inode, digest: row.opt_text(7)? }),
        _ => None,
    };
    Ok(Mark {
        session_id: row.text(0)?,
        session: row.text(1)?,
        state: row.text(2)?,
        path: row.opt_text(3)?.filter(|path| !path.is_empty()),
        offset,
        // Registering a session anew clears the offset; a program that does not know our columns
        // leaves them as they were, and they mean nothing then.
        identity: identity.filter(|_| offset.is_some()),
    })
}

/// The mark of the session with this name.
///
/// # Errors
/// A failing statement.
pub fn by_name(tx: &mut Tx<'_>, name: &str) -> Result<Option<Mark>, StoreError> {
    tx.first(&format!("select {COLUMNS} from sessions where name = $1"), params![name], from_row)
}

/// The mark of the session with this id.
///
/// # Errors
/// A failing statement.
pub fn by_id(tx: &mut Tx<'_>, session_id: &str) -> Result<Option<Mark>, StoreError> {
    tx.first(&format!("select {COLUMNS} from sessions where id = $1"), params![session_id], from_row)
}

/// The marks of all active sessions in live bindings that have a rollout, by name.
///
/// # Errors
/// A failing statement.
pub fn of_bound_sessions(tx: &mut Tx<'_>) -> Result<Vec<Mark>, StoreError> {
    tx.all(
        &format!(
            "select {COLUMNS} from sessions where state = 'active' and codex_session_path <> '' and id in \
             (select worker_session_id from bindings \
              where state in ('active', 'ending') and worker_session_id is not null \
              union all \
              select manager_session_id from bindings \
              where state in ('active', 'ending') and manager_session_id is not null) \
             order by name"
        ),
        &[],
        from_row,
    )
}

/// Moves the mark from where it was seen to `offset` in the file `identity`. `false`, and nothing
/// written, when it is no longer where it was seen: another process reads the same rollout, or
/// the session was registered anew or is gone.
///
/// # Errors
/// A failing statement.
pub fn advance(
    tx: &mut Tx<'_>,
    seen: &Mark,
    offset: Option<i64>,
    identity: &Identity,
) -> Result<bool, StoreError> {
    let moved = tx.execute(
        "update sessions set last_ingest_offset = $2, rollout_device = $3, rollout_inode = $4, rollout_digest = $5 \
         where id = $1 and state = 'active' and last_ingest_offset is not distinct from $6 \
         and codex_session_path is not distinct from $7",
        params![
            &seen.session_id,
            offset,
            &identity.device,
            &identity.inode,
            &identity.digest,
            seen.offset,
            &seen.path,
        ],
    )?;
    Ok(moved == 1)
}
