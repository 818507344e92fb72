//! A ledger of its own per test, on SQLite and on PostgreSQL, with a clock and ids that the test
//! controls. Commands run in process, through the same code as the program.

use std::io::{BufRead, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use conveyor::{Environment, Host};
use conveyor_core::ServerChoice;
use conveyor_testkit::TmuxServer;
use conveyor_testkit::clock::{ManualClock, SequentialIds};
use conveyor_testkit::postgres::TestSchema;
use serde_json::Value;

/// The moment every test begins at.
pub const START: &str = "2026-06-11T12:00:00.000Z";

enum Engine {
    Sqlite,
    Postgres(Box<TestSchema>),
}

/// One test's ledger and surroundings.
pub struct World {
    engine: Engine,
    dir: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    /// The only tmux server that the commands see.
    pub tmux: TmuxServer,
    ids: Arc<SequentialIds>,
}

/// What a command did.
pub struct Ran {
    pub code: u8,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Standard output as JSON, of a command that must have succeeded.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.code, 0, "stderr: {}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }
}

fn document_of(text: &str) -> Cursor<Vec<u8>> {
    Cursor::new(text.as_bytes().to_vec())
}

/// Standard input that comes once somebody lets it.
struct LateDocument {
    waits: Sender<()>,
    go_on: Receiver<()>,
    waited: bool,
    document: Cursor<Vec<u8>>,
}

impl LateDocument {
    fn wait(&mut self) {
        if !std::mem::replace(&mut self.waited, true) {
            self.waits.send(()).unwrap();
            self.go_on.recv().unwrap();
        }
    }
}

impl Read for LateDocument {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.wait();
        self.document.read(into)
    }
}

impl BufRead for LateDocument {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.wait();
        self.document.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.document.consume(amount);
    }
}

/// Runs a test once per engine. Both must behave identically, so both see the same test.
pub fn on_both_engines(test: impl Fn(&World)) {
    test(&World::new(Engine::Sqlite));
    if let Some(schema) = TestSchema::if_enabled() {
        test(&World::new(Engine::Postgres(Box::new(schema))));
    }
}

/// Runs a test on SQLite alone: for what concerns files.
pub fn on_sqlite(test: impl Fn(&World)) {
    test(&World::new(Engine::Sqlite));
}

impl World {
    /// A world of its own on SQLite, for a test that needs several.
    pub fn on_sqlite() -> Self {
        Self::new(Engine::Sqlite)
    }

    fn new(engine: Engine) -> Self {
        let clock = Arc::new(ManualClock::at(START));
        let dir = tempfile::Builder::new().prefix("conveyor-test-").tempdir().unwrap();
        Self { engine, dir, clock, tmux: TmuxServer::new(), ids: Arc::new(SequentialIds::new()) }
    }

    /// A directory for the test's files; also the current directory of its commands.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The test's ledger as `--path` takes it.
    pub fn ledger(&self) -> String {
        match &self.engine {
            Engine::Sqlite => self.file().display().to_string(),
            Engine::Postgres(schema) => schema.url().to_owned(),
        }
    }

    /// The ledger's file (SQLite).
    pub fn file(&self) -> PathBuf {
        self.dir().join("ledger.db")
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(self.engine, Engine::Sqlite)
    }

