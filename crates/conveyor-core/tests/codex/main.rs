//! Guarded typing into the terminal of a real Codex, whose model is scripted.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail like tests")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use conveyor_agents::codex::{Approval, Attachment, Client, Codex, NewThread, Sandbox, State, create, probe};
use conveyor_core::dispatch;
use conveyor_core::typing::interrupt::{self, Request as Interrupt};
use conveyor_core::typing::nudge::{self, Nudged, Request as Nudge};
use conveyor_core::typing::{Guard, NotReady};
use conveyor_core::{Cx, Error, RandomIds, ServerChoice, SystemClock, Tmux};
use conveyor_model::shell::quote;
use conveyor_store::{Access, Db, Location, OpenOptions};
use conveyor_testkit::codex::{Home, binary};
use conveyor_testkit::model_server::{Model, Reply, Script};
use conveyor_testkit::{TmuxServer, wait};

/// Generous, because other tests use the machine, too.
const LIMIT: Duration = Duration::from_secs(60);

/// A worker: a thread, a terminal attached to it, and its row in a ledger.
struct Stage {
    cx: Cx,
    client: Client,
    thread_id: String,
    tmux: TmuxServer,
    project: PathBuf,
    model: Model,
    _home: Home,
    _dir: tempfile::TempDir,
}

impl Stage {
    /// `None` when tests with the real Codex are switched off.
    fn new() -> Option<Self> {
        let model = Model::start(Script::new());
        let home = Home::new(&model)?;
        home.start_server();
        let codex = Codex::new(binary()?, home.path());
        let mut client = codex.connect(LIMIT).expect("a running server");
        let project = home.project("typing");
        let new = NewThread {
            cwd: &project,
            sandbox: Sandbox::WorkspaceWrite,
            approval: Approval::OnRequest,
            model: None,
        };
        let thread = create(&mut client, &new, "typing").expect("a thread");
        let how = Attachment {
            sandbox: Sandbox::WorkspaceWrite,
            approval: Approval::OnRequest,
            model: None,
            writable: &[],
            keep_history: true,
        };
        let words: Vec<String> = codex.attach(&thread.id, &how).iter().map(|word| quote(word)).collect();
        let tmux = TmuxServer::new();
        let mut arguments: Vec<String> =
            ["new-session", "-d", "-s", "codex-w", "-x", "200", "-y", "50"].map(Into::into).into();
        for (name, value) in home.environment() {
            arguments.extend(["-e".to_owned(), format!("{name}={value}")]);
        }
        arguments.extend(["-c".to_owned(), project.display().to_string()]);
        arguments.push(format!("exec {}", words.join(" ")));
        tmux.tmux(arguments);
        let dir = tempfile::tempdir().expect("a directory");
        let cx = ledger(&dir.path().join("ledger.db"), &thread, &project, &tmux);
        let stage = Self { cx, client, thread_id: thread.id, tmux, project, model, _home: home, _dir: dir };
        wait::until(LIMIT, "the composer", || stage.screen().contains("? for shortcuts"));
        Some(stage)
    }

    fn screen(&self) -> String {
        self.tmux.tmux(["capture-pane", "-p", "-t", "=codex-w:"])
    }

    fn nudge(&mut self, text: &str) -> Result<Nudged, Error> {
        let request = Nudge { name: "w", text, dry_run: false, guard: Guard::default() };
        nudge::session(&mut self.cx, &request)
    }

    #[track_caller]
    fn seen(&mut self, text: &str) -> String {
        let nudged = self.nudge(text).expect("a sent text");
        let delivery = nudged.sent.delivery.expect("a delivery");
        assert_eq!((delivery.stage, nudged.unconfirmed.is_none()), ("seen", true), "{delivery:?}");
        delivery.turn_id.expect("a turn")
    }

    #[track_caller]
    fn refused(&mut self, text: &str) -> NotReady {
        match self.nudge(text) {
            Err(Error::TargetNotReady(object)) => *object,
            other => panic!("not refused: {other:?}\n{}", self.screen()),
        }
    }

    fn interrupt(&mut self) -> interrupt::Report {
        let request =
            Interrupt { name: "w", key: None, followup: None, dry_run: false, guard: Guard::default() };
        interrupt::session(&mut self.cx, &request).expect("an interrupt").report
    }

    #[track_caller]
    fn wait_for(&mut self, state: State) {
        let Self { client, thread_id, .. } = self;
        wait::until(LIMIT, state.as_str(), || probe(client, thread_id).expect("a state").state() == state);
    }
}

/// A manager in an app, and a task that binds it to the worker.
const BOUND: &str = "
insert into sessions (id, name, role, identity_token, pid, cwd, registered_at, state)
  values ('session-m', 'm', 'manager', 'token-m', 1, '', '', 'active');
