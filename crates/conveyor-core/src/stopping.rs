//! Ending the terminals of agents, and first the turn that runs for them.
//!
//! A turn of Codex runs in a server that many terminals share: ending the terminal alone would leave
//! the agent at work with nobody watching.

use std::path::{Path, PathBuf};
use std::time::Duration;

use conveyor_agents::codex::{self, Client, CodexError, Interrupted};
use conveyor_agents::tmux::Tmux;
use conveyor_model::records::Session;

use crate::legacy::Config;
use crate::transcripts::{Context, Owner};
use crate::{Cx, Error, Result};

/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// How long a turn may take to end once it was told to.
const TURN_END: Duration = Duration::from_secs(5);

/// A thread of Codex and the home whose server may have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thread {
    id: String,
    home: PathBuf,
}

impl Thread {
    /// The thread that a session is, as far as its registration tells: rollouts lie in the folder
    /// `sessions` of their home.
    pub(crate) fn of(session: &Session) -> Option<Self> {
        let id = session.codex_session_id.clone().filter(|id| !id.is_empty())?;
        let rollout = Path::new(session.codex_session_path.as_deref()?);
        let sessions = rollout.ancestors().skip(1).find(|place| place.ends_with("sessions"))?;
        Some(Self { id, home: sessions.parent()?.to_owned() })
    }

    /// The thread that a legacy worker is, where it was made as one.
    pub(crate) fn of_worker(config: &Config) -> Option<Self> {
        let id = config.text("codex_thread_id")?.to_owned();
        Some(Self { id, home: config.text("codex_home")?.into() })
    }
}

/// Ends the turn that runs for one side of a task, then its terminal; `false` when the terminal had
/// ended already.
///
/// # Errors
/// A turn or a terminal that cannot be ended; then the terminal is still there.
pub(crate) fn stop(cx: &Cx, terminal: &Context) -> Result<bool> {
    let Some(session) = &terminal.side.tmux_session else { return Ok(false) };
    let thread = match &terminal.owner {
        Owner::Session(thread) => thread.as_ref(),
        Owner::LegacyWorker(_) | Owner::LegacyManager => None,
    };
    end(&cx.cwd, &terminal.tmux, &Agent { name: &terminal.side.name, thread, tmux_session: session })
}

/// An agent that is to be ended.
pub(crate) struct Agent<'a> {
    /// Its session or worker.
    pub(crate) name: &'a str,
    /// The thread of Codex that it is, as far as known.
    pub(crate) thread: Option<&'a Thread>,
    /// Its terminal.
    pub(crate) tmux_session: &'a str,
}

/// Ends the turn that runs for an agent, then its terminal; `false` when the terminal had ended
/// already. Homes are relative to `directory`.
///
/// # Errors
/// A turn or a terminal that cannot be ended; then the terminal is still there.
pub(crate) fn end(directory: &Path, tmux: &Tmux, agent: &Agent<'_>) -> Result<bool> {
    if let Some(thread) = agent.thread {
        end_turn(directory, thread)
            .map_err(|reason| Error::TurnNotEnded { name: agent.name.to_owned(), reason })?;
    }
    Ok(tmux.kill_session(agent.tmux_session)?)
}

/// Ends the turn that runs in a thread, if any; the error is a sentence.
fn end_turn(directory: &Path, thread: &Thread) -> Result<(), String> {
    let home = directory.join(&thread.home);
    let mut client = match Client::connect(&home, ANSWER) {
        Ok(client) => client,
        // Without a server the agent lives in the terminal and ends with it.
        Err(CodexError::NotReachable { .. }) if !codex::is_listening(&home) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    match codex::interrupt(&mut client, &thread.id, None) {
        Ok(Interrupted::Interrupted { turn_id }) => {
            let ended = codex::wait_for_end(&mut client, &thread.id, &turn_id, TURN_END);
            if ended.map_err(|error| error.to_string())?.is_none() {
                return Err(format!("turn {turn_id} did not end within {} s", TURN_END.as_secs()));
            }
        }
        Ok(Interrupted::NothingRunning) => {}
        Ok(Interrupted::Mismatch { turn_id }) => return Err(format!("turn {turn_id} runs")),
        // The server does not know the thread, so it runs nothing for it.
        Err(CodexError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    }
    // Only what this connection may have subscribed to; it ends with the connection anyway.
    let _ = client.thread_unsubscribe(&thread.id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(path: Option<&str>, id: Option<&str>) -> Session {
        Session {
            id: "session-1".into(),
            name: "w".into(),
            role: "worker".into(),
            identity_token: "t".into(),
            tmux_session: None,
            tmux_pane_id: None,
            codex_session_path: path.map(ToOwned::to_owned),
            codex_session_id: id.map(ToOwned::to_owned),
            codex_app_thread_id: None,
            codex_app_thread_title: None,
            pid: None,
            cwd: String::new(),
            registered_at: String::new(),
            last_heartbeat_at: None,
            state: "active".into(),
            last_ingest_offset: None,
        }
    }

    #[test]
    fn a_thread_belongs_to_the_home_of_its_rollout() {
        let path = "/srv/codex/sessions/2026/06/11/rollout-x.jsonl";
        let thread = Thread::of(&session(Some(path), Some("t"))).unwrap();
        assert_eq!(thread, Thread { id: "t".into(), home: "/srv/codex".into() });
        for (path, id) in [(Some("/srv/x.jsonl"), Some("t")), (Some(path), None), (None, Some("t"))] {
            assert_eq!(Thread::of(&session(path, id)), None);
        }
    }
}
