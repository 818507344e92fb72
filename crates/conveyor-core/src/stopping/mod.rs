//! Ending agents: what is queued for them, the turn that runs, the commands that they left in the
//! background, and their terminals; and looking whether anything of it goes on.
//!
//! A turn of Codex runs in a server that many terminals share, and so do the commands of the agent:
//! ending the terminal alone would leave the agent at work with nobody watching.

mod processes;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use conveyor_agents::codex::{self, Client, CodexError, Methods};
use conveyor_agents::processes::{Identity, is_walled_in};
use conveyor_model::records::Session;
use conveyor_store::{StoreError, Tx, sessions};
use serde_json::Value;

use crate::addressing::{Found, Terminal};
use crate::legacy::Config;
use crate::transcripts::{Context, Owner};
use crate::typing::agent::Sources;
use crate::{Cx, Error, Result, fault};
use processes::Watched;

/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// How long what goes on may take to end once it was told to.
const END: Duration = Duration::from_secs(5);

/// A thread of Codex and the home whose server may have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thread {
    id: String,
    home: PathBuf,
}

impl Thread {
    /// The thread that a session is, as far as its registration tells. Relative homes are relative to
    /// `base`.
    pub(crate) fn of(tx: &mut Tx<'_>, session: &Session, base: &Path) -> Result<Option<Self>, StoreError> {
        let Sources { home, thread_id, .. } = Sources::of(tx, session, base)?;
        // An id of another form than today's is the server's to judge.
        let thread_id = thread_id.or_else(|| session.codex_session_id.clone());
        Ok(thread_id
            .filter(|id| !id.trim().is_empty())
            .zip(home)
            .map(|(id, home)| Self { id, home: base.join(home) }))
    }

    /// The thread that a legacy worker is, where it was made as one.
    pub(crate) fn of_worker(config: &Config) -> Option<Self> {
        let id = config.text("codex_thread_id").filter(|id| !id.is_empty())?.to_owned();
        Some(Self { id, home: config.text("codex_home")?.into() })
    }
}

/// An agent that is to be ended.
pub(crate) struct Agent<'a> {
    /// Its session or worker.
    pub(crate) name: &'a str,
    /// The thread of Codex that it is, as far as known.
    pub(crate) thread: Option<&'a Thread>,
    /// Its terminal, if it has one.
    pub(crate) terminal: Option<&'a Terminal>,
    /// Whether it is ended even though nobody can say what goes on behind its back.
    pub(crate) force: bool,
}

/// An agent of which nothing goes on any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Whether there was a terminal to be ended.
    pub(crate) killed: bool,
    /// Whether it is known that no command of it goes on in the background.
    pub(crate) background_known: bool,
}

impl Ended {
    /// Says in a record what is not known.
    pub(crate) fn add_to(self, facts: &mut Value) {
        if !self.background_known {
            facts["background"] = UNKNOWN.into();
        }
    }
}

/// What is recorded of commands in the background of which nothing is known.
pub(crate) const UNKNOWN: &str = "unknown";

/// Ends one side of a task; `force` as in [`Agent`].
///
/// # Errors
/// As [`end`].
pub(crate) fn stop(cx: &mut Cx, terminal: &Context, force: bool) -> Result<Ended> {
    if terminal.terminal.is_none() {
        return Ok(Ended { killed: false, background_known: true });
    }
    let thread = match &terminal.owner {
        Owner::Session => {
            let base = cx.cwd.clone();
            cx.db.read(|tx| match sessions::by_id(tx, &terminal.side.id)? {
                Some(session) => Thread::of(tx, &session, &base),
                None => Ok(None),
            })?
        }
        Owner::LegacyWorker(worker) => Thread::of_worker(&worker.config),
        Owner::LegacyManager => None,
    };
    let agent = Agent {
        name: &terminal.side.name,
        thread: thread.as_ref(),
        terminal: terminal.terminal.as_ref(),
        force,
    };
    end(&cx.cwd, &agent)
}

/// Whether we run in the terminal of a side of a task.
pub(crate) fn is_around_us(terminal: &Context) -> bool {
    terminal.terminal.as_ref().is_some_and(is_around)
}

/// Whether we run in this terminal. That terminals cannot be asked is for whoever ends them to say.
pub(crate) fn is_around(terminal: &Terminal) -> bool {
    match terminal.locate() {
        Ok(Found::Here(here)) => processes::are_around_us(&[here.facts.pid]),
        _ => false,
    }
}

