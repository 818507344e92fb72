//! Waiting for other processes' commits without a fast poll and without holding a transaction.
//!
//! PostgreSQL notifies. On SQLite a write to the write-ahead log makes the operating system tell
//! us, but it comes *before* the commit is visible: it is a hint, after which the data version is
//! looked at again with backoff. A slow plain look is the safety net on both engines.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use notify::Watcher;

use crate::db::{Connection, Db};
use crate::sqlite::SqliteConnection;
use crate::{Location, StoreError};

/// The plain look that needs no hint.
const PLAIN_LOOK: Duration = Duration::from_millis(250);
/// First pause after a hint; doubled after each look that shows nothing.
const FIRST_BACKOFF: Duration = Duration::from_micros(200);
/// The longest pause between looks while a hint is fresh: a commit on a busy disk may become visible
/// long after its hint, and must not wait for the plain look then.
const LONGEST_BACKOFF: Duration = Duration::from_millis(8);
/// How long after a hint the data version is looked at more often than plainly.
const HINT_WINDOW: Duration = Duration::from_millis(250);

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Another process has committed something.
    Changed,
    /// The caller's own look saw something.
    Looked,
    /// Somebody used the [`Waker`] (a signal, usually).
    Nudged,
    /// The deadline passed.
    TimedOut,
}

/// Ends a wait from another thread.
#[derive(Clone)]
pub struct Waker {
    nudged: Arc<AtomicBool>,
    sender: SyncSender<()>,
}

impl Waker {
    /// Ends the wait in progress, or the next one at once.
    pub fn wake(&self) {
        self.nudged.store(true, Ordering::SeqCst);
        // A full channel already holds a wake-up.
        let _ = self.sender.try_send(());
    }
}

/// The state of a waiting process between waits.
pub struct Changes {
    hints: Receiver<()>,
    waker: Waker,
    // Dropping the watcher ends its hints.
    _watcher: Option<notify::RecommendedWatcher>,
    version: i64,
    file: Option<(u64, u64)>,
    /// Kept between waits: a hint that ended one wait may have been about the next commit, too.
    hinted_until: Instant,
}

impl Changes {
    /// A handle that ends waits from another thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

impl Db {
    /// Begins to observe commits: whatever is committed after this call ends a later wait.
    ///
    /// # Errors
    /// A failing statement.
    pub fn observe_changes(&mut self) -> Result<Changes, StoreError> {
        let (sender, hints) = sync_channel(1);
        let waker = Waker { nudged: Arc::new(AtomicBool::new(false)), sender: sender.clone() };
        let (watcher, version, file) = match &mut self.connection {
            Connection::Sqlite(connection) => {
                let watcher = watch_log(connection.path(), sender);
                (watcher, connection.data_version()?, identity(connection.path()))
            }
            Connection::Postgres(connection) => {
                connection.listen()?;
                (None, 0, None)
            }
        };
        Ok(Changes { hints, waker, _watcher: watcher, version, file, hinted_until: Instant::now() })
    }

    /// Waits until another process commits, `look` (asked at every plain look) says so, the waker
    /// is used, or `deadline` passes. What was committed since the last wait returned counts.
    ///
    /// # Errors
    /// A failing statement or a broken connection; reconnect, observe again, and look for work.
    pub fn wait_for_change(
        &mut self,
        changes: &mut Changes,
        deadline: Instant,
        look: &mut dyn FnMut() -> bool,
    ) -> Result<Wake, StoreError> {
        let mut backoff = FIRST_BACKOFF;
        let mut next_look = Instant::now();
        loop {
            if changes.waker.nudged.swap(false, Ordering::SeqCst) {
                return Ok(Wake::Nudged);
            }
            if self.has_changed(changes)? {
                return Ok(Wake::Changed);
            }
            let now = Instant::now();
            // Not at every look at the data version: the caller's may cost a system call per file.
            if now >= next_look {
                if look() {
                    return Ok(Wake::Looked);
                }
                next_look = now + PLAIN_LOOK;
            }
            if now >= deadline {
                return Ok(Wake::TimedOut);
            }
            let pause = if now < changes.hinted_until { backoff } else { next_look - now };
            let pause = pause.min(deadline - now);
            if let Connection::Postgres(connection) = &mut self.connection {
                if connection.wait_for_wakeup(pause)? {
                    return Ok(Wake::Changed);
                }
                continue;
            }
            match changes.hints.recv_timeout(pause) {
                Ok(()) => {
                    changes.hinted_until = Instant::now() + HINT_WINDOW;
                    backoff = FIRST_BACKOFF;
                }
                Err(RecvTimeoutError::Timeout) => backoff = (backoff * 2).min(LONGEST_BACKOFF),
                // Cannot happen while the waker lives; the plain look goes on regardless.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(pause),
            }
        }
    }

    fn has_changed(&mut self, changes: &mut Changes) -> Result<bool, StoreError> {
        let Connection::Sqlite(connection) = &self.connection else { return Ok(false) };
        if let Location::File(path) = self.location() {
            let file = identity(path);
            if file.is_none() {
                // Waiting cannot cure this, and a new empty ledger is not what anybody waits for.
                let reason = "the file was removed".into();
                return Err(StoreError::Open { path: path.clone(), reason });
            }
            if file != changes.file {
                // The file was replaced under us: go on with the one that bears the name now.
                changes.file = file;
                self.reconnect()?;
                changes.version = self.sqlite_version()?;
                return Ok(true);
            }
        }
        let version = connection.data_version()?;
        Ok(std::mem::replace(&mut changes.version, version) != version)
    }

    fn sqlite_version(&self) -> Result<i64, StoreError> {
        match &self.connection {
            Connection::Sqlite(connection) => SqliteConnection::data_version(connection),
            Connection::Postgres(_) => Ok(0),
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Hints on writes to the write-ahead log. The directory is watched, because the log comes and
/// goes. `None` where the system gives no hints; the plain look remains.
fn watch_log(database: &Path, sender: SyncSender<()>) -> Option<notify::RecommendedWatcher> {
    let directory = database.parent()?.to_owned();
    let mut log = database.file_name()?.to_owned();
    log.push("-wal");
    let on_event = move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        let written = event.kind.is_modify() || event.kind.is_create();
        if written && event.paths.iter().any(|path| path.file_name() == Some(&log)) {
            // A full channel already holds a hint.
            let _ = sender.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(on_event).ok()?;
    watcher.watch(&directory, notify::RecursiveMode::NonRecursive).ok()?;
    Some(watcher)
}
