//! Registered sessions.

use conveyor_model::records::Session;
use conveyor_model::{IdPrefix, Role};

use crate::{Param, Row, StoreError, Tx, params};

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

/// As [`set_gone`], with the moment in whole seconds.
///
/// # Errors
/// A failing statement.
pub fn set_gone_in_seconds(tx: &mut Tx<'_>, id: &str) -> Result<(), StoreError> {
    let now = tx.now()?.to_s_text();
    tx.execute("update sessions set state = 'gone', last_heartbeat_at = $2 where id = $1", params![id, now])?;
    Ok(())
}

/// Records in which pane a session's terminal is; `None`: in none that is known.
///
/// # Errors
/// A failing statement.
pub fn set_pane(tx: &mut Tx<'_>, id: &str, pane_id: Option<&str>) -> Result<(), StoreError> {
    tx.execute("update sessions set tmux_pane_id = $2 where id = $1", params![id, pane_id])?;
    Ok(())
}

/// Makes a session another thread of Codex; its rollout is read from the beginning.
///
/// # Errors
/// A failing statement.
pub fn set_thread(tx: &mut Tx<'_>, id: &str, thread_id: &str, rollout: &str) -> Result<(), StoreError> {
    keep_former_rollout(tx, Known::Id(id), rollout)?;
    tx.execute(
        "update sessions set codex_session_id = $2, codex_session_path = $3, codex_app_thread_id = \
         case when codex_app_thread_id is null then null else $2 end, last_ingest_offset = null, \
         rollout_device = null, rollout_inode = null, rollout_digest = null where id = $1",
        params![id, thread_id, rollout],
    )?;
    Ok(())
}

/// By what a session is known.
enum Known<'a> {
    Id(&'a str),
    Name(&'a str, Role),
}

/// Notes the rollout that a session has, if it is about to get another one: what is in it concerns
/// the session's tasks as before.
fn keep_former_rollout(tx: &mut Tx<'_>, known: Known<'_>, next: &str) -> Result<(), StoreError> {
    let now = tx.now()?.to_ms_text();
    let (condition, values) = match known {
        Known::Id(id) => ("id = $3", params![now, next, id].to_vec()),
        Known::Name(name, role) => {
            ("name = $3 and role = $4", params![now, next, name, role.as_str()].to_vec())
        }
    };
    tx.execute(
        &format!(
            "insert into conveyor_former_rollouts (session_id, path, left_at) \
             select id, codex_session_path, $1 from sessions where codex_session_path <> $2 and {condition} \
             on conflict do nothing"
        ),
        &values,
    )?;
    Ok(())
}

/// What registering a session says about it.
pub struct Registration<'a> {
    /// Unique among all sessions.
    pub name: &'a str,
    /// Worker or manager; a name keeps its role for ever.
    pub role: Role,
    /// The session's rollout, as given.
    pub codex_session_path: &'a str,
    /// The id that the rollout begins with.
    pub codex_session_id: &'a str,
    /// The Codex process, where its pid means something outside of whatever it runs in.
    pub pid: Option<i64>,
    /// May be empty.
    pub cwd: &'a str,
    /// Where messages are pushed to, if anywhere.
    pub tmux_session: Option<&'a str>,
    /// The session's thread in the Codex app.
    pub codex_app_thread_id: Option<&'a str>,
    /// That thread's title.
    pub codex_app_thread_title: Option<&'a str>,
}

