//! Starting agents: from nothing to a registered session whose terminal shows exactly the thread
//! that was started for it.
//!
//! Where Codex's shared server can be reached, the thread is made there, named, and a terminal is
//! attached to it (`native`): nothing has to be searched for. Otherwise a terminal is started and
//! the rollout looked for that its own processes hold open (`classic`). Either way a session that
//! cannot be proven to be the one that was started is never registered.
//!
//! | step | where |
//! | --- | --- |
//! | what is in the way | `begin` |
//! | the intent, before the first effect; what an earlier one left | [`intent`] |
//! | the terminal's command | `terminal` |
//! | waiting for the composer; the trust question | `watch` |
//! | the rows | `record` |
//! | the first message | [`bootstrap`] |
//! | the commands | [`starting`], `pair` |

pub mod bootstrap;
mod classic;
mod error;
pub mod intent;
mod native;
mod record;
pub mod starting;
mod terminal;
pub(crate) mod trust;
mod watch;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use conveyor_agents::codex::{Client, Codex, CodexError, Features, Version};
use conveyor_agents::tmux::{PaneFacts, Tmux};
use conveyor_model::Role;
use conveyor_store::{Location, sessions};
use serde::Serialize;
use serde_json::Value;

use crate::legacy::{check_name, tmux_session_of};
use crate::{Cx, Error, Result};

pub use conveyor_agents::codex::{Approval, Sandbox};
pub use error::StartError;

/// How long a server that is only looked for may take to let us in.
const CONNECT: Duration = Duration::from_secs(5);

/// The Codex that is meant, and what its terminals get from our own surroundings.
#[derive(Clone, Debug)]
pub struct Installation {
    /// `codex`, absolute; `None` when it is not on `PATH`.
    pub program: Option<PathBuf>,
    /// What `CODEX_HOME` says, or `~/.codex`.
    pub home: PathBuf,
    /// `HOME`.
    pub user_home: Option<PathBuf>,
}

impl Installation {
    /// The program.
    ///
    /// # Errors
    /// It is not installed.
    pub fn program(&self) -> Result<&Path> {
        self.program.as_deref().ok_or_else(|| StartError::ToolMissing("codex").into())
    }

    fn codex(&self) -> Result<Codex> {
        Ok(Codex::new(self.program()?, &self.home))
    }
}

/// How a session is to be started.
#[derive(Clone, Debug)]
pub struct Startup {
    /// What its commands may do.
    pub sandbox: Sandbox,
    /// When it asks.
    pub approval: Approval,
    /// Answer Codex's question whether the directory may be trusted with yes.
    pub accept_trust: bool,
    /// How long everything may take.
    pub limit: Duration,
    /// Use Codex's shared server where there is one.
    pub native: bool,
}

/// A session to be started.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its role, for good.
    pub role: Role,
    /// Its name.
    pub name: &'a str,
    /// Where it works, absolute.
    pub cwd: &'a Path,
    /// Its first message, if there is to be one.
    pub prompt: Option<&'a str>,
    /// How it is to be started.
    pub startup: &'a Startup,
    /// Which Codex.
    pub installation: &'a Installation,
    /// The command that starts it, for the records.
    pub via: &'static str,
}

/// A started and registered session.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Spawned {
    pub codex_session_id: String,
    pub codex_session_path: String,
    pub cwd: String,
    /// Where its server is; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Value>,
    pub name: String,
    pub pid: i64,
    pub role: Role,
    pub session_id: String,
    /// Its thread; absent without a server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    pub tmux_session: String,
    /// What a person should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Whether its first message was not given to it at its start.
    #[serde(skip)]
    pub awaits_prompt: bool,
    /// Whether the question about trust was answered.
    #[serde(skip)]
    pub trust_accepted: bool,
    /// The pane of its terminal.
    #[serde(skip)]
    pub(crate) pane: PaneFacts,
}

/// Makes sure that the tools are there: nothing is opened or written before.
///
/// # Errors
/// Codex or tmux is not installed, or the terminals cannot be reached.
pub fn preflight(installation: &Installation, tmux: &Tmux) -> Result<()> {
    installation.program()?;
    check_tmux(tmux)
}

