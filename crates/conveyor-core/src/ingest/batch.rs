//! One step of an ingest: opening the right file, reading a batch from it without any lock on the
//! ledger, and storing it in one transaction.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use conveyor_agents::rollout::{
    self, Ahead, Content, Reader, Relation, RolloutError, RolloutFile, RolloutIdentity, TurnEvent,
};
use conveyor_model::Actor;
use conveyor_store::codex_events::{self, NewEvent, Reader as EventReader};
use conveyor_store::completions::COMPLETION;
use conveyor_store::rollout_marks::{self, Identity, Mark};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{Durability, Tx, WriteBack, bindings, deliveries, parked, sessions};
use serde_json::json;

use super::IngestError;
use crate::{Cx, Result, fault};

/// A batch ends after so many bytes of the file: large enough that the commit costs little, small
/// enough to be held in memory.
pub(super) const BATCH_BYTES: u64 = 4 * 1024 * 1024;

/// A payload that is longer is not copied.
const LONG_PAYLOAD: usize = 1024 * 1024;

/// So much is stored without any preparation.
const FEW_BYTES: u64 = 1024 * 1024;

/// A batch also ends after so many events, because tiny lines take more memory than file.
const BATCH_EVENTS: usize = 16 * 1024;

/// What was read and is to be stored at once. Its memory can be used again.
#[derive(Default)]
pub(super) struct Batch {
    /// Where it begins in the file.
    start: u64,
    /// Where the next one begins.
    pub(super) end: u64,
    /// The texts of its events, one after the other, in one piece of memory.
    text: String,
    /// A payload too long to be copied there.
    long: Option<String>,
    /// Its events, in order.
    entries: Vec<Entry>,
    /// Its lines that hold no event.
    pub(super) skipped: u64,
    /// Whether the file had no further complete line behind it.
    pub(super) is_last: bool,
}

/// An event of a batch: its place, and which parts of the text are its own.
struct Entry {
    byte_offset: i64,
    timestamp: Option<Range<usize>>,
    event_type: Range<usize>,
    subtype: Option<Range<usize>>,
    /// `None`: it is the long one.
    payload: Option<Range<usize>>,
}

impl Batch {
    /// One that begins here and holds nothing.
    pub(super) fn empty_at(place: u64) -> Self {
        Self { start: place, end: place, ..Self::default() }
    }

    /// Empties it; it begins here in the file.
    fn begin(&mut self, start: u64) {
        self.text.clear();
        self.long = None;
        self.entries.clear();
        (self.start, self.end, self.skipped, self.is_last) = (start, start, 0, false);
    }

    /// Holds nothing any more, and no memory.
    pub(super) fn give_up_memory(&mut self) {
        *self = Self::default();
    }

    /// Adds an event; a long payload comes as [`Batch::long`].
    fn push(&mut self, event: &rollout::Event<'_>, offset: u64, is_long: bool) {
        // What is stored in bulk is not checked again by the ledger.
        debug_assert!(serde_json::from_str::<serde_json::Value>(event.payload_json).is_ok());
        let text = &mut self.text;
        let mut keep = |part: &str| {
            let begin = text.len();
            text.push_str(part);
            begin..text.len()
        };
        self.entries.push(Entry {
            byte_offset: signed(offset),
            timestamp: event.timestamp.map(&mut keep),
            event_type: keep(event.event_type),
            subtype: event.subtype.map(&mut keep),
            payload: (!is_long).then(|| keep(event.payload_json)),
        });
    }

    /// Whether there was no complete line.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether the completion of a turn is in it.
    pub(super) fn has_completion(&self) -> bool {
        self.events().any(|event| event.subtype == Some(COMPLETION))
    }

    /// Whether a line of so many bytes is for the next batch.
    fn is_full_for(&self, line: usize) -> bool {
        !self.is_empty()
            && (self.end - self.start + line as u64 > BATCH_BYTES || self.entries.len() >= BATCH_EVENTS)
    }

    fn events(&self) -> impl Iterator<Item = NewEvent<'_>> {
        let part = |range: &Range<usize>| self.text.get(range.clone()).unwrap_or_default();
        let long = self.long.as_deref().unwrap_or_default();
        self.entries.iter().map(move |entry| NewEvent {
            byte_offset: entry.byte_offset,
            timestamp: entry.timestamp.as_ref().map(part),
            event_type: part(&entry.event_type),
            subtype: entry.subtype.as_ref().map(part),
            payload: entry.payload.as_ref().map_or(long, part),
        })
    }

    /// Whether the end of a turn is in it.
    fn ends_a_turn(&self) -> bool {
        self.events().any(|event| {
            let step = rollout::turn_event(event.event_type, event.subtype);
            matches!(step, Some(TurnEvent::Completed | TurnEvent::Aborted))
        })
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

    /// What the next batch begins with.
    pub(super) fn ahead(&self, reader: &mut Reader<&File>) -> Result<Ahead, IngestError> {
        reader.ahead().map_err(|reason| self.unusable(reason))
    }

    /// Reads the next batch, an empty one when there is no further complete line yet. A line that
    /// takes memory is a batch of its own.
    pub(super) fn read(&self, reader: &mut Reader<&File>, batch: &mut Batch) -> Result<(), IngestError> {
        batch.begin(reader.position());
        loop {
            match self.ahead(reader)? {
                Ahead::Nothing => batch.is_last = true,
                Ahead::Long if batch.is_empty() => {}
                Ahead::Line(length) if !batch.is_full_for(length) => {}
                Ahead::Long | Ahead::Line(_) => return Ok(()),
            }
            let next = if batch.is_last {
                None
            } else {
                reader.next_line().map_err(|reason| self.unusable(reason))?
            };
            let Some(line) = next else {
                batch.is_last = true;
                return Ok(());
            };
            batch.end = line.end;
            match line.content {
                Content::Event(event) => {
                    let is_long = event.payload_json.len() > LONG_PAYLOAD && batch.long.is_none();
                    batch.push(&event, line.offset, is_long);
                    if is_long {
                        batch.long = Some(reader.take_payload());
                    }
                }
                Content::Skipped(_) => batch.skipped += 1,
            }
        }
    }

    fn unusable(&self, reason: RolloutError) -> IngestError {
        IngestError::Unusable { session: self.session.clone(), reason }
    }

    /// Stores a batch and moves the mark, in one transaction. Gives the number of new events;
    /// `None`, and nothing stored, when the mark is no longer where it was seen.
    ///
    /// With a `log` it is one of many, of which the last one alone must outlive the machine: it
    /// takes the others along.
    pub(super) fn store(
        &self,
        cx: &mut Cx,
        mark: &mut Mark,
        batch: &Batch,
        reader: EventReader,
        log: Option<&mut WriteBack>,
    ) -> Result<Option<u64>> {
        if reader == EventReader::Command && batch.end - batch.start > FEW_BYTES {
            cx.db.use_load_cache(batch.long.is_some())?;
        }
        fault::point("ingest.batch_parsed");
        let stored = match log {
            None => cx.db.write(|tx| self.store_within(tx, mark, batch, reader))?,
            Some(log) => {
                let durability = if batch.is_last { Durability::Full } else { Durability::Later };
                // Checks and foreign keys hold: a payload is JSON that we wrote ourselves, and the
                // session is the one whose mark is moved.
                let work = |tx: &mut Tx<'_>| self.store_within(tx, mark, batch, reader);
                cx.db.write_bulk(log, durability, batch.end - batch.start, work)?
            }
        };
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
        let events: Vec<NewEvent<'_>> = batch.events().collect();
        let new_events = codex_events::insert_new(tx, &mark.session_id, &events, reader)?;
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
