//! Other systems than Linux: hints about the ledger's log only; files are looked at.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use notify::Watcher;

use super::{Concern, NoHints, WatchId};

/// Ends the wait of another thread.
#[derive(Clone)]
pub(super) struct Nudge(SyncSender<bool>);

impl Nudge {
    pub(super) fn give(&self) {
        // A full channel ends the wait as well.
        let _ = self.0.try_send(false);
    }
}

/// What the notifications tell.
#[allow(dead_code, reason = "the common part speaks of files, too")]
pub(super) enum Told<'e> {
    Name { id: WatchId, name: &'e OsStr, is_renamed: bool },
    Lost(WatchId),
    Overflow,
}

pub(super) struct Source {
    /// `true`: the log was written to.
    hints: Receiver<bool>,
    nudge: Nudge,
    log: OsString,
    // Dropping the watcher ends its hints.
    watcher: Option<notify::RecommendedWatcher>,
}

const LOG: WatchId = WatchId(0);

impl Source {
    pub(super) fn new() -> Self {
        let (sender, hints) = sync_channel(1);
        Self { hints, nudge: Nudge(sender), log: OsString::new(), watcher: None }
    }

    pub(super) fn nudge(&self) -> Nudge {
        self.nudge.clone()
    }

    pub(super) fn watch_log(&mut self, directory: &Path, log: &OsString) -> Option<WatchId> {
        let (sender, name) = (self.nudge.0.clone(), log.clone());
        let on_event = move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            let written = event.kind.is_modify() || event.kind.is_create();
            if written && event.paths.iter().any(|path| path.file_name() == Some(&name)) {
                // A full channel already holds a hint.
                let _ = sender.try_send(true);
            }
        };
        let mut watcher = notify::recommended_watcher(on_event).ok()?;
        watcher.watch(directory, notify::RecursiveMode::NonRecursive).ok()?;
        self.log.clone_from(log);
        self.watcher = Some(watcher);
        Some(LOG)
    }

    #[allow(clippy::unused_self, reason = "as on Linux")]
    pub(super) fn watch(&self, _: &Path, _: Concern) -> Result<WatchId, NoHints> {
        Err(NoHints::Unsupported)
    }

    #[allow(clippy::unused_self, reason = "as on Linux")]
    pub(super) fn unwatch(&self, _: WatchId) {}

    pub(super) fn hear(&self, timeout: Duration, each: &mut dyn FnMut(Told<'_>)) {
        let first = if timeout.is_zero() {
            self.hints.try_recv().ok()
        } else {
            self.hints.recv_timeout(timeout).ok()
        };
        if first == Some(true) {
            each(Told::Name { id: LOG, name: &self.log, is_renamed: false });
        }
    }
}