/// Makes sure that tmux is installed and its server can be reached.
///
/// # Errors
/// It is not, or it cannot.
pub fn check_tmux(tmux: &Tmux) -> Result<()> {
    tmux.version().and_then(|_| tmux.start_server()).map_err(|error| match error {
        conveyor_agents::tmux::TmuxError::NotInstalled { .. } => StartError::ToolMissing("tmux").into(),
        error => StartError::Tmux(error).into(),
    })
}

/// Makes sure that Codex takes these words where it is started by its command line: nothing is
/// opened or written before.
///
/// # Errors
/// It does not list one of them, or cannot be run.
pub fn check_words(installation: &Installation, startup: &Startup) -> Result<()> {
    let codex = installation.codex()?;
    let failed = |error: CodexError| Error::from(StartError::Codex(error.to_string()));
    if startup.native && !is_too_old(codex.version(CONNECT).ok().as_deref()) {
        return Ok(());
    }
    classic::check_words(startup, &codex.features(startup.limit).map_err(failed)?)
}

/// Whether a version, as it was told, is one with which threads cannot be shown before their first
/// turn.
fn is_too_old(told: Option<&str>) -> bool {
    told.and_then(Version::parse).is_some_and(|version| !version.is_accepted())
}

/// Starts a session and registers it. Its first message is the caller's to send when
/// [`Spawned::awaits_prompt`] is set.
///
/// # Errors
/// [`Error::Start`] with the stage that failed and what is left of it; a bad name; a failing ledger.
pub fn start(cx: &mut Cx, request: &Request<'_>) -> Result<Spawned> {
    check_name(request.name)?;
    let left = check_free(cx, request.name)?;
    let mut spawn = Spawn::begin(request, left)?;
    match spawn.reach_server()? {
        Some(client) => native::start(cx, &spawn, client),
        None => classic::start(cx, &spawn),
    }
}

/// A start by way of a server that runs: everything is checked, nothing is done yet.
pub(crate) struct Prepared<'a> {
    spawn: Spawn<'a>,
    client: Client,
}

/// Prepares a start by way of a server that runs already; `None` where there is none. With `again`
/// a session of the name may exist, and is registered anew.
///
/// # Errors
/// As [`start`], before anything exists.
pub(crate) fn prepare<'a>(
    cx: &mut Cx,
    request: &'a Request<'a>,
    again: bool,
) -> Result<Option<Prepared<'a>>> {
    check_name(request.name)?;
    let codex = request.installation.codex()?;
    if is_too_old(codex.version(CONNECT).ok().as_deref()) {
        return Ok(None);
    }
    let Ok(mut client) = codex.connect(CONNECT) else { return Ok(None) };
    if is_too_old(client.server_version()) {
        return Ok(None);
    }
    let left = if again { check_role(cx, request)? } else { check_free(cx, request.name)? };
    let mut spawn = Spawn::begin(request, left)?;
    spawn.again = again;
    native::check_trust(&spawn, &mut client)?;
    Ok(Some(Prepared { spawn, client }))
}

/// Refuses to register a name anew for the other role.
fn check_role(cx: &mut Cx, request: &Request<'_>) -> Result<Option<intent::Left>> {
    let session = cx.db.read(|tx| sessions::by_name(tx, request.name))?;
    match session {
        Some(session) if session.role != request.role.as_str() => {
            Err(StartError::NameTaken(session.name).into())
        }
        _ => Ok(None),
    }
}

impl Prepared<'_> {
    /// Starts the session and registers it.
    ///
    /// # Errors
    /// As [`start`].
    pub(crate) fn start(self, cx: &mut Cx) -> Result<Spawned> {
        native::start(cx, &self.spawn, self.client)
    }
}

/// Refuses a name that is taken by a session or a terminal. Gives what an earlier start of the name
/// left, where that is in nobody's way.
///
/// # Errors
/// [`Error::Start`], or a failing ledger.
pub fn check_free(cx: &mut Cx, name: &str) -> Result<Option<intent::Left>> {
    let (session, left) =
        cx.db.read(|tx| Ok::<_, Error>((sessions::by_name(tx, name)?, intent::left_of(tx, name)?)))?;
    if session.is_some() {
        return Err(StartError::NameTaken(name.to_owned()).into());
    }
    let tmux_session = tmux_session_of(name);
    if !cx.tmux.has_session(&tmux_session).map_err(StartError::Tmux)? {
        return Ok(left);
    }
    let ledger = cx.ledger();
    Err(match left {
        Some(left) => StartError::LeftBehind(left.explain(true, &ledger)),
        None => StartError::TerminalTaken(tmux_session),
    }
    .into())
}

