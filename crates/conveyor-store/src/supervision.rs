//! Who works on each task, as the ledger knows it: what the live check compares with the machine.

use conveyor_model::records::Task;

use crate::{Row, StoreError, Tx, params, tasks};

/// A task with the sides of its live binding and its newest legacy manager.
#[derive(Clone, Debug)]
pub struct Supervised {
    /// The task.
    pub task: Task,
    /// The legacy worker of the binding.
    pub worker: Option<Side>,
    /// The worker session of the binding.
    pub worker_session: Option<Side>,
    /// The newest legacy manager that is not stopped.
    pub manager: Option<Side>,
    /// The manager session of the binding.
    pub manager_session: Option<Side>,
}

/// One worker, manager or session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields are the columns of the tables")]
pub struct Side {
    pub id: String,
    pub name: String,
    pub state: String,
    pub tmux_session: Option<String>,
    pub tmux_pane_id: Option<String>,
    pub pid: Option<i64>,
    pub last_seen_at: Option<String>,
    pub last_capture_sha256: Option<String>,
}

/// A command that is not finished.
#[derive(Clone, Debug, serde::Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Unfinished {
    pub id: String,
    pub task_id: Option<String>,
    pub worker_id: Option<String>,
    pub manager_id: Option<String>,
    #[serde(rename = "type")]
    pub command_type: String,
    pub state: String,
    pub created_at: String,
    pub updated_at: String,
    pub claimed_by: Option<String>,
    pub attempts: i64,
    pub error: Option<String>,
}

/// Every task, closed ones included, by name.
///
/// # Errors
/// A failing statement.
pub fn all(tx: &mut Tx<'_>) -> Result<Vec<Supervised>, StoreError> {
    let rows = tx.all(
        "select t.id, t.name, t.goal, t.summary, t.state, t.created_at, t.updated_at, b.worker_id, \
         b.worker_session_id, b.manager_session_id from tasks t \
         left join bindings b on b.task_id = t.id and b.state in ('active', 'ending') \
         order by t.name, t.created_at, t.id",
        &[],
        |row| Ok((tasks::from_row(row)?, [row.opt_text(7)?, row.opt_text(8)?, row.opt_text(9)?])),
    )?;
    let mut found = Vec::with_capacity(rows.len());
    for (task, [worker, worker_session, manager_session]) in rows {
        found.push(Supervised {
            worker: side(tx, WORKER, worker.as_deref())?,
            worker_session: side(tx, SESSION, worker_session.as_deref())?,
            manager: side(tx, MANAGER, Some(&task.id))?,
            manager_session: side(tx, SESSION, manager_session.as_deref())?,
            task,
        });
    }
    Ok(found)
}

const WORKER: &str = "select id, name, state, tmux_session, tmux_pane_id, null, last_seen_at, null from workers \
                      where id = $1";

const SESSION: &str = "select id, name, state, tmux_session, tmux_pane_id, pid, last_heartbeat_at, null \
                       from sessions where id = $1";

const MANAGER: &str = "select id, name, state, tmux_session, tmux_pane_id, null, last_seen_at, \
                       last_capture_sha256 from managers where task_id = $1 \
                       and state in ('starting', 'ready', 'stopping') order by started_at desc, id desc limit 1";

fn side(tx: &mut Tx<'_>, query: &str, id: Option<&str>) -> Result<Option<Side>, StoreError> {
    let Some(id) = id else { return Ok(None) };
    tx.first(query, params![id], |row: &Row<'_>| {
        Ok(Side {
            id: row.text(0)?,
            name: row.text(1)?,
            state: row.text(2)?,
            tmux_session: row.opt_text(3)?.filter(|name| !name.is_empty()),
            tmux_pane_id: row.opt_text(4)?.filter(|id| !id.is_empty()),
            pid: if query == SESSION { row.opt_int(5)? } else { None },
            last_seen_at: row.opt_text(6)?,
            last_capture_sha256: row.opt_text(7)?,
        })
    })
}

/// The commands of a task that are not finished: last touched first.
///
/// # Errors
/// A failing statement.
pub fn unfinished_commands(tx: &mut Tx<'_>, task_id: &str) -> Result<Vec<Unfinished>, StoreError> {
    tx.all(
        "select id, task_id, worker_id, manager_id, type, state, created_at, updated_at, claimed_by, attempts, \
         error from commands where task_id = $1 and state in ('pending', 'attempted') \
         order by updated_at desc, created_at desc, id",
        params![task_id],
        |row| {
            Ok(Unfinished {
                id: row.text(0)?,
                task_id: row.opt_text(1)?,
                worker_id: row.opt_text(2)?,
                manager_id: row.opt_text(3)?,
                command_type: row.text(4)?,
                state: row.text(5)?,
                created_at: row.text(6)?,
                updated_at: row.text(7)?,
                claimed_by: row.opt_text(8)?,
                attempts: row.int(9)?,
                error: row.opt_text(10)?,
            })
        },
    )
}
