//! Bindings: which worker session and which manager session belong together for a task.

use conveyor_model::records::Binding;
use conveyor_model::{IdPrefix, Role};
use serde::Serialize;

use crate::{Row, StoreError, Tx, params, tasks};

const SELECT: &str = "select b.id, b.task_id, b.worker_session_id, w.name, b.manager_session_id, m.name, b.state, \
                      b.created_at from bindings b left join sessions w on w.id = b.worker_session_id \
                      left join sessions m on m.id = b.manager_session_id";

fn from_row(row: &Row<'_>) -> Result<Binding, StoreError> {
    Ok(Binding {
        binding_id: row.text(0)?,
        task_id: row.text(1)?,
        worker_session_id: row.opt_text(2)?,
        worker_session_name: row.opt_text(3)?,
        manager_session_id: row.opt_text(4)?,
        manager_session_name: row.opt_text(5)?,
        state: row.text(6)?,
        created_at: row.text(7)?,
    })
}

/// Inserts an active binding; gives its id. The bind rule is the caller's to check first; the
/// partial unique indexes are the last word.
///
/// # Errors
/// A failing statement; [`StoreError::Unique`] when a side is bound already.
pub fn insert(
    tx: &mut Tx<'_>,
    task_id: &str,
    worker_id: &str,
    manager_id: &str,
) -> Result<String, StoreError> {
    let id = tx.fresh_id(IdPrefix::Binding);
    let now = tx.now()?.to_ms_text();
    tx.execute(
        "insert into bindings (id, task_id, worker_session_id, manager_session_id, state, created_at) \
         values ($1, $2, $3, $4, 'active', $5)",
        params![&id, task_id, worker_id, manager_id, now],
    )?;
    Ok(id)
}

/// The live binding of a task.
///
/// # Errors
/// A failing statement.
pub fn live_of_task(tx: &mut Tx<'_>, task_id: &str) -> Result<Option<Binding>, StoreError> {
    tx.first(
        &format!(
            "{SELECT} where b.task_id = $1 and b.state in ('active', 'ending') \
             order by b.created_at desc limit 1"
        ),
        params![task_id],
        from_row,
    )
}

