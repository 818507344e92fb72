use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::record::Record;
use super::{Event, MAX_LINE, RolloutError, Skip};

/// How much is read at a time.
const CHUNK: usize = 256 * 1024;

/// Buffers that a long line made larger than this are given back once it is dealt with.
pub(super) const KEEP: usize = 1024 * 1024;

/// How much room is made for what a long line needs, far more than it can need: memory that is never
/// written to costs nothing, and pieces of more than 32 MiB are what glibc's allocator always
/// gives back to the system. It keeps those of the size of a line once one of them was freed.
pub(super) const LONG_ROOM: usize = 33 * 1024 * 1024;

/// Reads the complete lines of a rollout in bounded memory: at most one line of [`MAX_LINE`], its
/// event and a chunk. A last line without newline is left for later; after more was appended the
/// same reader goes on where it stopped.
pub struct Reader<R> {
    source: R,
    path: PathBuf,
    chunk: usize,
    /// What was read and not given out, from `start` on.
    buffer: Vec<u8>,
    start: usize,
    /// Up to here the buffer has no newline.
    scanned: usize,
    /// The length of the line that comes next, with its newline, where [`Reader::ahead`] found it.
    found: Option<usize>,
    /// Bytes of the current line that were thrown away because it is too long.
    dropped: u64,
    /// Offset in the file of the first byte not given out.
    position: u64,
    record: Record,
}

/// What a look ahead shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// A complete line of so many bytes, its newline included.
    Line(usize),
    /// A line so long that it takes memory to read it; whether it is complete is not known yet.
    Long,
    /// No further complete line yet.
    Nothing,
}

/// A complete line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Offset in the file of its first byte.
    pub offset: u64,
    /// Offset in the file after its newline; here the next line starts.
    pub end: u64,
    /// What is in it.
    pub content: Content<'a>,
}

/// What is in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// A record.
    Event(Event<'a>),
    /// Something else, which the ledger counts and does not keep.
    Skipped(Skip),
}

impl<R: Read + Seek> Reader<R> {
    /// Reads `source` from the byte `offset` on, which must be the start of a line. `path` is for
    /// messages only.
    ///
    /// # Errors
    /// [`RolloutError::Unreadable`].
    pub fn new(mut source: R, path: &Path, offset: u64) -> Result<Self, RolloutError> {
        source.seek(SeekFrom::Start(offset)).map_err(|error| RolloutError::io(path, error))?;
        Ok(Self {
            source,
            path: path.to_path_buf(),
            chunk: CHUNK,
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            found: None,
            dropped: 0,
            position: offset,
            record: Record::default(),
        })
    }

    /// Reads this many bytes (at least one) at a time instead of 256 KiB.
    #[must_use]
    pub fn with_chunk(mut self, bytes: usize) -> Self {
        self.chunk = bytes.max(1);
        self
    }

    /// Offset after the last complete line that was given out; where to begin next time.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What [`Reader::next_line`] would give, as far as that shows in little memory.
    ///
    /// # Errors
    /// [`RolloutError::Unreadable`].
    pub fn ahead(&mut self) -> Result<Ahead, RolloutError> {
        loop {
            self.found = self.find_newline();
            if let Some(length) = self.found {
                return Ok(if length > KEEP { Ahead::Long } else { Ahead::Line(length) });
            }
            if self.dropped > 0 || self.buffer.len() - self.start > KEEP {
                return Ok(Ahead::Long);
            }
            if self.fill()? == 0 {
                return Ok(Ahead::Nothing);
            }
        }
    }

    /// Takes the payload of the line given out last out of the reader: of a long one, nobody needs to
    /// hold a copy as well.
    pub fn take_payload(&mut self) -> String {
        self.record.take_payload()
    }

    /// Gives back the memory that a long line took. Its event is gone then.
    pub fn release(&mut self) {
        self.record.release(KEEP);
    }

    /// The next complete line, or `None` when there is no further one yet. The caller may stop
    /// after any line.
    ///
    /// # Errors
    /// [`RolloutError::Unreadable`].
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, RolloutError> {
        self.release();
        loop {
            if let Some(length) = self.find_newline() {
                return Ok(Some(self.take_line(length)));
            }
            if self.dropped > 0 || self.buffer.len() - self.start > MAX_LINE {
                self.dropped += (self.buffer.len() - self.start) as u64;
                self.start = self.buffer.len();
                self.give_back();
            }
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    /// The length of the buffered line with its newline. What was looked through is not looked
    /// through again.
    fn find_newline(&mut self) -> Option<usize> {
        if let Some(length) = self.found.take() {
            return Some(length);
        }
        match memchr::memchr(b'\n', &self.buffer[self.scanned..]) {
            Some(at) => {
                self.scanned += at + 1;
                Some(self.scanned - self.start)
            }
            None => {
                self.scanned = self.buffer.len();
                None
            }
        }
    }

    fn take_line(&mut self, length: usize) -> Line<'_> {
        let offset = self.position;
        let line = &self.buffer[self.start..self.start + length - 1];
        let whole = self.dropped + length as u64;
        let parsed = if whole - 1 > MAX_LINE as u64 { Err(Skip::TooLong) } else { self.record.parse(line) };
        self.position += whole;
        self.start += length;
        self.dropped = 0;
        // Before the event is given out: the caller needs memory for it too.
        self.give_back();
        let content = match parsed {
            Ok(()) => Content::Event(self.record.event()),
            Err(skip) => Content::Skipped(skip),
        };
        Line { offset, end: self.position, content }
    }

    /// Shrinks a buffer that a long line has made large, once that line is out of it.
    fn give_back(&mut self) {
        if self.buffer.capacity() > KEEP.max(2 * self.chunk) && self.buffer.len() - self.start <= self.chunk {
            let mut rest = Vec::with_capacity(self.chunk);
            rest.extend_from_slice(&self.buffer[self.start..]);
            self.scanned -= self.start;
            self.start = 0;
            self.buffer = rest;
        }
    }

    /// Reads a chunk behind what is buffered; 0 at the end of the file.
    fn fill(&mut self) -> Result<usize, RolloutError> {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        // A line that is long already may become as long as lines can: room for that at once
        // saves copies on the way. Memory that is never written to costs nothing.
        let limit = if self.buffer.len() > KEEP { LONG_ROOM } else { 0 };
        self.buffer.reserve(self.chunk.max(limit.saturating_sub(self.buffer.len())));
        let mut chunk = self.source.by_ref().take(self.chunk as u64);
        chunk.read_to_end(&mut self.buffer).map_err(|error| RolloutError::io(&self.path, error))
    }
}
