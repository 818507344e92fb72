//! A ledger, a tmux server and the program, in the surroundings of a Codex home.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use conveyor_agents::codex::{Client, State, probe};
use conveyor_agents::screen::{StartupState, startup};
use conveyor_model::shell::quote;
use conveyor_testkit::codex::{Home, Mixture, PerMixture};
use conveyor_testkit::model_server::{Model, Script};
use conveyor_testkit::{TmuxServer, wait};
use serde_json::Value;

/// Generous, because other tests use the machine, too.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A home and its model.
pub struct Lab {
    pub home: Home,
    pub model: Model,
}

impl Lab {
    /// One of one's own. `None` when switched off.
    pub fn own() -> Option<Self> {
        Self::of(Mixture::NEWEST)
    }

    pub fn of(mixture: Mixture) -> Option<Self> {
        let model = Model::start(Script::new());
        let home = Home::of(mixture, &model)?;
        // Codex runs commands in a login shell, which takes its PATH from here.
        let own = program().parent().unwrap().display().to_string();
        let profile = format!("export PATH={}:\"$PATH\"\n", quote(&own));
        std::fs::write(home.path().join(".profile"), profile).unwrap();
        Some(Self { home, model })
    }

    /// The one that most tests share; its server runs.
    pub fn shared() -> Option<&'static Self> {
        Self::mixed(Mixture::NEWEST)
    }

    /// The one that most tests of a mixture share.
    pub fn mixed(mixture: Mixture) -> Option<&'static Self> {
        static SHARED: PerMixture<Option<Lab>> = PerMixture::new();
        let start = || {
            let lab = Self::of(mixture)?;
            lab.home.start_server();
            Some(lab)
        };
        SHARED.get(mixture, start).as_ref()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.home.path(), LIMIT).unwrap()
    }
}

/// A path as a word for a shell.
pub fn quoted(path: &Path) -> String {
    quote(&path.display().to_string())
}

/// The program under test.
fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_conveyor"))
}

/// `codex` and `conveyor` first.
fn path(lab: &Lab) -> OsString {
    let own = program().parent().unwrap();
    let codex = lab.home.program().parent().unwrap();
    let system = std::env::var_os("PATH").unwrap_or_default();
    let places = [own.to_owned(), codex.to_owned()].into_iter().chain(std::env::split_paths(&system));
    std::env::join_paths(places).unwrap()
}

/// One test's ledger and terminals.
pub struct Stage<'l> {
    pub lab: &'l Lab,
    pub tmux: TmuxServer,
    pub project: PathBuf,
    dir: tempfile::TempDir,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Standard output as JSON, of a command that must have succeeded.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

impl<'l> Stage<'l> {
    /// A trusted project of this name.
    pub fn new(lab: &'l Lab, project: &str) -> Self {
        Self::in_project(lab, lab.home.project(project))
    }

    pub fn in_project(lab: &'l Lab, project: PathBuf) -> Self {
        let dir = tempfile::Builder::new().prefix("conveyor-codex-").tempdir().unwrap();
        Self { lab, tmux: TmuxServer::new(), project, dir }
    }

    pub fn ledger(&self) -> PathBuf {
        self.dir.path().join("ledger.db")
    }

    /// The program on this ledger, in the surroundings that its user would have.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.plain_command(arguments);
        command.arg("--path").arg(self.ledger());
        command
    }

    /// The same without `--path`.
    pub fn plain_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["CODEX_", "OPENAI_", "TMUX", "CONVEYOR_", "WORKERCTL_"]
                .iter()
                .any(|own| text.starts_with(own))
            {
                command.env_remove(&name);
            }
        }
        let environment: BTreeMap<_, _> = self.lab.home.environment().into_iter().collect();
        command.envs(environment).env("PATH", path(self.lab)).env("TMUX_TMPDIR", self.tmux.dir());
        command.current_dir(&self.project).stdin(Stdio::null());
        command.args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments))
    }

    /// Runs a command that must succeed and print JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.run(arguments).json()
    }

    pub fn sql(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.ledger()).unwrap()
    }

    /// The single text that a query gives.
    pub fn scalar(&self, query: &str) -> String {
        let value: rusqlite::types::Value = self.sql().query_row(query, [], |row| row.get(0)).unwrap();
        match value {
            rusqlite::types::Value::Null => "null".into(),
            rusqlite::types::Value::Integer(value) => value.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => format!("{other:?}"),
        }
    }

    /// The single column of texts that a query gives.
    pub fn column(&self, query: &str) -> Vec<String> {
        let raw = self.sql();
        let mut statement = raw.prepare(query).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    pub fn screen(&self, session: &str) -> String {
        self.tmux.tmux(["capture-pane", "-p", "-t", &format!("={session}:")])
    }

    pub fn until_shown(&self, session: &str, text: &str) {
        let mut last = String::new();
        wait::until(LIMIT, &format!("{text:?} in {session}"), || {
            last = self.screen(session);
            last.contains(text)
        });
    }

    /// Waits until Codex takes messages. Its composer alone says nothing: it is shown already while
    /// a session is being resumed.
    pub fn until_ready(&self, session: &str) {
        let is_ready = || startup(&self.screen(session)).state == StartupState::Ready;
        wait::until(LIMIT, &format!("a ready Codex in {session}"), is_ready);
    }

    pub fn sessions(&self) -> Vec<String> {
        let listed = Command::new("tmux")
            .env_remove("TMUX")
            .env("TMUX_TMPDIR", self.tmux.dir())
            .args(["list-sessions", "-F", "#{session_name}"])
            .output()
            .unwrap();
        String::from_utf8_lossy(&listed.stdout).lines().map(ToOwned::to_owned).collect()
    }

    /// Waits until the thread of a registered session is in this state.
    #[track_caller]
    pub fn until(&self, session: &str, state: State) {
        let mut client = self.lab.client();
        let thread = self.thread_of(session);
        wait::until(LIMIT, &format!("{} of {session}", state.as_str()), || {
            probe(&mut client, &thread).is_ok_and(|reading| reading.state() == state)
        });
    }

    pub fn thread_of(&self, session: &str) -> String {
        self.scalar(&format!("select codex_session_id from sessions where name = '{session}'"))
    }
}

pub fn ran(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}
