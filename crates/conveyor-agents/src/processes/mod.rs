//! Processes: what they hold open, and which of them is a Codex session.

mod discovery;
mod foreground;
mod identity;
mod procfs;
mod programs;

use std::io;
use std::path::{Path, PathBuf};

pub use discovery::{
    DiscoveryError, Holder, PassedOver, SharedServer, holder_below, is_rollout_path, rollout_of_pid,
    shared_server,
};
pub use foreground::{ForegroundProcess, foreground};
pub use identity::{Identity, carriers, is_below, nearest_ancestor, orphans, started, tree};
pub use procfs::{ProcFs, is_walled_in};
pub use programs::Programs;
use rustix::io::Errno;
pub use rustix::process::Signal;
use rustix::process::{Pid, test_kill_process};

/// Whether there is a process with this pid. One that we may not signal counts; one that has ended
/// and was not reaped by its parent does not. Inside an agent's sandbox that hides processes every
/// one counts: that none is seen proves nothing there.
#[must_use]
pub fn is_alive(pid: i64) -> bool {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0).and_then(Pid::from_raw);
    pid.is_some_and(|pid| {
        let known = !matches!(test_kill_process(pid), Err(Errno::SRCH));
        let pid = pid.as_raw_nonzero().get();
        if known { !procfs::has_ended(pid) } else { procfs::is_walled_in() }
    })
}

/// The name of this machine, as it calls itself.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What can be asked about running processes. Every method fails with
/// [`io::ErrorKind::NotFound`] when there is no such process (any more).
pub trait Processes {
    /// The command line, words separated by single spaces; empty for processes without one.
    ///
    /// # Errors
    /// No such process, or the system refuses to tell.
    fn command_line(&self, pid: u32) -> io::Result<String>;

    /// The absolute paths of the files that the process holds open, in no particular order.
    ///
    /// # Errors
    /// No such process, or the system refuses to tell.
    fn open_files(&self, pid: u32) -> io::Result<Vec<PathBuf>>;

    /// The process's children, in ascending order.
    ///
    /// # Errors
    /// The system refuses to tell. A process that is gone has no children.
    fn children(&self, pid: u32) -> io::Result<Vec<u32>>;
}

/// The processes of this machine: from `/proc` where there is one, else from `ps` and `lsof`.
///
/// The tree is read once, when it is first asked for; ask for a new value for a new look.
#[must_use]
pub fn local() -> Box<dyn Processes> {
    if Path::new("/proc/self/fd").is_dir() { Box::new(ProcFs::new()) } else { Box::new(Programs::new()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_nobody_has_reaped_is_dead() {
        if !Path::new("/proc/self/stat").exists() {
            return;
        }
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while is_alive(child.id().into()) {
            assert!(std::time::Instant::now() < deadline, "it ended long ago");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        child.wait().unwrap();
    }

    #[test]
    fn only_processes_are_alive() {
        assert!(is_alive(std::process::id().into()));
        assert!(is_alive(1), "although we may not signal it");
        for nobody in [0, -1, i64::from(i32::MAX), i64::MAX] {
            assert!(!is_alive(nobody), "{nobody}");
        }
    }
}
