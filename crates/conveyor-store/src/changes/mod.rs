//! Waiting for other processes' commits, and for writes to files, without a fast poll and without
//! holding a transaction.
//!
//! PostgreSQL notifies. On SQLite a write to the write-ahead log makes the operating system tell
//! us, but it comes *before* the commit is visible: it is a hint, after which the data version is
//! looked at again with backoff. A slow plain look is the safety net on both engines.

#[cfg(not(target_os = "linux"))]
mod elsewhere;
mod files;
#[cfg(target_os = "linux")]
mod inotify;

#[cfg(not(target_os = "linux"))]
use elsewhere as system;
#[cfg(target_os = "linux")]
use inotify as system;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::db::{Connection, Db};
use crate::postgres::PgConnection;
use crate::sqlite::SqliteConnection;
use crate::{Location, StoreError};

pub use files::{Concern, FileHints, Hint, NoHints, WatchId};

/// The plain look that needs no hint.
const PLAIN_LOOK: Duration = Duration::from_millis(250);
/// First pause after a hint; doubled after each look that shows nothing.
const FIRST_BACKOFF: Duration = Duration::from_micros(200);
/// The longest pause between looks while a hint is fresh: a commit on a busy disk may become visible
/// long after its hint, and must not wait for the plain look then.
const LONGEST_BACKOFF: Duration = Duration::from_millis(8);
/// How long after a hint the data version is looked at more often than plainly.
const HINT_WINDOW: Duration = Duration::from_millis(250);
/// How long a server is listened to before hints about files are asked for, which cannot end that.
const LISTENING: Duration = Duration::from_millis(10);

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Another process has committed something.
    Changed,
    /// There are hints about files; see [`Changes::files`].
    Files,
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
    nudge: system::Nudge,
}

impl Waker {
    /// Ends the wait in progress, or the next one at once.
    pub fn wake(&self) {
        self.nudged.store(true, Ordering::SeqCst);
        self.nudge.give();
    }
}

/// The state of a waiting process between waits.
pub struct Changes {
    files: FileHints,
    nudged: Arc<AtomicBool>,
    version: i64,
    file: Option<(u64, u64)>,
    /// How much this connection had written when the last wait ended.
    written: u64,
    /// Kept between waits: a hint that ended one wait may have been about the next commit, too.
    hinted_until: Instant,
    longest_backoff: Duration,
    next_look: Instant,
}

impl Changes {
    /// A handle that ends waits from another thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker { nudged: Arc::clone(&self.nudged), nudge: self.files.nudge() }
    }

    /// The directories whose files are waited for.
    pub fn files(&mut self) -> &mut FileHints {
        &mut self.files
    }
}

impl Db {
    /// Begins to observe commits: whatever is committed after this call ends a later wait.
    ///
    /// # Errors
    /// A failing statement.
    pub fn observe_changes(&mut self) -> Result<Changes, StoreError> {
        let mut files = FileHints::new();
        if let Connection::Sqlite(connection) = &self.connection {
            files.watch_log(connection.path());
        }
        let now = Instant::now();
        let mut changes = Changes {
            files,
            nudged: Arc::default(),
            version: 0,
            file: None,
            written: self.written(),
            hinted_until: now,
            longest_backoff: LONGEST_BACKOFF,
            next_look: now,
        };
        self.observe_again(&mut changes)?;
        Ok(changes)
    }

    /// Goes on observing after [`Db::reconnect`]. What was committed meanwhile is not told.
    ///
    /// # Errors
    /// A failing statement.
    pub fn observe_again(&mut self, changes: &mut Changes) -> Result<(), StoreError> {
        match &mut self.connection {
            Connection::Sqlite(connection) => {
                changes.version = connection.data_version()?;
                changes.file = identity(connection.path());
            }
            Connection::Postgres(connection) => connection.listen()?,
        }
        Ok(())
    }

    /// Waits until another process commits, there are hints about files, `look` (asked at every
    /// plain look) says so, the waker is used, or `deadline` passes. What was committed since the
    /// last wait returned counts.
    ///
    /// # Errors
    /// A failing statement or a broken connection; reconnect, observe again, and look for work.
    pub fn wait_for_change(
        &mut self,
        changes: &mut Changes,
        deadline: Instant,
        look: &mut dyn FnMut() -> bool,
    ) -> Result<Wake, StoreError> {
        self.take_own_hints(changes);
        let mut backoff = FIRST_BACKOFF;
        loop {
            if changes.nudged.swap(false, Ordering::SeqCst) {
                return Ok(Wake::Nudged);
            }
            if self.has_changed(changes)? {
                return Ok(Wake::Changed);
            }
            if changes.files.has_reported() {
                return Ok(Wake::Files);
            }
            let now = Instant::now();
            // Not at every look at the data version: the caller's may cost a system call per file.
            if now >= changes.next_look {
                changes.next_look = now + PLAIN_LOOK;
                if look() {
                    return Ok(Wake::Looked);
                }
            }
            if now >= deadline {
                return Ok(Wake::TimedOut);
            }
            let is_hinted = now < changes.hinted_until;
            let pause = if is_hinted { backoff } else { changes.next_look - now }.min(deadline - now);
            if let Connection::Postgres(connection) = &mut self.connection {
                if wait_for_server(connection, &mut changes.files, pause)? {
                    return Ok(Wake::Changed);
                }
            } else if changes.files.hear(pause) {
                changes.hinted_until = Instant::now() + HINT_WINDOW;
                changes.longest_backoff = LONGEST_BACKOFF;
                backoff = FIRST_BACKOFF;
            } else if is_hinted {
                backoff = (backoff * 2).min(changes.longest_backoff);
            }
        }
    }

    /// Takes the hints that came since the last wait. Where this connection has written meanwhile,
    /// they are most probably its own, and only looks with growing pauses make sure of that.
    fn take_own_hints(&mut self, changes: &mut Changes) {
        let is_own = std::mem::replace(&mut changes.written, self.written()) != self.written();
        if changes.files.hear(Duration::ZERO) {
            let now = Instant::now();
            if !is_own || now >= changes.hinted_until {
                changes.longest_backoff = if is_own { HINT_WINDOW } else { LONGEST_BACKOFF };
            }
            changes.hinted_until = now + HINT_WINDOW;
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

/// Waits for a commit, or a hint about files; `true` when it was a commit.
fn wait_for_server(
    connection: &mut PgConnection,
    files: &mut FileHints,
    pause: Duration,
) -> Result<bool, StoreError> {
    if connection.is_pooled() {
        files.hear(pause);
        return connection.has_changed();
    }
    let listening = if files.is_watching() { LISTENING } else { PLAIN_LOOK };
    let woken = connection.wait_for_wakeup(pause.min(listening))?;
    files.hear(Duration::ZERO);
    Ok(woken)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}