/// Inserts an active session, or brings the one of this name up to date: it keeps its id, token,
/// pane and first registration, and its rollout is read from the beginning again. `None`, and
/// nothing written, when the name belongs to a session of the other role.
///
/// # Errors
/// A failing statement.
pub fn register(tx: &mut Tx<'_>, new: &Registration<'_>) -> Result<Option<Session>, StoreError> {
    keep_former_rollout(tx, Known::Name(new.name, new.role), new.codex_session_path)?;
    let now = tx.now()?.to_ms_text();
    let machine = tx.machine().clone();
    // One statement, so that processes that register one name at the same moment get one row.
    tx.first(
        &format!(
            "insert into sessions (id, name, role, identity_token, tmux_session, codex_session_path, \
             codex_session_id, codex_app_thread_id, codex_app_thread_title, pid, cwd, registered_at, \
             last_heartbeat_at, state, host_id, boot_id, pid_namespace) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, 'active', $13, $14, $15) \
             on conflict (name) do update set tmux_session = excluded.tmux_session, \
             codex_session_path = excluded.codex_session_path, codex_session_id = excluded.codex_session_id, \
             codex_app_thread_id = excluded.codex_app_thread_id, \
             codex_app_thread_title = excluded.codex_app_thread_title, pid = excluded.pid, cwd = excluded.cwd, \
             last_heartbeat_at = excluded.last_heartbeat_at, state = 'active', last_ingest_offset = null, \
             rollout_device = null, rollout_inode = null, rollout_digest = null, host_id = excluded.host_id, \
             boot_id = excluded.boot_id, pid_namespace = excluded.pid_namespace \
             where sessions.role = excluded.role returning {COLUMNS}"
        ),
        params![
            tx.fresh_id(IdPrefix::Session),
            new.name,
            new.role.as_str(),
            tx.fresh_id(IdPrefix::SessionToken),
            new.tmux_session,
            new.codex_session_path,
            new.codex_session_id,
            new.codex_app_thread_id,
            new.codex_app_thread_title,
            new.pid,
            new.cwd,
            now,
            machine.host_id,
            machine.boot_id,
            machine.pid_namespace,
        ],
        from_row,
    )
}

/// Which sessions [`each`] visits, by their state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Liveness {
    /// Not gone, with a known process.
    #[default]
    Active,
    /// Not gone; rows made from older files, without a process, are in.
    ActiveOrLegacy,
    /// Gone.
    Gone,
    /// Every session.
    All,
}

impl Liveness {
    fn condition(self) -> &'static str {
        match self {
            Self::Active => "state <> 'gone' and pid is not null",
            Self::ActiveOrLegacy => "state <> 'gone'",
            Self::Gone => "state = 'gone'",
            Self::All => "1 = 1",
        }
    }
}

/// Which sessions [`each`] visits; all conditions hold together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Only this role.
    pub role: Option<Role>,
    /// Only these states.
    pub liveness: Liveness,
    /// Only these names; empty means any name.
    pub names: &'a [String],
    /// Only sessions in no live binding.
    pub unbound: bool,
}

const UNBOUND: &str = "not exists (select 1 from bindings b where b.worker_session_id = sessions.id \
                       and b.state in ('active', 'ending')) \
                       and not exists (select 1 from bindings b where b.manager_session_id = sessions.id \
                       and b.state in ('active', 'ending'))";

/// Hands every matching session to `each`, in order of first registration.
///
/// # Errors
/// A failing statement, or what `each` returns.
pub fn each<E: From<StoreError>>(
    tx: &mut Tx<'_>,
    filter: &Filter<'_>,
    each: &mut dyn FnMut(Session) -> Result<(), E>,
) -> Result<(), E> {
    let mut conditions = vec![filter.liveness.condition().to_owned()];
    let mut values: Vec<Param<'_>> = Vec::new();
    if let Some(role) = filter.role {
        values.push(role.as_str().into());
        conditions.push(format!("role = ${}", values.len()));
    }
    if !filter.names.is_empty() {
        let first = values.len() + 1;
        values.extend(filter.names.iter().map(Into::into));
        let places: Vec<String> = (first..=values.len()).map(|place| format!("${place}")).collect();
        conditions.push(format!("name in ({})", places.join(", ")));
    }
    if filter.unbound {
        conditions.push(UNBOUND.to_owned());
    }
    let sql = format!(
        "select {COLUMNS} from sessions where {} order by registered_at, rowid",
        conditions.join(" and ")
    );
    tx.each(&sql, &values, &mut |row| each(from_row(row)?))
}
