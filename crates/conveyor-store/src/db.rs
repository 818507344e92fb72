//! One connection to a ledger and the units of work on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use conveyor_model::{Clock, IdPrefix, Ids, Machine, Timestamp};

use crate::bulk::WriteBack;
use crate::dialect::{Engine, render};
use crate::held::Held;
use crate::postgres::PgConnection;
use crate::sqlite::SqliteConnection;
use crate::value::{Param, Row};
use crate::{Location, StoreError, telemetry};

/// What a command is going to do with the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only looks at a ledger that is there: nothing is created, upgraded or changed, and what an
    /// older version lacks is missing.
    Look,
    /// Reads, or writes nothing but baseline tables.
    Read,
    /// May need our additive tables, columns and indexes; they are created when missing.
    Write,
}

/// What a commit of [`Db::write_bulk`] promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It survives a failing machine, and so does everything that was committed before.
    Full,
    /// After a failing machine it may be missing together with all that came after it, never only
    /// in part. A full one must follow before success is reported.
    Later,
}

/// What opening a ledger needs from the outside.
#[derive(Clone)]
pub struct OpenOptions {
    /// Where "now" comes from on SQLite, and everywhere in tests.
    pub clock: Arc<dyn Clock>,
    /// Where fresh ids come from.
    pub ids: Arc<dyn Ids>,
    /// Where we run, for what means something there only.
    pub machine: Machine,
    /// `PGPASSWORD`, if set.
    pub server_password: Option<String>,
    /// The PostgreSQL password file (`PGPASSFILE` or `~/.pgpass`), if there is one.
    pub password_file: Option<PathBuf>,
}

/// One connection to a ledger.
pub struct Db {
    pub(crate) connection: Connection,
    location: Location,
    options: OpenOptions,
    access: Access,
    written: u64,
}

pub(crate) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(Box<PgConnection>),
}

/// How long a unit of work is repeated after conflicts before the conflict is reported.
const CONFLICT_DEADLINE: Duration = Duration::from_secs(10);

impl Db {
    /// Opens the ledger; creates it when missing, upgrades it when old, refuses what is not one.
    ///
    /// # Errors
    /// Everything of [`StoreError`] that opening, identity, version or upgrade can cause.
    pub fn open(location: &Location, access: Access, options: OpenOptions) -> Result<Self, StoreError> {
        let connection = connect(location, access, &options)?;
        Ok(Self { connection, location: location.clone(), options, access, written: 0 })
    }

    /// Replaces a broken connection, or one whose file was replaced.
    ///
    /// # Errors
    /// As [`Db::open`], but for a file that is gone: it is not made anew. The old connection stays
    /// in place then.
    pub fn reconnect(&mut self) -> Result<(), StoreError> {
        if let Location::File(path) = &self.location {
            std::fs::metadata(path).map_err(|error| StoreError::from_system(&error, path))?;
        }
        self.connection = connect(&self.location, self.access, &self.options)?;
        Ok(())
    }

