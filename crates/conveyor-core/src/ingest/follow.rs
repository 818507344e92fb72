//! Following the rollouts of all bound sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use conveyor_agents::rollout::{self, Probe};
use conveyor_model::{Actor, Severity};
use conveyor_store::codex_events::Reader;
use conveyor_store::rollout_marks::{self, Mark};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{Tx, bindings};
use serde_json::json;

use super::batch::{self, BATCH_BYTES};
use crate::{Cx, Error, Result, fault};

/// Keeps the rollouts of all sessions in live bindings ingested, as their files grow.
///
/// Call [`Follower::pass`] at the start, whenever the ledger may have changed (bindings, sessions),
/// and whenever [`Follower::has_news`] says so; again while a pass says that there is more.
#[derive(Default)]
pub struct Follower {
    /// By session id.
    followed: BTreeMap<String, Followed>,
}

/// What one pass brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Events that were stored.
    pub new_events: u64,
    /// Lines that hold no event.
    pub skipped_lines: u64,
    /// Sessions whose rollouts have just become impossible to read; each has a telemetry event.
    pub refused: u64,
    /// Whether the next pass has something to read right away. A pass reads at most one batch of
    /// each session, so that no session waits for another one's history.
    pub more: bool,
}

struct Followed {
    mark: Mark,
    path: PathBuf,
    /// The file as it was when nothing more could be got from it; `None` before the first look
    /// and while there is more. Inside, `None` stands for a file that is not there.
    settled: Option<Option<Probe>>,
    /// Whether there was more in the file than the last look has read.
    is_behind: bool,
    /// The refusal that was reported last: its code, and of which file.
    reported: Option<(&'static str, Option<(u64, u64)>)>,
}

impl Follower {
    /// Follows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether any file changed since the last pass: one system call for each, no look into the
    /// ledger.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.followed.values().any(Followed::has_news)
    }

    /// The sessions whose rollouts have more to say than was read by the last pass.
    #[must_use]
    pub fn behind(&self) -> BTreeSet<String> {
        let behind = self.followed.iter().filter(|(_, followed)| followed.is_behind);
        behind.map(|(session_id, _)| session_id.clone()).collect()
    }

    /// Takes up the bound sessions as the ledger has them now and stores what their rollouts have
    /// to say. Writes nothing when no complete line is new. A rollout that cannot be read keeps
    /// nobody else waiting: that it cannot is recorded once, until the file or the reason changes.
    ///
    /// # Errors
    /// A failing ledger only.
    pub fn pass(&mut self, cx: &mut Cx) -> Result<Pass> {
        self.refresh(cx)?;
        fault::point("ingest.refreshed");
        let mut pass = Pass::default();
        for followed in self.followed.values_mut().filter(|followed| followed.has_news()) {
            followed.look(cx, &mut pass)?;
            pass.more |= followed.settled.is_none();
        }
        Ok(pass)
    }

    fn refresh(&mut self, cx: &mut Cx) -> Result<()> {
        let marks = cx.db.read(rollout_marks::of_bound_sessions)?;
        let mut before = std::mem::take(&mut self.followed);
        for mark in marks {
            let known = before.remove(&mark.session_id).filter(|known| known.mark == mark);
            let followed = known.unwrap_or_else(|| Followed::new(&cx.cwd, mark));
            self.followed.insert(followed.mark.session_id.clone(), followed);
        }
        Ok(())
    }
}

impl Followed {
    fn new(directory: &Path, mark: Mark) -> Self {
        let path = directory.join(mark.path.as_deref().unwrap_or_default());
        Self { mark, path, settled: None, is_behind: false, reported: None }
    }

    fn has_news(&self) -> bool {
        self.settled != Some(rollout::probe(&self.path))
    }

    /// Stores one batch, or notes why that cannot be.
    fn look(&mut self, cx: &mut Cx, pass: &mut Pass) -> Result<()> {
        // Looked at first: what changes while we read is news for the next pass.
        let seen = rollout::probe(&self.path);
        match self.step(cx, pass) {
            Ok(true) => self.settled = Some(seen),
            Ok(false) => self.settled = None,
            Err(Error::Ingest(refusal)) => {
                self.settled = Some(seen);
                self.is_behind = false;
                let reason = (refusal.code(), seen.map(|seen| (seen.device, seen.inode)));
                if self.reported.replace(reason) != Some(reason) {
                    cx.db.write(|tx| record_refusal(tx, &self.mark, &refusal.to_string()))?;
                    pass.refused += 1;
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        self.reported = None;
        Ok(())
    }

    /// Stores one batch; `true` when there is no further complete line.
    fn step(&mut self, cx: &mut Cx, pass: &mut Pass) -> Result<bool> {
        let source = batch::open(&cx.cwd, &self.mark)?;
        let offset = batch::offset_of(&self.mark);
        let batch = source.next_batch(&mut source.reader(offset)?)?;
        // Another process may be ahead of us; where it is, the next pass finds out.
        self.is_behind = !batch.is_empty() && batch.end < source.file.size();
        if batch.is_empty() {
            return Ok(true);
        }
        if source.file.size() - offset > BATCH_BYTES {
            cx.db.use_bulk_cache()?;
        }
        // `None`: another process was faster; the next pass takes up what it left.
        if let Some(new_events) = source.store(cx, &mut self.mark, &batch, Reader::Dispatcher)? {
            pass.new_events += new_events;
            pass.skipped_lines += batch.skipped;
        }
        Ok(false)
    }
}

fn record_refusal(tx: &mut Tx<'_>, mark: &Mark, error: &str) -> Result<()> {
    let binding = bindings::live_of_session(tx, &mark.session_id)?;
    let correlation = json!({ "session": mark.session, "session_id": mark.session_id });
    let attributes = json!({ "error": error, "error_type": "IngestError" });
    let summary = format!("Cannot ingest the rollout of session {}.", mark.session);
    let event = Emit::info(Actor::Dispatch, "codex_events_ingest_failed", summary, correlation, attributes)
        .of_task(binding.as_ref().map(|binding| binding.task_id.as_str()))
        .severity(Severity::Warning);
    telemetry::emit(tx, &event)?;
    Ok(())
}