insert into tasks (id, name, goal, state, created_at, updated_at) values ('task-t', 't', 'g', 'managed', '', '');
insert into bindings (id, task_id, worker_session_id, manager_session_id, state, created_at)
  values ('binding-t', 'task-t', 'session-w', 'session-m', 'active', '2026-01-01T00:00:00.000Z');
";

/// What a dispatcher does that reads the rollouts first.
fn dispatch_once(cx: &mut Cx) -> Vec<String> {
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
    let report = dispatch::run(cx, &request, &dispatch::Stop::default(), &mut |_| {}).expect("a pass");
    let said = |element: &dispatch::Element| match element {
        dispatch::Element::Completion(completion) => {
            format!("{} for {}", completion.state, completion.target_session)
        }
        other => format!("{other:?}"),
    };
    report.processed.iter().map(said).collect()
}

/// A ledger that has the thread as the worker `w` in the terminal `codex-w`.
fn ledger(
    file: &std::path::Path,
    thread: &conveyor_agents::codex::Thread,
    project: &std::path::Path,
    tmux: &TmuxServer,
) -> Cx {
    let options = OpenOptions {
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
        server_password: None,
        password_file: None,
    };
    let db = Db::open(&Location::File(file.to_owned()), Access::Write, options).expect("a ledger");
    let raw = rusqlite::Connection::open(file).expect("the same ledger");
    let path = thread.path.as_deref().expect("a rollout");
    raw.execute(
        "insert into sessions (id, name, role, identity_token, tmux_session, codex_session_path, codex_session_id, \
         pid, cwd, registered_at, state) values ('session-w', 'w', 'worker', 'token', 'codex-w', ?1, ?2, 1, ?3, '', 'active')",
        (path, &thread.id, project.display().to_string()),
    )
    .expect("a session");
    raw.execute_batch(BOUND).expect("a binding");
    let server = ServerChoice::Directory(tmux.dir().to_owned());
    Cx { db, cwd: project.to_owned(), parent_pid: 1, tmux: Tmux::new("tmux", server) }
}

#[test]
fn a_real_codex_is_typed_into_only_when_it_takes_a_message() {
    let Some(mut stage) = Stage::new() else { return };

    // Idle: a turn runs and completes.
    stage.seen("say hello\nin two lines");
    assert_eq!(stage.model.requests_about("say hello").len(), 1);
    stage.wait_for(State::Idle);
    // Its end reaches the manager.
    let mut said = Vec::new();
    wait::until(LIMIT, "the completion", || {
        said.extend(dispatch_once(&mut stage.cx));
        !said.is_empty()
    });
    assert_eq!(said, ["pull_required for m"]);
    let endpoint = "select count(*) from session_endpoints where adapter = 'codex' and state = 'active'";
    let raw = rusqlite::Connection::open(stage._dir.path().join("ledger.db")).unwrap();
    assert_eq!(raw.query_row(endpoint, [], |row| row.get::<_, i64>(0)).unwrap(), 1);

    // Nothing runs: an interrupt does nothing.
    let report = stage.interrupt();
    assert_eq!((report.nothing_running, report.native.is_none()), (Some(true), true));
    assert!(stage.screen().contains("? for shortcuts"), "{}", stage.screen());

    // Busy: refused; interrupted, it is idle again.
    stage.model.add(Script::new().on("take a nap", [Reply::text("awake").held("nap")]));
    let turn = stage.seen("take a nap");
    stage.wait_for(State::Busy);
    assert_eq!(stage.refused("hurry up").guard.reason, "busy");
    assert_eq!(stage.interrupt().native.map(|native| native.turn_id), Some(turn));
    stage.wait_for(State::Idle);
    stage.model.release("nap");

    // A dialog: refused, not answered, unchanged.
    let file = stage.project.join("../made-by-approval");
    let command = format!("touch {}", file.display());
    stage
        .model
        .add(Script::new().on("touch it", [Reply::escalated(&command, "a test"), Reply::text("done")]));
    stage.seen("touch it");
    stage.wait_for(State::WaitingApproval);
    wait::until(LIMIT, "the dialog", || stage.screen().contains("Press enter to confirm"));
    let before = stage.screen();
    assert_eq!(stage.refused("y").guard.reason, "waiting_approval");
    assert_eq!(stage.screen(), before);
    assert!(!file.exists(), "nobody consented");
    stage.interrupt();
    stage.wait_for(State::Idle);
    assert!(!file.exists());

    // Somebody's draft: refused, intact.
    wait::until(LIMIT, "the composer", || !stage.screen().contains("Press enter to confirm"));
    stage.tmux.tmux(["send-keys", "-t", "=codex-w:", "-l", "half a thought"]);
    wait::until(LIMIT, "the draft", || stage.screen().contains("half a thought"));
    assert_eq!(stage.refused("hello").guard.reason, "draft");
    assert!(stage.screen().contains("half a thought"));
    assert!(stage.model.requests_about("half a thought").is_empty());
}
