use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use super::Processes;

/// Processes as Linux shows them in `/proc`. The tree is read once, when it is first asked for, so
/// that walking it costs one pass over the processes.
#[derive(Debug, Default)]
pub struct ProcFs {
    children: OnceCell<BTreeMap<u32, Vec<u32>>>,
}

impl ProcFs {
    /// The processes of this machine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn tree(&self) -> io::Result<&BTreeMap<u32, Vec<u32>>> {
        if let Some(tree) = self.children.get() {
            return Ok(tree);
        }
        let mut tree: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process that has ended meanwhile is nobody's child.
            let Ok(stat) = fs::read(path(pid, "stat")) else { continue };
            if let Some(parent) = parent_of(&stat) {
                tree.entry(parent).or_default().push(pid);
            }
        }
        tree.values_mut().for_each(|children| children.sort_unstable());
        Ok(self.children.get_or_init(|| tree))
    }
}

impl Processes for ProcFs {
    fn command_line(&self, pid: u32) -> io::Result<String> {
        let bytes = fs::read(path(pid, "cmdline")).map_err(gone)?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.trim_end_matches('\0').replace('\0', " "))
    }

    fn open_files(&self, pid: u32) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(path(pid, "fd")).map_err(gone)? {
            // A file that was closed meanwhile is not open. Sockets and pipes are links too, but
            // not to absolute paths.
            if let Ok(target) = entry.and_then(|entry| fs::read_link(entry.path()))
                && target.is_absolute()
            {
                files.push(target);
            }
        }
        Ok(files)
    }

    fn children(&self, pid: u32) -> io::Result<Vec<u32>> {
        Ok(self.tree()?.get(&pid).cloned().unwrap_or_default())
    }
}

fn path(pid: u32, name: &str) -> PathBuf {
    format!("/proc/{pid}/{name}").into()
}

/// Reading about a process that ends meanwhile fails with ESRCH.
fn gone(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) {
        io::ErrorKind::NotFound.into()
    } else {
        error
    }
}

/// Whether a process has ended and only its entry is left; never where there is no `/proc`.
pub(super) fn has_ended(pid: i32) -> bool {
    let state = fs::read(format!("/proc/{pid}/stat")).ok().and_then(|stat| {
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        stat.get(end + 2).copied()
    });
    matches!(state, Some(b'Z' | b'X'))
}

/// What is the first process where a sandbox of an agent hides all others (Codex's own helper, as
/// far as the system keeps its name, or bubblewrap).
const WALLS: [&str; 2] = ["codex-linux-san", "bwrap"];

/// Whether this system shows its processes as files.
pub(super) fn is_there() -> bool {
    std::path::Path::new("/proc/self/stat").exists()
}

/// When a process began, in ticks since the machine did.
pub(super) fn start_of(pid: u32) -> Option<String> {
    let stat = fs::read(path(pid, "stat")).ok()?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    // The state, the third field, is the first behind the name.
    let start = std::str::from_utf8(&stat[end + 1..]).ok()?.split_ascii_whitespace().nth(19)?;
    Some(start.to_owned())
}

/// The leader of the session that a process belongs to.
pub(super) fn session_of(pid: u32) -> Option<u32> {
    let stat = fs::read(path(pid, "stat")).ok()?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    std::str::from_utf8(&stat[end + 1..]).ok()?.split_ascii_whitespace().nth(3)?.parse().ok()
}

/// What a process was started with as the value of a variable.
pub(super) fn variable(pid: u32, name: &str) -> Option<String> {
    let environment = fs::read(path(pid, "environ")).ok()?;
    let text = String::from_utf8_lossy(&environment);
    let value = text.split('\0').find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
    value.map(ToOwned::to_owned)
}

/// Whether we run in a sandbox of an agent that shows its own processes only.
#[must_use]
pub fn is_walled_in() -> bool {
    fs::read_to_string("/proc/1/comm").is_ok_and(|name| WALLS.contains(&name.trim_end()))
}

/// The process that started this one, or took it in.
pub(super) fn parent(pid: u32) -> Option<u32> {
    parent_of(&fs::read(path(pid, "stat")).ok()?)
}

/// The fourth field of a `stat` file. The second is the program's name in parentheses and may
/// itself contain parentheses and spaces.
fn parent_of(stat: &[u8]) -> Option<u32> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    std::str::from_utf8(&stat[end + 1..]).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_program_name() {
        assert_eq!(parent_of(b"12 (codex) S 7 12 12 0"), Some(7));
        assert_eq!(parent_of(b"12 (a) 99 (b) S 7 12"), Some(7));
        assert_eq!(parent_of(b"12 (\xff) S 7 12"), Some(7));
        assert_eq!(parent_of(b""), None);
        assert_eq!(parent_of(b"12 (codex"), None);
    }
}
