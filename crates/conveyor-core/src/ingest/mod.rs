//! Reading what sessions wrote: from rollout files into the ledger, each line once.
//!
//! [`ingest`] is the command, a life sign of the session. [`Follower`] is for a watching process:
//! it looks at the rollouts of all bound sessions, costs next to nothing while they do not grow,
//! and gives no life signs.

mod ahead;
mod batch;
mod error;
mod follow;
mod places;

use batch::{Batch, Source};
use conveyor_store::codex_events::Reader;
use conveyor_store::rollout_marks::{self, Mark};
use conveyor_store::{Tx, WriteBack, sessions};
use serde::Serialize;

use crate::{Cx, Error, Result, fault};

pub use error::IngestError;
pub use follow::{Follower, Pass};

/// What an ingest brought.
#[derive(Clone, Debug, Serialize)]
pub struct Ingested {
    /// Events that were stored; those that were there already do not count.
    pub new_events: u64,
    /// Where reading goes on next time.
    pub new_offset: u64,
    /// The session's name.
    pub session: String,
    /// Lines that hold no event.
    pub skipped_lines: u64,
}

/// Receives how many bytes of the file have been read, of how many.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Stores everything new in a session's rollout and renews the session's lease.
///
/// # Errors
/// An unknown session, an [`IngestError`], or a failing ledger.
pub fn ingest(cx: &mut Cx, session: &str, progress: Progress<'_>) -> Result<Ingested> {
    let (ingested, still) = ingest_what_is_new(cx, session, progress)?;
    if let Some(still) = still {
        cx.db.write(|tx| still.record(tx))?;
    }
    Ok(ingested)
}

/// [`ingest`] for a caller that writes afterwards anyway: that nothing was new is for the caller to
/// record, because a transaction of its own would cost more than the look.
pub(crate) fn ingest_what_is_new(
    cx: &mut Cx,
    session: &str,
    progress: Progress<'_>,
) -> Result<(Ingested, Option<Still>)> {
    let mark = cx.db.read(|tx| rollout_marks::by_name(tx, session))?;
    let mut mark = mark.ok_or_else(|| Error::UnknownSession(session.to_owned()))?;
    fault::point("ingest.mark_read");
    let mut totals = Totals::default();
    let still = loop {
        match read_on(cx, &mut mark, &mut totals, progress)? {
            Ended::Stored => break None,
            Ended::Still(source, batch) => break Some(Still { source, batch, mark: mark.clone() }),
            Ended::Outrun => {
                let current = cx.db.read(|tx| rollout_marks::by_id(tx, &mark.session_id))?;
                mark = current.ok_or_else(|| Error::UnknownSession(session.to_owned()))?;
            }
        }
    };
    if totals.is_owed {
        // The last batch was not the one that was to be the last: the lease is renewed once more,
        // which makes durable what came before.
        cx.db.write(|tx| {
            let now = tx.now()?.to_ms_text();
            sessions::set_heartbeat(tx, &mark.session_id, &now)
        })?;
    }
    let ingested = Ingested {
        new_events: totals.new_events,
        new_offset: batch::offset_of(&mark),
        session: mark.session,
        skipped_lines: totals.skipped_lines,
    };
    Ok((ingested, still))
}

/// A look that found nothing new and is not recorded yet.
pub(crate) struct Still {
    source: Box<Source>,
    mark: Mark,
    batch: Batch,
}

impl Still {
    /// Records the look and renews the session's lease. When another process has read on since, its
    /// record stands for this one.
    pub(crate) fn record(&self, tx: &mut Tx<'_>) -> Result<()> {
        self.source.store_within(tx, &self.mark, &self.batch, Reader::Command).map(drop)
    }
}

#[derive(Default)]
struct Totals {
    /// Transactions, each of which renewed the lease.
    batches: u64,
    new_events: u64,
    skipped_lines: u64,
    /// Whether a failing machine could still take back what was stored.
    is_owed: bool,
}

/// How reading ended.
enum Ended {
    /// At the end of the file; what was new is stored.
    Stored,
    /// At the end of the file; nothing was new, and nothing is stored.
    Still(Box<Source>, Batch),
    /// The mark was moved: another process was faster, or the session was registered anew.
    Outrun,
}

/// From so many bytes on it pays to read beside writing.
const MUCH: u64 = 8 * 1024 * 1024;

/// Reads from the mark to the end of the file.
fn read_on(cx: &mut Cx, mark: &mut Mark, totals: &mut Totals, progress: Progress<'_>) -> Result<Ended> {
    let source = batch::open(&cx.cwd, mark)?;
    let offset = batch::offset_of(mark);
    let mut log = (source.file.size() - offset >= MUCH).then(|| WriteBack::beside(&cx.db));
    let beside = log.is_some();
    let (mut is_outrun, mut at) = (false, offset);
    let mut store = |batch: &Batch| -> Result<bool> {
        let Some(new_events) = source.store(cx, mark, batch, Reader::Command, log.as_mut())? else {
            is_outrun = true;
            return Ok(false);
        };
        at = batch.end;
        totals.batches += 1;
        totals.new_events += new_events;
        totals.skipped_lines += batch.skipped;
        totals.is_owed = log.is_some() && !batch.is_last;
        progress(batch.end, source.file.size());
        Ok(true)
    };
    if !beside || !ahead::read_beside(&source, offset, &mut store)? {
        read_in_turn(&source, offset, &mut store)?;
    }
    Ok(match (is_outrun, totals.batches) {
        (true, _) => Ended::Outrun,
        (false, 0) => Ended::Still(Box::new(source), Batch::empty_at(at)),
        (false, _) => Ended::Stored,
    })
}

/// Takes a batch; `false` when no further one is wanted.
type Store<'s> = &'s mut dyn FnMut(&Batch) -> Result<bool>;

/// Reads a batch, has it stored, and so on.
fn read_in_turn(source: &Source, offset: u64, store: Store<'_>) -> Result<()> {
    let mut reader = source.reader(offset)?;
    let mut batch = Batch::default();
    loop {
        source.read(&mut reader, &mut batch)?;
        reader.release();
        if batch.is_empty() || !store(&batch)? || batch.is_last {
            return Ok(());
        }
    }
}
