//! Legacy workers, which live in directories below the state root, and what they said of
//! themselves. Registered sessions get a row here too when their terminal is captured.

use conveyor_model::{IdPrefix, WorkerState, WorkerStatus};

use crate::{Row, StoreError, Tx, params};

/// What is known about a worker.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Unique among all workers.
    pub name: &'a str,
    /// Its terminal; unique among all workers.
    pub tmux_session: &'a str,
    /// Its pane, where it is known.
    pub tmux_pane_id: Option<&'a str>,
    /// For a new row; `None`: a fresh one.
    pub identity_token: Option<&'a str>,
    /// Where it works; may be empty.
    pub cwd: &'a str,
    /// Its life-cycle state.
    pub state: WorkerState,
}

/// Inserts a worker, or brings the one of this name up to date; gives its id. An existing row
/// keeps its id, its token and, where no pane is given, its pane.
///
/// # Errors
/// [`StoreError::Unique`] when another worker has the terminal or the token; a failing statement.
pub fn upsert(tx: &mut Tx<'_>, facts: &Facts<'_>) -> Result<String, StoreError> {
    let now = tx.now()?.to_s_text();
    let token = facts.identity_token.map_or_else(|| tx.fresh_id(IdPrefix::WorkerToken), ToOwned::to_owned);
    tx.one(
        "insert into workers (id, name, tmux_session, tmux_pane_id, identity_token, cwd, state, created_at, \
         updated_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $8) \
         on conflict (name) do update set tmux_session = excluded.tmux_session, \
         tmux_pane_id = coalesce(excluded.tmux_pane_id, workers.tmux_pane_id), cwd = excluded.cwd, \
         state = excluded.state, updated_at = excluded.updated_at, exit_detected_at = null, exit_reason = null \
         returning id",
        params![
            tx.fresh_id(IdPrefix::Worker),
            facts.name,
            facts.tmux_session,
            facts.tmux_pane_id,
            token,
            facts.cwd,
            facts.state.as_str(),
            now,
        ],
        |row| row.text(0),
    )
}

/// The id of the worker of this name.
///
/// # Errors
/// A failing statement.
pub fn id_of(tx: &mut Tx<'_>, name: &str) -> Result<Option<String>, StoreError> {
    tx.first("select id from workers where name = $1", params![name], |row| row.text(0))
}

/// What is recorded of the terminal and the identity of the worker of this name.
///
/// # Errors
/// A failing statement.
pub fn identity(tx: &mut Tx<'_>, name: &str) -> Result<Option<Identity>, StoreError> {
    tx.first("select tmux_session, identity_token from workers where name = $1", params![name], |row| {
        Ok(Identity { tmux_session: row.text(0)?, identity_token: row.text(1)? })
    })
}

/// The terminal and the identity of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its terminal.
    pub tmux_session: String,
    /// What proves who it is.
    pub identity_token: String,
}

/// Changes the life-cycle state of the worker of this name, if it is recorded.
///
/// # Errors
/// A failing statement.
pub fn set_state(tx: &mut Tx<'_>, name: &str, state: WorkerState) -> Result<(), StoreError> {
    let now = tx.now()?.to_s_text();
    tx.execute(
        "update workers set state = $2, updated_at = $3 where name = $1",
        params![name, state.as_str(), now],
    )?;
    Ok(())
}

/// What a worker said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is doing; older files may hold what we do not know.
    pub state: String,
    /// Its task.
    pub current_task: Option<String>,
    /// What it will do next.
    pub next_action: Option<String>,
    /// What it waits for.
    pub blocker: Option<String>,
    /// When it said so.
    pub created_at: String,
}

impl Status {
    fn from_row(row: &Row<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            state: row.text(0)?,
            current_task: row.opt_text(1)?,
            next_action: row.opt_text(2)?,
            blocker: row.opt_text(3)?,
            created_at: row.text(4)?,
        })
    }
}

/// The newest status of the worker of this name.
///
/// # Errors
/// A failing statement.
pub fn latest_status(tx: &mut Tx<'_>, name: &str) -> Result<Option<Status>, StoreError> {
    tx.first(
        "select s.state, s.current_task, s.next_action, s.blocker, s.created_at from statuses s \
         join workers w on w.id = s.worker_id where w.name = $1 order by s.id desc limit 1",
        params![name],
        Status::from_row,
    )
}

/// A status about to be recorded.
#[derive(Clone, Copy, Debug)]
pub struct NewStatus<'a> {
    /// The worker's row.
    pub worker_id: &'a str,
    /// What it is doing.
    pub state: WorkerStatus,
    /// Its task.
    pub current_task: Option<&'a str>,
    /// What it will do next.
    pub next_action: Option<&'a str>,
    /// What it waits for.
    pub blocker: Option<&'a str>,
    /// When it said so, as it is written.
    pub created_at: &'a str,
}

/// Records a status.
///
/// # Errors
/// A failing statement.
pub fn insert_status(tx: &mut Tx<'_>, new: &NewStatus<'_>) -> Result<(), StoreError> {
    tx.execute(
        "insert into statuses (worker_id, state, current_task, next_action, blocker, created_at) \
         values ($1, $2, $3, $4, $5, $6)",
        params![
            new.worker_id,
            new.state.as_str(),
            new.current_task,
            new.next_action,
            new.blocker,
            new.created_at
        ],
    )?;
    Ok(())
}

/// Whether exactly this status is recorded already.
///
/// # Errors
/// A failing statement.
pub fn has_status(tx: &mut Tx<'_>, status: &NewStatus<'_>) -> Result<bool, StoreError> {
    // The engines spell "equal or both null" differently; a text that cannot occur stands for null.
    const NULL: &str = "\u{1}";
    let found = tx.first(
        "select id from statuses where worker_id = $1 and state = $2 and created_at = $3 \
         and coalesce(current_task, $7) = $4 and coalesce(next_action, $7) = $5 and coalesce(blocker, $7) = $6 \
         limit 1",
        params![
            status.worker_id,
            status.state.as_str(),
            status.created_at,
            status.current_task.unwrap_or(NULL),
            status.next_action.unwrap_or(NULL),
            status.blocker.unwrap_or(NULL),
            NULL,
        ],
        |row| row.int(0),
    )?;
    Ok(found.is_some())
}
