use std::collections::{BTreeSet, VecDeque};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::{Processes, is_alive, procfs};

/// A process that cannot be mistaken for a later one with the same pid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its pid.
    pub pid: u32,
    /// When it began, in the words of the system.
    start: String,
}

impl Identity {
    /// The process that has this pid now; `None` when there is none.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let start = procfs::start_of(pid).or_else(|| start_from_ps(pid))?;
        Some(Self { pid, start })
    }

    /// Whether it still runs. One that has ended and was not reaped does not.
    #[must_use]
    pub fn is_running(&self) -> bool {
        is_alive(self.pid.into()) && Self::of(self.pid).as_ref() == Some(self)
    }

    /// Sends it a signal, and nobody else: `false` when it has ended, or may not be signalled.
    #[must_use]
    pub fn signal(&self, signal: Signal) -> bool {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return false };
        self.signal_pinned(pid, signal)
    }

    /// The descriptor stands for the process that has the pid now; only then is looked which one it is.
    #[cfg(target_os = "linux")]
    fn signal_pinned(&self, pid: Pid, signal: Signal) -> bool {
        use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pinned) => self.is_running() && pidfd_send_signal(pinned, signal).is_ok(),
            // A kernel or a container without such descriptors.
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
                self.is_running() && kill_process(pid, signal).is_ok()
            }
            Err(_) => false,
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn signal_pinned(&self, pid: Pid, signal: Signal) -> bool {
        self.is_running() && kill_process(pid, signal).is_ok()
    }
}

