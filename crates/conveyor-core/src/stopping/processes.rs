//! The processes of an agent that is ended: listed before, looked for afterwards.

use std::path::Path;
use std::time::{Duration, Instant};

use conveyor_agents::codex::THREAD_VARIABLE;
use conveyor_agents::processes::{Identity, Processes, Signal, carriers, is_below, local, orphans, tree};

use crate::typing::SHELLS;

/// After so long, what an agent has started is asked to end.
const PATIENCE: Duration = Duration::from_millis(500);

/// After so long, it is ended.
const LENIENCE: Duration = Duration::from_millis(2_500);

/// How often is looked.
const PAUSE: Duration = Duration::from_millis(20);

/// What people's programs call the agents that are looked for in their shells.
const AGENT: &str = "codex";

/// The processes that must be gone.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// Those of panes and agents: they end with the terminal, and get no signal from us.
    terminals: Vec<Identity>,
    /// What agents have started. It may have left its terminal or be deaf to its end.
    started: Vec<Identity>,
}

impl Watched {
    /// The processes of these panes and what the agents in them have started. What a person has started
    /// in the shell of a pane is no work of the agent.
    pub(super) fn below(panes: &[u32]) -> Self {
        let processes = local();
        let mut watched = Self::default();
        for &pane in panes {
            watched.terminals.extend(Identity::of(pane));
            for agent in agents(processes.as_ref(), pane) {
                let mut found = tree(processes.as_ref(), agent).into_iter();
                watched.terminals.extend(found.next().filter(|first| first.pid != pane));
                watched.started.extend(found);
            }
        }
        watched
    }

    /// Adds the process of a pane that is gone, where it has outlived it.
    pub(super) fn add_terminal(&mut self, process: Option<Identity>) {
        self.terminals.extend(process.filter(Identity::is_running));
    }

    /// Adds what an agent has started elsewhere.
    pub(super) fn add(&mut self, started: Vec<Identity>) {
        let own = std::process::id();
        let is_new = |known: &[Identity], one: &Identity| one.pid != own && !known.contains(one);
        for one in started {
            if is_new(&self.started, &one) {
                self.started.push(one);
            }
        }
    }

    /// Waits until all have ended. What agents have started is helped, parents first, so that no shell
    /// goes on behind a command that was ended; the pid alone never decides who gets a signal. The
    /// error names who outlives the deadline.
    pub(super) fn wait_for_end(mut self, deadline: Instant) -> Result<(), String> {
        let own = std::process::id();
        self.started.retain(|one| one.pid != own);
        let begun = Instant::now();
        let mut asked = false;
        loop {
            self.terminals.retain(Identity::is_running);
            self.started.retain(Identity::is_running);
            if self.terminals.is_empty() && self.started.is_empty() {
                return Ok(());
            }
            let since = begun.elapsed();
            if since >= PATIENCE {
                let signal = if since >= LENIENCE { Signal::KILL } else { Signal::TERM };
                if signal == Signal::KILL || !asked {
                    self.signal(signal);
                    asked = true;
                }
            }
            if Instant::now() >= deadline {
                return Err(self.left());
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn signal(&mut self, signal: Signal) {
        // What was begun meanwhile is below what is known, as long as that lives.
        let processes = local();
        let below: Vec<_> = self.started.iter().flat_map(|one| tree(processes.as_ref(), one.pid)).collect();
        self.add(below);
        for one in &self.started {
            // One that has ended meanwhile needs no signal.
            let _ = one.signal(signal);
        }
    }

    fn left(&self) -> String {
        let processes = local();
        let name = |one: &Identity| {
            let line = processes.command_line(one.pid).unwrap_or_default();
            let line: String = line.chars().take(80).collect();
            format!("process {} ({})", one.pid, line.escape_debug())
        };
        let left: Vec<_> = self.terminals.iter().chain(&self.started).map(name).collect();
        format!("still running: {}", left.join(", "))
    }
}

/// Whether one of these processes has started us, or whoever did.
pub(super) fn are_around_us(panes: &[u32]) -> bool {
    let processes = local();
    panes.iter().any(|pane| is_below(processes.as_ref(), *pane, std::process::id()))
}

/// The processes that run commands of these threads: below a shared server, and those that have left
/// their starter or outlived it. Of the latter only shells that were given a line to run: what else
/// works for itself, as a build daemon does, may work for others by now.
pub(super) fn of_threads(server: Option<u32>, threads: &[String]) -> Vec<Identity> {
    let processes = local();
    let below = |server| carriers(processes.as_ref(), server, THREAD_VARIABLE, threads);
    let mut found = server.map(below).unwrap_or_default();
    let is_line = |line: &str| {
        let mut words = line.split(' ');
        let program = words.next().and_then(|program| program.rsplit('/').next()).unwrap_or_default();
        SHELLS.contains(&program) && matches!(words.next(), Some("-c" | "-lc"))
    };
    found.extend(orphans(processes.as_ref(), THREAD_VARIABLE, threads, is_line));
    found
}

/// The agents in a pane: its own process, unless that is a person's shell; then those below it.
fn agents(processes: &dyn Processes, pane: u32) -> Vec<u32> {
    if !is_shell(processes, pane) {
        return vec![pane];
    }
    let mut agents: Vec<u32> = Vec::new();
    for one in tree(processes, pane).iter().skip(1) {
        let inside = agents.iter().any(|agent| tree(processes, *agent).iter().any(|below| below == one));
        if !inside && names(processes, one.pid).any(|name| name == AGENT) {
            agents.push(one.pid);
        }
    }
    agents
}

/// The names of a process's program and of the script that it runs.
fn names(processes: &dyn Processes, pid: u32) -> impl Iterator<Item = String> {
    let line = processes.command_line(pid).unwrap_or_default();
    let words: Vec<String> = line.split(' ').take(2).map(ToOwned::to_owned).collect();
    words.into_iter().filter_map(|word| {
        let name = Path::new(&word).file_name()?.to_string_lossy().into_owned();
        Some(name.trim_start_matches('-').to_owned())
    })
}

fn is_shell(processes: &dyn Processes, pid: u32) -> bool {
    let line = processes.command_line(pid).unwrap_or_default();
    let name = names(processes, pid).next().unwrap_or_default();
    // A shell that runs a script or a given line is a program like any other.
    let mut arguments = line.split(' ').skip(1);
    let is_given = arguments.clone().next().is_some_and(|first| !first.starts_with('-'));
    SHELLS.contains(&name.as_str()) && !is_given && !arguments.any(|word| word == "-c")
}
