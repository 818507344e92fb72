//! Linux's notifications, read by the waiting thread itself: what its own writes caused is in the
//! queue when the write returns, and can be told from what others cause later.

use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::{Concern, NoHints, WatchId};

/// Room for so many bytes of events at once.
const BUFFER: usize = 16 * 1024;

/// Ends the wait of another thread.
#[derive(Clone)]
pub(super) struct Nudge(Option<Arc<OwnedFd>>);

impl Nudge {
    pub(super) fn give(&self) {
        if let Some(eventfd) = &self.0 {
            // Full means that a nudge waits already.
            let _ = rustix::io::write(eventfd, &1_u64.to_ne_bytes());
        }
    }
}

/// One event of the queue.
pub(super) enum Told<'e> {
    /// Something about a name in a directory.
    Name { id: WatchId, name: &'e OsStr, is_renamed: bool },
    /// The directory was moved or is gone, and is watched no more.
    Lost(WatchId),
    /// Events were dropped.
    Overflow,
}

/// The instance and what ends a wait for it.
pub(super) struct Source {
    instance: Result<OwnedFd, Errno>,
    nudge: Nudge,
}

impl Source {
    pub(super) fn new() -> Self {
        let nudge = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok().map(Arc::new);
        Self { instance: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK), nudge: Nudge(nudge) }
    }

    pub(super) fn nudge(&self) -> Nudge {
        self.nudge.clone()
    }

    pub(super) fn watch_log(&self, directory: &Path, _: &OsString) -> Option<WatchId> {
        self.add(directory, Concern::Contents).ok()
    }

    pub(super) fn watch(&self, directory: &Path, concern: Concern) -> Result<WatchId, NoHints> {
        // Asked first: a watch there would be kept for nothing.
        let found = rustix::fs::statfs(directory).map_err(unwatchable)?;
        if let Some(name) = remote(found.f_type) {
            return Err(NoHints::Remote(name));
        }
        self.add(directory, concern)
    }

    fn add(&self, directory: &Path, concern: Concern) -> Result<WatchId, NoHints> {
        let instance = self.instance.as_ref().map_err(|error| NoHints::Instance(error.to_string()))?;
        let names = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        let wanted = match concern {
            Concern::Names => names,
            Concern::Contents => names | WatchFlags::MODIFY,
        };
        let how = WatchFlags::MASK_ADD | WatchFlags::ONLYDIR | WatchFlags::EXCL_UNLINK;
        match inotify::add_watch(instance, directory, wanted | how) {
            Ok(id) => Ok(WatchId(id)),
            Err(Errno::NOSPC) => Err(NoHints::Limit),
            Err(error) => Err(unwatchable(error)),
        }
    }

    pub(super) fn unwatch(&self, id: WatchId) {
        if let Ok(instance) = &self.instance {
            // It may have ended by itself.
            let _ = inotify::remove_watch(instance, id.0);
        }
    }

    /// Waits until there is something, somebody nudges, or the time is over; hands on all there is.
    pub(super) fn hear(&self, timeout: Duration, each: &mut dyn FnMut(Told<'_>)) {
        if !timeout.is_zero() {
            self.sleep(timeout);
        }
        if let Ok(instance) = &self.instance {
            self.drain(instance, each);
        }
    }

    fn sleep(&self, timeout: Duration) {
        let mut fds = Vec::with_capacity(2);
        if let Ok(instance) = &self.instance {
            fds.push(PollFd::new(instance, PollFlags::IN));
        }
        if let Some(eventfd) = &self.nudge.0 {
            fds.push(PollFd::new(eventfd.as_ref(), PollFlags::IN));
        }
        let limit = Timespec::try_from(timeout).ok();
        // An interruption is an early end, after which the caller looks and waits again.
        let _ = poll(&mut fds, limit.as_ref());
        if let Some(eventfd) = &self.nudge.0 {
            let _ = rustix::io::read(eventfd, &mut [0_u8; 8]);
        }
    }

    fn drain(&self, instance: &OwnedFd, each: &mut dyn FnMut(Told<'_>)) {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(instance, &mut buffer);
        // Ends when the queue is empty.
        while let Ok(event) = reader.next() {
            let (id, flags) = (WatchId(event.wd()), event.events());
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                each(Told::Overflow);
            } else if flags.intersects(LOST) {
                if flags.contains(ReadFlags::MOVE_SELF) {
                    // It would go on under its new name.
                    let _ = inotify::remove_watch(instance, event.wd());
                }
                each(Told::Lost(id));
            } else if let Some(name) = event.file_name() {
                let name = OsStr::from_bytes(name.to_bytes());
                each(Told::Name { id, name, is_renamed: !flags.contains(ReadFlags::MODIFY) });
            }
        }
    }
}

const LOST: ReadFlags =
    ReadFlags::DELETE_SELF.union(ReadFlags::MOVE_SELF).union(ReadFlags::IGNORED).union(ReadFlags::UNMOUNT);

fn unwatchable(error: Errno) -> NoHints {
    NoHints::Unwatchable(error.to_string())
}

/// The name of a file system on which others can write without this system's knowledge.
fn remote(magic: impl Into<i64>) -> Option<&'static str> {
    // The field is signed on some architectures.
    let magic = magic.into() & 0xFFFF_FFFF;
    REMOTE.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

/// From the kernel's and the file systems' own sources.
const REMOTE: [(i64, &str); 14] = [
    (0x0000_6969, "NFS"),
    (0x0000_517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9P"),
    (0x00C3_6400, "Ceph"),
    (0x5346_414F, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0116_1970, "GFS2"),
    (0x7461_636F, "OCFS2"),
    (0x0BD0_0BD0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x786F_4256, "vboxsf"),
];
