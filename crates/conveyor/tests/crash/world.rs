//! A ledger of its own for each test, with the tasks of a workload, and looks into it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use conveyor_testkit::checker::{self, Evidence, Journal, Source, Verdict, key};
use conveyor_testkit::postgres::{self, Server, TestSchema};
use rustix::process::Signal;

use crate::process::{self, PROGRAM, Process, Ran, Slot};

/// The direction of a message: the command that queues it and the type of the queued command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToWorker,
    ToManager,
}

impl Direction {
    pub const BOTH: [Self; 2] = [Self::ToWorker, Self::ToManager];

    pub fn command(self) -> &'static str {
        match self {
            Self::ToWorker => "enqueue-nudge-worker",
            Self::ToManager => "enqueue-notify-manager",
        }
    }

    pub fn inbox(self) -> &'static str {
        match self {
            Self::ToWorker => "worker-inbox",
            Self::ToManager => "manager-inbox",
        }
    }

    pub fn signal(self) -> &'static str {
        match self {
            Self::ToWorker => "nudge_worker",
            Self::ToManager => "notify_manager",
        }
    }
}

enum Engine {
    Sqlite,
    Postgres(Box<TestSchema>),
}

/// One test's ledger, journal and processes.
pub struct World {
    engine: Engine,
    dir: Option<tempfile::TempDir>,
    pub journal: Journal,
    living: Mutex<Vec<Arc<Slot>>>,
    outages: AtomicUsize,
}

/// What is left to be done.
#[derive(Debug, PartialEq, Eq)]
pub struct Left {
    pub queued: i64,
    pub unconsumed: i64,
    pub unrouted: i64,
    /// Bytes of rollouts that were not read yet.
    pub unread: i64,
}

impl Left {
    pub fn is_nothing(&self) -> bool {
        *self == Self { queued: 0, unconsumed: 0, unrouted: 0, unread: 0 }
    }
}

impl World {
    fn new(engine: Engine) -> Self {
        let dir = tempfile::Builder::new().prefix("conveyor-crash-").tempdir().unwrap();
        let journal = Journal::create(dir.path().join("journal"));
        let living = Mutex::default();
        Self { engine, dir: Some(dir), journal, living, outages: AtomicUsize::new(0) }
    }

    /// A ledger in a file.
    pub fn sqlite() -> Self {
        Self::new(Engine::Sqlite)
    }

    /// A ledger on the server of the test run; `None` when tests on PostgreSQL are switched off.
    pub fn postgres() -> Option<Self> {
        Some(Self::new(Engine::Postgres(Box::new(TestSchema::if_enabled()?))))
    }

    /// A ledger on a server of its own, whose commits survive a crash of the server; `None` when
    /// tests on PostgreSQL are switched off.
    pub fn postgres_of_its_own() -> Option<(Server, Self)> {
        if !postgres::enabled() {
            return None;
        }
        let server = Server::own().unwrap_or_else(|reason| panic!("{reason}"));
        server.client().batch_execute("alter role conveyor set synchronous_commit = on").unwrap();
        let schema = TestSchema::on(&server);
        Some((server, Self::new(Engine::Postgres(Box::new(schema)))))
    }

    /// Both engines, or one.
    pub fn each() -> Vec<Self> {
        [Some(Self::sqlite()), Self::postgres()].into_iter().flatten().collect()
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(self.engine, Engine::Sqlite)
    }

    pub fn dir(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    /// The ledger's file (SQLite).
    pub fn file(&self) -> PathBuf {
        self.dir().join("ledger.db")
    }

    /// The ledger as `--path` takes it.
    pub fn ledger(&self) -> String {
        match &self.engine {
            Engine::Sqlite => self.file().display().to_string(),
            Engine::Postgres(schema) => schema.url().to_owned(),
        }
    }

    /// Starts the program on this ledger.
    pub fn start(&self, arguments: &[&str]) -> Process {
        self.start_with(arguments, &[])
    }

    /// Starts the program on this ledger with additional environment variables.
    pub fn start_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Process {
        let mut command = process::command(Path::new(PROGRAM), self.dir());
        command.args(arguments).args(["--path", &self.ledger()]).envs(environment.iter().copied());
        let process = Process::start(command, arguments[0], arguments.join(" "));
        let mut living = self.living.lock().unwrap();
        living.retain(|slot| slot.is_alive());
        living.push(Arc::clone(process.slot()));
        process
    }

    /// Runs the program on this ledger.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.start(arguments).finish()
    }

