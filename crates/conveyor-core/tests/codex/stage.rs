//! A worker and a manager with the real Codex, whose model is scripted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use conveyor_agents::codex::{
    Approval, Attachment, Client, Codex, NewThread, Sandbox, State, Thread, create, probe,
};
use conveyor_agents::screen::{StartupState, startup};
use conveyor_core::dispatch::{self, Element};
use conveyor_core::typing::interrupt::{self, Request as Interrupt};
use conveyor_core::typing::nudge::{self, Nudged, Request as Nudge};
use conveyor_core::typing::{Guard, NotReady};
use conveyor_core::{Cx, Error, RandomIds, ServerChoice, SystemClock, Tmux, queue};
use conveyor_model::CommandType;
use conveyor_model::shell::quote;
use conveyor_store::{Access, Db, Location, OpenOptions};
use conveyor_testkit::codex::{Home, Mixture, PerMixture};
use conveyor_testkit::model_server::{Model, Script};
use conveyor_testkit::{TmuxServer, wait};

/// Generous, because other tests use the machine, too.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A home of Codex with its server and its model.
pub struct Lab {
    pub home: Home,
    pub model: Model,
}

impl Lab {
    /// `None` when tests with the real Codex are switched off.
    pub fn new() -> Option<Self> {
        Self::of(Mixture::NEWEST)
    }

    fn of(mixture: Mixture) -> Option<Self> {
        let model = Model::start(Script::new());
        let home = Home::of(mixture, &model)?;
        home.start_server();
        Some(Self { home, model })
    }

    /// The one that tests share which do not harm its server.
    pub fn shared() -> Option<&'static Self> {
        Self::mixed(Mixture::NEWEST)
    }

    /// The one that such tests of a mixture share.
    pub fn mixed(mixture: Mixture) -> Option<&'static Self> {
        static LABS: PerMixture<Option<Lab>> = PerMixture::new();
        LABS.get(mixture, || Self::of(mixture)).as_ref()
    }

    fn codex(&self) -> Codex {
        Codex::new(self.home.program(), self.home.path())
    }
}

/// A worker: a thread, a terminal attached to it, and its row in a ledger. Its manager is in an app,
/// unless it gets a terminal, too.
pub struct Stage<'l> {
    pub lab: &'l Lab,
    pub cx: Cx,
    pub client: Client,
    pub thread_id: String,
    pub tmux: TmuxServer,
    pub project: PathBuf,
    dir: tempfile::TempDir,
}

impl<'l> Stage<'l> {
    /// A worker in a project of this name.
    pub fn new(lab: &'l Lab, name: &str) -> Self {
        let codex = lab.codex();
        let mut client = codex.connect(LIMIT).expect("a running server");
        let project = lab.home.project(name);
        let tmux = TmuxServer::new();
        let thread = attach(lab, &mut client, &tmux, &project, "codex-w");
        let dir = tempfile::tempdir().expect("a directory");
        let cx = ledger(&dir.path().join("ledger.db"), &thread, &project, &tmux);
        let stage = Self { lab, cx, client, thread_id: thread.id, tmux, project, dir };
        stage.until_ready("codex-w");
        stage
    }

    /// Puts the manager into a terminal of its own; gives its thread.
    pub fn seat_manager(&mut self, name: &str) -> String {
        let project = self.lab.home.project(name);
        let thread = attach(self.lab, &mut self.client, &self.tmux, &project, "codex-m");
        self.until_ready("codex-m");
        let path = thread.path.clone().expect("a rollout");
        self.sql(&format!(
            "update sessions set tmux_session = 'codex-m', codex_session_path = '{path}', codex_session_id = '{}', \
             cwd = '{}', pid = {} where name = 'm'",
            thread.id,
            project.display(),
            process_in(&self.tmux, "codex-m")
        ));
        thread.id
    }

    /// Has a person start Codex in the worker's directory.
    pub fn start_codex(&self, terminal: &str) {
        let program = quote(&self.lab.home.program().display().to_string());
        start(self.lab, &self.tmux, &self.project, terminal, &program);
    }

