use std::collections::{BTreeSet, VecDeque};

use crate::processes::{Processes, foreground, local};
use crate::tmux::{PaneOfSession, Tmux, TmuxError};

/// The name by which Codex's program is known in a terminal, whoever starts it.
pub(super) const PROGRAM: &str = "codex";

/// How many processes below a pane are looked at.
const MOST: usize = 256;

/// The panes of a tmux server in which a terminal was attached to this thread, as the command lines
/// below them tell. Only a start value where a person may have changed the thread since. Shared
/// servers, which may be children of the first pane, and what is below them do not count.
///
/// # Errors
/// tmux could not be asked.
pub fn panes_of_thread(tmux: &Tmux, thread_id: &str) -> Result<Vec<PaneOfSession>, TmuxError> {
    let processes = local();
    let shows = |pane: &PaneOfSession| is_attached(processes.as_ref(), pane.pid, thread_id);
    let mut panes: Vec<PaneOfSession> = tmux.panes()?.into_iter().filter(shows).collect();
    // Several sessions may show one window.
    let mut seen = BTreeSet::new();
    panes.retain(|pane| seen.insert(pane.id.clone()));
    Ok(panes)
}

fn is_attached(processes: &dyn Processes, root: u32, thread_id: &str) -> bool {
    let mut queue = VecDeque::from([root]);
    let mut visited = BTreeSet::from([root]);
    while let Some(pid) = queue.pop_front() {
        // A process that has ended meanwhile shows nothing.
        let Ok(line) = processes.command_line(pid) else { continue };
        if line.contains("app-server") {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.windows(2).any(|pair| pair == ["resume", thread_id]) {
            return true;
        }
        let children = processes.children(pid).unwrap_or_default();
        if visited.len() + children.len() <= MOST {
            queue.extend(children.into_iter().filter(|child| visited.insert(*child)));
        }
    }
    false
}

/// The process of Codex among those that the terminal of a pane's process is in the hands of: the
/// pane's own if it is one.
#[must_use]
pub fn agent_process(pane_pid: u32) -> Option<u32> {
    let found = foreground(pane_pid).unwrap_or_default();
    let mut agents = found.iter().filter(|process| process.names.iter().any(|name| name == PROGRAM));
    let is_pane = |pid: u32| pid == pane_pid;
    agents.clone().find(|agent| is_pane(agent.pid)).or_else(|| agents.next()).map(|agent| agent.pid)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;

    /// Processes as rows of pid, parent, command line.
    struct Table(&'static [(u32, u32, &'static str)]);

    impl Processes for Table {
        fn command_line(&self, pid: u32) -> io::Result<String> {
            let row = self.0.iter().find(|row| row.0 == pid);
            row.map(|row| row.2.to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        fn open_files(&self, _: u32) -> io::Result<Vec<PathBuf>> {
            Ok(Vec::new())
        }

        fn children(&self, pid: u32) -> io::Result<Vec<u32>> {
            Ok(self.0.iter().filter(|row| row.1 == pid).map(|row| row.0).collect())
        }
    }

    #[test]
    fn a_terminal_is_known_by_the_thread_on_its_command_line() {
        let table = Table(&[
            (10, 1, "-zsh"),
            (11, 10, "node /x/codex resume T-1 --sandbox read-only"),
            (12, 11, "/v/codex resume T-1"),
            (20, 1, "node /x/codex"),
            (21, 20, "/v/codex app-server --listen"),
            (22, 21, "sh -c 'codex resume T-2'"),
            (30, 1, "vi resume T-3x"),
        ]);
        assert!(is_attached(&table, 10, "T-1"));
        assert!(!is_attached(&table, 10, "T-2"));
        assert!(!is_attached(&table, 20, "T-2"), "what a shared server runs is no terminal");
        assert!(!is_attached(&table, 30, "T-3"));
        assert!(!is_attached(&table, 99, "T-1"));
    }
}
