//! Talking to a program that we started: input in, both outputs out, within a deadline.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// How a conversation ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The program ended by itself.
    Ended(ExitStatus),
    /// It had not ended by the deadline; it still runs.
    TimedOut,
    /// It said more than it may; it still runs.
    TooMuch,
}

/// What a program said, and how that ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) end: End,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// How often a program whose outputs stay open is asked whether it has ended. What it left behind may
/// keep them open for ever.
const LOOK: Duration = Duration::from_millis(50);

/// Writes the input and reads both outputs, each when it is ready, until the program has ended, the
/// deadline has passed, or standard output is longer than `limit` bytes. One thread is enough, and no
/// side can block the other. What the program said, it said before its end.
///
/// # Errors
/// A failing pipe.
pub(crate) fn converse(
    child: &mut Child,
    input: &[u8],
    deadline: Instant,
    limit: usize,
) -> io::Result<Answer> {
    let mut stdin = child.stdin.take();
    if let Some(pipe) = &stdin {
        let flags = fcntl_getfl(pipe)?;
        fcntl_setfl(pipe, flags | OFlags::NONBLOCK)?;
    }
    let mut outputs = [
        Output::new(child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Pipe>)),
        Output::new(child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Pipe>)),
    ];
    let end = exchange(child, &mut stdin, &mut outputs, input, (deadline, limit))?;
    let end = match end {
        Some(end) => end,
        None => wait(child, deadline)?.map_or(End::TimedOut, End::Ended),
    };
    let [stdout, stderr] = outputs.map(|output| output.text);
    Ok(Answer { end, stdout, stderr })
}

/// `None`: both outputs have ended.
fn exchange(
    child: &mut Child,
    stdin: &mut Option<ChildStdin>,
    outputs: &mut [Output; 2],
    input: &[u8],
    (deadline, limit): (Instant, usize),
) -> io::Result<Option<End>> {
    let mut unwritten = input;
    let mut looked = Instant::now();
    loop {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else {
            return Ok(Some(End::TimedOut));
        };
        if stdin.is_some() && unwritten.is_empty() {
            *stdin = None;
        }
        if outputs.iter().all(|output| output.pipe.is_none()) {
            return Ok(None);
        }
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            if let Some(status) = child.try_wait()? {
                outputs.iter_mut().try_for_each(|output| output.read_rest(limit))?;
                return Ok(Some(End::Ended(status)));
            }
        }
        let ready = wait_for(stdin.as_ref(), outputs, left.min(LOOK))?;
        if ready.stdin && !write_some(stdin.as_mut(), &mut unwritten)? {
            *stdin = None;
        }
        for (output, ready) in outputs.iter_mut().zip(ready.outputs) {
            if ready {
                output.read_some()?;
            }
        }
        let [stdout, stderr] = outputs;
        if stdout.text.len() > limit {
            return Ok(Some(End::TooMuch));
        }
        // Complaints are no answer; a long one is kept from its beginning only.
        stderr.text.truncate(limit);
    }
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
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Reads what is in the pipe, without waiting for more.
    fn read_rest(&mut self, limit: usize) -> io::Result<()> {
        let Some(pipe) = &self.pipe else { return Ok(()) };
        let flags = fcntl_getfl(pipe.as_fd())?;
        fcntl_setfl(pipe.as_fd(), flags | OFlags::NONBLOCK)?;
        loop {
            let before = self.text.len();
            self.read_some()?;
            if self.text.len() == before || before > limit {
                return Ok(());
            }
        }
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

/// Waits for the end of a program that has closed its outputs, which follows at once as a rule;
/// `None` when it has not come by the deadline.
pub(crate) fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
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
