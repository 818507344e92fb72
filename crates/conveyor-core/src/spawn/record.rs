//! The rows of a started session: all in one transaction.

use conveyor_agents::codex::Thread;
use conveyor_agents::tmux::PaneFacts;
use conveyor_model::records::Session;
use conveyor_model::{Adapter, EndpointOrigin};
use conveyor_store::Tx;
use conveyor_store::audit::{self, AuditEvent};
use conveyor_store::endpoints::{self, NewEndpoint};
use conveyor_store::sessions::{self, Registration};
use serde_json::json;

use super::{Spawn, Spawned, StartError};
use crate::addressing::{record_terminal, tmux_address};
use crate::{Cx, Result, registration};

/// A session that is proven to be the one that was started.
pub(super) struct Proven {
    /// What its rollout begins with.
    pub(super) codex_session_id: String,
    /// Its rollout.
    pub(super) path: String,
    /// The process of the agent.
    pub(super) pid: u32,
    /// The pane that it runs in.
    pub(super) pane: PaneFacts,
    /// Its thread, where its server told.
    pub(super) thread: Option<Thread>,
}

/// Registers the session with its ways to be reached.
pub(super) fn register(cx: &mut Cx, spawn: &Spawn<'_>, proven: &Proven) -> Result<Spawned> {
    let server = cx.tmux.server_facts().map_err(StartError::Tmux)?;
    let cwd = spawn.cwd()?.to_owned();
    let warnings = spawn.warnings(&cx.ledger());
    let home = &spawn.request.installation.home;
    let endpoint = proven.thread.as_ref().map(|thread| json!({ "codex_home": home, "thread_id": thread.id }));
    let session = cx.db.write(|tx| {
        let session = insert(tx, spawn, proven, &cwd)?;
        let address = tmux_address(&server, &spawn.tmux_session, &proven.pane);
        record_terminal(tx, &session.id, address, EndpointOrigin::Spawned, &proven.pane)?;
        if let (Some(thread), Some(address)) = (&proven.thread, &endpoint) {
            endpoints::record(
                tx,
                &NewEndpoint {
                    session_id: &session.id,
                    adapter: Adapter::Codex,
                    address: address.clone(),
                    incarnation: &thread.id,
                    origin: EndpointOrigin::Spawned,
                    capabilities: json!({ "version": thread.cli_version }),
                },
            )?;
        }
        let payload = json!({
            "codex_session_id": session.codex_session_id,
            "name": session.name,
            "pid": session.pid,
            "role": session.role,
            "session_id": session.id,
            "via": spawn.request.via,
        });
        let event_type = "session_registered";
        audit::record(tx, &AuditEvent { event_type, task_id: None, command_id: None, payload })?;
        tx.wake_waiters();
        Ok::<_, crate::Error>(session)
    })?;
    Ok(Spawned {
        codex_session_id: proven.codex_session_id.clone(),
        codex_session_path: proven.path.clone(),
        cwd,
        endpoint,
        name: session.name,
        pid: proven.pid.into(),
        role: spawn.request.role,
        session_id: session.id,
        thread_id: proven.thread.as_ref().map(|thread| thread.id.clone()),
        tmux_session: spawn.tmux_session.clone(),
        warnings,
        awaits_prompt: proven.thread.is_some() && spawn.request.prompt.is_some(),
        trust_accepted: false,
        pane: proven.pane.clone(),
    })
}

fn insert(tx: &mut Tx<'_>, spawn: &Spawn<'_>, proven: &Proven, cwd: &str) -> Result<Session> {
    let new = Registration {
        name: spawn.request.name,
        role: spawn.request.role,
        codex_session_path: &proven.path,
        codex_session_id: &proven.codex_session_id,
        pid: Some(proven.pid.into()),
        cwd,
        tmux_session: Some(&spawn.tmux_session),
        codex_app_thread_id: None,
        codex_app_thread_title: None,
    };
    // Somebody may have registered the name since we looked; that one is not to be replaced.
    if !spawn.again && sessions::by_name(tx, new.name)?.is_some() {
        return Err(StartError::NameTaken(new.name.to_owned()).into());
    }
    registration::upsert(tx, &new)
}