    fn raw(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.dir.path().join("ledger.db")).expect("the ledger")
    }

    pub fn sql(&self, statements: &str) {
        self.raw().execute_batch(statements).expect(statements);
    }

    /// The single text that a query gives.
    pub fn text(&self, query: &str) -> String {
        self.raw().query_row(query, [], |row| row.get::<_, String>(0)).expect(query)
    }

    /// What users told the worker, as its own record has it.
    pub fn told(&self) -> Vec<String> {
        let rollout = self.text("select codex_session_path from sessions where name = 'w'");
        let record = std::fs::read_to_string(rollout).expect("a rollout");
        let text = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            let payload = &line["payload"];
            match (payload["type"].as_str()?, payload["item"]["type"].as_str()) {
                ("user_message", _) => Some(payload["message"].as_str()?.to_owned()),
                ("item_completed", Some("UserMessage")) => {
                    let parts = payload["item"]["content"].as_array()?;
                    Some(parts.iter().filter_map(|part| part["text"].as_str()).collect())
                }
                _ => None,
            }
        };
        // A line that is just being written is no line yet.
        record.split_inclusive('\n').filter(|line| line.ends_with('\n')).filter_map(text).collect()
    }

    /// The worker's ledger once more, for somebody else; or another ledger that has the same worker.
    pub fn ledger(&self, name: &str) -> Cx {
        let file = self.dir.path().join(name);
        if !file.exists() {
            self.sql(&format!("vacuum into '{}'", file.display()));
        }
        open(&file, &self.project, &self.tmux)
    }

    pub fn screen(&self) -> String {
        self.screen_of("codex-w")
    }

    pub fn screen_of(&self, session: &str) -> String {
        self.tmux.tmux(["capture-pane", "-p", "-t", &format!("={session}:")])
    }

    pub fn until_shown(&self, session: &str, text: &str) {
        wait::until(LIMIT, text, || self.screen_of(session).contains(text));
    }

    /// Waits until Codex takes messages. Its composer alone says nothing: it is shown already while
    /// a session is being resumed.
    pub fn until_ready(&self, session: &str) {
        let is_ready = || startup(&self.screen_of(session)).state == StartupState::Ready;
        wait::until(LIMIT, "a ready Codex", is_ready);
    }

    pub fn nudge(&mut self, text: &str) -> Result<Nudged, Error> {
        let request = Nudge { name: "w", text, dry_run: false, guard: Guard::default() };
        nudge::session(&mut self.cx, &request)
    }

    #[track_caller]
    pub fn seen(&mut self, text: &str) -> String {
        let nudged = self.nudge(text).expect("a sent text");
        let delivery = nudged.sent.delivery.expect("a delivery");
        assert_eq!((delivery.stage, nudged.unconfirmed.is_none()), ("seen", true), "{delivery:?}");
        delivery.turn_id.expect("a turn")
    }

    #[track_caller]
    pub fn refused(&mut self, text: &str) -> NotReady {
        match self.nudge(text) {
            Err(Error::TargetNotReady(object)) => *object,
            other => panic!("not refused: {other:?}\n{}", self.screen()),
        }
    }

    pub fn interrupt(&mut self) -> interrupt::Report {
        let request =
            Interrupt { name: "w", key: None, followup: None, dry_run: false, guard: Guard::default() };
        interrupt::session(&mut self.cx, &request).expect("an interrupt").report
    }

    #[track_caller]
    pub fn wait_for(&mut self, state: State) {
        let thread_id = self.thread_id.clone();
        self.wait_for_thread(&thread_id, state);
    }

    #[track_caller]
    pub fn wait_for_thread(&mut self, thread_id: &str, state: State) {
        let client = &mut self.client;
        wait::until(LIMIT, state.as_str(), || probe(client, thread_id).expect("a state").state() == state);
    }

    /// Queues a message for the worker; gives its command.
    pub fn enqueue(&mut self, message: &str) -> String {
        let request = queue::EnqueueRequest {
            command_type: CommandType::NudgeWorker,
            task: "t",
            message,
            correlation_id: None,
            idempotency_key: None,
            required_permission: None,
        };
        queue::enqueue(&mut self.cx, &request).expect("a queued message").command_id
    }

    /// What a dispatcher does that reads the rollouts first.
    pub fn dispatch(&mut self) -> Vec<String> {
        let request = dispatch::Request {
            watch: false,
            iterations: None,
            interval: 0.0,
            limit: 10,
            lease_seconds: 60,
            dispatcher_id: "d".into(),
            only: None,
            dry_run: false,
            exit_when_unbound: false,
            guard: Guard::default(),
            ingest: Some(true),
        };
        let report = dispatch::run(&mut self.cx, &request, &dispatch::Stop::default(), &mut |_| {});
        report.expect("a pass").processed.iter().map(said).collect()
    }

    /// Passes until one says something that begins like this; gives all that was said.
    #[track_caller]
    pub fn dispatch_until(&mut self, beginning: &str) -> Vec<String> {
        let mut said = Vec::new();
        wait::until(LIMIT, beginning, || {
            said.extend(self.dispatch());
            said.iter().any(|line: &String| line.starts_with(beginning))
        });
        said
    }

    /// How many turns of the model were about a text.
    pub fn turns_about(&self, text: &str) -> usize {
        self.lab.model.requests_about(text).len()
    }
}