/// The live binding that a session is in, whatever its role.
///
/// # Errors
/// A failing statement.
pub fn live_of_session(tx: &mut Tx<'_>, session_id: &str) -> Result<Option<Binding>, StoreError> {
    // One query per role: each partial unique index answers its half at once.
    for column in ["worker_session_id", "manager_session_id"] {
        let found = tx.first(
            &format!("{SELECT} where b.{column} = $1 and b.state in ('active', 'ending') limit 1"),
            params![session_id],
            from_row,
        )?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The binding of a task, live or ended, along which a command's message has been delivered.
///
/// # Errors
/// A failing statement.
pub fn that_delivered(
    tx: &mut Tx<'_>,
    task_id: &str,
    command_type: &str,
    command_id: &str,
) -> Result<Option<Binding>, StoreError> {
    // By the unique key of notifications, of which there is no index by command.
    tx.first(
        &format!(
            "{SELECT} where b.task_id = $1 and exists (select 1 from routed_notifications n \
             where n.dedupe_key = b.id || ':' || cast($2 as text) || ':' || cast($3 as text) \
             and n.state = 'delivered') limit 1"
        ),
        params![task_id, command_type, command_id],
        from_row,
    )
}

/// Ends every live binding of a task; gives how many there were.
///
/// # Errors
/// A failing statement.
pub fn end_all(tx: &mut Tx<'_>, task_id: &str) -> Result<u64, StoreError> {
    let now = tx.now()?.to_ms_text();
    tx.execute(
        "update bindings set state = 'ended', ended_at = $2 where task_id = $1 and state in ('active', 'ending')",
        params![task_id, now],
    )
}

/// The newest binding of a task, live ones first; ended ones count, too.
///
/// # Errors
/// A failing statement.
pub fn newest_of_task(tx: &mut Tx<'_>, task_id: &str) -> Result<Option<Binding>, StoreError> {
    if let Some(live) = live_of_task(tx, task_id)? {
        return Ok(Some(live));
    }
    tx.first(
        &format!("{SELECT} where b.task_id = $1 order by b.created_at desc, b.rowid desc limit 1"),
        params![task_id],
        from_row,
    )
}

/// Whether a binding is the first that its task ever had.
///
/// # Errors
/// A failing statement.
pub fn is_first(tx: &mut Tx<'_>, task_id: &str, binding_id: &str) -> Result<bool, StoreError> {
    let first = tx.first(
        "select id from bindings where task_id = $1 order by created_at, rowid limit 1",
        params![task_id],
        |row| row.text(0),
    )?;
    Ok(first.as_deref() == Some(binding_id))
}

/// The worker sessions that a task ever had, each with the newest binding that it had it by.
///
/// # Errors
/// A failing statement.
pub fn workers_ever(tx: &mut Tx<'_>, task_id: &str) -> Result<Vec<PastWorker>, StoreError> {
    let mut workers: Vec<PastWorker> = Vec::new();
    tx.each(
        "select b.id, w.id, w.name from bindings b join sessions w on w.id = b.worker_session_id \
         where b.task_id = $1 order by b.created_at desc, b.rowid desc",
        params![task_id],
        &mut |row| {
            let worker =
                PastWorker { binding_id: row.text(0)?, session_id: row.text(1)?, session_name: row.text(2)? };
            if workers.iter().all(|known| known.session_id != worker.session_id) {
                workers.push(worker);
            }
            Ok::<(), StoreError>(())
        },
    )?;
    Ok(workers)
}

/// The rollouts of every session that a task has or ever had, on either side, with those that such a
/// session had before.
///
/// # Errors
/// A failing statement.
pub fn rollouts_ever(tx: &mut Tx<'_>, task_id: &str) -> Result<Vec<String>, StoreError> {
    let mut rollouts = Vec::new();
    // One query per side and table: each joins by an index.
    for side in ["worker_session_id", "manager_session_id"] {
        for (path, table, session) in
            [("codex_session_path", "sessions", "id"), ("path", "conveyor_former_rollouts", "session_id")]
        {
            rollouts.extend(tx.all(
                &format!(
                    "select r.{path} from bindings b join {table} r on r.{session} = b.{side} \
                     where b.task_id = $1 and r.{path} is not null"
                ),
                params![task_id],
                |row| row.text(0),
            )?);
        }
    }
    Ok(rollouts)
}

/// A worker that a task has or had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastWorker {
    /// The newest binding.
    pub binding_id: String,
    /// The session.
    pub session_id: String,
    /// Its name.
    pub session_name: String,
}

/// One side of a live binding whose session is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "fields are columns of the joined tables")]
pub struct Dangling {
    pub binding_id: String,
    pub gone_role: String,
    pub gone_session_name: String,
    pub task_id: String,
    pub task_name: String,
}

/// The sides of live bindings whose sessions are gone, by binding id, worker first.
///
/// # Errors
/// A failing statement.
pub fn dangling(tx: &mut Tx<'_>) -> Result<Vec<Dangling>, StoreError> {
    let mut found = Vec::new();
    tx.each(
        "select b.id, t.id, t.name, w.name, w.state, m.name, m.state from bindings b join tasks t on t.id = b.task_id \
         left join sessions w on w.id = b.worker_session_id left join sessions m on m.id = b.manager_session_id \
         where b.state in ('active', 'ending') and b.worker_session_id is not null \
         and (w.state = 'gone' or m.state = 'gone') order by b.id",
        &[],
        &mut |row| {
            for (role, column) in [(Role::Worker, 3), (Role::Manager, 5)] {
                let (name, state) = (row.opt_text(column)?, row.opt_text(column + 1)?);
                if let (Some(name), Some("gone")) = (name, state.as_deref()) {
                    found.push(Dangling {
                        binding_id: row.text(0)?,
                        gone_role: role.as_str().to_owned(),
                        gone_session_name: name,
                        task_id: row.text(1)?,
                        task_name: row.text(2)?,
                    });
                }
            }
            Ok::<(), StoreError>(())
        },
    )?;
    Ok(found)
}

/// Declares a live binding void because a side of it was lost.
///
/// # Errors
/// A failing statement.
pub fn invalidate(tx: &mut Tx<'_>, id: &str) -> Result<(), StoreError> {
    let now = tx.now()?.to_ms_text();
    tx.execute(
        "update bindings set state = 'invalid', ended_at = $2 where id = $1 and state in ('active', 'ending')",
        params![id, now],
    )?;
    Ok(())
}

/// Whether any task is bound.
///
/// # Errors
/// A failing statement.
pub fn any_live(tx: &mut Tx<'_>) -> Result<bool, StoreError> {
    let found =
        tx.first("select id from bindings where state in ('active', 'ending') limit 1", &[], |row| {
            row.text(0)
        })?;
    Ok(found.is_some())
}

/// Holds a task and sessions against everybody who would bind or deregister them, until the
/// transaction ends. What is read afterwards stays true.
///
/// # Errors
/// A failing statement.
pub fn hold(tx: &mut Tx<'_>, task_id: &str, session_ids: &[&str]) -> Result<(), StoreError> {
    tasks::lock(tx, task_id)?;
    session_ids.iter().try_for_each(|id| hold_session(tx, id))
}

/// As [`hold`], for one session alone.
///
/// # Errors
/// A failing statement.
pub fn hold_session(tx: &mut Tx<'_>, session_id: &str) -> Result<(), StoreError> {
    tx.first("select id from sessions where id = $1{lock_row}", params![session_id], |row| row.text(0))?;
    Ok(())
}

/// A live binding with what people know its parts by. A binding of legacy workers has no sessions.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are columns of the joined tables")]
pub struct Overview {
    pub id: String,
    pub state: String,
    pub created_at: String,
    pub task_name: String,
    pub task_goal: String,
    pub worker_name: Option<String>,
    pub worker_state: Option<String>,
    pub worker_tmux_session: Option<String>,
    pub manager_name: Option<String>,
    pub manager_state: Option<String>,
    pub manager_tmux_session: Option<String>,
}

/// Hands every live binding to `each`, newest first.
///
/// # Errors
/// A failing statement, or what `each` returns.
pub fn each_live<E: From<StoreError>>(
    tx: &mut Tx<'_>,
    each: &mut dyn FnMut(Overview) -> Result<(), E>,
) -> Result<(), E> {
    tx.each(
        "select b.id, b.state, b.created_at, t.name, t.goal, w.name, w.state, w.tmux_session, m.name, m.state, \
         m.tmux_session from bindings b join tasks t on t.id = b.task_id \
         left join sessions w on w.id = b.worker_session_id left join sessions m on m.id = b.manager_session_id \
         where b.state in ('active', 'ending') order by b.created_at desc, b.rowid desc",
        &[],
        &mut |row| {
            each(Overview {
                id: row.text(0)?,
                state: row.text(1)?,
                created_at: row.text(2)?,
                task_name: row.text(3)?,
                task_goal: row.text(4)?,
                worker_name: row.opt_text(5)?,
                worker_state: row.opt_text(6)?,
                worker_tmux_session: row.opt_text(7)?,
                manager_name: row.opt_text(8)?,
                manager_state: row.opt_text(9)?,
                manager_tmux_session: row.opt_text(10)?,
            })
        },
    )
}
