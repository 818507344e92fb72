//! `register-worker` and `register-manager`: make a running Codex session known.

use conveyor_core::registration::{self, Identified, Request, Rollout, Sought};
use conveyor_model::Role;
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::values;

/// Arguments that both commands share.
#[derive(clap::Args)]
struct Registration {
    /// The session's name, unique among all sessions
    #[arg(long, value_name = "NAME", required = true)]
    name: Vec<String>,
    /// The pid of the Codex process
    #[arg(long, value_name = "PID", value_parser = values::integer,
          required_unless_present_any = ["itself", "thread_id"])]
    pid: Option<i64>,
    /// The session is the agent that runs this command
    #[arg(long = "self", conflicts_with_all = ["pid", "codex_session", "thread_id"])]
    itself: bool,
    /// The session's thread, which Codex's server or its files must know
    #[arg(long, value_name = "ID", conflicts_with_all = ["pid", "codex_session"])]
    thread_id: Option<String>,
    /// Which Codex is meant with --self and --thread-id [default: $CODEX_HOME, else ~/.codex]
    #[arg(long, value_name = "DIR", conflicts_with = "pid")]
    codex_home: Option<String>,
    /// The session's rollout file [default: the one that the process or a descendant holds open]
    #[arg(long, value_name = "FILE")]
    codex_session: Option<String>,
    /// The directory the session works in [default: what its rollout says]
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// The tmux session to type messages into; without one the session polls its inbox
    #[arg(long, value_name = "SESSION")]
    tmux_session: Option<String>,
    /// The session's thread in the Codex app
    #[arg(long, value_name = "ID")]
    codex_app_thread_id: Option<String>,
    /// That thread's title
    #[arg(long, value_name = "TITLE")]
    codex_app_thread_title: Option<String>,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Registration {
    fn register(self, role: Role, app: &mut App<'_>) -> Result<(), Failure> {
        let [name] = self.name.as_slice() else {
            return Err(Failure::usage("--name can be given only once: register one session at a time"));
        };
        registration::check_name(name)?;
        // Read before the ledger is opened, so that a bad rollout leaves no new ledger behind.
        let (rollout, pid, identified) = match self.pid {
            Some(pid) => (self.rollout_of(pid, app)?, pid, None),
            None => {
                let found = self.identify(app)?;
                (found.rollout().clone(), found.pid().unwrap_or(app.host.parent_pid), Some(found))
            }
        };
        let known_terminal = identified.as_ref().and_then(Identified::tmux_session);
        let request = Request {
            role,
            name,
            pid,
            rollout: &rollout,
            cwd: self.cwd.as_deref(),
            tmux_session: self.tmux_session.as_deref().or(known_terminal),
            identified: identified.as_ref(),
            codex_app_thread_id: self.codex_app_thread_id.as_deref(),
            codex_app_thread_title: self.codex_app_thread_title.as_deref(),
        };
        let mut cx = app.open(&self.db, Access::Write)?;
        let registered = registration::register(&mut cx, &request)?;
        app.out().json(&registered)
    }

    fn rollout_of(&self, pid: i64, app: &App<'_>) -> Result<Rollout, Failure> {
        registration::check_pid(pid)?;
        Ok(match &self.codex_session {
            Some(given) => Rollout::given(given, &app.absolute(given)?)?,
            None => Rollout::of_process(pid)?,
        })
    }

    /// The session that is meant by its thread.
    fn identify(&self, app: &App<'_>) -> Result<Identified, Failure> {
        app.host.environment.decodable(&["CODEX_THREAD_ID"])?;
        let own = app.host.environment.codex_thread_id.as_deref();
        let thread_id = match (&self.thread_id, own) {
            (Some(given), _) => given,
            (None, Some(own)) => own,
            (None, None) => {
                return Err(Failure::usage(
                    "--self is for commands that a Codex session runs itself, where CODEX_THREAD_ID is set: give \
                     --thread-id ID, or --pid PID",
                ));
            }
        };
        let sought = Sought {
            thread_id,
            home: &app.installation(self.codex_home.as_deref())?.home,
            is_self: self.itself,
            tmux_session: self.tmux_session.as_deref(),
        };
        Ok(Identified::find(&app.tmux()?, &sought)?)
    }
}

/// Arguments of `register-worker`.
#[derive(clap::Args)]
pub struct RegisterWorker {
    #[command(flatten)]
    registration: Registration,
}

impl Subcommand for RegisterWorker {
    const NAME: &'static str = "register-worker";
    const GROUP: Group = Group::Sessions;
    const ABOUT: &'static str = "Register a Codex session as a worker";
    const HELP: &'static str = "\
Registering a name again updates it: it keeps its id and identity token, becomes active, and its rollout is read
from the beginning again. A name keeps its role for ever. Codex writes the rollout only after the first prompt.

An agent registers itself with --self: its own environment says which thread it is, and Codex's server or files
must confirm that. Its terminal is found by its thread; without one it polls its inbox. --thread-id does the same
for a session that is known by its thread.

Example:
  conveyor register-worker --name worker-1 --self --path ./ledger.db
  conveyor register-worker --name worker-1 --pid 4711 --tmux-session codex-1 --path ./ledger.db
  conveyor register-worker --name app-1 --pid 4711 --codex-session ~/.codex/sessions/2026/01/01/rollout-x.jsonl \\
    --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        self.registration.register(Role::Worker, app)
    }
}

/// Arguments of `register-manager`.
#[derive(clap::Args)]
pub struct RegisterManager {
    #[command(flatten)]
    registration: Registration,
}

impl Subcommand for RegisterManager {
    const NAME: &'static str = "register-manager";
    const GROUP: Group = Group::Sessions;
    const ABOUT: &'static str = "Register a Codex session as a manager";
    const HELP: &'static str = "\
Registering a name again updates it: it keeps its id and identity token, becomes active, and its rollout is read
from the beginning again. A name keeps its role for ever. Codex writes the rollout only after the first prompt.

An agent registers itself with --self: its own environment says which thread it is, and Codex's server or files
must confirm that. Its terminal is found by its thread; without one it polls its inbox. --thread-id does the same
for a session that is known by its thread.

Example:
  conveyor register-manager --name manager-1 --self --path ./ledger.db
  conveyor register-manager --name manager-1 --pid 4712 --path ./ledger.db
  conveyor bind --task demo --worker worker-1 --manager manager-1 --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        self.registration.register(Role::Manager, app)
    }
}
