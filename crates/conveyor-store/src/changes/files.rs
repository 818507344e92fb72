//! Hints about files: which directories are watched, and what the system told of them.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use super::system;

/// A watched directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub(super) i32);

/// What about a directory is of concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Writes to the files in it, and what their names stand for.
    Contents,
    /// What names stand for, only.
    Names,
}

/// What the system told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The file of this name was written to.
    Written(WatchId, OsString),
    /// The name may stand for something else now: created, deleted, moved to or away.
    Renamed(WatchId, OsString),
    /// The directory was moved or is gone; it is not watched any more.
    Lost(WatchId),
    /// There were more hints than the system keeps: anything may have happened.
    Overflow,
}

/// Why the system gives no hints about a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum NoHints {
    /// No instance could be had.
    #[error("file notifications cannot be had ({0}); see fs.inotify.max_user_instances")]
    Instance(String),
    /// There are as many watches as this user may have.
    #[error("as many directories are watched as the system allows; see fs.inotify.max_user_watches")]
    Limit,
    /// Others may write there without this system's knowledge.
    #[error("they lie on a network file system ({0}), which does not tell of writes from elsewhere")]
    Remote(&'static str),
    /// It cannot be watched.
    #[error("their directory cannot be watched: {0}")]
    Unwatchable(String),
    /// This system's notifications are not used.
    #[error("file notifications are used on Linux only")]
    Unsupported,
}

/// The one notification instance of a waiting process.
pub struct FileHints {
    source: system::Source,
    /// The directory and the name of the ledger's write-ahead log.
    log: Option<(WatchId, OsString)>,
    watched: BTreeSet<WatchId>,
    reported: Vec<Hint>,
}

impl FileHints {
    pub(super) fn new() -> Self {
        Self { source: system::Source::new(), log: None, watched: BTreeSet::new(), reported: Vec::new() }
    }

    pub(super) fn nudge(&self) -> system::Nudge {
        self.source.nudge()
    }

    /// Watches the log of a ledger. The directory is watched, because the log comes and goes. Where
    /// the system gives no hints, the plain look remains.
    pub(super) fn watch_log(&mut self, database: &Path) {
        let (Some(directory), Some(name)) = (database.parent(), database.file_name()) else { return };
        let mut log = name.to_owned();
        log.push("-wal");
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        self.log = self.source.watch_log(directory, &log).map(|id| (id, log));
    }

    /// Watches a directory, given by its real path. One that is watched already keeps its id.
    ///
    /// # Errors
    /// [`NoHints`]: the caller has to look for itself.
    pub fn watch(&mut self, directory: &Path, concern: Concern) -> Result<WatchId, NoHints> {
        let id = self.source.watch(directory, concern)?;
        self.watched.insert(id);
        Ok(id)
    }

    /// Watches a directory no more.
    pub fn unwatch(&mut self, id: WatchId) {
        if self.watched.remove(&id) && self.log.as_ref().is_none_or(|(log, _)| *log != id) {
            self.source.unwatch(id);
        }
    }

    /// Takes what was told so far.
    pub fn take(&mut self) -> Vec<Hint> {
        std::mem::take(&mut self.reported)
    }

    pub(super) fn is_watching(&self) -> bool {
        !self.watched.is_empty()
    }

    pub(super) fn has_reported(&self) -> bool {
        !self.reported.is_empty()
    }

    /// Waits until the system tells something, somebody nudges, or the time is over; `true` when the
    /// ledger's log was written to.
    pub(super) fn hear(&mut self, timeout: Duration) -> bool {
        let Self { source, log, watched, reported } = self;
        let mut is_ledger = false;
        source.hear(timeout, &mut |told| match told {
            system::Told::Name { id, name, is_renamed } => {
                if log.as_ref().is_some_and(|(log, file)| *log == id && file.as_os_str() == name) {
                    is_ledger = true;
                } else if watched.contains(&id) {
                    report(reported, named(id, name, is_renamed));
                }
            }
            system::Told::Lost(id) => {
                if watched.remove(&id) {
                    report(reported, Hint::Lost(id));
                }
            }
            system::Told::Overflow => {
                is_ledger = true;
                if !watched.is_empty() {
                    report(reported, Hint::Overflow);
                }
            }
        });
        is_ledger
    }
}

fn named(id: WatchId, name: &OsStr, is_renamed: bool) -> Hint {
    let name = name.to_owned();
    if is_renamed { Hint::Renamed(id, name) } else { Hint::Written(id, name) }
}

/// One file that is written to all the time makes one hint.
fn report(reported: &mut Vec<Hint>, hint: Hint) {
    if reported.last() != Some(&hint) {
        reported.push(hint);
    }
}
