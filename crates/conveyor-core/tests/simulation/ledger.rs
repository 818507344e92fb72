//! The ledgers of the simulation: one for each seed, made from a template, and a plain connection
//! to look at it behind the product's back.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use conveyor_core::registration::{self, Rollout};
use conveyor_core::{Cx, ServerChoice, Tmux, bindings, ingest, tasks};
use conveyor_model::{Ids as _, Role};
use conveyor_store::{Access, Db, Location, OpenOptions};
use conveyor_testkit::postgres::TestSchema;
use conveyor_testkit::{ManualClock, SequentialIds};

use crate::rollouts;

/// The names of the tasks.
pub const TASKS: [&str; 2] = ["a", "b"];

/// The names of the sessions; the first two of each role are bound at the start.
pub const SESSIONS: [&str; 6] = ["w0", "w1", "w2", "m0", "m1", "m2"];

/// The role of a session of this name.
pub fn role(session: &str) -> Role {
    if session.starts_with('w') { Role::Worker } else { Role::Manager }
}

/// Where one seed takes place.
pub struct Place {
    pub dir: PathBuf,
    pub clock: Arc<ManualClock>,
    ids: Arc<SequentialIds>,
    location: Location,
    /// Its schema, if it is on a server.
    schema: Option<Arc<TestSchema>>,
}

impl Place {
    /// A connection of a process of its own.
    pub fn open(&self) -> Cx {
        let options = OpenOptions {
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            machine: conveyor_model::Machine::default(),
            server_password: None,
            password_file: None,
        };
        let db = Db::open(&self.location, Access::Write, options).unwrap();
        // No actor reaches a terminal.
        let tmux = Tmux::new(self.dir.join("no-tmux"), ServerChoice::Default);
        Cx { db, cwd: self.dir.clone(), parent_pid: 1, tmux }
    }

    /// A plain connection.
    pub fn raw(&self) -> Raw {
        match (&self.location, &self.schema) {
            (Location::File(path), _) => {
                let raw = rusqlite::Connection::open(path).unwrap();
                raw.execute_batch("pragma foreign_keys = off").unwrap();
                Raw::Sqlite(raw)
            }
            (_, Some(schema)) => Raw::Postgres(Box::new(schema.client())),
            (Location::Server(_), None) => panic!("no schema on the server"),
        }
    }

    fn new(dir: PathBuf, location: Location, schema: Option<Arc<TestSchema>>) -> Self {
        Self {
            dir,
            clock: Arc::new(ManualClock::default()),
            ids: Arc::new(SequentialIds::new()),
            location,
            schema,
        }
    }

    /// Two tasks with their workers and managers, and a spare session of each role; all that they
    /// have written so far is read.
    fn furnish(&self) {
        let mut cx = self.open();
        for task in TASKS {
            tasks::create(&mut cx, task, "g", None).unwrap();
        }
        for session in SESSIONS {
            let file = rollouts::file_name(session, 0);
            register(&mut cx, session, &file, None).unwrap();
            ingest::ingest(&mut cx, session, &mut |_, _| {}).unwrap();
        }
        for (n, task) in TASKS.iter().enumerate() {
            bindings::bind(&mut cx, task, &format!("w{n}"), &format!("m{n}")).unwrap();
        }
    }
}

/// Registers a session that writes to this file of the directory.
pub fn register(cx: &mut Cx, session: &str, file: &str, tmux: Option<&str>) -> conveyor_core::Result<()> {
    let rollout = Rollout::given(file, &cx.cwd.join(file))?;
    let request = registration::Request {
        role: role(session),
        name: session,
        pid: 1,
        rollout: &rollout,
        cwd: None,
        tmux_session: tmux,
        codex_app_thread_id: None,
        codex_app_thread_title: None,
        identified: None,
    };
    registration::register(cx, &request).map(drop)
}

/// Where ledgers come from.
pub enum Source {
    /// Files in a directory in memory, if there is one.
    Sqlite(tempfile::TempDir),
    /// A schema on a server, emptied for each seed.
    Postgres(Arc<TestSchema>, tempfile::TempDir),
}

/// A furnished file and how many ids were given to furnish it.
struct Template {
    bytes: Vec<u8>,
    ids: u64,
}

/// A directory whose files are never synced to a disk, where the machine has one.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let mut named = tempfile::Builder::new();
    named.prefix("conveyor-sim-");
    named.tempdir_in(memory).or_else(|_| named.tempdir()).unwrap()
}

impl Source {
    pub fn sqlite() -> Self {
        Self::Sqlite(scratch())
    }

