//! Registering sessions: who they are, where their rollouts are, how they are reached.

mod identify;

use std::path::Path;

use conveyor_agents::processes::{self, DiscoveryError};
use conveyor_agents::rollout::{self, RolloutError};
use conveyor_agents::tmux::{PaneFacts, ServerFacts, Target, Tmux};
use conveyor_model::records::Session;
use conveyor_model::text::is_blank;
use conveyor_model::{Adapter, EndpointOrigin, Role};
use conveyor_store::audit::{self, AuditEvent};
use conveyor_store::sessions::{self, Registration};
use conveyor_store::{Tx, endpoints};
use serde::Serialize;
use serde_json::json;

use crate::addressing::{pane_of_process, record_terminal, tmux_address};
use crate::communication::Communication;
use crate::{Cx, Error, Result};

pub use identify::{Identified, Sought};

/// The rollout of a session about to be registered, and what it says about the session.
#[derive(Clone, Debug)]
pub struct Rollout {
    path: String,
    session_id: String,
    cwd: String,
}

impl Rollout {
    /// Reads the rollout that a user named: `given` is stored, `resolved` is read.
    ///
    /// # Errors
    /// A file that cannot be read, is no rollout, or is one of Codex's own helpers.
    pub fn given(given: &str, resolved: &Path) -> Result<Self> {
        let meta = rollout::session_meta(resolved)?;
        if let Some(kind) = meta.helper {
            return Err(RolloutError::Helper { path: resolved.to_owned(), kind }.into());
        }
        Ok(Self { path: given.to_owned(), session_id: meta.id, cwd: meta.cwd.unwrap_or_default() })
    }

    /// Finds the one rollout that a process of this machine, or a descendant, holds open.
    ///
    /// # Errors
    /// No process, none or several rollouts, a shared server; or a file that is no rollout.
    pub fn of_process(pid: i64) -> Result<Self> {
        let path = processes::rollout_of_pid(processes::local().as_ref(), pid)?;
        let text = path.to_str().ok_or_else(|| {
            Error::invalid(format!("the rollout {path:?} of pid {pid} has a name that is not valid UTF-8"))
        })?;
        Self::given(text, &path)
    }
}

/// A session to be registered.
pub struct Request<'a> {
    /// Its role, for good.
    pub role: Role,
    /// Its name; not blank.
    pub name: &'a str,
    /// The Codex process; not checked.
    pub pid: i64,
    /// Where it writes.
    pub rollout: &'a Rollout,
    /// Default: what the rollout says.
    pub cwd: Option<&'a str>,
    /// Where messages are typed; not checked. Without one the session polls.
    pub tmux_session: Option<&'a str>,
    /// The session's thread in the Codex app.
    pub codex_app_thread_id: Option<&'a str>,
    /// That thread's title.
    pub codex_app_thread_title: Option<&'a str>,
    /// How it was identified, if it was: then it can be reached that way.
    pub identified: Option<&'a Identified>,
}

/// The reply of [`register`].
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Registered {
    pub session_id: String,
    pub name: String,
    pub role: String,
    pub cwd: String,
    pub codex_session_id: Option<String>,
    pub codex_session_path: Option<String>,
    pub pid: Option<i64>,
    pub tmux_session: Option<String>,
    pub codex_app_thread_id: Option<String>,
    pub codex_app_thread_title: Option<String>,
    /// How it is reached.
    pub communication: Communication,
}

/// Refuses the process of a server that many sessions share: it is none of them.
///
/// # Errors
/// It is one.
pub fn check_pid(pid: i64) -> Result<()> {
    match processes::shared_server(processes::local().as_ref(), pid) {
        Some(server) => Err(DiscoveryError::SharedServer { pid, server }.into()),
        None => Ok(()),
    }
}

/// Refuses a name that nobody could refer to.
///
/// # Errors
/// A blank name.
pub fn check_name(name: &str) -> Result<()> {
    if is_blank(name) {
        return Err(Error::invalid(format!("a session's name must not be blank, but is {name:?}")));
    }
    Ok(())
}

