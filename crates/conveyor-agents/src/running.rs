//! Running a program to its end, or to a deadline.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Runs a program without input. `None` when it was stopped at the deadline.
///
/// # Errors
/// It cannot be started.
pub fn run(command: &mut Command, limit: Duration) -> io::Result<Option<Run>> {
    let deadline = Instant::now() + limit;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let Some(status) = wait(&mut child, deadline)? else { return Ok(None) };
    Ok(Some(Run { status, stdout: text(&stdout), stderr: text(&stderr) }))
}

/// How a program ended, and what it said.
#[derive(Clone, Debug)]
pub struct Run {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output; what is not UTF-8 is replaced.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// So much of a program's output is kept.
const MOST: usize = 256 * 1024;

/// Reads a pipe to its end beside the program, which would stop when nobody did.
fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    if let Some(mut pipe) = pipe {
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            let mut kept = 0;
            while let Ok(read) = pipe.read(&mut chunk) {
                if read == 0 {
                    break;
                }
                if kept < MOST {
                    kept += read;
                    // Nobody listens once the program was given up.
                    let _ = sender.send(chunk[..read].to_vec());
                }
            }
        });
    }
    receiver
}

/// What came out of a pipe. A server that was left behind may keep it open; what the program said,
/// it said before its end.
fn text(pipe: &Receiver<Vec<u8>>) -> String {
    let deadline = Instant::now() + Duration::from_millis(200);
    let mut bytes = Vec::new();
    while let Ok(chunk) = pipe.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        bytes.extend(chunk);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for the end of a program; kills it at the deadline and gives `None`.
fn wait(child: &mut Child, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