    /// A further connection to the same ledger, for a thread of its own.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn another(&self) -> Result<Self, StoreError> {
        Self::open(&self.location, self.access, self.options.clone())
    }

    /// Which engine this is.
    #[must_use]
    pub fn engine(&self) -> Engine {
        match self.connection {
            Connection::Sqlite(_) => Engine::Sqlite,
            Connection::Postgres(_) => Engine::Postgres,
        }
    }

    /// File, or URL without password.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// How many transactions that changed something this value has committed.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Where we run.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.options.machine
    }

    /// The clock the connection was opened with.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        self.options.clock.as_ref()
    }

    /// Gives SQLite a larger page cache for bulk work; no effect on a server.
    ///
    /// # Errors
    /// A failing statement.
    pub fn use_bulk_cache(&mut self) -> Result<(), StoreError> {
        match &mut self.connection {
            Connection::Sqlite(connection) => connection.use_bulk_cache(),
            Connection::Postgres(_) => Ok(()),
        }
    }

    /// Gives SQLite the page cache for storing much that is not looked at again, a smaller one for
    /// rows of megabytes; no effect on a server.
    ///
    /// # Errors
    /// A failing statement.
    pub fn use_load_cache(&mut self, rows_are_long: bool) -> Result<(), StoreError> {
        match &mut self.connection {
            Connection::Sqlite(connection) => connection.use_load_cache(rows_are_long),
            Connection::Postgres(_) => Ok(()),
        }
    }

    /// Gives SQLite as much page cache as a process should keep that stays; no effect on a server.
    ///
    /// # Errors
    /// A failing statement.
    pub fn use_resting_cache(&mut self) -> Result<(), StoreError> {
        match &mut self.connection {
            Connection::Sqlite(connection) => connection.use_resting_cache(),
            Connection::Postgres(_) => Ok(()),
        }
    }

    /// Runs `work` in one writing transaction: everything it wrote commits together or not at all.
    ///
    /// After a serialization failure or deadlock the work is run again from its start, so it must
    /// have no effect outside the transaction.
    ///
    /// # Errors
    /// What `work` returns, or a failure of begin or commit; then nothing was written.
    pub fn write<T, E: From<StoreError>>(
        &mut self,
        work: impl FnMut(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.repeat_conflicts(work)
    }

    /// [`Db::write`] for a unit of work that stores about `bytes` in rows which the caller has
    /// proven: on SQLite neither checks nor foreign keys are looked at in it, so it must contain
    /// nothing else that could break them. The connection is as before afterwards.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn write_bulk<T, E: From<StoreError>>(
        &mut self,
        log: &mut WriteBack,
        durability: Durability,
        bytes: u64,
        work: impl FnMut(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        if let Connection::Sqlite(connection) = &mut self.connection {
            connection.relax(durability, log.is_running())?;
        }
        let outcome = self.repeat_conflicts(work);
        if let Connection::Sqlite(connection) = &mut self.connection {
            connection.restore()?;
        }
        if outcome.is_ok() {
            log.committed(bytes);
        }
        outcome
    }

    fn repeat_conflicts<T, E: From<StoreError>>(
        &mut self,
        mut work: impl FnMut(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let deadline = Instant::now() + CONFLICT_DEADLINE;
        let mut pause = Duration::from_millis(1);
        loop {
            self.begin(true)?;
            let mut tx = Tx::new(&mut self.connection, &self.options);
            let outcome = work(&mut tx).and_then(|value| {
                telemetry::write_held(&mut tx)?;
                Ok(value)
            });
            let (signal, conflict, changed) = (tx.signal, tx.conflict, tx.changed);
            match outcome {
                Ok(value) => match self.commit(signal) {
                    Ok(()) => {
                        self.written += u64::from(changed);
                        return Ok(value);
                    }
                    Err(StoreError::Conflict(_)) if Instant::now() < deadline => {}
                    Err(error) => return Err(error.into()),
                },
                Err(_) if conflict && Instant::now() < deadline => self.rollback(),
                Err(error) => {
                    self.rollback();
                    return Err(error);
                }
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// Runs `work` on one consistent snapshot. It must not write.
    ///
    /// # Errors
    /// What `work` returns, or a failure of begin or commit.
    pub fn read<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.begin(false)?;
        let outcome = work(&mut Tx::new(&mut self.connection, &self.options));
        match outcome {
            Ok(value) => {
                self.commit(false)?;
                Ok(value)
            }
            Err(error) => {
                self.rollback();
                Err(error)
            }
        }
    }

    fn begin(&mut self, writing: bool) -> Result<(), StoreError> {
        match &mut self.connection {
            Connection::Sqlite(connection) => connection.begin(writing),
            Connection::Postgres(connection) => connection.begin(writing, self.options.clock.as_ref()),
        }
    }

    fn commit(&mut self, signal: bool) -> Result<(), StoreError> {
        match &mut self.connection {
            Connection::Sqlite(connection) => connection.execute_batch("commit").inspect_err(|_| {
                // A failed commit leaves the transaction open; the next unit of work must not inherit it.
                connection.rollback();
            }),
            Connection::Postgres(connection) => connection.commit(signal),
        }
    }

    fn rollback(&mut self) {
        match &mut self.connection {
            Connection::Sqlite(connection) => connection.rollback(),
            Connection::Postgres(connection) => connection.rollback(),
        }
    }
}

fn connect(location: &Location, access: Access, options: &OpenOptions) -> Result<Connection, StoreError> {
    match location {
        Location::File(path) => SqliteConnection::open(path, access, options).map(Connection::Sqlite),
        Location::Server(url) => PgConnection::open(url, location.to_string(), access, options)
            .map(|c| Connection::Postgres(Box::new(c))),
    }
}

/// A transaction in progress. Statements are written once for both engines; see `dialect`.
pub struct Tx<'c> {
    connection: &'c mut Connection,
    options: &'c OpenOptions,
    now: Option<Timestamp>,
    signal: bool,
    conflict: bool,
    changed: bool,
    /// Telemetry that is written before the commit.
    pub(crate) held: Held,
}

impl<'c> Tx<'c> {
    fn new(connection: &'c mut Connection, options: &'c OpenOptions) -> Self {
        Self {
            connection,
            options,
            now: None,
            signal: false,
            conflict: false,
            changed: false,
            held: Held::default(),
        }
    }

    /// Which engine this is.
    #[must_use]
    pub fn engine(&self) -> Engine {
        match self.connection {
            Connection::Sqlite(_) => Engine::Sqlite,
            Connection::Postgres(_) => Engine::Postgres,
        }
    }

    /// The one moment of this transaction, from the database's clock; the same on every call until a
    /// lock is taken.
    ///
    /// # Errors
    /// A failing statement.
    pub fn now(&mut self) -> Result<Timestamp, StoreError> {
        if let Some(now) = self.now {
            return Ok(now);
        }
        let now = match self.connection {
            Connection::Sqlite(_) => self.options.clock.now(),
            Connection::Postgres(_) => {
                let text = self.one("select conveyor_now()", params_none(), |row| row.text(0))?;
                Timestamp::parse(&text).ok_or(StoreError::Type { column: 0, expected: "time" })?
            }
        };
        self.now = Some(now);
        Ok(now)
    }

    /// Makes the next [`Tx::now`] look at the clock again. Needed after a lock was taken on a
    /// server: what it gives access to may have been written after the moment known so far.
    pub(crate) fn renew_now(&mut self) {
        self.now = None;
    }

    /// Where we run.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.options.machine
    }

    /// A fresh identifier.
    #[must_use]
    pub fn fresh_id(&self, prefix: IdPrefix) -> String {
        self.options.ids.fresh(prefix)
    }

    /// Wakes waiting and watching processes when this transaction commits. Needed on PostgreSQL
    /// only (SQLite's waiters see every commit), so call it for what somebody may wait for.
    pub fn wake_waiters(&mut self) {
        self.signal = true;
    }

    /// Runs a statement that returns no rows; gives the number of rows it touched.
    ///
    /// # Errors
    /// A failing statement.
    pub fn execute(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        let outcome = match self.connection {
            Connection::Sqlite(connection) => connection.execute(&render(sql, Engine::Sqlite), params),
            Connection::Postgres(connection) => connection.execute(&render(sql, Engine::Postgres), params),
        };
        self.note_change(outcome)
    }

    /// Inserts many rows into `target`, a table with its list of columns; gives how many. The first
    /// columns are `fixed`, the same in every row. Many rows share a statement.
    ///
    /// # Errors
    /// A failing statement.
    pub fn insert_many<'p, const F: usize, const N: usize>(
        &mut self,
        target: &str,
        fixed: &[Param<'p>; F],
        rows: impl IntoIterator<Item = [Param<'p>; N]>,
    ) -> Result<u64, StoreError> {
        let outcome = match self.connection {
            Connection::Sqlite(connection) => insert_in_chunks(
                rows.into_iter(),
                SQLITE_CHUNKS,
                |size| render(&insert_statement(target, F, N, size), Engine::Sqlite),
                |sql, chunk| connection.execute_with(sql, fixed.iter().chain(chunk.as_flattened())),
            ),
            Connection::Postgres(connection) => insert_in_chunks(
                rows.into_iter(),
                SERVER_CHUNKS,
                |size| insert_statement(target, F, N, size),
                |sql, chunk| {
                    let params: Vec<_> = fixed.iter().chain(chunk.as_flattened()).collect();
                    connection.execute_with(sql, &params)
                },
            ),
        };
        self.note_change(outcome)
    }

    /// Runs a query and hands each row to `each`, in order, without keeping them.
    ///
    /// # Errors
    /// A failing statement, or what `each` returns.
    pub fn each<E: From<StoreError>>(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
        each: &mut dyn FnMut(&Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.connection {
            Connection::Sqlite(connection) => connection.each(&render(sql, Engine::Sqlite), params, each),
            Connection::Postgres(connection) => {
                let mut conflict = false;
                let outcome = connection.each(&render(sql, Engine::Postgres), params, each, &mut conflict);
                self.conflict |= conflict;
                outcome
            }
        }
    }

    /// Runs a query and collects what `map` makes of each row.
    ///
    /// # Errors
    /// A failing statement, or what `map` returns.
    pub fn all<T>(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
        map: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut rows = Vec::new();
        self.each(sql, params, &mut |row| {
            rows.push(map(row)?);
            Ok::<(), StoreError>(())
        })?;
        Ok(rows)
    }

    /// The first row of a query, if any. Let the statement limit itself to one row.
    ///
    /// # Errors
    /// A failing statement, or what `map` returns.
    pub fn first<T>(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
        map: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.all(sql, params, map)?.into_iter().next())
    }

    /// The only row of a query that always has one (an aggregate, an `insert … returning`).
    ///
    /// # Errors
    /// A failing statement, or no row.
    pub fn one<T>(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
        map: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.first(sql, params, map)?.ok_or(StoreError::Sql("a statement returned no row".into()))
    }

    /// Runs `work` so that its failure undoes only what it did itself.
    ///
    /// # Errors
    /// What `work` returns, after undoing; or a failure of the savepoint statements.
    pub fn savepoint<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.batch("savepoint unit")?;
        let mark = self.held.begin_unit();
        match work(self) {
            Ok(value) => {
                self.batch("release savepoint unit")?;
                self.held.keep_unit();
                Ok(value)
            }
            Err(error) => {
                self.held.undo_unit(mark);
                self.batch("rollback to savepoint unit")?;
                self.batch("release savepoint unit")?;
                Err(error)
            }
        }
    }

    fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        let outcome = match self.connection {
            Connection::Sqlite(connection) => connection.execute_batch(sql),
            Connection::Postgres(connection) => connection.execute_batch(sql),
        };
        self.note(outcome)
    }

    fn note_change(&mut self, outcome: Result<u64, StoreError>) -> Result<u64, StoreError> {
        self.changed |= outcome.as_ref().is_ok_and(|&rows| rows > 0);
        self.note(outcome)
    }

    fn note<T>(&mut self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        self.conflict |= matches!(outcome, Err(StoreError::Conflict(_)));
        outcome
    }
}