    /// The living processes.
    pub fn living(&self) -> Vec<Arc<Slot>> {
        let mut living = self.living.lock().unwrap();
        living.retain(|slot| slot.is_alive());
        living.clone()
    }

    /// Sends a signal to the living processes of one command.
    pub fn signal_all(&self, kind: &str, signal: Signal) {
        for slot in self.living().iter().filter(|slot| slot.kind == kind) {
            slot.signal(signal);
        }
    }

    /// The server goes down or has come up again.
    pub fn note_outage(&self) {
        self.outages.fetch_add(1, Ordering::SeqCst);
    }

    /// A mark for [`World::was_out_since`].
    pub fn outage_mark(&self) -> usize {
        self.outages.load(Ordering::SeqCst)
    }

    /// Whether the server was down at some time since the mark.
    pub fn was_out_since(&self, mark: usize) -> bool {
        self.outage_mark() != mark || mark % 2 == 1
    }

    /// A task with a worker and a manager of these names: `T`, `T-worker`, `T-manager`.
    pub fn bind(&self, task: &str) {
        let bound = self.run(&["create-disposable-binding", task, "--json"]).json();
        assert_eq!(bound["task"]["state"], "managed");
    }

    /// The rollout of the worker of a task.
    pub fn rollout(&self, task: &str) -> PathBuf {
        let path =
            self.text(&format!("select codex_session_path from sessions where name = '{task}-worker'"));
        PathBuf::from(path.unwrap_or_else(|| panic!("{task} has no worker")))
    }

    /// Adds a turn's end to the rollout of a task's worker, and some lines around it.
    pub fn add_turn(&self, task: &str, number: usize) {
        let mut file = std::fs::OpenOptions::new().append(true).open(self.rollout(task)).unwrap();
        file.write_all(&turn(task, number)).unwrap();
    }

    /// Queues one message and writes it down. It must succeed.
    #[track_caller]
    pub fn enqueue(&self, task: &str, direction: Direction, number: u64) {
        let key = key(task, direction.signal(), number);
        self.journal.trying(&key);
        let queued = self.run(&enqueue_arguments(task, direction, &key)).json();
        self.journal.accepted(&key, queued["command_id"].as_str().unwrap());
    }

    /// Consumes until an inbox is empty; every item is written down.
    #[track_caller]
    pub fn consume_all(&self, task: &str, direction: Direction) {
        loop {
            let visit = self.run(&[direction.inbox(), task, "--consume-next", "--json"]).json();
            if visit["consumed"].is_null() {
                return;
            }
            self.journal.printed(&visit["consumed"]);
        }
    }

    /// Lets one dispatcher and one consumer do all that is left.
    #[track_caller]
    pub fn finish_work(&self, tasks: &[&str]) {
        for _ in 0..20 {
            self.run(&["dispatch", "--once", "--ingest", "--limit", "100", "--json"]).expect_ok();
            if self.left().queued == 0 {
                break;
            }
            // A lapsed claim is a second away at most.
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        for task in tasks {
            for direction in Direction::BOTH {
                self.consume_all(task, direction);
            }
        }
    }

    /// What is left to be done.
    pub fn left(&self) -> Left {
        let count = |query: &str| self.text(query).map_or(0, |text| text.parse().unwrap());
        let unread = |path: &str, read: i64| {
            let bytes = std::fs::read(path).unwrap_or_default();
            bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as i64 + 1) - read
        };
        let marks = self.texts(
            "select codex_session_path || '|' || coalesce(last_ingest_offset, 0) from sessions where id in \
             (select worker_session_id from bindings)",
        );
        Left {
            queued: count("select count(*) from commands where state in ('pending', 'attempted')"),
            unconsumed: count(
                "select count(*) from routed_notifications where state = 'delivered' and consumed_at is null",
            ),
            unrouted: count(
                "select count(*) from codex_events e where subtype = 'task_complete' and session_id in \
                 (select worker_session_id from bindings) and not exists \
                 (select 1 from routed_notifications n where n.source_event_id = e.id)",
            ),
            unread: marks
                .iter()
                .map(|mark| mark.rsplit_once('|').unwrap())
                .map(|(path, read)| unread(path, read.parse().unwrap()))
                .sum(),
        }
    }