fn start_from_ps(pid: u32) -> Option<String> {
    if procfs::is_there() {
        return None;
    }
    let output = Command::new("ps").args(["-o", "lstart=", "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// When a process began, in the words of the system, to be compared only. `None` when there is none, or
/// the system does not tell.
#[must_use]
pub fn started(pid: u32) -> Option<String> {
    Identity::of(pid).map(|process| process.start)
}

/// The nearest of these processes that a process is, or is below.
#[must_use]
pub fn nearest_ancestor(pid: u32, among: &[u32]) -> Option<u32> {
    let mut at = pid;
    for _ in 0..MOST_GENERATIONS {
        if among.contains(&at) {
            return Some(at);
        }
        at = parent(at).filter(|parent| *parent > 0 && *parent != at)?;
    }
    None
}

/// How far up a process is followed.
const MOST_GENERATIONS: usize = 64;

fn parent(pid: u32) -> Option<u32> {
    if procfs::is_there() {
        return procfs::parent(pid);
    }
    let output = Command::new("ps").args(["-o", "ppid=", "-p", &pid.to_string()]).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

/// A process and what is below it, parents before their children. Shared servers, which may be
/// children of the first terminal, and what is below them do not count.
#[must_use]
pub fn tree(processes: &dyn Processes, root: u32) -> Vec<Identity> {
    let mut found = Vec::new();
    walk(processes, root, |processes, pid| {
        // A process that has ended meanwhile is none.
        let Ok(line) = processes.command_line(pid) else { return false };
        let counts = !is_shared_server(&line);
        if counts {
            found.extend(Identity::of(pid));
        }
        counts
    });
    found
}

/// The processes below a shared server that carry `variable` with one of these values in their
/// environment, and what is below them, parents before their children. None where the system does not
/// show environments.
#[must_use]
pub fn carriers(processes: &dyn Processes, server: u32, variable: &str, values: &[String]) -> Vec<Identity> {
    let mut roots = Vec::new();
    walk(processes, server, |_, pid| {
        let carries =
            pid != server && procfs::variable(pid, variable).is_some_and(|value| values.contains(&value));
        if carries {
            roots.push(pid);
        }
        !carries
    });
    roots.into_iter().flat_map(|root| tree(processes, root)).collect()
}

/// The processes that nobody waits for, lead a session of their own, carry `variable` with one of these
/// values in their environment and have a command line that `is_meant`; and what is below them. None
/// where the system does not show environments.
#[must_use]
pub fn orphans(
    processes: &dyn Processes,
    variable: &str,
    values: &[String],
    is_meant: impl Fn(&str) -> bool,
) -> Vec<Identity> {
    let children = |pid: u32| processes.children(pid).unwrap_or_default();
    let line = |pid: u32| processes.command_line(pid).unwrap_or_default();
    let of_init = children(INIT);
    // A user's own manager takes in what that user's processes leave behind.
    let managers = of_init.iter().filter(|pid| line(**pid).contains("systemd --user"));
    let of_managers: Vec<u32> = managers.flat_map(|pid| children(*pid)).collect();
    let is_one = |pid: &u32| {
        procfs::session_of(*pid) == Some(*pid)
            && procfs::variable(*pid, variable).is_some_and(|value| values.contains(&value))
            && is_meant(&line(*pid))
    };
    let found = of_init.iter().chain(&of_managers).filter(|pid| is_one(pid));
    found.flat_map(|pid| tree(processes, *pid)).collect()
}

/// Whose children the orphans are.
const INIT: u32 = 1;

/// A line that merely speaks of such a server is none.
fn is_shared_server(command_line: &str) -> bool {
    let words: Vec<&str> = command_line.split(' ').collect();
    let program = words.iter().take(2).position(|word| word.rsplit('/').next() == Some("codex"));
    program.is_some_and(|program| words[program + 1..].contains(&"app-server"))
}

/// Goes down from a process, as long as `visit` says so.
fn walk(processes: &dyn Processes, root: u32, mut visit: impl FnMut(&dyn Processes, u32) -> bool) {
    let mut queue = VecDeque::from([root]);
    let mut visited = BTreeSet::from([root]);
    while let Some(pid) = queue.pop_front() {
        if visit(processes, pid) {
            let children = processes.children(pid).unwrap_or_default();
            queue.extend(children.into_iter().filter(|child| visited.insert(*child)));
        }
    }
}

/// Whether a process is another one or below it.
#[must_use]
pub fn is_below(processes: &dyn Processes, root: u32, pid: u32) -> bool {
    let mut found = false;
    walk(processes, root, |_, next| {
        found |= next == pid;
        !found
    });
    found
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::local;
    use super::*;

    #[test]
    fn a_process_is_itself_until_it_ends() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let identity = Identity::of(child.id()).unwrap();
        assert!(identity.is_running());
        let other = Identity { start: "0".into(), ..identity.clone() };
        assert!(!other.is_running() && !other.signal(Signal::KILL), "a namesake is left alone");
        assert!(identity.is_running());
        assert!(identity.signal(Signal::KILL));
        let deadline = Instant::now() + Duration::from_secs(10);
        while identity.is_running() {
            assert!(Instant::now() < deadline, "it was killed");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!identity.signal(Signal::KILL), "nobody is there to be signalled");
        child.wait().unwrap();
        assert_eq!(Identity::of(child.id()), None);
    }

    #[test]
    fn a_process_keeps_its_beginning_and_its_ancestors() {
        let me = std::process::id();
        assert!(started(me).is_some());
        assert_eq!(started(me), started(me));
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(nearest_ancestor(child.id(), &[me]), Some(me));
        assert_eq!(nearest_ancestor(child.id(), &[me, child.id()]), Some(child.id()));
        assert_eq!(nearest_ancestor(me, &[child.id()]), None);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(started(child.id()), None);
    }

    #[test]
    fn a_tree_has_children_in_sessions_of_their_own() {
        let mut child = Command::new("sh").args(["-c", "setsid sleep 100 & wait"]).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let found = loop {
            let found = tree(local().as_ref(), child.id());
            let names = |one: &Identity| local().command_line(one.pid).unwrap_or_default();
            if found.len() == 2 && names(&found[1]).starts_with("sleep") {
                break found;
            }
            assert!(Instant::now() < deadline, "{found:?}");
        };
        assert_eq!(found[0].pid, child.id());
        assert!(is_below(local().as_ref(), child.id(), found[1].pid));
        assert!(is_below(local().as_ref(), std::process::id(), found[1].pid));
        assert!(!is_below(local().as_ref(), found[1].pid, child.id()));
        for one in &found {
            assert!(one.signal(Signal::KILL));
        }
        child.wait().unwrap();
    }

    #[test]
    fn an_orphan_is_known_by_its_environment() {
        if !procfs::is_there() {
            return;
        }
        let mark = format!("mark-{}", std::process::id());
        let line = "setsid sh -c 'sleep 100 & wait' & setsid sleep 101 & true";
        assert!(Command::new("sh").args(["-c", line]).env("MARK", &mark).status().unwrap().success());
        let find = |value: &str, shell: bool| {
            orphans(local().as_ref(), "MARK", &[value.to_owned()], |line| line.starts_with("sh ") == shell)
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while find(&mark, true).len() < 2 || find(&mark, false).is_empty() {
            assert!(Instant::now() < deadline, "{:?} {:?}", find(&mark, true), find(&mark, false));
        }
        assert!(find("another", true).is_empty());
        for one in [find(&mark, true), find(&mark, false)].concat() {
            assert!(one.signal(Signal::KILL));
        }
    }

    #[test]
    fn what_carries_a_variable_is_found_with_what_is_below_it() {
        if !procfs::is_there() {
            return;
        }
        let mut child = Command::new("sh")
            .args(["-c", "MARK=a sh -c 'sleep 100 & env -u MARK sleep 101 & wait' & MARK=b sleep 102 & wait"])
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let lines = |value: &str| -> Vec<String> {
            let processes = local();
            let found = carriers(processes.as_ref(), child.id(), "MARK", &[value.into()]);
            found.iter().map(|one| processes.command_line(one.pid).unwrap_or_default()).collect()
        };
        while lines("a").iter().filter(|line| line.starts_with("sleep")).count() < 2
            || lines("b") != ["sleep 102"]
        {
            assert!(Instant::now() < deadline, "{:?} {:?}", lines("a"), lines("b"));
        }
        assert!(lines("c").is_empty());
        for one in tree(local().as_ref(), child.id()).iter().rev() {
            let _ = one.signal(Signal::KILL);
        }
        child.wait().unwrap();
    }
}
