//! Processes of the program: started, heard to their end, killed and reaped whatever happens.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_conveyor");

/// The environment of a started process: nothing of ours, so that no setting leaks in.
pub fn command(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).env_clear().env("HOME", directory).env("PATH", "/usr/bin:/bin");
    command
}

/// A place in the list of living processes, from which they can be killed.
pub struct Slot {
    /// The command's name.
    pub kind: String,
    state: Mutex<State>,
}

struct State {
    child: Option<Child>,
    forced: bool,
}

impl Slot {
    /// Sends a signal, unless the process was reaped already. `true` when it was sent.
    pub fn signal(&self, signal: Signal) -> bool {
        let mut state = self.state.lock().unwrap();
        let Some(child) = &state.child else { return false };
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let sent = kill_process(pid, signal).is_ok();
        state.forced |= sent && signal == Signal::KILL;
        sent
    }

    /// Whether the process stands still.
    pub fn is_stopped(&self) -> bool {
        let state = self.state.lock().unwrap();
        let Some(child) = &state.child else { return false };
        let told = Command::new("ps").args(["-o", "state=", "-p", &child.id().to_string()]).output().unwrap();
        told.stdout.trim_ascii().starts_with(b"T")
    }

    /// Whether the process has not been reaped yet.
    pub fn is_alive(&self) -> bool {
        self.state.lock().unwrap().child.is_some()
    }

    /// Reaps the process. The lock is held meanwhile, so that nobody signals a stranger.
    fn reap(&self) -> Option<(ExitStatus, bool)> {
        let mut state = self.state.lock().unwrap();
        let status = state.child.as_mut()?.wait().unwrap();
        state.child = None;
        Some((status, state.forced))
    }
}

/// A started process. Dropped, it is killed and reaped.
pub struct Process {
    slot: Arc<Slot>,
    stdout: Option<std::process::ChildStdout>,
    stderr: Option<std::process::ChildStderr>,
    arguments: String,
}

/// How a process ended.
pub struct Ran {
    arguments: String,
    pub status: ExitStatus,
    /// Whether this suite killed it.
    pub forced: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    /// Starts a command; `kind` and `arguments` are for reports.
    pub fn start(mut command: Command, kind: &str, arguments: String) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("starting {arguments}: {e}"));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let state = Mutex::new(State { child: Some(child), forced: false });
        Self { slot: Arc::new(Slot { kind: kind.to_owned(), state }), stdout, stderr, arguments }
    }

    /// The process's place in the list of the living.
    pub fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Ran {
        let mut stdout = Vec::new();
        let mut stderr = Vec::new();
        // What goes to standard error here is a few lines: the pipe holds it meanwhile.
        self.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
        self.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
        let (status, forced) = self.slot.reap().unwrap();
        Ran {
            arguments: std::mem::take(&mut self.arguments),
            status,
            forced,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.slot.signal(Signal::KILL) {
            self.slot.reap();
        }
    }
}

impl Ran {
    /// Whether it ended with exit code 0.
    pub fn ok(&self) -> bool {
        self.status.success()
    }

    /// Standard output as JSON, if it is complete.
    pub fn parsed(&self) -> Option<Value> {
        serde_json::from_str(&self.stdout).ok()
    }

    /// Standard output of a command that must have succeeded, as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert!(self.ok(), "{}", self.told());
        self.parsed().unwrap_or_else(|| panic!("no JSON: {}", self.told()))
    }

    /// A command that must have succeeded.
    #[track_caller]
    pub fn expect_ok(&self) {
        assert!(self.ok(), "{}", self.told());
    }

    /// A command that must have been refused: exit 2, nothing on standard output, one line on
    /// standard error, which is given.
    #[track_caller]
    pub fn refusal(&self) -> String {
        assert_eq!(self.status.code(), Some(2), "{}", self.told());
        assert_eq!(self.stdout, "", "{}", self.told());
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.told());
        self.stderr.trim_end().to_owned()
    }

    /// What it was and how it ended, for a report.
    pub fn told(&self) -> String {
        let stdout: String = self.stdout.chars().take(300).collect();
        format!("{}: {}; stderr {:?}; stdout {stdout:?}", self.arguments, self.status, self.stderr)
    }
}