    /// The text of the first column of the first row; `None` when there is none or it is null.
    pub fn text(&self, query: &str) -> Option<String> {
        self.texts(query).into_iter().next()
    }

    /// The texts of the first column.
    pub fn texts(&self, query: &str) -> Vec<String> {
        let sql = format!("with t(x) as ({query}) select cast(x as text) from t where x is not null");
        match &self.engine {
            Engine::Sqlite => {
                let raw = self.raw();
                let mut statement = raw.prepare(&sql).unwrap();
                statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
            }
            Engine::Postgres(schema) => {
                schema.client().query(&sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
            }
        }
    }

    /// Runs SQL on the ledger behind the program's back, foreign keys unchecked where possible.
    pub fn sql(&self, statements: &str) {
        match &self.engine {
            Engine::Sqlite => {
                let raw = self.raw();
                raw.execute_batch("pragma foreign_keys = off").unwrap();
                raw.execute_batch(statements).unwrap_or_else(|e| panic!("{statements}: {e}"));
            }
            Engine::Postgres(schema) => {
                schema.client().batch_execute(statements).unwrap_or_else(|e| panic!("{statements}: {e}"));
            }
        }
    }

    /// Whether a writer gets its turn; on a server always.
    pub fn is_writable(&self) -> bool {
        if !self.is_sqlite() {
            return true;
        }
        let raw = self.raw();
        raw.busy_timeout(std::time::Duration::from_millis(500)).unwrap();
        raw.execute_batch("begin immediate; rollback").is_ok()
    }

    fn raw(&self) -> rusqlite::Connection {
        let raw = rusqlite::Connection::open(self.file()).unwrap();
        raw.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
        raw
    }

    /// Judges the ledger after all work was done.
    pub fn judge(&self) -> Verdict {
        self.judge_with(true)
    }

    /// Judges the ledger; `drained`: all work must be done.
    pub fn judge_with(&self, drained: bool) -> Verdict {
        let file = self.file();
        let ledger = match &self.engine {
            Engine::Sqlite => Source::Sqlite(&file),
            Engine::Postgres(schema) => Source::Postgres(schema),
        };
        checker::check(&Evidence { ledger, journal: self.journal.path(), drained, ingested: drained })
    }

    /// Judges a ledger in which nothing was queued.
    pub fn judge_empty(&self) {
        let verdict = self.judge();
        verdict.assert_clean();
        assert_eq!(verdict.count("commands"), 0);
    }

    /// A name for reports.
    pub fn name(&self) -> &'static str {
        if self.is_sqlite() { "SQLite" } else { "PostgreSQL" }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        if let Engine::Postgres(schema) = &self.engine {
            // The server of a restart test may be down.
            let dump = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| schema.dump()));
            let _ = std::fs::write(self.dir().join("dump"), dump.unwrap_or_default());
        }
        if let Some(dir) = self.dir.take() {
            eprintln!("{}: ledger and journal are kept in {}", self.name(), dir.keep().display());
        }
    }
}

/// The arguments that queue one message.
pub fn enqueue_arguments<'a>(task: &'a str, direction: Direction, key: &'a str) -> [&'a str; 7] {
    [direction.command(), task, "--message", key, "--idempotency-key", key, "--json"]
}

/// The lines of one turn in a rollout: a message, noise, and the turn's end.
pub fn turn(task: &str, number: usize) -> Vec<u8> {
    let line = |kind: &str, payload: &str| {
        let at = format!("2099-06-11T12:{:02}:{:02}.{:03}Z", number / 60 % 60, number % 60, number % 1000);
        format!("{{\"timestamp\":\"{at}\",\"type\":\"{kind}\",\"payload\":{payload}}}\n")
    };
    let said = format!("{{\"message\":\"{task} {number} ü\",\"type\":\"user_message\"}}");
    let done = format!(
        "{{\"last_agent_message\":\"{task} {number}\",\"turn_id\":\"turn-{number}\",\"type\":\"task_complete\"}}"
    );
    let mut lines = line("event_msg", &said).into_bytes();
    lines.extend(b"no JSON at all \xff\xfe\n\n");
    lines.extend(line("response_item", "{\"type\":\"reasoning\"}").into_bytes());
    lines.extend(line("event_msg", &done).into_bytes());
    lines
}
