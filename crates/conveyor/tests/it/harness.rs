//! A ledger of its own per test, on SQLite and on PostgreSQL, with a clock and ids that the test
//! controls. Commands run in process, through the same code as the program.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use conveyor::{Environment, Host};
use conveyor_model::Timestamp;
use conveyor_testkit::clock::{ManualClock, SequentialIds};
use conveyor_testkit::postgres::TestSchema;
use serde_json::Value;

/// The moment every test begins at.
pub const START: &str = "2026-06-11T12:00:00.000Z";

enum Engine {
    Sqlite,
    Postgres(TestSchema),
}

/// One test's ledger and surroundings.
pub struct World {
    engine: Engine,
    dir: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
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

/// Runs a test once per engine. Both must behave identically, so both see the same test.
pub fn on_both_engines(test: impl Fn(&World)) {
    test(&World::new(Engine::Sqlite));
    if let Some(schema) = conveyor_testkit::postgres::enabled().then(TestSchema::new) {
        test(&World::new(Engine::Postgres(schema)));
    }
}

/// Runs a test on SQLite alone: for what concerns files.
pub fn on_sqlite(test: impl Fn(&World)) {
    test(&World::new(Engine::Sqlite));
}

impl World {
    fn new(engine: Engine) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::parse(START).unwrap()));
        let dir = tempfile::Builder::new().prefix("conveyor-test-").tempdir().unwrap();
        Self { engine, dir, clock, ids: Arc::new(SequentialIds::new()) }
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

    /// Runs a command without adding `--path`.
    pub fn run_plain(&self, arguments: &[&str]) -> Ran {
        let (stdout, stderr) = (Buffer::default(), Buffer::default());
        let mut host = Host {
            environment: Environment { home: Some(self.dir().to_owned()), ..Environment::default() },
            cwd: self.dir().to_owned(),
            parent_pid: 4711,
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            stdout: Box::new(stdout.clone()),
            stderr: Box::new(stderr.clone()),
            stdout_is_terminal: false,
            stderr_is_terminal: false,
        };
        let words: Vec<std::ffi::OsString> = ["conveyor"].iter().chain(arguments).map(Into::into).collect();
        let code = conveyor::run(&words, &mut host);
        Ran { code, stdout: stdout.text(), stderr: stderr.text() }
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
        let before = self.dump();
        let ran = self.run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?} was not refused: {}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{arguments:?}: {}", ran.stderr);
        assert_eq!(self.dump(), before, "{arguments:?} wrote something");
        ran.stderr.trim_end().to_owned()
    }

    /// All rows of all tables as text.
    pub fn dump(&self) -> String {
        match &self.engine {
            Engine::Sqlite if !self.file().exists() => String::new(),
            Engine::Sqlite => conveyor_testkit::dump::dump_sqlite(&self.file()),
            Engine::Postgres(schema) => {
                conveyor_testkit::dump::dump_postgres(&mut schema.client(), schema.name())
            }
        }
    }

    /// Runs SQL on the ledger behind the program's back.
    pub fn sql(&self, statement: &str) {
        match &self.engine {
            Engine::Sqlite => rusqlite::Connection::open(self.file()).unwrap().execute_batch(statement).unwrap(),
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

    /// Moves the clock.
    pub fn advance(&self, millis: i64) {
        self.clock.advance_millis(millis);
    }
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