/// Ends what goes on for an agent, then its terminal, and looks whether all of it has ended. Homes are
/// relative to `directory`.
///
/// # Errors
/// Something that cannot be ended or looked at, within some seconds: the agent does not count as ended
/// then, though its terminal may be.
pub(crate) fn end(directory: &Path, agent: &Agent<'_>) -> Result<Ended> {
    let not_ended = |reason: String| Error::AgentNotEnded { name: agent.name.to_owned(), reason };
    if is_walled_in() {
        return Err(not_ended(
            "neither terminals nor processes can be seen from inside an agent's sandbox; nothing was touched, \
             let it be done outside"
                .into(),
        ));
    }
    let here = match agent.terminal {
        Some(terminal) => terminal.to_be_ended(agent.name)?,
        None => None,
    };
    let mut server = match agent.thread {
        Some(thread) => Server::reach(directory, thread, agent.force).map_err(not_ended)?,
        None => Server::None,
    };
    let panes: Vec<u32> = here.iter().map(|here| here.facts.pid).collect();
    let mut watched = Watched::below(&panes);
    // One whose pane is gone may still be there.
    watched.add_terminal(agent.terminal.and_then(Terminal::process));
    watched.add(server.commands(agent.thread));
    server.end_work().map_err(not_ended)?;
    fault::point("stopping.work_ended");
    let killed = match (agent.terminal, &here) {
        (Some(terminal), Some(here)) => terminal.end(here)?,
        _ => false,
    };
    fault::point("stopping.terminal_ended");
    // What the terminal began in its last moment runs in the server. Whatever a command has begun since
    // the first look is below it.
    watched.add(server.commands(agent.thread));
    server.end_work().map_err(not_ended)?;
    watched.wait_for_end(Instant::now() + END).map_err(not_ended)?;
    Ok(Ended { killed, background_known: server.knows_all() })
}

/// Who can say what goes on in a thread.
enum Server {
    /// Nobody: without a server the agent lives in its terminal.
    None,
    /// The server of its home.
    Reached { client: Box<Client>, thread_id: String, methods: Methods },
    /// There is one that cannot be talked to.
    Silent,
}

impl Server {
    /// The server of a thread. One that cannot say what goes on, or cannot be talked to, is accepted by
    /// force only. The error is a sentence.
    fn reach(directory: &Path, thread: &Thread, force: bool) -> Result<Self, String> {
        let home = directory.join(&thread.home);
        let mut client = match Client::connect(&home, ANSWER) {
            Ok(client) => client,
            Err(CodexError::NotReachable { .. }) if !codex::is_listening(&home) => return Ok(Self::None),
            Err(_) if force => return Ok(Self::Silent),
            Err(error) => return Err(error.to_string()),
        };
        let methods = match client.methods() {
            Ok(methods) => methods,
            Err(_) if force => return Ok(Self::Silent),
            Err(error) => return Err(error.to_string()),
        };
        let lacking = codex::lacking_to_end(&methods);
        if !lacking.is_empty() && !force {
            let version = client.server_version().unwrap_or("of an unknown version");
            return Err(format!(
                "its Codex server ({version}) has no {}, so nobody can say what goes on in the background; nothing \
                 was ended: update it with codex app-server daemon update --from-cli, or end what can be ended with \
                 --force",
                lacking.join(", ")
            ));
        }
        Ok(Self::Reached { client: Box::new(client), thread_id: thread.id.clone(), methods })
    }

    /// Whether it can say what goes on.
    fn knows_all(&self) -> bool {
        match self {
            Self::None => true,
            Self::Reached { methods, .. } => codex::lacking_to_end(methods).is_empty(),
            Self::Silent => false,
        }
    }

    /// The processes that run commands of the thread and of those that work for it.
    fn commands(&mut self, thread: Option<&Thread>) -> Vec<Identity> {
        let Some(thread) = thread else { return Vec::new() };
        let alone = vec![thread.id.clone()];
        match self {
            Self::Reached { client, thread_id, .. } => {
                let family = codex::workers_of(client, thread_id).unwrap_or(alone);
                processes::of_threads(client.server_pid(), &family)
            }
            Self::None | Self::Silent => processes::of_threads(None, &alone),
        }
    }

    /// Ends what goes on in the thread; the error is a sentence.
    fn end_work(&mut self) -> Result<(), String> {
        let Self::Reached { client, thread_id, methods } = self else { return Ok(()) };
        let left = codex::end_work(client, thread_id, methods, END).map_err(|error| error.to_string())?;
        if !left.is_nothing() {
            return Err(format!("{left} did not end within {} s", END.as_secs()));
        }
        Ok(())
    }
}
