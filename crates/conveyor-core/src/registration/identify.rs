//! Sessions that others started, identified by their thread: what the agent itself says, or a
//! person, confirmed by Codex's server or by its own files. Never by a directory alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use conveyor_agents::codex::{self, Client, CodexError, Evidence, Hint};
use conveyor_agents::rollout;
use conveyor_agents::tmux::{PaneFacts, PaneOfSession, ServerFacts, Target, Tmux};
use conveyor_model::{Adapter, EndpointOrigin};
use conveyor_store::Tx;
use conveyor_store::endpoints::{self, NewEndpoint};
use serde_json::json;

use super::Rollout;
use crate::addressing::{record_terminal, tmux_address};
use crate::{Error, Result};

/// How long the server may take.
const LIMIT: Duration = Duration::from_secs(5);

/// A session that is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Sought<'a> {
    /// Its thread.
    pub thread_id: &'a str,
    /// The home of its Codex.
    pub home: &'a Path,
    /// Whether the agent itself asks: then the thread is its own.
    pub is_self: bool,
    /// Its terminal, where it is known.
    pub tmux_session: Option<&'a str>,
}

/// A session that was found.
#[derive(Clone, Debug)]
pub struct Identified {
    rollout: Rollout,
    thread_id: String,
    home: PathBuf,
    origin: EndpointOrigin,
    /// The version of Codex, where its server answered.
    version: Option<String>,
    terminal: Option<(ServerFacts, String, PaneFacts)>,
    pid: Option<i64>,
}

impl Identified {
    /// Looks for a session by its thread.
    ///
    /// # Errors
    /// No such thread in this home, one of Codex's own helpers, or a rollout that cannot be read.
    pub fn find(tmux: &Tmux, sought: &Sought<'_>) -> Result<Self> {
        let (path, version) = match Client::connect(sought.home, LIMIT) {
            Ok(mut client) => by_server(&mut client, sought)?,
            Err(CodexError::NotReachable { .. }) => (by_files(sought)?, None),
            Err(error) => return Err(unknown(sought, &error.to_string())),
        };
        let text =
            path.to_str().ok_or_else(|| unknown(sought, "its rollout has a name that is not UTF-8"))?;
        let terminal = terminal(tmux, sought)?;
        // A terminal in which no agent is recognised lives as long as its own process.
        let process =
            terminal.as_ref().map(|(_, _, pane)| codex::agent_process(pane.pid).unwrap_or(pane.pid));
        Ok(Self {
            rollout: Rollout::given(text, &path)?,
            thread_id: sought.thread_id.to_owned(),
            home: sought.home.to_owned(),
            origin: if sought.is_self { EndpointOrigin::OneSelf } else { EndpointOrigin::Registered },
            version,
            terminal,
            pid: process.map(i64::from),
        })
    }

    /// Its rollout.
    #[must_use]
    pub fn rollout(&self) -> &Rollout {
        &self.rollout
    }

    /// Its process: the agent in its terminal. Without one it lives in a server that many sessions
    /// share, whose process is nobody's.
    #[must_use]
    pub fn pid(&self) -> Option<i64> {
        self.pid
    }

    /// Its terminal, if it has one that is known.
    #[must_use]
    pub fn tmux_session(&self) -> Option<&str> {
        self.terminal.as_ref().map(|(_, session, _)| session.as_str())
    }

    /// Records how it is reached.
    pub(super) fn record(&self, tx: &mut Tx<'_>, session_id: &str) -> Result<()> {
        if let Some(version) = &self.version {
            endpoints::record(
                tx,
                &NewEndpoint {
                    session_id,
                    adapter: Adapter::Codex,
                    address: json!({ "codex_home": self.home, "thread_id": self.thread_id }),
                    incarnation: &self.thread_id,
                    origin: self.origin,
                    capabilities: json!({ "version": version }),
                },
            )?;
        }
        if self.pid.is_none() {
            // It has no process of its own, and fetches its messages.
            endpoints::record(
                tx,
                &NewEndpoint {
                    session_id,
                    adapter: Adapter::Pull,
                    address: json!({}),
                    incarnation: &self.thread_id,
                    origin: self.origin,
                    capabilities: json!({}),
                },
            )?;
        }
        if let Some((server, session, pane)) = &self.terminal {
            let address = tmux_address(server, session, pane);
            record_terminal(tx, session_id, address, self.origin, pane)?;
        }
        Ok(())
    }
}

