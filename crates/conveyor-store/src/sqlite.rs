//! The SQLite engine: opening a file safely, and running statements on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use conveyor_model::{Clock, Timestamp};
use rusqlite::functions::FunctionFlags;

use crate::db::{Access, Durability, OpenOptions};
use crate::value::{Param, Row, RowSource};
use crate::{BUSY_TIMEOUT, StoreError, schema};

pub(crate) struct SqliteConnection {
    raw: rusqlite::Connection,
    path: PathBuf,
    /// The page cache that was asked for.
    cache: Option<i64>,
}

/// Statements kept prepared per connection; more than any one command uses.
const CACHED_STATEMENTS: usize = 128;

/// Page cache for bulk work, in KiB (SQLite's sign convention): no slower than 64 MiB.
const BULK_CACHE: i64 = -16_384;

/// Page cache of a process that stays, in KiB likewise.
const RESTING_CACHE: i64 = -4_096;

/// Page cache for storing what nobody looks at again, in KiB likewise: it holds what a batch of an
/// ingest changes, so that no page is written twice.
const LOAD_CACHE: i64 = -6_144;

/// The same while a long row is stored, which SQLite holds more than once.
const LONG_ROW_CACHE: i64 = -2_048;

/// After a commit that leaves so many pages in the write-ahead log, SQLite brings them back into the
/// file; this is its default.
const AUTO_CHECKPOINT: u32 = 1000;

impl SqliteConnection {
    pub(crate) fn open(path: &Path, access: Access, options: &OpenOptions) -> Result<Self, StoreError> {
        if access != Access::Look {
            create_file(path)?;
        }
        let wrap = |error: rusqlite::Error| StoreError::from_sqlite(&error, path);
        let mut raw = rusqlite::Connection::open_with_flags(
            path,
            rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .map_err(wrap)?;
        // Before anything else touches the file: several processes may be creating it right now.
        raw.busy_timeout(BUSY_TIMEOUT).map_err(wrap)?;
        // A file that is refused below must stay as it is, so closing must not checkpoint it.
        let no_checkpoint = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        raw.set_db_config(no_checkpoint, true).map_err(wrap)?;
        let found = schema::sqlite::identify(&raw, path)?;
        raw.set_db_config(no_checkpoint, false).map_err(wrap)?;
        if access == Access::Look {
            raw.pragma_update(None, "query_only", true).map_err(wrap)?;
        } else {
            switch_on(&raw, path)?;
            // Plans must not depend on the values bound, or statements would be prepared anew for each.
            let stable_plans = rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG;
            raw.set_db_config(stable_plans, true).map_err(wrap)?;
        }
        raw.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        register_functions(&raw, &options.clock).map_err(wrap)?;
        if access != Access::Look {
            schema::sqlite::prepare(&mut raw, path, found, options.clock.as_ref(), options.ids.as_ref())?;
        }
        if access == Access::Write {
            schema::sqlite::ensure_additions(&mut raw, path, options.clock.as_ref())?;
        }
        Ok(Self { raw, path: path.to_owned(), cache: None })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn use_bulk_cache(&mut self) -> Result<(), StoreError> {
        self.use_cache(BULK_CACHE)
    }

    pub(crate) fn use_resting_cache(&mut self) -> Result<(), StoreError> {
        if self.cache == Some(RESTING_CACHE) {
            return Ok(());
        }
        self.use_cache(RESTING_CACHE)?;
        self.execute_batch("pragma shrink_memory")
    }

    pub(crate) fn use_load_cache(&mut self, rows_are_long: bool) -> Result<(), StoreError> {
        self.use_cache(if rows_are_long { LONG_ROW_CACHE } else { LOAD_CACHE })
    }

    fn use_cache(&mut self, size: i64) -> Result<(), StoreError> {
        if self.cache == Some(size) {
            return Ok(());
        }
        self.raw.pragma_update(None, "cache_size", size).map_err(|e| self.wrap(&e))?;
        // What a savepoint would restore is kept in memory, not in a file.
        self.raw.pragma_update(None, "temp_store", "memory").map_err(|e| self.wrap(&e))?;
        self.cache = Some(size);
        Ok(())
    }

    /// Prepares for one transaction of [`crate::Db::write_bulk`]. Whatever fails here, or does not
    /// come to pass, leaves a connection that checks more than it need.
    pub(crate) fn relax(&mut self, durability: Durability, log_is_kept: bool) -> Result<(), StoreError> {
        self.execute_batch("pragma foreign_keys = off")?;
        self.execute_batch("pragma ignore_check_constraints = on")?;
        if log_is_kept {
            self.query_nothing("pragma wal_autocheckpoint = 0")?;
        }
        match durability {
            Durability::Full => Ok(()),
            Durability::Later => self.execute_batch("pragma synchronous = normal"),
        }
    }

    /// Takes back what [`SqliteConnection::relax`] did, all of it even if a part fails.
    pub(crate) fn restore(&mut self) -> Result<(), StoreError> {
        let outcomes = [
            self.execute_batch("pragma foreign_keys = on"),
            self.execute_batch("pragma ignore_check_constraints = off"),
            self.query_nothing(&format!("pragma wal_autocheckpoint = {AUTO_CHECKPOINT}")),
            self.execute_batch("pragma synchronous = full"),
        ];
        outcomes.into_iter().collect::<Result<(), _>>()?;
        // Inside a transaction the first of them would do nothing, without a word.
        require_foreign_keys(&self.raw, &self.path)
    }

    fn query_nothing(&mut self, sql: &str) -> Result<(), StoreError> {
        self.each(sql, &[], &mut |_| Ok::<(), StoreError>(()))
    }

    pub(crate) fn begin(&mut self, writing: bool) -> Result<(), StoreError> {
        if !writing {
            return self.execute_batch("begin");
        }
        // SQLite's own busy handler sleeps up to 100 ms between looks, which starves a writer
        // among many; short even sleeps keep ten processes on one file moving.
        let deadline = Instant::now() + BUSY_TIMEOUT;
        self.set_busy_timeout(Duration::ZERO)?;
        let outcome = loop {
            match self.execute_batch("begin immediate") {
                Err(StoreError::Busy { .. }) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_micros(700));
                }
                outcome => break outcome,
            }
        };
        self.set_busy_timeout(BUSY_TIMEOUT)?;
        outcome
    }

