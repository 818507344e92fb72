//! One run of the tmux program: arguments and input in, output or a cause out, within a deadline.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::error::{self, Subject, TmuxError};
use crate::conversation::{Answer, End, converse};

/// A call in the making.
pub(super) struct Call<'a> {
    arguments: Vec<OsString>,
    /// What error messages show of the arguments.
    shown: String,
    /// The plain name of what is addressed.
    target: String,
    input: Option<&'a [u8]>,
}

impl<'a> Call<'a> {
    pub(super) fn new(name: &str, target: &str) -> Self {
        Self {
            arguments: vec![name.into()],
            shown: format!("tmux {name}"),
            target: target.to_owned(),
            input: None,
        }
    }

    /// An argument that error messages show.
    pub(super) fn arg(mut self, argument: &str) -> Self {
        self.shown.push(' ');
        self.shown.push_str(argument);
        self.hidden_arg(argument)
    }

    /// An argument that error messages leave out.
    pub(super) fn hidden_arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(literal(argument.as_ref()));
        self
    }

    /// Begins a further tmux command of the same call. The server runs them one after the other
    /// with nothing in between, so that what they report belongs to one moment.
    pub(super) fn then(mut self, name: &str) -> Self {
        self.arguments.push(";".into());
        self.arguments.push(name.into());
        self
    }

    /// What tmux reads from its standard input.
    pub(super) fn input(mut self, input: &'a [u8]) -> Self {
        self.input = Some(input);
        self
    }

    /// Runs the prepared program with these arguments; gives what it printed.
    pub(super) fn run(&self, mut program: Command, deadline: Duration) -> Result<String, TmuxError> {
        program
            .args(&self.arguments)
            .stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let name = program.get_program().to_string_lossy().into_owned();
        let mut child = program.spawn().map_err(|error| self.not_started(name, &error))?;
        let until = Instant::now() + deadline;
        let outcome = converse(&mut child, self.input.unwrap_or_default(), until, usize::MAX);
        if !matches!(outcome, Ok(Answer { end: End::Ended(_), .. })) {
            // It may have ended by itself meanwhile; then there is nothing to stop.
            let _ = child.kill();
            let _ = child.wait();
        }
        let answer = outcome.map_err(|error| self.failed(error.to_string()))?;
        match answer.end {
            End::Ended(status) if status.success() => Ok(lossless(answer.stdout)),
            End::Ended(status) => Err(self.refused(&answer, status)),
            End::TimedOut | End::TooMuch => {
                Err(TmuxError::TimedOut { command: self.shown.clone(), after: deadline })
            }
        }
    }

    fn not_started(&self, program: String, error: &io::Error) -> TmuxError {
        match error.kind() {
            io::ErrorKind::NotFound => TmuxError::NotInstalled { command: self.shown.clone(), program },
            _ => self.failed(error.to_string()),
        }
    }

    fn refused(&self, answer: &Answer, status: ExitStatus) -> TmuxError {
        let texts =
            [&answer.stderr, &answer.stdout].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
        let detail = texts.into_iter().find(|text| !text.is_empty());
        self.failed(detail.unwrap_or_else(|| match status.code() {
            Some(code) => format!("exit code {code}"),
            None => status.to_string(),
        }))
    }

    fn failed(&self, detail: String) -> TmuxError {
        error::of_detail(&detail, &Subject { command: &self.shown, target: &self.target })
    }
}

/// An argument as tmux takes it literally: to tmux a semicolon at the end of an argument separates
/// commands.
fn literal(argument: &OsStr) -> OsString {
    let mut bytes = argument.as_bytes().to_vec();
    if bytes.last() == Some(&b';') {
        bytes.insert(bytes.len() - 1, b'\\');
    }
    OsString::from_vec(bytes)
}

/// Output as text; what is not UTF-8 becomes the replacement character.
fn lossless(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