fn unknown(sought: &Sought<'_>, reason: &str) -> Error {
    Error::ThreadNotProven { thread_id: sought.thread_id.to_owned(), reason: reason.to_owned() }
}

/// The thread's rollout and version, as its server tells.
fn by_server(client: &mut Client, sought: &Sought<'_>) -> Result<(PathBuf, Option<String>)> {
    let found = codex::identify(client, Hint::ThreadId(sought.thread_id))
        .map_err(|error| unknown(sought, &error.to_string()))?;
    let known = found.into_iter().find(|candidate| candidate.evidence == Evidence::ThreadId);
    let Some(candidate) = known else {
        return Err(unknown(sought, &format!("the server of {:?} has no such session", sought.home)));
    };
    let path = candidate.thread.path.filter(|path| Path::new(path).is_file());
    let path = path.ok_or_else(|| unknown(sought, "it has no rollout yet: it needs a first message"))?;
    Ok((path.into(), Some(candidate.thread.cli_version)))
}

/// The thread's rollout as its file name and first record tell.
fn by_files(sought: &Sought<'_>) -> Result<PathBuf> {
    let wanted = format!("-{}.jsonl", sought.thread_id);
    let mut found = Vec::new();
    // <home>/sessions/<year>/<month>/<day>/rollout-<time>-<thread>.jsonl
    let mut places = vec![(sought.home.join("sessions"), 3)];
    while let Some((place, depth)) = places.pop() {
        let Ok(entries) = std::fs::read_dir(&place) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if depth > 0 {
                places.push((path, depth - 1));
            } else if entry.file_name().to_string_lossy().ends_with(&wanted)
                && rollout::session_meta(&path).is_ok_and(|meta| meta.id == sought.thread_id)
            {
                found.push(path);
            }
        }
    }
    let listed = || found.iter().map(|path| format!("{path:?}")).collect::<Vec<_>>().join(", ");
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(unknown(
            sought,
            &format!("no server runs for {:?}, and no rollout there is its", sought.home),
        )),
        _ => Err(unknown(sought, &format!("several rollouts are its: {}", listed()))),
    }
}

/// The session's terminal: the pane whose command line names the thread, in the given tmux session
/// where one is given. There a single pane needs no such proof.
fn terminal(tmux: &Tmux, sought: &Sought<'_>) -> Result<Option<(ServerFacts, String, PaneFacts)>> {
    let (session, id) = match sought.tmux_session {
        Some(given) => (given.to_owned(), pane_in(tmux, sought, given)?),
        None => {
            // Inside an agent nothing else proves which terminal is its own. Where tmux cannot be
            // asked there is none.
            let panes = codex::panes_of_thread(tmux, sought.thread_id).unwrap_or_default();
            let [PaneOfSession { session, id, .. }] = panes.as_slice() else { return Ok(None) };
            (session.clone(), id.clone())
        }
    };
    let pane = tmux.pane(&Target::Pane(id))?;
    Ok(Some((tmux.server_facts()?, session, pane)))
}

/// The pane of the given tmux session that is meant.
fn pane_in(tmux: &Tmux, sought: &Sought<'_>, given: &str) -> Result<String> {
    let mut panes = tmux.panes()?;
    panes.retain(|pane| pane.session == given);
    let shown = codex::panes_of_thread(tmux, sought.thread_id)?;
    let proven: Vec<&PaneOfSession> =
        panes.iter().filter(|pane| shown.iter().any(|shown| shown.id == pane.id)).collect();
    let (name, tmux_session) = (sought.thread_id.to_owned(), given.to_owned());
    match (proven.as_slice(), panes.as_slice()) {
        ([only], _) => Ok(only.id.clone()),
        ([], [only]) => Ok(only.id.clone()),
        (_, []) => Err(Error::TerminalNotRunning { name, tmux_session }),
        _ => Err(Error::TerminalAmbiguous { name, tmux_session }),
    }
}
