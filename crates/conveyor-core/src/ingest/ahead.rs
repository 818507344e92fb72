//! Reading beside writing: while one batch is being stored, a thread reads the next.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use conveyor_agents::rollout::Ahead;

use super::batch::{Batch, Source};
use super::{IngestError, Store};
use crate::Result;

/// How many batches there are: one that is stored, one that is read, and one because neither always
/// takes the same time. This and the reader's chunk is all the memory that reading takes; a long line
/// has it for itself.
const BATCHES: usize = 3;

type Filled = Result<Batch, IngestError>;

/// Reads from `offset` to the end of the file on a thread and has the batches stored on this one,
/// in order. `false`, and nothing done, where no thread can be had.
pub(super) fn read_beside(source: &Source, offset: u64, store: Store<'_>) -> Result<bool> {
    thread::scope(|scope| {
        let (filled, batches) = sync_channel::<Filled>(BATCHES);
        let (back, returned) = channel();
        let thread = Reading { source, filled, returned, home: empty_batches(), lent: 0 };
        let named = thread::Builder::new().name("read-ahead".into());
        if named.spawn_scoped(scope, move || thread.run(offset)).is_err() {
            return Ok(false);
        }
        // Leaving this in whatever way closes the channels, which ends the thread.
        for batch in batches {
            let batch = batch?;
            if batch.is_empty() || !store(&batch)? || batch.is_last {
                break;
            }
            hand_back(&back, batch);
        }
        Ok(true)
    })
}

fn empty_batches() -> Vec<Batch> {
    (0..BATCHES).map(|_| Batch::default()).collect()
}

fn hand_back(back: &Sender<Batch>, batch: Batch) {
    // Who has read everything needs none any more.
    let _ = back.send(batch);
}

/// What the thread works with.
struct Reading<'s> {
    source: &'s Source,
    filled: SyncSender<Filled>,
    returned: Receiver<Batch>,
    /// Batches that are free.
    home: Vec<Batch>,
    /// How many are not.
    lent: usize,
}

impl Reading<'_> {
    fn run(mut self, offset: u64) {
        if let Err(error) = self.read(offset) {
            // Nobody listens when storing has ended before.
            let _ = self.filled.send(Err(error));
        }
    }

    fn read(&mut self, offset: u64) -> Result<(), IngestError> {
        let mut reader = self.source.reader(offset)?;
        loop {
            let is_long = self.source.ahead(&mut reader)? == Ahead::Long;
            if is_long && !self.await_all() {
                return Ok(());
            }
            let Some(mut batch) = self.free() else { return Ok(()) };
            self.source.read(&mut reader, &mut batch)?;
            reader.release();
            let is_end = batch.is_empty() || batch.is_last;
            self.lent += 1;
            if self.filled.send(Ok(batch)).is_err() || is_end {
                return Ok(());
            }
            if is_long && !self.await_all() {
                return Ok(());
            }
        }
    }

    /// A free batch; `None` when storing has ended.
    fn free(&mut self) -> Option<Batch> {
        if self.home.is_empty() {
            self.take_back()?;
        }
        self.home.pop()
    }

    /// Waits until everything is stored, so that a long line is the only thing in memory. `false`
    /// when storing has ended.
    fn await_all(&mut self) -> bool {
        while self.lent > 0 {
            if self.take_back().is_none() {
                return false;
            }
        }
        self.home.iter_mut().for_each(Batch::give_up_memory);
        true
    }

    fn take_back(&mut self) -> Option<()> {
        let batch = self.returned.recv().ok()?;
        self.lent -= 1;
        self.home.push(batch);
        Some(())
    }
}
