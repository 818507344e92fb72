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
    /// The current directory, or why there is none.
    pub cwd: Result<PathBuf, String>,
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
    /// Whether colours of our own may go to standard output.
    pub stdout_takes_colour: bool,
    /// Whether a person reads standard error.
    pub stderr_is_terminal: bool,
}

impl Host {
    /// The surroundings of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let stdout = std::io::stdout();
        let terminal = stdout.is_terminal();
        // `NO_COLOR` and the like are honoured.
        let colour = terminal && anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
        Self {
            environment: Environment::of_process(),
            cwd: std::env::current_dir().map_err(|error| error.to_string()),
            parent_pid: std::os::unix::process::parent_id().into(),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            stdin: Box::new(std::io::BufReader::new(std::io::stdin())),
            // Nothing stands between data and its reader: what strips colours would strip data, too.
            stdout: Box::new(std::io::BufWriter::new(stdout)),
            stderr: Box::new(std::io::stderr()),
            stdout_is_terminal: terminal,
            stdout_takes_colour: colour,
            stderr_is_terminal: std::io::stderr().is_terminal(),
        }
    }
}