fn said(element: &Element) -> String {
    match element {
        Element::Completion(completion) => format!("{} for {}", completion.state, completion.target_session),
        Element::Parked(parked) => format!("parked {}", parked.reason),
        Element::Routed(routed) => format!("{} to {}", routed.state, routed.target_session),
        other => format!("{other:?}"),
    }
}

/// A new thread with a terminal of this name.
fn attach(lab: &Lab, client: &mut Client, tmux: &TmuxServer, project: &Path, terminal: &str) -> Thread {
    let new = NewThread {
        cwd: project,
        sandbox: Sandbox::WorkspaceWrite,
        approval: Approval::OnRequest,
        model: None,
    };
    let thread = create(client, &new, terminal).expect("a thread");
    let how = Attachment {
        sandbox: Sandbox::WorkspaceWrite,
        approval: Approval::OnRequest,
        model: None,
        writable: &[],
        keep_history: true,
        name_server: true,
    };
    let codex = lab.codex();
    let words: Vec<String> = codex.attach(&thread.id, &how).iter().map(|word| quote(word)).collect();
    start(lab, tmux, project, terminal, &words.join(" "));
    thread
}

/// Starts a program in a terminal of this name.
fn start(lab: &Lab, tmux: &TmuxServer, project: &Path, terminal: &str, command: &str) {
    let mut arguments: Vec<String> =
        ["new-session", "-d", "-s", terminal, "-x", "200", "-y", "50"].map(Into::into).into();
    for (name, value) in lab.home.environment() {
        arguments.extend(["-e".to_owned(), format!("{name}={value}")]);
    }
    arguments.extend(["-c".to_owned(), project.display().to_string()]);
    arguments.push(format!("exec {command}"));
    tmux.tmux(arguments);
}

/// A manager in an app, and a task that binds it to the worker.
const BOUND: &str = "
insert into sessions (id, name, role, identity_token, pid, cwd, registered_at, state)
  values ('session-m', 'm', 'manager', 'token-m', 1, '', '', 'active');
insert into tasks (id, name, goal, state, created_at, updated_at) values ('task-t', 't', 'g', 'managed', '', '');
insert into bindings (id, task_id, worker_session_id, manager_session_id, state, created_at)
  values ('binding-t', 'task-t', 'session-w', 'session-m', 'active', '2026-01-01T00:00:00.000Z');
";

/// The process that runs in a terminal: by it the terminal is known.
fn process_in(tmux: &TmuxServer, terminal: &str) -> i64 {
    let target = format!("={terminal}:");
    tmux.tmux(["display-message", "-p", "-t", &target, "#{pane_pid}"]).trim().parse().expect("a process")
}

/// A ledger that has the thread as the worker `w` in the terminal `codex-w`.
fn ledger(file: &Path, thread: &Thread, project: &Path, tmux: &TmuxServer) -> Cx {
    let cx = open(file, project, tmux);
    let raw = rusqlite::Connection::open(file).expect("the same ledger");
    let path = thread.path.as_deref().expect("a rollout");
    raw.execute(
        "insert into sessions (id, name, role, identity_token, tmux_session, codex_session_path, codex_session_id, \
         pid, cwd, registered_at, state) values ('session-w', 'w', 'worker', 'token', 'codex-w', ?1, ?2, ?4, ?3, '', 'active')",
        (path, &thread.id, project.display().to_string(), process_in(tmux, "codex-w")),
    )
    .expect("a session");
    raw.execute_batch(BOUND).expect("a binding");
    cx
}

fn open(file: &Path, project: &Path, tmux: &TmuxServer) -> Cx {
    let options = OpenOptions {
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
        machine: conveyor_model::Machine::default(),
        server_password: None,
        password_file: None,
    };
    let db = Db::open(&Location::File(file.to_owned()), Access::Write, options).expect("a ledger");
    let server = ServerChoice::Directory(tmux.dir().to_owned());
    Cx { db, cwd: project.to_owned(), parent_pid: 1, tmux: Tmux::new("tmux", server) }
}
