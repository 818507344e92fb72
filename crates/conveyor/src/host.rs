//! What surrounds one run of the program. Tests put their own in place of the process's.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use conveyor_core::{RandomIds, SystemClock};
use conveyor_model::{Clock, Ids};

use crate::Environment;

/// What surrounds one run of the program.
pub struct Host {
    /// The environment variables that matter.
    pub environment: Environment,
    /// The current directory.
    pub cwd: PathBuf,
    /// The process that started this one.
    pub parent_pid: i64,
    /// Where "now" comes from.
    pub clock: Arc<dyn Clock>,
    /// Where fresh ids come from.
    pub ids: Arc<dyn Ids>,
    /// Documents and answers.
    pub stdin: Box<dyn BufRead>,
    /// Results.
    pub stdout: Box<dyn Write>,
    /// Errors, warnings and progress.
    pub stderr: Box<dyn Write>,
    /// Whether a person reads standard output.
    pub stdout_is_terminal: bool,
    /// Whether a person reads standard error.
    pub stderr_is_terminal: bool,
}

impl Host {
    /// The surroundings of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let stdout = std::io::stdout();
        let terminal = stdout.is_terminal();
        Self {
            environment: Environment::of_process(),
            cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            parent_pid: std::os::unix::process::parent_id().into(),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            stdin: Box::new(std::io::BufReader::new(std::io::stdin())),
            // Colour is stripped when nobody would see it; `NO_COLOR` and the like are honoured.
            stdout: Box::new(std::io::BufWriter::new(anstream::AutoStream::auto(stdout))),
            stderr: Box::new(anstream::AutoStream::auto(std::io::stderr())),
            stdout_is_terminal: terminal,
            stderr_is_terminal: std::io::stderr().is_terminal(),
        }
    }
}