/// Rows per statement. Few sizes, because each is a prepared statement of its own. What a statement
/// costs besides its rows is shared by 64 on SQLite; more bring nothing.
const SQLITE_CHUNKS: [usize; 3] = [64, 8, 1];

/// The same on a server, to which every statement is a round trip.
const SERVER_CHUNKS: [usize; 3] = [128, 16, 1];

fn insert_in_chunks<'p, const N: usize>(
    mut rows: impl Iterator<Item = [Param<'p>; N]>,
    sizes: [usize; 3],
    statement: impl Fn(usize) -> String,
    mut execute: impl FnMut(&str, &[[Param<'p>; N]]) -> Result<u64, StoreError>,
) -> Result<u64, StoreError> {
    let mut statements = sizes.map(|size| (size, None));
    let mut held: Vec<[Param<'p>; N]> = Vec::with_capacity(sizes[0]);
    let mut inserted = 0;
    loop {
        held.clear();
        held.extend(rows.by_ref().take(sizes[0]));
        if held.is_empty() {
            return Ok(inserted);
        }
        let mut rest = held.as_slice();
        for (size, sql) in &mut statements {
            let chunks = rest.chunks_exact(*size);
            rest = chunks.remainder();
            for chunk in chunks {
                inserted += execute(sql.get_or_insert_with(|| statement(*size)), chunk)?;
            }
        }
    }
}

/// An insert of `rows` rows, each with the same `fixed` values before `columns` ones of its own.
fn insert_statement(target: &str, fixed: usize, columns: usize, rows: usize) -> String {
    let row = |row: usize| {
        let own = fixed + row * columns;
        let values: Vec<String> =
            (1..=fixed).chain(own + 1..=own + columns).map(|value| format!("${value}")).collect();
        format!("({})", values.join(", "))
    };
    format!("insert into {target} values {}", (0..rows).map(row).collect::<Vec<_>>().join(", "))
}

fn params_none() -> &'static [Param<'static>] {
    &[]
}
