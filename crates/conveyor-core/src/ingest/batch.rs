//! One step of an ingest: opening the right file, reading a batch from it without any lock on the
//! ledger, and storing it in one transaction.

use std::fs::File;
use std::path::Path;

use conveyor_agents::rollout::{
    self, Content, Reader, Relation, RolloutError, RolloutFile, RolloutIdentity, TurnEvent,
};
use conveyor_model::Actor;
use conveyor_store::codex_events::{self, NewEvent, Reader as EventReader};
use conveyor_store::completions::COMPLETION;
use conveyor_store::rollout_marks::{self, Identity, Mark};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{Tx, bindings, deliveries, parked, sessions};
use serde_json::json;

use super::IngestError;
use crate::{Cx, Result, fault};

/// A batch ends after so many bytes of the file: large enough that the commit costs little, small
/// enough to be held in memory.
pub(super) const BATCH_BYTES: u64 = 4 * 1024 * 1024;

/// A batch also ends after so many events, because tiny lines take more memory than file.
const BATCH_EVENTS: usize = 16 * 1024;

/// What was read and is to be stored at once.
pub(super) struct Batch {
    /// Where it begins in the file.
    start: u64,
    /// Where the next one begins.
    pub(super) end: u64,
    /// Its events, in order.
    events: Vec<NewEvent>,
    /// Its lines that hold no event.
    pub(super) skipped: u64,
}

impl Batch {
    /// Whether there was no complete line.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether the completion of a turn is in it.
    pub(super) fn has_completion(&self) -> bool {
        self.events.iter().any(|event| event.subtype.as_deref() == Some(COMPLETION))
    }

    /// Whether the end of a turn is in it.
    fn ends_a_turn(&self) -> bool {
        let ends = |event: &NewEvent| {
            let step = rollout::turn_event(&event.event_type, event.subtype.as_deref());
            matches!(step, Some(TurnEvent::Completed | TurnEvent::Aborted))
        };
        self.events.iter().any(ends)
    }
}

/// A rollout that is the one its session's mark is about.
pub(super) struct Source {
    pub(super) file: RolloutFile,
    identity: Identity,
    session: String,
}

/// How far a mark says that the file was read.
pub(super) fn offset_of(mark: &Mark) -> u64 {
    mark.offset.and_then(|offset| u64::try_from(offset).ok()).unwrap_or(0)
}

/// Opens the rollout of a mark and makes sure that the mark is about this file.
pub(super) fn open(directory: &Path, mark: &Mark) -> Result<Source, IngestError> {
    let session = || mark.session.clone();
    if mark.state != "active" {
        return Err(IngestError::NotActive { session: session(), state: mark.state.clone() });
    }
    let Some(path) = &mark.path else { return Err(IngestError::NoRollout(session())) };
    let unusable = |reason| IngestError::Unusable { session: session(), reason };
    let file = rollout::open(&directory.join(path)).map_err(unusable)?;
    let (path, size, offset) = (file.path().to_owned(), file.size(), offset_of(mark));
    if size < offset {
        return Err(IngestError::Shrank { session: session(), path, offset, size });
    }
    let found = file.identity().map_err(unusable)?;
    // Another program reads without keeping the identity: then the file is taken as the right one.
    let known = mark.identity.as_ref().map(as_rollout_identity);
    if known.is_some_and(|known| found.relation_to(&known) == Relation::Replaced) {
        return Err(IngestError::Replaced { session: session(), path, offset });
    }
    let RolloutIdentity { device, inode, digest } = found;
    Ok(Source { file, identity: Identity { device, inode, digest }, session: session() })
}

fn as_rollout_identity(identity: &Identity) -> RolloutIdentity {
    let Identity { device, inode, digest } = identity.clone();
    RolloutIdentity { device, inode, digest }
}

impl Source {
    /// Reads lines from a place on.
    pub(super) fn reader(&self, offset: u64) -> Result<Reader<&File>, IngestError> {
        self.file.reader(offset).map_err(|reason| self.unusable(reason))
    }

