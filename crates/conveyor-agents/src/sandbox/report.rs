//! How the program ended, in the words of our own processes around it.
//!
//! They share its standard output, so that each report begins with a word that the program does not
//! know, and holds nothing but numbers: whatever it writes, it is not taken for a report, and none of
//! its text for ours.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::launch::say;

/// What is reported. The first report is that of the process next to the program, which knows best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// It ended with this exit code.
    Exited(i32),
    /// This signal ended it.
    Signal(i32),
    /// Its time was up.
    TimedOut,
    /// It could not be started, with the number of the system's reason.
    NotStarted(i32),
}

impl Report {
    /// The report about a program that has ended.
    pub(super) fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }

    /// The report about a program that could not be started.
    pub(super) fn not_started(error: &io::Error) -> Self {
        Self::NotStarted(error.raw_os_error().unwrap_or_default())
    }

    /// Says it to whoever started us all.
    pub(super) fn send(self, word: &str) {
        let (kind, number) = match self {
            Self::Exited(code) => ("exited", code),
            Self::Signal(signal) => ("signal", signal),
            Self::TimedOut => ("timed-out", 0),
            Self::NotStarted(errno) => ("not-started", errno),
        };
        // Nobody is left to tell when standard output is gone.
        let _ = say(&format!("{}{kind} {number}", mark(word)));
    }

    /// The first report in what was said, and how much the program itself had said before it.
    pub(super) fn find(said: &[u8], word: &str) -> Option<(usize, Self)> {
        let mark = mark(word).into_bytes();
        let at = said.windows(mark.len()).position(|window| window == mark)?;
        let line = said[at + mark.len()..].split(|byte| *byte == b'\n').next()?;
        let (kind, number) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        let number = number.parse().ok()?;
        let report = match kind {
            "exited" => Self::Exited(number),
            "signal" => Self::Signal(number),
            "timed-out" => Self::TimedOut,
            "not-started" => Self::NotStarted(number),
            _ => return None,
        };
        Some((at, report))
    }
}

/// What stands before a report: the program may have left a line unfinished.
fn mark(word: &str) -> String {
    format!("\n@{word} ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_report_with_the_word_counts() {
        let said = b"{}\n@other exited 0\nfailed: x\n@word signal 15\n\n@word exited 143\n";
        let (own, report) = Report::find(said, "word").unwrap();
        assert_eq!((&said[..own], report), (&b"{}\n@other exited 0\nfailed: x"[..], Report::Signal(15)));
        assert_eq!(Report::find(b"@word exited 0\n", "word"), None, "not at the beginning of a report");
        assert_eq!(Report::find(b"\n@word exited x\n", "word"), None);
        assert_eq!(Report::find(b"\n@word not-started 2\n", "word"), Some((0, Report::NotStarted(2))));
    }
}
