//! Running other programs for what they say: git, gh, the tools of a task.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::conversation::{End, converse};

/// What a program said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; `None` when a signal ended it or it ran out of time.
    pub code: Option<i32>,
    /// Whether it ran out of time.
    pub timed_out: bool,
    /// Its standard output; what is not UTF-8 is replaced.
    pub stdout: String,
    /// Its standard error, likewise.
    pub stderr: String,
}

impl Output {
    /// Whether it ended by itself and says that it did well.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}

/// Runs a program in a directory, without a shell and without input. One that runs out of time is
/// ended with all that it started in its process group.
///
/// # Errors
/// A program that cannot be started.
pub fn run(program: &str, arguments: &[&str], directory: &Path, limit: Duration) -> io::Result<Output> {
    let mut command = Command::new(program);
    // Nothing of git's may wait for a person or take locks that an agent's git needs.
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_OPTIONAL_LOCKS", "0");
    let mut child = command
        .args(arguments)
        .current_dir(directory)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let answer = converse(&mut child, &[], Instant::now() + limit, usize::MAX);
    if !matches!(&answer, Ok(answer) if matches!(answer.end, End::Ended(_))) {
        // It is not reaped yet, so that the id of its group is still its own.
        if let Ok(Some(group)) = i32::try_from(child.id()).map(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = child.wait();
    }
    let answer = answer?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Output {
        code: if let End::Ended(status) = answer.end { status.code() } else { None },
        timed_out: !matches!(answer.end, End::Ended(_)),
        stdout: text(&answer.stdout),
        stderr: text(&answer.stderr),
    })
}
