use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::reader::{KEEP, LONG_ROOM};
use super::{MAX_LINE, Reader, RolloutError, RolloutIdentity, SessionMeta};

/// What one look at a file tells, without opening it. Two equal probes mean that nothing was
/// appended, truncated or replaced in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change of contents, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

impl Probe {
    fn of(metadata: &Metadata) -> Self {
        let modified_ns =
            metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Self { size: metadata.len(), modified_ns, device: metadata.dev(), inode: metadata.ino() }
    }

    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        clippy::cast_lossless,
        reason = "systems differ in the types of the fields"
    )]
    fn of_stat(found: &Stat) -> Self {
        let modified_ns =
            (found.st_mtime as i64).saturating_mul(1_000_000_000).saturating_add(found.st_mtime_nsec as i64);
        Self {
            size: found.st_size as u64,
            modified_ns,
            device: found.st_dev as u64,
            inode: found.st_ino as u64,
        }
    }
}

/// Looks at a file with a single system call; cheap enough for a watcher to do all the time.
/// `None` when there is no regular file at the path or it cannot be looked at: [`open`] says why.
#[must_use]
pub fn probe(path: &Path) -> Option<Probe> {
    let metadata = std::fs::metadata(path).ok()?;
    metadata.is_file().then(|| Probe::of(&metadata))
}

/// A directory in which many files are looked at, which costs less than by their whole paths. It is
/// the one that its path leads to now.
pub struct Directory(OwnedFd);

impl Directory {
    /// Opens the directory; `None` when there is none that can be read.
    #[must_use]
    pub fn open(path: &Path) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).ok().map(Self)
    }

    /// [`probe`] of a file in it.
    #[must_use]
    pub fn probe(&self, name: &OsStr) -> Option<Probe> {
        let found = rustix::fs::statat(&self.0, name, AtFlags::empty()).ok()?;
        (FileType::from_raw_mode(found.st_mode) == FileType::RegularFile).then(|| Probe::of_stat(&found))
    }
}

/// An open rollout. Its methods never move a shared cursor except for [`RolloutFile::reader`].
#[derive(Debug)]
pub struct RolloutFile {
    path: PathBuf,
    file: File,
    probe: Probe,
}

/// Opens a rollout for reading. Never blocks and never opens anything but a regular file.
///
/// # Errors
/// [`RolloutError::Missing`], [`RolloutError::NotRegular`] or [`RolloutError::Unreadable`].
pub fn open(path: &Path) -> Result<RolloutFile, RolloutError> {
    let failed = |error| RolloutError::io(path, error);
    // Looked at first, because opening a FIFO or a device, even without blocking, has effects on
    // the other side. Looked at again afterwards, because the path may have changed in between.
    require_regular(path, &std::fs::metadata(path).map_err(failed)?)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed(e.into()))?);
    let metadata = file.metadata().map_err(failed)?;
    require_regular(path, &metadata)?;
    Ok(RolloutFile { path: path.to_path_buf(), file, probe: Probe::of(&metadata) })
}

impl RolloutFile {
    /// The path as it was given to [`open`].
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size in bytes when the file was opened.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.probe.size
    }

    /// What was seen of the file when it was opened.
    #[must_use]
    pub fn probe(&self) -> Probe {
        self.probe
    }

    /// Which file this is; reads the first line.
    ///
    /// # Errors
    /// [`RolloutError::Unreadable`].
    pub fn identity(&self) -> Result<RolloutIdentity, RolloutError> {
        Ok(RolloutIdentity::of(&self.probe, &self.first_line()?))
    }

    /// The record that Codex writes first.
    ///
    /// # Errors
    /// Those of [`super::session_meta`].
    pub fn session_meta(&self) -> Result<SessionMeta, RolloutError> {
        SessionMeta::parse(&self.path, self.first_line()?)
    }

    /// Reads the lines from a byte offset, which must be the start of a line.
    ///
    /// # Errors
    /// [`RolloutError::Unreadable`].
    pub fn reader(&self, offset: u64) -> Result<Reader<&File>, RolloutError> {
        Reader::new(&self.file, &self.path, offset)
    }

    fn first_line(&self) -> Result<FirstLine, RolloutError> {
        read_first_line(&self.file).map_err(|error| RolloutError::io(&self.path, error))
    }
}

/// The first line of a file, without its newline.
pub(super) enum FirstLine {
    /// It ends in a newline.
    Complete(Vec<u8>),
    /// The file ends before a newline; empty for an empty file.
    Unterminated(Vec<u8>),
    /// Longer than [`MAX_LINE`].
    TooLong,
}

fn read_first_line(file: &File) -> io::Result<FirstLine> {
    const CHUNK: usize = 64 * 1024;
    let mut line = Vec::new();
    loop {
        let known = line.len();
        if known > KEEP {
            line.reserve(LONG_ROOM.saturating_sub(known));
        }
        line.resize(known + CHUNK, 0);
        let read = match file.read_at(&mut line[known..], known as u64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => {
                let read = other?;
                if read == 0 {
                    line.truncate(known);
                    return Ok(FirstLine::Unterminated(line));
                }
                read
            }
        };
        line.truncate(known + read);
        if let Some(end) = line[known..].iter().position(|byte| *byte == b'\n') {
            line.truncate(known + end);
            return Ok(if line.len() > MAX_LINE { FirstLine::TooLong } else { FirstLine::Complete(line) });
        }
        if line.len() > MAX_LINE {
            return Ok(FirstLine::TooLong);
        }
    }
}

fn require_regular(path: &Path, metadata: &Metadata) -> Result<(), RolloutError> {
    let file_type = metadata.file_type();
    if file_type.is_file() {
        return Ok(());
    }
    let kind = if file_type.is_dir() {
        "directory"
    } else if file_type.is_fifo() {
        "FIFO"
    } else if file_type.is_socket() {
        "socket"
    } else {
        "device"
    };
    Err(RolloutError::NotRegular { path: path.to_path_buf(), kind })
}
