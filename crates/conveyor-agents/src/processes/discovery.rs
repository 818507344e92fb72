use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Processes;

/// Why the rollout of a process was not found. The messages are one line and say what to do.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The process does not exist.
    #[error("there is no process with pid {pid}")]
    NoProcess {
        /// The pid as given.
        pid: i64,
    },
    /// The process exists, but the system does not tell what it holds.
    #[error(
        "the open files of process {pid} cannot be read: {reason}; give the session's rollout with \
         --codex-session"
    )]
    Unreadable {
        /// The pid as given.
        pid: i64,
        /// What the system said.
        reason: io::Error,
    },
    /// The process serves several sessions, so it proves none.
    #[error(
        "process {pid} is {server}; let the session register itself with --self, or name its thread with \
         --thread-id"
    )]
    SharedServer {
        /// The pid as given.
        pid: i64,
        /// What gave it away.
        server: SharedServer,
    },
    /// Neither the process nor a descendant holds a rollout.
    #[error(
        "no rollout file open for pid {pid} or its descendants{}: Codex writes the rollout only after the \
         first prompt; send one and try again, or give the rollout with --codex-session",
        list_passed_over(passed_over)
    )]
    NoRollout {
        /// The pid as given.
        pid: i64,
        /// Descendants that could prove nothing.
        passed_over: Vec<PassedOver>,
    },
    /// The tree holds several rollouts.
    #[error(
        "pid {pid} and its descendants hold {} rollouts open ({}); give the right one with --codex-session",
        candidates.len(),
        list(candidates)
    )]
    Several {
        /// The pid as given.
        pid: i64,
        /// The rollouts, in the order in which they were found.
        candidates: Vec<PathBuf>,
    },
}

/// What shows that a process serves several sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharedServer {
    /// Its command line contains `app-server`.
    AppServer,
    /// It holds these rollouts open.
    Rollouts(Vec<PathBuf>),
    /// It holds the writer locks of this many threads.
    WriterLocks(usize),
}

/// What the files and the command line of one process say.
enum Held {
    Nothing,
    Rollout(PathBuf),
    Shared(SharedServer),
}

/// A descendant that could prove nothing.
#[derive(Debug)]
pub struct PassedOver {
    /// The process.
    pub pid: u32,
    /// Why.
    pub reason: String,
}

/// What shows that a process serves several sessions and is none; `None` for every other process,
/// and for one that cannot be looked at.
#[must_use]
pub fn shared_server(processes: &dyn Processes, pid: i64) -> Option<SharedServer> {
    match look_at(processes, u32::try_from(pid).ok().filter(|pid| *pid > 0)?) {
        Ok(Held::Shared(server)) => Some(server),
        _ => None,
    }
}

/// A rollout and the process that holds it open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// The rollout.
    pub rollout: PathBuf,
}

/// Finds the one rollout that the process or a descendant holds open. Shared servers prove
/// nothing, and what is below them is not looked at.
///
/// # Errors
/// One for each way in which there is no single rollout.
pub fn rollout_of_pid(processes: &dyn Processes, pid: i64) -> Result<PathBuf, DiscoveryError> {
    holder_below(processes, pid).map(|holder| holder.rollout)
}

/// As [`rollout_of_pid`], with the process that holds it.
///
/// # Errors
/// One for each way in which there is no single rollout.
pub fn holder_below(processes: &dyn Processes, pid: i64) -> Result<Holder, DiscoveryError> {
    let Some(root) = u32::try_from(pid).ok().filter(|pid| *pid > 0) else {
        return Err(DiscoveryError::NoProcess { pid });
    };
    let mut candidates = Vec::new();
    let mut passed_over = Vec::new();
    let mut visited = BTreeSet::from([root]);
    let mut queue = VecDeque::from([root]);
    while let Some(next) = queue.pop_front() {
        match look_at(processes, next) {
            Ok(Held::Nothing) => {}
            Ok(Held::Rollout(path)) => {
                // A child may have inherited its parent's file.
                if candidates.iter().all(|known: &Holder| known.rollout != path) {
                    candidates.push(Holder { pid: next, rollout: path });
                }
            }
            Ok(Held::Shared(server)) if next == root => {
                return Err(DiscoveryError::SharedServer { pid, server });
            }
            Ok(Held::Shared(server)) => {
                passed_over.push(PassedOver { pid: next, reason: server.to_string() });
                continue;
            }
            Err(error) if next == root => return Err(root_failure(pid, error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => passed_over.push(PassedOver { pid: next, reason: error.to_string() }),
        }
        let children =
            processes.children(next).map_err(|reason| DiscoveryError::Unreadable { pid, reason })?;
        queue.extend(children.into_iter().filter(|child| *child > 0 && visited.insert(*child)));
    }
    match (candidates.pop(), candidates.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            candidates.push(last);
            let candidates = candidates.into_iter().map(|holder| holder.rollout).collect();
            Err(DiscoveryError::Several { pid, candidates })
        }
        (None, _) => Err(DiscoveryError::NoRollout { pid, passed_over }),
    }
}

fn root_failure(pid: i64, error: io::Error) -> DiscoveryError {
    if error.kind() == io::ErrorKind::NotFound {
        DiscoveryError::NoProcess { pid }
    } else {
        DiscoveryError::Unreadable { pid, reason: error }
    }
}

fn look_at(processes: &dyn Processes, pid: u32) -> io::Result<Held> {
    if processes.command_line(pid)?.contains("app-server") {
        return Ok(Held::Shared(SharedServer::AppServer));
    }
    let files: BTreeSet<PathBuf> = processes.open_files(pid)?.into_iter().collect();
    let locks = files.iter().filter(|path| is_writer_lock(path)).count();
    let mut rollouts: Vec<PathBuf> = files.into_iter().filter(|path| is_rollout_path(path)).collect();
    Ok(match rollouts.len() {
        2.. => Held::Shared(SharedServer::Rollouts(rollouts)),
        _ if locks > 1 => Held::Shared(SharedServer::WriterLocks(locks)),
        _ => rollouts.pop().map_or(Held::Nothing, Held::Rollout),
    })
}

/// Whether the path is where Codex puts rollouts: absolute, with `/sessions/` and `/rollout-` in
/// it, ending in `.jsonl`. (A file that was deleted while open does not end so.)
#[must_use]
pub fn is_rollout_path(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    path.is_absolute()
        && contains(bytes, b"/sessions/")
        && contains(bytes, b"/rollout-")
        && bytes.ends_with(b".jsonl")
}

/// Codex holds one lock file for each thread that it may write.
fn is_writer_lock(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    contains(bytes, b"/thread-writer-locks/") && bytes.ends_with(b".lock")
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

impl fmt::Display for SharedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a shared server, which proves no session: ")?;
        match self {
            Self::AppServer => f.write_str("its command line contains app-server"),
            Self::Rollouts(paths) => write!(f, "it holds {} rollouts open ({})", paths.len(), list(paths)),
            Self::WriterLocks(count) => write!(f, "it holds {count} writer locks"),
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("{path:?}")).collect::<Vec<_>>().join(", ")
}

fn list_passed_over(passed_over: &[PassedOver]) -> String {
    if passed_over.is_empty() {
        return String::new();
    }
    let each: Vec<_> = passed_over.iter().map(|one| format!("process {}: {}", one.pid, one.reason)).collect();
    format!(" (passed over: {})", each.join("; "))
}
