//! Following the rollouts of all bound sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use conveyor_agents::rollout::{self, Probe};
use conveyor_model::{Actor, Severity};
use conveyor_store::codex_events::Reader;
use conveyor_store::rollout_marks::{self, Mark};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{FileHints, NoHints, Tx, bindings};
use serde_json::json;

use super::batch::{self, BATCH_BYTES, Batch};
use super::places::Places;
use crate::{Cx, Error, Result, fault};

/// How often all files are looked at, whatever was told of them: hints can be lost without a trace
/// (another name of the same file, memory that is written to, a link that leads elsewhere now).
const SWEEP: Duration = Duration::from_millis(4500);

/// Keeps the rollouts of all sessions in live bindings ingested, as their files grow.
///
/// Without hints: call [`Follower::pass`] at the start, whenever the ledger may have changed
/// (bindings, sessions), and whenever [`Follower::has_news`] says so; again while a pass says that
/// there is more. With hints, [`Follower::follow`] in its place.
pub struct Follower {
    /// By session id.
    followed: BTreeMap<String, Followed>,
    places: Places,
    /// Hints are asked for.
    has_hints: bool,
    /// Whose files are to be looked at in the next pass.
    due: BTreeSet<String>,
    /// For whom it is still to be found out where hints about their files come from.
    unplaced: BTreeSet<String>,
    /// Of whose files nobody tells.
    unhinted: BTreeSet<String>,
    behind: BTreeSet<String>,
    /// Whose new events have completions among them.
    completed: BTreeSet<String>,
    next_sweep: Instant,
    /// The sessions by the directories of their files, for looks at all of them.
    directories: BTreeMap<PathBuf, Vec<String>>,
    /// What was said about missing hints.
    told: BTreeSet<NoHints>,
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
    /// Which file was seen last, if any.
    seen: Option<Option<(u64, u64)>>,
    /// Whether there was more in the file than the last look has read.
    is_behind: bool,
    /// The last look stored a completion.
    has_completed: bool,
    /// The refusal that was reported last: its code, and of which file.
    reported: Option<(&'static str, Option<(u64, u64)>)>,
}

impl Default for Follower {
    fn default() -> Self {
        Self {
            followed: BTreeMap::new(),
            places: Places::default(),
            has_hints: false,
            due: BTreeSet::new(),
            unplaced: BTreeSet::new(),
            unhinted: BTreeSet::new(),
            behind: BTreeSet::new(),
            completed: BTreeSet::new(),
            next_sweep: Instant::now() + SWEEP,
            directories: BTreeMap::new(),
            told: BTreeSet::new(),
        }
    }
}

impl Follower {
    /// Follows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks plainly, four times a second: whether any file changed of which nobody tells, and every
    /// few seconds whether any file at all did. One system call for each, no look into the ledger.
    pub fn has_news(&mut self) -> bool {
        let now = Instant::now();
        if now < self.next_sweep {
            let has_news = |id: &&String| self.followed.get(*id).is_some_and(Followed::has_news);
            self.due.extend(self.unhinted.iter().filter(has_news).cloned());
        } else {
            self.next_sweep = now + SWEEP;
            self.sweep();
            if self.has_hints {
                // What was in the way may be gone.
                self.unplaced.extend(self.unhinted.iter().cloned());
            }
        }
        self.is_due()
    }

    fn sweep(&mut self) {
        for (path, sessions) in &self.directories {
            let directory = rollout::Directory::open(path);
            for session_id in sessions {
                let Some(followed) = self.followed.get(session_id) else { continue };
                let found = match (&directory, followed.path.file_name()) {
                    (Some(directory), Some(name)) => directory.probe(name),
                    _ => rollout::probe(&followed.path),
                };
                if followed.settled != Some(found) {
                    self.due.insert(session_id.clone());
                }
            }
        }
    }

    /// Whether the next pass has a file to look at.
    #[must_use]
    pub fn is_due(&self) -> bool {
        !self.due.is_empty() || !self.unplaced.is_empty()
    }

    /// The sessions whose rollouts have more to say than was read by the last pass.
    #[must_use]
    pub fn behind(&self) -> &BTreeSet<String> {
        &self.behind
    }

    /// The sessions of which completions were stored since this was asked last.
    pub fn take_completed(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.completed)
    }

    /// Takes up the bound sessions as the ledger has them now and stores what their rollouts have
    /// to say. Writes nothing when no complete line is new. A rollout that cannot be read keeps
    /// nobody else waiting: that it cannot is recorded once, until the file or the reason changes.
    ///
    /// # Errors
    /// A failing ledger only.
    pub fn pass(&mut self, cx: &mut Cx) -> Result<Pass> {
        self.refresh(cx, None)?;
        self.place(None, &mut |_| {});
        self.has_news();
        self.look(cx)
    }

    /// [`Follower::pass`] of a process that is told of writes to files: looks only at what it was told
    /// of, and takes the bound sessions up anew only if they are not the `same` as before. Where there
    /// are no hints, `warn` is told so, once.
    ///
    /// # Errors
    /// A failing ledger only.
    pub fn follow(
        &mut self,
        cx: &mut Cx,
        hints: &mut FileHints,
        same: bool,
        warn: &mut dyn FnMut(&str),
    ) -> Result<Pass> {
        self.has_hints = true;
        self.notice(hints);
        if !same {
            self.refresh(cx, Some(hints))?;
        }
        self.place(Some(hints), warn);
        let pass = self.look(cx)?;
        if !pass.more {
            // A long history needs more while it is read.
            cx.db.use_resting_cache()?;
        }
        Ok(pass)
    }

