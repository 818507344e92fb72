//! Reading what sessions wrote: from rollout files into the ledger, each line once.
//!
//! [`ingest`] is the command, a life sign of the session. [`Follower`] is for a watching process:
//! it looks at the rollouts of all bound sessions, costs next to nothing while they do not grow,
//! and gives no life signs.

mod batch;
mod error;
mod follow;
mod places;

use batch::{Batch, Source};
use conveyor_store::Tx;
use conveyor_store::codex_events::Reader;
use conveyor_store::rollout_marks::{self, Mark};
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

/// Reads from the mark to the end of the file.
fn read_on(cx: &mut Cx, mark: &mut Mark, totals: &mut Totals, progress: Progress<'_>) -> Result<Ended> {
    let source = batch::open(&cx.cwd, mark)?;
    let mut reader = source.reader(batch::offset_of(mark))?;
    cx.db.use_bulk_cache()?;
    loop {
        let batch = source.next_batch(&mut reader)?;
        if batch.is_empty() {
            return Ok(if totals.batches > 0 {
                Ended::Stored
            } else {
                Ended::Still(Box::new(source), batch)
            });
        }
        let Some(new_events) = source.store(cx, mark, &batch, Reader::Command)? else {
            return Ok(Ended::Outrun);
        };
        totals.batches += 1;
        totals.new_events += new_events;
        totals.skipped_lines += batch.skipped;
        progress(batch.end, source.file.size());
    }
}