    fn set_busy_timeout(&self, timeout: Duration) -> Result<(), StoreError> {
        self.raw.busy_timeout(timeout).map_err(|e| self.wrap(&e))
    }

    pub(crate) fn rollback(&mut self) {
        // Some failures have already ended the transaction; then there is nothing to undo.
        if !self.raw.is_autocommit() {
            let _ = self.raw.execute_batch("rollback");
        }
    }

    pub(crate) fn execute_batch(&mut self, sql: &str) -> Result<(), StoreError> {
        let mut statement = self.raw.prepare_cached(sql).map_err(|e| self.wrap(&e))?;
        statement.execute([]).map(|_| ()).map_err(|e| self.wrap(&e))
    }

    pub(crate) fn execute(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        self.execute_with(sql, params.iter())
    }

    pub(crate) fn execute_with<'p>(
        &mut self,
        sql: &str,
        params: impl Iterator<Item = &'p Param<'p>>,
    ) -> Result<u64, StoreError> {
        let mut statement = self.raw.prepare_cached(sql).map_err(|e| self.wrap(&e))?;
        let touched = statement.execute(rusqlite::params_from_iter(params)).map_err(|e| self.wrap(&e))?;
        Ok(touched as u64)
    }

    pub(crate) fn each<E: From<StoreError>>(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
        each: &mut dyn FnMut(&Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut statement = self.raw.prepare_cached(sql).map_err(|e| self.wrap(&e))?;
        let mut rows = statement.query(rusqlite::params_from_iter(params)).map_err(|e| self.wrap(&e))?;
        while let Some(row) = rows.next().map_err(|e| self.wrap(&e))? {
            each(&Row(RowSource::Sqlite(row)))?;
        }
        Ok(())
    }

    /// A number that differs from the last look exactly when another connection has committed.
    pub(crate) fn data_version(&self) -> Result<i64, StoreError> {
        let mut statement = self.raw.prepare_cached("pragma data_version").map_err(|e| self.wrap(&e))?;
        statement.query_row([], |row| row.get(0)).map_err(|e| self.wrap(&e))
    }

    fn wrap(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::from_sqlite(error, &self.path)
    }
}

/// Makes the file if it is missing: exclusively, readable by its owner alone, in directories that
/// are likewise. Existing modes stay as they are.
fn create_file(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let failed = |error: std::io::Error| StoreError::from_system(&error, path);
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => return Ok(()),
        Ok(_) => return Err(StoreError::Open { path: path.to_owned(), reason: "not a regular file".into() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
    }
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Foreign keys and write-ahead log, each verified to have taken effect.
fn switch_on(raw: &rusqlite::Connection, path: &Path) -> Result<(), StoreError> {
    let wrap = |error: rusqlite::Error| StoreError::from_sqlite(&error, path);
    raw.pragma_update(None, "foreign_keys", true).map_err(wrap)?;
    require_foreign_keys(raw, path)?;
    // Changing the journal mode does not go through the busy handler, so the wait is ours.
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        let mode = raw.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0));
        match mode.map_err(wrap) {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                let reason =
                    format!("journal mode stays {mode}: the file system does not allow a write-ahead log");
                return Err(StoreError::Open { path: path.to_owned(), reason });
            }
            Err(StoreError::Busy { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
}

fn require_foreign_keys(raw: &rusqlite::Connection, path: &Path) -> Result<(), StoreError> {
    let enforced: bool = raw
        .pragma_query_value(None, "foreign_keys", |row| row.get(0))
        .map_err(|error| StoreError::from_sqlite(&error, path))?;
    if enforced { Ok(()) } else { Err(StoreError::Sql("this SQLite cannot enforce foreign keys".into())) }
}

/// The three functions that PostgreSQL has in its schema: the clock inside statements.
fn register_functions(raw: &rusqlite::Connection, clock: &Arc<dyn Clock>) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8;
    let now = Arc::clone(clock);
    raw.create_scalar_function("conveyor_now", 0, flags, move |_| Ok(now.now().to_ms_text()))?;
    let now = Arc::clone(clock);
    raw.create_scalar_function("conveyor_after", 1, flags, move |context| {
        Ok(now.now().lease_end(context.get::<i64>(0)?).to_s_text())
    })?;
    let pure = flags | FunctionFlags::SQLITE_DETERMINISTIC;
    raw.create_scalar_function("conveyor_ms", 1, pure, |context| {
        let text = context.get::<Option<String>>(0)?;
        Ok(text.as_deref().and_then(Timestamp::parse).map(Timestamp::as_millis))
    })
}