    /// Takes up what was told of files.
    pub fn notice(&mut self, hints: &mut FileHints) {
        let affected = self.places.affected(hints.take());
        if affected.is_everything {
            self.unplaced.extend(self.followed.keys().cloned());
        }
        self.due.extend(affected.written);
        self.unplaced.extend(affected.moved);
    }

    fn refresh(&mut self, cx: &mut Cx, mut hints: Option<&mut FileHints>) -> Result<()> {
        let marks = cx.db.read(rollout_marks::of_bound_sessions)?;
        let mut before = std::mem::take(&mut self.followed);
        for mark in marks {
            let session_id = mark.session_id.clone();
            let known = before.remove(&session_id).filter(|known| known.mark == mark);
            let followed = known.unwrap_or_else(|| {
                self.unplaced.insert(session_id.clone());
                Followed::new(&cx.cwd, mark)
            });
            self.followed.insert(session_id, followed);
        }
        self.directories.clear();
        for (session_id, followed) in &self.followed {
            let directory = followed.path.parent().unwrap_or(&cx.cwd);
            match self.directories.get_mut(directory) {
                Some(sessions) => sessions.push(session_id.clone()),
                None => drop(self.directories.insert(directory.to_owned(), vec![session_id.clone()])),
            }
        }
        for session_id in before.keys().filter(|id| !self.followed.contains_key(*id)) {
            for sessions in [&mut self.due, &mut self.unplaced, &mut self.unhinted, &mut self.behind] {
                sessions.remove(session_id);
            }
            if let Some(hints) = &mut hints {
                self.places.forget(hints, session_id);
            }
        }
        fault::point("ingest.refreshed");
        Ok(())
    }

    /// Has the files of the unplaced watched, after which they are to be looked at.
    fn place(&mut self, mut hints: Option<&mut FileHints>, warn: &mut dyn FnMut(&str)) {
        let mut missing: BTreeMap<NoHints, usize> = BTreeMap::new();
        for session_id in std::mem::take(&mut self.unplaced) {
            let Some(followed) = self.followed.get(&session_id) else { continue };
            let placed = match &mut hints {
                Some(hints) => self.places.watch(hints, &session_id, &followed.path),
                None => Err(NoHints::Unsupported),
            };
            match placed {
                Ok(()) => drop(self.unhinted.remove(&session_id)),
                Err(reason) => {
                    *missing.entry(reason).or_default() += 1;
                    self.unhinted.insert(session_id.clone());
                }
            }
            self.due.insert(session_id);
        }
        for (reason, count) in missing {
            if self.told.insert(reason.clone()) {
                warn(&format!("{count} rollout(s) are looked at four times a second: {reason}"));
            }
        }
    }

    fn look(&mut self, cx: &mut Cx) -> Result<Pass> {
        let mut pass = Pass::default();
        for session_id in self.due.clone() {
            let Some(followed) = self.followed.get_mut(&session_id) else {
                self.due.remove(&session_id);
                continue;
            };
            let before = followed.seen;
            if followed.has_news() {
                followed.look(cx, &mut pass)?;
            }
            // From here on nothing of this look is lost when another one fails.
            if followed.settled.is_some() {
                self.due.remove(&session_id);
            }
            if std::mem::take(&mut followed.has_completed) {
                self.completed.insert(session_id.clone());
            }
            if followed.is_behind {
                self.behind.insert(session_id.clone());
            } else {
                self.behind.remove(&session_id);
            }
            // Another file under this path may lie behind other links, in other directories.
            if before.is_some_and(|before| Some(before) != followed.seen)
                && !self.unhinted.contains(&session_id)
            {
                self.unplaced.insert(session_id);
            }
        }
        pass.more = self.is_due();
        Ok(pass)
    }
}

impl Followed {
    fn new(directory: &Path, mark: Mark) -> Self {
        let path = directory.join(mark.path.as_deref().unwrap_or_default());
        Self { mark, path, settled: None, seen: None, is_behind: false, has_completed: false, reported: None }
    }

    fn has_news(&self) -> bool {
        self.settled != Some(rollout::probe(&self.path))
    }

    /// Stores one batch, or notes why that cannot be.
    fn look(&mut self, cx: &mut Cx, pass: &mut Pass) -> Result<()> {
        // Looked at first: what changes while we read is news for the next pass.
        let seen = rollout::probe(&self.path);
        self.seen = Some(seen.map(|seen| (seen.device, seen.inode)));
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
        let mut batch = Batch::default();
        source.read(&mut source.reader(offset)?, &mut batch)?;
        // Another process may be ahead of us; where it is, the next pass finds out.
        self.is_behind = !batch.is_empty() && batch.end < source.file.size();
        if batch.is_empty() {
            return Ok(true);
        }
        if source.file.size() - offset > BATCH_BYTES {
            cx.db.use_bulk_cache()?;
        }
        match source.store(cx, &mut self.mark, &batch, Reader::Dispatcher, None)? {
            Some(new_events) => {
                pass.new_events += new_events;
                pass.skipped_lines += batch.skipped;
                self.has_completed = batch.has_completion();
                Ok(false)
            }
            None => self.catch_up(cx),
        }
    }

    /// Takes up where another process was faster; `true` when the session's rollout is another one by
    /// now, or none, which is for the next look into the ledger.
    fn catch_up(&mut self, cx: &mut Cx) -> Result<bool> {
        let current = cx.db.read(|tx| rollout_marks::by_id(tx, &self.mark.session_id))?;
        let same = current.filter(|current| current.state == "active" && current.path == self.mark.path);
        let is_other = same.is_none();
        self.mark = same.unwrap_or_else(|| self.mark.clone());
        Ok(is_other)
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