    /// Runs a command on this ledger.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let ledger = self.ledger();
        let mut all = arguments.to_vec();
        all.extend(["--path", &ledger]);
        self.run_plain(&all)
    }

    /// Runs a command on this ledger with other environment variables.
    pub fn run_in(&self, environment: &Environment, arguments: &[&str]) -> Ran {
        let ledger = self.ledger();
        let mut all = arguments.to_vec();
        all.extend(["--path", &ledger]);
        self.run_with(environment.clone(), &all)
    }

    /// Runs a command with other environment variables, without adding `--path`.
    pub fn run_bare(&self, environment: &Environment, arguments: &[&str]) -> Ran {
        self.run_with(environment.clone(), arguments)
    }

    /// Runs a command without adding `--path`.
    pub fn run_plain(&self, arguments: &[&str]) -> Ran {
        self.run_with(self.environment(), arguments)
    }

    /// Runs a command on this ledger with a document on standard input.
    pub fn run_fed(&self, document: &str, arguments: &[&str]) -> Ran {
        let ledger = self.ledger();
        let mut all = arguments.to_vec();
        all.extend(["--path", &ledger]);
        self.run_reading(document_of(document), self.environment(), &all)
    }

    /// As [`Self::run_fed`]; `meanwhile` is done once the command waits for its document.
    pub fn run_fed_late(&self, document: &str, arguments: &[&str], meanwhile: impl FnOnce()) -> Ran {
        let ledger = self.ledger();
        let mut all = arguments.to_vec();
        all.extend(["--path", &ledger]);
        let (waits, waiting) = channel();
        let (lets, go_on) = channel();
        std::thread::scope(|scope| {
            let running = scope.spawn(move || {
                let late = LateDocument { waits, go_on, waited: false, document: document_of(document) };
                self.run_reading(late, self.environment(), &all)
            });
            waiting.recv().expect("the command reads standard input");
            meanwhile();
            lets.send(()).unwrap();
            running.join().unwrap()
        })
    }

    /// Runs a command with other environment variables, without adding `--path`.
    pub fn run_with(&self, environment: Environment, arguments: &[&str]) -> Ran {
        self.run_reading(document_of(""), environment, arguments)
    }

    fn run_reading(
        &self,
        document: impl BufRead + 'static,
        environment: Environment,
        arguments: &[&str],
    ) -> Ran {
        let (stdout, stderr) = (Buffer::default(), Buffer::default());
        let mut host = Host {
            environment,
            cwd: Ok(self.dir().to_owned()),
            parent_pid: 4711,
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            stdin: Box::new(document),
            stdout: Box::new(stdout.clone()),
            stderr: Box::new(stderr.clone()),
            stdout_is_terminal: false,
            stdout_takes_colour: false,
            stderr_is_terminal: false,
        };
        let words: Vec<std::ffi::OsString> = ["conveyor"].iter().chain(arguments).map(Into::into).collect();
        let code = conveyor::run(&words, &mut host);
        Ran { code, stdout: stdout.text(), stderr: stderr.text() }
    }

    /// The environment variables of this test's commands.
    pub fn environment(&self) -> Environment {
        Environment {
            home: Some(self.dir().to_owned()),
            tmux_server: ServerChoice::Directory(self.tmux.dir().to_owned()),
            passed_on: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
            launcher: Some(env!("CARGO_BIN_EXE_conveyor").into()),
            ..Environment::default()
        }
    }

    /// Runs a command that must succeed and print JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.run(arguments).json()
    }

    /// Runs a command that must be refused: exit 2, one line on stderr, nothing on stdout, nothing
    /// written. Gives the line.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str]) -> String {
        self.refused_fed("", arguments)
    }

    /// As [`World::refused`], with a document on standard input.
    #[track_caller]
    pub fn refused_fed(&self, document: &str, arguments: &[&str]) -> String {
        let before = self.dump();
        let ran = self.run_fed(document, arguments);
        self.check_refused(2, &before, &ran, arguments)
    }

    /// As [`World::refused`], with another exit code, in another environment.
    #[track_caller]
    pub fn refused_with(&self, code: u8, environment: &Environment, arguments: &[&str]) -> String {
        let before = self.dump();
        let ran = self.run_in(environment, arguments);
        self.check_refused(code, &before, &ran, arguments)
    }

    #[track_caller]
    fn check_refused(&self, code: u8, before: &str, ran: &Ran, arguments: &[&str]) -> String {
        assert_eq!(ran.code, code, "{arguments:?} was not refused: {}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{arguments:?}: {}", ran.stderr);
        assert_eq!(self.dump(), before, "{arguments:?} wrote something");
        self.normal(ran.stderr.trim_end())
    }

    /// All rows of all tables as text.
    pub fn dump(&self) -> String {
        match &self.engine {
            Engine::Sqlite if !self.file().exists() => String::new(),
            Engine::Sqlite => conveyor_testkit::dump::dump_sqlite(self.file()),
            Engine::Postgres(schema) => schema.dump(),
        }
    }

    /// The single column of texts that a query gives, row by row.
    pub fn column(&self, query: &str) -> Vec<String> {
        match &self.engine {
            Engine::Sqlite => {
                let raw = rusqlite::Connection::open(self.file()).unwrap();
                let mut statement = raw.prepare(query).unwrap();
                let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
                rows.collect::<Result<_, _>>().unwrap()
            }
            Engine::Postgres(schema) => {
                schema.client().query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
            }
        }
    }

    /// The rows of some tables as text, alike for both engines: PostgreSQL's column for the order
    /// of insertion and numbers of rows are left out, and other numbers stand without quotes.
    pub fn dump_of(&self, tables: &[&str]) -> String {
        let wanted = |line: &&str| tables.iter().any(|table| line.starts_with(&format!("{table} ")));
        let plain = |line: &str| {
            let words = line.split(' ').filter(|word| !word.starts_with("rowid="));
            let words = words.map(|word| match word.split_once("=\"") {
                Some((column, value)) if is_number(value.trim_end_matches('"')) => {
                    format!("{column}={}", value.trim_end_matches('"'))
                }
                _ => word.to_owned(),
            });
            let words = words.filter(|word| !word.strip_prefix("id=").is_some_and(is_number));
            words.collect::<Vec<_>>().join(" ") + "\n"
        };
        self.normal(&self.dump().lines().filter(wanted).map(plain).collect::<String>())
    }

    /// All telemetry in order of writing, one line each.
    pub fn telemetry(&self) -> String {
        let events = self.column(
            "select event_type || ' [' || severity || ', ' || actor || '] task=' || coalesce(task_id, '-') || ' at=' \
             || timestamp || ' ' || summary || ' corr' || correlation_json || ' attrs' || attributes_json \
             from telemetry_events order by rowid",
        );
        self.normal(&events.join("\n"))
    }

    /// A task with a bound worker and manager in an app, made by hand: ids `task-T`, `session-T-w`,
    /// `session-T-m`, `binding-T`; names `T`, `T-worker`, `T-manager`.
    pub fn bind(&self, task: &str) {
        let at = START;
        self.run(&["tasks"]);
        let session = |role: &str| {
            let side = &role[..1];
            format!(
                "insert into sessions (id, name, role, identity_token, codex_session_path, codex_session_id, pid, \
                 cwd, registered_at, last_heartbeat_at, state) values ('session-{task}-{side}', '{task}-{role}', \
                 '{role}', 'token-{task}-{side}', '{dir}/{task}-{role}.jsonl', 'codex-{task}-{side}', 1, '/srv', \
                 '{at}', '{at}', 'active');",
                dir = self.dir().display()
            )
        };
        self.sql(&format!(
            "insert into tasks (id, name, goal, state, created_at, updated_at) \
             values ('task-{task}', '{task}', 'g', 'managed', '{at}', '{at}'); {} {} \
             insert into bindings (id, task_id, worker_session_id, manager_session_id, state, created_at) \
             values ('binding-{task}', 'task-{task}', 'session-{task}-w', 'session-{task}-m', 'active', '{at}');",
            session("worker"),
            session("manager"),
        ));
    }

    /// Runs SQL on the ledger behind the program's back.
    pub fn sql(&self, statement: &str) {
        match &self.engine {
            Engine::Sqlite => {
                rusqlite::Connection::open(self.file()).unwrap().execute_batch(statement).unwrap()
            }
            Engine::Postgres(schema) => schema.client().batch_execute(statement).unwrap(),
        }
    }

    /// The single text, number or null that a query gives, as text.
    pub fn scalar(&self, query: &str) -> String {
        match &self.engine {
            Engine::Sqlite => {
                let raw = rusqlite::Connection::open(self.file()).unwrap();
                let value: rusqlite::types::Value = raw.query_row(query, [], |row| row.get(0)).unwrap();
                match value {
                    rusqlite::types::Value::Null => "null".into(),
                    rusqlite::types::Value::Integer(value) => value.to_string(),
                    rusqlite::types::Value::Real(value) => value.to_string(),
                    rusqlite::types::Value::Text(text) => text,
                    rusqlite::types::Value::Blob(_) => "blob".into(),
                }
            }
            Engine::Postgres(schema) => {
                let wrapped = format!("select (t.x)::text from ({query}) as t(x)");
                let row = schema.client().query_one(&wrapped, &[]).unwrap();
                row.get::<_, Option<String>>(0).unwrap_or_else(|| "null".into())
            }
        }
    }

    /// Output with the names of this test's places replaced, so that both engines give one text.
    pub fn normal(&self, text: &str) -> String {
        let shown = match &self.engine {
            Engine::Sqlite => self.ledger(),
            Engine::Postgres(schema) => schema.url().to_owned(),
        };
        text.replace(&shown, "[LEDGER]").replace(&self.dir().display().to_string(), "[DIR]")
    }

    /// Does something while what `acts` stands still where it passes a fault point first. Gives what
    /// both gave.
    #[cfg(feature = "fault-points")]
    pub fn meanwhile<T: Send, U>(
        &self,
        point: &'static str,
        acts: impl FnOnce() -> T + Send,
        other: impl FnOnce() -> U,
    ) -> (T, U) {
        std::thread::scope(|scope| {
            let (passes, passed) = channel::<()>();
            let (lets, go_on) = channel::<()>();
            let acting = scope.spawn(move || {
                let mut first = true;
                conveyor_core::fault::on_point(move |name| {
                    if name == point && std::mem::take(&mut first) {
                        passes.send(()).unwrap();
                        go_on.recv().unwrap();
                    }
                });
                acts()
            });
            passed.recv().expect("the point is passed");
            let others = other();
            lets.send(()).unwrap();
            (acting.join().unwrap(), others)
        })
    }

    /// Moves the clock.
    pub fn advance(&self, millis: u64) {
        self.clock.advance(std::time::Duration::from_millis(millis));
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
