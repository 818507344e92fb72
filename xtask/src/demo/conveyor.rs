//! Running the program under demonstration, as an agent does: arguments in, JSON out.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::failure::{Context as _, Failure};

/// The program and the ledger that it works on.
pub(super) struct Conveyor {
    program: PathBuf,
    ledger: PathBuf,
}

impl Conveyor {
    pub(super) fn new(program: PathBuf, ledger: PathBuf) -> Self {
        Self { program, ledger }
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    pub(super) fn ledger(&self) -> &Path {
        &self.ledger
    }

    /// The command line, not yet started.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--path").arg(&self.ledger).stdin(Stdio::null());
        command
    }

    /// Runs a command that must succeed within `limit`; gives what it printed.
    pub(super) fn run(&self, limit: Duration, arguments: &[&str]) -> Result<String, Failure> {
        let name = arguments.first().copied().unwrap_or_default();
        let mut child = self
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(format_args!("starting conveyor {name}"))?;
        let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
        let status = wait(&mut child, limit).context(format_args!("conveyor {name}"))?;
        let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
        if status.success() {
            return Ok(stdout);
        }
        Err(Failure::new(format!("conveyor {name} failed ({status}): {}", stderr.trim())))
    }

    /// As [`Conveyor::run`], with `--json`; gives the value that it printed.
    pub(super) fn json(&self, limit: Duration, arguments: &[&str]) -> Result<Value, Failure> {
        let name = arguments.first().copied().unwrap_or_default();
        let printed = self.run(limit, &[arguments, &["--json"]].concat())?;
        serde_json::from_str(&printed).context(format_args!("reading what conveyor {name} printed"))
    }

    /// Looks until `look` finds something; fails, naming `what`, after `limit`.
    pub(super) fn until<T>(
        &self,
        limit: Duration,
        what: &str,
        mut look: impl FnMut(&Self) -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let start = Instant::now();
        loop {
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            if start.elapsed() > limit {
                return Err(Failure::new(format!("waited {} s in vain for {what}", limit.as_secs())));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The text at a JSON pointer.
pub(super) fn text_at<'v>(value: &'v Value, pointer: &str) -> Result<&'v str, Failure> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .ok_or_else(|| Failure::new(format!("expected a text at {pointer} of the JSON output")))
}

/// Waits for a process to end by itself; kills it after `limit`.
pub(super) fn wait(child: &mut Child, limit: Duration) -> Result<std::process::ExitStatus, Failure> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("waiting for it")? {
            return Ok(status);
        }
        if start.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Failure::new(format!("did not end within {} s", limit.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn collect(pipe: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = pipe {
            // What could be read counts; a broken pipe shows in the exit status.
            let _ = pipe.by_ref().read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    })
}
