//! Running other programs for what they say: git, gh, Codex, a shell, the tools of a task.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::conversation::{End, converse};

/// The most of a program's output that is of any use; one that says more is ended.
const MAX_OUTPUT: usize = 16 * 1024 * 1024;

/// What a program said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; `None` when it was ended: by a signal, for want of time, for its many words.
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

    /// How it ended, in words.
    #[must_use]
    pub fn ending(&self) -> String {
        self.code.map_or_else(|| "it was ended".to_owned(), |code| format!("exit code {code}"))
    }
}

/// Runs a program without input, to its own end: what it leaves behind may go on. One that runs out
/// of time is ended with all that it started in its process group.
///
/// # Errors
/// A program that cannot be started.
pub fn run(command: &mut Command, limit: Duration) -> io::Result<Output> {
    let mut child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let answer = converse(&mut child, &[], Instant::now() + limit, MAX_OUTPUT);
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
        timed_out: matches!(answer.end, End::TimedOut),
        stdout: text(&answer.stdout),
        stderr: text(&answer.stderr),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Output {
        run(Command::new("sh").args(["-c", script]), limit).unwrap()
    }

    #[test]
    fn what_a_program_leaves_behind_is_not_waited_for() {
        let begun = Instant::now();
        let output = shell("(sleep 60 &) ; echo said; echo more >&2; exit 3", Duration::from_secs(30));
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert_eq!((output.code, output.timed_out), (Some(3), false));
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("said\n", "more\n"));
    }

    #[test]
    fn what_is_said_without_end_is_cut_off() {
        let output = shell("yes", Duration::from_secs(30));
        assert_eq!((output.code, output.timed_out, output.is_success()), (None, false, false));
    }

    #[test]
    fn all_of_a_program_that_takes_too_long_is_ended() {
        let output = shell("sleep 60 & echo $!; wait", Duration::from_millis(300));
        assert_eq!((output.code, output.timed_out), (None, true));
        let inner: u32 = output.stdout.trim().parse().unwrap();
        conveyor_testkit::wait::until(Duration::from_secs(5), "the end of what it had started", || {
            !crate::processes::is_alive(inner.into())
        });
    }
}
