//! Create, name, attach: the thread is made by Codex's shared server, and a terminal is attached to
//! exactly this thread.

use conveyor_agents::codex::{
    Attachment, Client, CodexError, NewThread, Permissions, Sandbox, Thread, Trust, agent_process, create,
};
use conveyor_agents::tmux::PaneFacts;
use conveyor_model::shell::quote;

use super::error::exact;
use super::record::{Proven, register};
use super::watch::{Waited, until_ready};
use super::{Spawn, Spawned, StartError, intent, terminal};
use crate::{Cx, Error, Result, fault};

pub(super) fn start(cx: &mut Cx, spawn: &Spawn<'_>, mut client: Client) -> Result<Spawned> {
    check_trust(spawn, &mut client)?;
    intent::begin(cx, spawn, true)?;
    fault::point("spawn.intended");
    let outcome =
        make_thread(cx, spawn, &mut client).and_then(|thread| show(cx, spawn, &mut client, &thread));
    if let Err(Error::Start(error)) = &outcome
        && error.leaves_nothing()
    {
        // The cause is what the user must hear of, also if this cannot be recorded.
        let reason = "the start failed and left no terminal";
        let _ = cx.db.write(|tx| intent::end(tx, spawn.request.name, reason));
    }
    outcome
}

fn refused(error: CodexError) -> Error {
    StartError::Codex(error.to_string()).into()
}

/// Refuses before anything exists when Codex would ask about the directory and nobody may answer.
pub(super) fn check_trust(spawn: &Spawn<'_>, client: &mut Client) -> Result<()> {
    match Trust::of(client, spawn.request.cwd).map_err(refused)? {
        Trust::NothingToTrust | Trust::Trusted { .. } => Ok(()),
        Trust::Asks { .. } if spawn.request.startup.accept_trust => Ok(()),
        Trust::Asks { root } => Err(StartError::NotTrusted(root).into()),
        Trust::Untrusted { root } => Err(StartError::Distrusted(root).into()),
    }
}

fn make_thread(cx: &mut Cx, spawn: &Spawn<'_>, client: &mut Client) -> Result<Thread> {
    let (startup, cwd) = (spawn.request.startup, spawn.request.cwd);
    client.set_limit(spawn.remaining());
    // Read-only at first: a new thread that may write would make Codex trust the directory without
    // asking anybody. What it may do is set afterwards.
    let new = NewThread { cwd, sandbox: Sandbox::ReadOnly, approval: startup.approval, model: None };
    let thread = create(client, &new, spawn.request.name).map_err(refused)?;
    intent::thread(cx, spawn, &thread.id, thread.path.as_deref())?;
    fault::point("spawn.thread_made");
    let writable = spawn.writable(cx);
    let permissions =
        Permissions { sandbox: startup.sandbox, approval: startup.approval, writable: &writable };
    client.thread_permissions_set(&thread.id, cwd, &permissions).map_err(refused)?;
    Ok(thread)
}

/// Attaches a terminal to the thread, and registers the session once both are seen.
fn show(cx: &mut Cx, spawn: &Spawn<'_>, client: &mut Client, thread: &Thread) -> Result<Spawned> {
    let startup = spawn.request.startup;
    let how = Attachment {
        sandbox: startup.sandbox,
        approval: startup.approval,
        model: None,
        writable: &spawn.writable(cx),
        keep_history: spawn.features.keeps_history,
        name_server: spawn.features.names_server,
    };
    let target = terminal::start(cx, spawn, &spawn.codex.attach(&thread.id, &how))?;
    fault::point("spawn.terminal_started");
    let advice = advice(spawn, &thread.id, &cx.ledger());
    let (pane, trust_accepted) = match until_ready(cx, spawn, &target)? {
        Waited::Ready { pane, trust_accepted } => (pane, trust_accepted),
        Waited::Asks(question) => {
            let session = spawn.tmux_session.clone();
            return Err(StartError::Asks { session, question, advice }.into());
        }
        Waited::Late(reason) => {
            let (session, seconds) = (spawn.tmux_session.clone(), startup.limit.as_secs());
            return Err(StartError::Late { session, seconds, reason, advice }.into());
        }
    };
    let registered =
        confirm(client, thread, &pane).map_err(Error::Start).and_then(|proven| register(cx, spawn, &proven));
    let mut spawned =
        registered.map_err(|error| StartError::Unfinished { reason: error.to_string(), advice })?;
    spawned.trust_accepted = trust_accepted;
    fault::point("spawn.registered");
    // From here on the terminal is subscribed, and it ends with its program as terminals do.
    let _ = client.thread_unsubscribe(&thread.id);
    let _ = cx.tmux.let_go(&target);
    Ok(spawned)
}

/// The thread as its server tells it now, and the process that shows it.
fn confirm(client: &mut Client, thread: &Thread, pane: &PaneFacts) -> Result<Proven, StartError> {
    let failed = |text: String| StartError::Codex(text);
    let now = client.thread_read(&thread.id).map_err(|error| failed(error.to_string()))?;
    let path = now.path.clone().ok_or_else(|| failed(format!("thread {} has no rollout", now.id)))?;
    let pid = agent_process(pane.pid)
        .ok_or_else(|| failed(format!("no process of Codex is in the foreground of pane {}", pane.id)))?;
    Ok(Proven { codex_session_id: now.id.clone(), path, pid, pane: pane.clone(), thread: Some(now) })
}

fn advice(spawn: &Spawn<'_>, thread_id: &str, ledger: &str) -> String {
    let session = &spawn.tmux_session;
    let (role, name) = (spawn.request.role, quote(spawn.request.name));
    format!(
        "look at it with `tmux attach -t {}`; register it with `conveyor register-{role} --name {name} --thread-id \
         {thread_id} --tmux-session {} --codex-home {} --path {}`, or end it with `tmux kill-session -t {}`",
        quote(&exact(session)),
        quote(session),
        quote(&spawn.request.installation.home.display().to_string()),
        quote(ledger),
        quote(&exact(session)),
    )
}
