//! One run of the tmux program: arguments and input in, output or a cause out, within a deadline.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::error::{self, Subject, TmuxError};

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
        let outcome = converse(&mut child, self.input.unwrap_or_default(), Instant::now() + deadline);
        if !matches!(outcome, Ok(Some(_))) {
            // It may have ended by itself meanwhile; then there is nothing to stop.
            let _ = child.kill();
            let _ = child.wait();
        }
        let answer = outcome
            .map_err(|error| self.failed(error.to_string()))?
            .ok_or_else(|| TmuxError::TimedOut { command: self.shown.clone(), after: deadline })?;
        if answer.status.success() { Ok(lossless(answer.stdout)) } else { Err(self.refused(&answer)) }
    }

    fn not_started(&self, program: String, error: &io::Error) -> TmuxError {
        match error.kind() {
            io::ErrorKind::NotFound => TmuxError::NotInstalled { command: self.shown.clone(), program },
            _ => self.failed(error.to_string()),
        }
    }

    fn refused(&self, answer: &Answer) -> TmuxError {
        let texts =
            [&answer.stderr, &answer.stdout].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
        let detail = texts.into_iter().find(|text| !text.is_empty());
        self.failed(detail.unwrap_or_else(|| match answer.status.code() {
            Some(code) => format!("exit code {code}"),
            None => answer.status.to_string(),
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

/// What a program that ended by itself said.
struct Answer {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Writes the input and reads both outputs, each when it is ready, until the program has ended;
/// `None` when it has not by the deadline. One thread is enough, and no side can block the other.
fn converse(child: &mut Child, input: &[u8], deadline: Instant) -> io::Result<Option<Answer>> {
    let mut stdin = child.stdin.take();
    if let Some(pipe) = &stdin {
        let flags = fcntl_getfl(pipe)?;
        fcntl_setfl(pipe, flags | OFlags::NONBLOCK)?;
    }
    let mut outputs = [
        Output::new(child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Pipe>)),
        Output::new(child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Pipe>)),
    ];
    let mut unwritten = input;
    loop {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else { return Ok(None) };
        if stdin.is_some() && unwritten.is_empty() {
            stdin = None;
        }
        if outputs.iter().all(|output| output.pipe.is_none()) {
            break;
        }
        let ready = wait_for(stdin.as_ref(), &outputs, left)?;
        if ready.stdin && !write_some(stdin.as_mut(), &mut unwritten)? {
            stdin = None;
        }
        for (output, ready) in outputs.iter_mut().zip(ready.outputs) {
            if ready {
                output.read_some()?;
            }
        }
    }
    let Some(status) = wait(child, deadline)? else { return Ok(None) };
    let [stdout, stderr] = outputs.map(|output| output.text);
    Ok(Some(Answer { status, stdout, stderr }))
}

trait Pipe: Read + AsFd {}
impl<T: Read + AsFd> Pipe for T {}

/// One output of the program: the pipe until its end, and what came so far.
struct Output {
    pipe: Option<Box<dyn Pipe>>,
    text: Vec<u8>,
}

impl Output {
    fn new(pipe: Option<Box<dyn Pipe>>) -> Self {
        Self { pipe, text: Vec::new() }
    }

    fn read_some(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        match pipe.read(&mut buffer) {
            Ok(0) => self.pipe = None,
            Ok(count) => self.text.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

#[derive(Default)]
struct Ready {
    stdin: bool,
    outputs: [bool; 2],
}

/// Waits until a pipe can be used, at most this long.
fn wait_for(stdin: Option<&ChildStdin>, outputs: &[Output; 2], left: Duration) -> io::Result<Ready> {
    let mut polled = Vec::with_capacity(3);
    let mut whose = Vec::with_capacity(3);
    if let Some(pipe) = stdin {
        polled.push(PollFd::new(pipe, PollFlags::OUT));
        whose.push(None);
    }
    for (index, output) in outputs.iter().enumerate() {
        if let Some(pipe) = &output.pipe {
            polled.push(PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN));
            whose.push(Some(index));
        }
    }
    let limit = Timespec::try_from(left).map_err(io::Error::other)?;
    match poll(&mut polled, Some(&limit)) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok(Ready::default()),
        Err(error) => return Err(error.into()),
    }
    let mut ready = Ready::default();
    for (index, poll) in whose.into_iter().zip(&polled) {
        let is_ready = !poll.revents().is_empty();
        match index {
            None => ready.stdin = is_ready,
            Some(index) => ready.outputs[index] = is_ready,
        }
    }
    Ok(ready)
}

/// Writes what the pipe takes; `false` when the program reads no more (how it ended says why).
fn write_some(pipe: Option<&mut ChildStdin>, unwritten: &mut &[u8]) -> io::Result<bool> {
    let Some(pipe) = pipe else { return Ok(false) };
    match pipe.write(unwritten) {
        Ok(count) => *unwritten = &unwritten[count..],
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
        Err(error) => return Err(error),
    }
    Ok(true)
}

/// Waits for the end of a program that has closed its outputs, which follows at once as a rule.
fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_micros(50);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Output as text; what is not UTF-8 becomes the replacement character.
fn lossless(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
