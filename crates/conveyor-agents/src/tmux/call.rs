//! One run of the tmux program: arguments and input in, output or a cause out, within a deadline.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::error::{self, Subject, TmuxError};
use crate::conversation::{Answer, End, converse};

/// A call in the making.
#[derive(Clone, Debug)]
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

    /// The same, shown in error messages as a call of this command.
    pub(super) fn shown(mut self, name: &str, target: &str) -> Self {
        self.shown = format!("tmux {name} -t {target}");
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
    pub(super) fn run(self, program: Command, deadline: Duration) -> Result<String, TmuxError> {
        self.start(program, deadline)?.finish()
    }

    /// Starts the prepared program with these arguments.
    pub(super) fn start(self, mut program: Command, deadline: Duration) -> Result<Started<'a>, TmuxError> {
        program
            .args(&self.arguments)
            .stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let name = program.get_program().to_string_lossy().into_owned();
        let child = program.spawn().map_err(|error| self.not_started(name, &error))?;
        Ok(Started { call: self, child, since: Instant::now(), deadline })
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

/// A call that runs. Dropped, it is given up.
#[derive(Debug)]
pub(super) struct Started<'a> {
    call: Call<'a>,
    child: Child,
    since: Instant,
    deadline: Duration,
}

impl Started<'_> {
    /// Waits for what it prints.
    pub(super) fn finish(mut self) -> Result<String, TmuxError> {
        let input = self.call.input.unwrap_or_default();
        let outcome = converse(&mut self.child, input, self.since + self.deadline, usize::MAX);
        let call = &self.call;
        let answer = outcome.map_err(|error| call.failed(error.to_string()))?;
        match answer.end {
            End::Ended(status) if status.success() => Ok(lossless(answer.stdout)),
            End::Ended(status) => Err(call.refused(&answer, status)),
            End::TimedOut | End::TooMuch => {
                Err(TmuxError::TimedOut { command: call.shown.clone(), after: self.deadline })
            }
        }
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to stop.
        let _ = self.child.kill();
        let _ = self.child.wait();
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