/// A start in progress.
struct Spawn<'a> {
    request: &'a Request<'a>,
    codex: Codex,
    features: Features,
    tmux_session: String,
    began_ms: i64,
    deadline: Instant,
    left: Option<intent::Left>,
    /// Whether a session of the name may exist.
    again: bool,
    /// What a person should know about how it is started.
    notes: Vec<String>,
}

impl<'a> Spawn<'a> {
    fn begin(request: &'a Request<'a>, left: Option<intent::Left>) -> Result<Self> {
        let (codex, limit) = (request.installation.codex()?, request.startup.limit);
        if !request.cwd.is_dir() {
            return Err(StartError::NoDirectory(request.cwd.to_owned()).into());
        }
        let deadline = Instant::now() + limit;
        let features = codex.features(limit).map_err(|error| StartError::Codex(error.to_string()))?;
        let tmux_session = tmux_session_of(request.name);
        let began_ms = conveyor_agents::age::machine_millis();
        Ok(Self {
            request,
            codex,
            features,
            tmux_session,
            began_ms,
            deadline,
            left,
            again: false,
            notes: Vec::new(),
        })
    }

    /// What is left of the time.
    fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(200))
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    fn cwd(&self) -> Result<&str> {
        let cwd = self.request.cwd;
        cwd.to_str().ok_or_else(|| Error::invalid(format!("the path {cwd:?} is not valid UTF-8")))
    }

    /// A connection to the shared server, which is started if need be. `None`: the old way.
    fn reach_server(&mut self) -> Result<Option<Client>> {
        if !self.request.startup.native {
            return Ok(None);
        }
        let installed = self.codex.version(self.remaining().min(CONNECT)).ok();
        if is_too_old(installed.as_deref()) {
            self.notes.push(too_old("this Codex", installed.as_deref()));
            return Ok(None);
        }
        let Some(client) = self.connect_or_start()? else { return Ok(None) };
        let server = client.server_version();
        if is_too_old(server) {
            self.notes.push(too_old("the server of this Codex", server));
            return Ok(None);
        }
        let versions = (server.and_then(Version::parse), installed.as_deref().and_then(Version::parse));
        if let (Some(server), Some(installed)) = versions {
            self.notes.extend(drifted(server, installed));
        }
        Ok(Some(client))
    }

    fn connect_or_start(&self) -> Result<Option<Client>> {
        if let Ok(client) = self.codex.connect(self.remaining().min(Duration::from_secs(5))) {
            return Ok(Some(client));
        }
        match self.codex.start_server(self.remaining()) {
            Ok(_) => {}
            Err(CodexError::Unsupported { .. }) => return Ok(None),
            Err(error) => return Err(StartError::Codex(error.to_string()).into()),
        }
        match self.codex.connect(self.remaining()) {
            Ok(client) => Ok(Some(client)),
            Err(error) => Err(StartError::Codex(error.to_string()).into()),
        }
    }

    /// What the person should know about the past of the name.
    fn warnings(&self, ledger: &str) -> Vec<String> {
        let left = self.left.iter().map(|left| left.explain(false, ledger));
        left.chain(self.notes.iter().cloned()).collect()
    }

    /// Inside its sandbox an agent writes to the ledger, too.
    fn writable(&self, cx: &Cx) -> Vec<PathBuf> {
        match (self.request.startup.sandbox, cx.db.location()) {
            (Sandbox::WorkspaceWrite, Location::File(path)) => {
                path.parent().map(PathBuf::from).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
}

fn too_old(what: &str, version: Option<&str>) -> String {
    format!(
        "{what} is {}, older than {}: it was started without the shared server, and messages are typed only with \
         --force; update it with `npm install -g @openai/codex`",
        version.and_then(Version::parse).map_or_else(|| "unknown".into(), |version| version.to_string()),
        Version::FIRST_ACCEPTED
    )
}

/// What to know where Codex's server is another version than the program.
pub(crate) fn drifted(server: Version, installed: Version) -> Option<String> {
    (server != installed).then(|| {
        format!(
            "Codex's server is {server}, the installed program {installed}; both work together as they are, and \
             `codex app-server daemon update --from-cli` makes the server the same"
        )
    })
}