    /// `None` when tests on PostgreSQL are switched off.
    pub fn postgres() -> Option<Self> {
        Some(Self::Postgres(Arc::new(TestSchema::if_enabled()?), scratch()))
    }

    /// A furnished ledger of its own, the same for each seed.
    pub fn place(&self, seed: u64) -> Place {
        match self {
            Self::Sqlite(scratch) => {
                let dir = scratch.path().join(format!("seed-{seed}"));
                rollouts::create_first(&dir);
                let template = template();
                let file = dir.join("ledger.db");
                std::fs::write(&file, &template.bytes).unwrap();
                let place = Place::new(dir, Location::File(file), None);
                while place.ids.given() < template.ids {
                    place.ids.uuid();
                }
                place
            }
            Self::Postgres(schema, scratch) => {
                let dir = scratch.path().join(format!("seed-{seed}"));
                rollouts::create_first(&dir);
                let location = Location::server(schema.url()).unwrap();
                let place = Place::new(dir, location, Some(Arc::clone(schema)));
                drop(place.open());
                empty(&mut schema.client(), schema.name());
                place.furnish();
                place
            }
        }
    }

    /// Removes what a seed left.
    pub fn clear(&self, place: &Place) {
        let _ = std::fs::remove_dir_all(&place.dir);
    }
}

fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let scratch = scratch();
        rollouts::create_first(scratch.path());
        let file = scratch.path().join("ledger.db");
        let place = Place::new(scratch.path().to_owned(), Location::File(file.clone()), None);
        // Its only connection is closed at the end, so the file is whole.
        place.furnish();
        Template { bytes: std::fs::read(file).unwrap(), ids: place.ids.given() }
    })
}

/// Empties all tables but those that describe the schema.
fn empty(client: &mut postgres::Client, schema: &str) {
    let tables: Vec<String> = client
        .query(
            "select table_name::text from information_schema.tables where table_schema = $1 \
             and table_type = 'BASE TABLE' and table_name not in ('schema_migrations', 'conveyor_schema')",
            &[&schema],
        )
        .unwrap()
        .iter()
        .map(|row| format!("\"{}\"", row.get::<_, String>(0)))
        .collect();
    client.batch_execute(&format!("truncate {} restart identity cascade", tables.join(", "))).unwrap();
}

/// A plain connection, without any code of the product.
pub enum Raw {
    Sqlite(rusqlite::Connection),
    Postgres(Box<postgres::Client>),
}

/// A row as texts.
pub type Cells = Vec<Option<String>>;

impl Raw {
    /// Runs statements; they must succeed.
    pub fn run(&mut self, sql: &str) {
        match self {
            Self::Sqlite(raw) => raw.execute_batch(sql).unwrap_or_else(|e| panic!("{sql}: {e}")),
            Self::Postgres(client) => client.batch_execute(sql).unwrap_or_else(|e| panic!("{sql}: {e}")),
        }
    }

    /// Begins a transaction that writes.
    pub fn begin(&mut self) {
        match self {
            Self::Sqlite(_) => self.run("begin immediate"),
            Self::Postgres(_) => self.run("begin"),
        }
    }

    /// All rows of a query.
    pub fn rows(&mut self, sql: &str) -> Vec<Cells> {
        match self {
            Self::Sqlite(raw) => {
                let mut statement = raw.prepare_cached(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
                let columns = statement.column_count();
                let mut rows = statement.query([]).unwrap();
                let mut found = Vec::new();
                while let Some(row) = rows.next().unwrap() {
                    found.push((0..columns).map(|n| text(row.get_ref(n).unwrap())).collect());
                }
                found
            }
            Self::Postgres(client) => {
                let messages = client.simple_query(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
                let rows = messages.iter().filter_map(|message| match message {
                    postgres::SimpleQueryMessage::Row(row) => Some(row),
                    _ => None,
                });
                rows.map(|row| (0..row.len()).map(|n| row.get(n).map(str::to_owned)).collect()).collect()
            }
        }
    }

    /// The first cell of the first row.
    pub fn cell(&mut self, sql: &str) -> Option<String> {
        self.rows(sql).into_iter().next()?.into_iter().next()?
    }

    /// A number that stays the same as long as nobody else commits; `None` where none is to be had.
    pub fn version(&mut self) -> Option<String> {
        match self {
            Self::Sqlite(_) => self.cell("pragma data_version"),
            Self::Postgres(_) => None,
        }
    }
}

fn text(value: rusqlite::types::ValueRef<'_>) -> Option<String> {
    use rusqlite::types::ValueRef;
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
        other => panic!("no column is {other:?}"),
    }
}