    /// Reads the next batch; an empty one when there is no further complete line yet.
    pub(super) fn next_batch(&self, reader: &mut Reader<&File>) -> Result<Batch, IngestError> {
        let start = reader.position();
        let mut batch = Batch { start, end: start, events: Vec::new(), skipped: 0 };
        while batch.end - start < BATCH_BYTES && batch.events.len() < BATCH_EVENTS {
            let Some(line) = reader.next_line().map_err(|reason| self.unusable(reason))? else { break };
            batch.end = line.end;
            match line.content {
                Content::Event(event) => batch.events.push(new_event(event, line.offset)),
                Content::Skipped(_) => batch.skipped += 1,
            }
        }
        Ok(batch)
    }

    fn unusable(&self, reason: RolloutError) -> IngestError {
        IngestError::Unusable { session: self.session.clone(), reason }
    }

    /// Stores a batch and moves the mark, in one transaction. Gives the number of new events;
    /// `None`, and nothing stored, when the mark is no longer where it was seen.
    pub(super) fn store(
        &self,
        cx: &mut Cx,
        mark: &mut Mark,
        batch: &Batch,
        reader: EventReader,
    ) -> Result<Option<u64>> {
        fault::point("ingest.batch_parsed");
        let stored = cx.db.write(|tx| self.store_within(tx, mark, batch, reader))?;
        fault::point("ingest.batch_committed");
        if stored.is_some() {
            mark.offset = offset_after(mark, batch);
            mark.identity = mark.offset.map(|_| self.identity.clone());
        }
        Ok(stored)
    }

    /// [`Source::store`] as a part of a transaction.
    pub(super) fn store_within(
        &self,
        tx: &mut Tx<'_>,
        mark: &Mark,
        batch: &Batch,
        reader: EventReader,
    ) -> Result<Option<u64>> {
        if !rollout_marks::advance(tx, mark, offset_after(mark, batch), &self.identity)? {
            return Ok(None);
        }
        let new_events = codex_events::insert_new(tx, &mark.session_id, &batch.events, reader)?;
        if reader == EventReader::Command {
            // Somebody works with the session; that a dispatcher looks at it says nothing of it.
            let now = tx.now()?.to_ms_text();
            sessions::set_heartbeat(tx, &mark.session_id, &now)?;
        }
        record(tx, mark, batch, new_events)?;
        if new_events > 0 {
            tx.wake_waiters();
            if batch.ends_a_turn() {
                // What waits for this session's terminal may go now.
                parked::release(tx, &mark.session_id)?;
                deliveries::look_now(tx, &mark.session_id)?;
            }
        }
        Ok(Some(new_events))
    }
}

/// Where the mark is once the batch is stored. As long as no line is complete, it stays at "nothing
/// read".
fn offset_after(mark: &Mark, batch: &Batch) -> Option<i64> {
    if batch.is_empty() { mark.offset } else { Some(signed(batch.end)) }
}

fn new_event(event: rollout::Event<'_>, offset: u64) -> NewEvent {
    NewEvent {
        byte_offset: signed(offset),
        timestamp: event.timestamp.map(str::to_owned),
        event_type: event.event_type.to_owned(),
        subtype: event.subtype.map(str::to_owned),
        payload: event.payload_json.to_owned(),
    }
}

/// A place in a file as the ledger keeps it; no file is as long as the largest.
fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

fn record(tx: &mut Tx<'_>, mark: &Mark, batch: &Batch, new_events: u64) -> Result<()> {
    let binding = bindings::live_of_session(tx, &mark.session_id)?;
    let correlation = json!({ "session": mark.session, "session_id": mark.session_id });
    let attributes = json!({
        "new_events": new_events,
        "new_offset": batch.end,
        "skipped_lines": batch.skipped,
        "start_offset": batch.start,
    });
    let summary = format!("Ingested {new_events} events of session {}.", mark.session);
    let event = Emit::info(Actor::Workerctl, "codex_events_ingested", summary, correlation, attributes)
        .of_task(binding.as_ref().map(|binding| binding.task_id.as_str()));
    telemetry::emit(tx, &event)?;
    Ok(())
}