/// Registers a session, or registers it anew: it keeps its id, and its rollout is read from the
/// beginning again.
///
/// # Errors
/// A blank name, a name of the other role, or a failing ledger.
pub fn register(cx: &mut Cx, request: &Request<'_>) -> Result<Registered> {
    check_name(request.name)?;
    let ledger = cx.ledger();
    let terminal = terminal_of(&cx.tmux, request);
    let session = cx.db.write(|tx| {
        let session = insert(tx, request)?;
        // Whatever else it was before, it is this now.
        let thread = &request.rollout.session_id;
        endpoints::retire_others(tx, &session.id, Adapter::Codex, thread)?;
        let fetching = if request.identified.is_some() { thread } else { "" };
        endpoints::retire_others(tx, &session.id, Adapter::Pull, fetching)?;
        if let Some(identified) = request.identified {
            identified.record(tx, &session.id)?;
        }
        record_terminal_of(tx, request, &session.id, terminal.as_ref())?;
        let payload = json!({
            "codex_session_id": session.codex_session_id,
            "name": session.name,
            "pid": session.pid,
            "role": session.role,
            "session_id": session.id,
        });
        audit::record(
            tx,
            &AuditEvent { event_type: "session_registered", task_id: None, command_id: None, payload },
        )?;
        // Its messages may have been waiting for it to come back.
        tx.wake_waiters();
        Ok::<_, Error>(session)
    })?;
    let communication = Communication::of(&session, &ledger);
    Ok(Registered {
        session_id: session.id,
        name: session.name,
        role: session.role,
        cwd: session.cwd,
        codex_session_id: session.codex_session_id,
        codex_session_path: session.codex_session_path,
        pid: session.pid,
        tmux_session: session.tmux_session,
        codex_app_thread_id: session.codex_app_thread_id,
        codex_app_thread_title: session.codex_app_thread_title,
        communication,
    })
}

/// The pane of the given tmux session in which the given process is. A process in none of them (in a
/// container, behind ssh) has no pane that could be proven.
fn terminal_of(tmux: &Tmux, request: &Request<'_>) -> Option<(ServerFacts, PaneFacts)> {
    let given = request.tmux_session.filter(|_| request.identified.is_none())?;
    let pid = u32::try_from(request.pid).ok()?;
    let id = pane_of_process(tmux, pid).ok()??;
    let is_there = tmux.panes().ok()?.iter().any(|pane| pane.id == id && pane.session == given);
    let facts = is_there.then(|| tmux.pane(&Target::Pane(id)).ok()).flatten()?;
    Some((tmux.server_facts().ok()?, facts))
}

/// Records the terminal of a session that was registered by its process; what was recorded of a
/// former one is let go.
fn record_terminal_of(
    tx: &mut Tx<'_>,
    request: &Request<'_>,
    session_id: &str,
    terminal: Option<&(ServerFacts, PaneFacts)>,
) -> Result<()> {
    match (request.tmux_session, terminal) {
        (Some(session), Some((server, pane))) => {
            let address = tmux_address(server, session, pane);
            record_terminal(tx, session_id, address, EndpointOrigin::Registered, pane)?;
        }
        (Some(_), None) if request.identified.is_none() => {
            endpoints::retire_others(tx, session_id, Adapter::Tmux, "")?;
            sessions::set_pane(tx, session_id, None)?;
        }
        _ => {}
    }
    Ok(())
}

fn insert(tx: &mut Tx<'_>, request: &Request<'_>) -> Result<Session> {
    upsert(
        tx,
        &Registration {
            name: request.name,
            role: request.role,
            codex_session_path: &request.rollout.path,
            codex_session_id: &request.rollout.session_id,
            // A pid from inside a sandbox means nothing outside.
            pid: (!processes::is_walled_in()).then_some(request.pid),
            cwd: request.cwd.unwrap_or(&request.rollout.cwd),
            tmux_session: request.tmux_session,
            codex_app_thread_id: request.codex_app_thread_id,
            codex_app_thread_title: request.codex_app_thread_title,
        },
    )
}

/// Writes the row of a session; a name keeps its role.
pub(crate) fn upsert(tx: &mut Tx<'_>, new: &Registration<'_>) -> Result<Session> {
    match sessions::register(tx, new)? {
        Some(session) => Ok(session),
        None => Err(role_taken(new.name, new.role)),
    }
}

/// The refusal of a name that the other role has.
pub(crate) fn role_taken(name: &str, wanted: Role) -> Error {
    Error::RoleTaken { name: name.to_owned(), actual: wanted.other().to_string(), wanted }
}
