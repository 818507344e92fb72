//! Our own executable as the launcher of a sandboxed program.
//!
//! It is started with the arguments `@sandbox` and a stage, and reads what to do from the beginning of its standard
//! input, so that the rest of it is left for the program. Before the program starts, one line on
//! standard output says whether it will: `ready`, or `failed: ` and why. After it, reports say how the
//! program ended.

use std::io::{self, Write};
#[cfg(target_os = "linux")]
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::denied::DeniedSet;
use super::report::Report;
use super::{keeper, self_test};

/// The first argument of the launcher; no command can have this name.
pub const ENTRY: &str = "@sandbox";

/// The exit code of a launcher that did not start anything.
const NOT_STARTED: u8 = 127;

/// A step of starting a sandboxed program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Starts the next one and keeps watch over everything that comes of it.
    Keep,
    /// Shuts itself off with Landlock and becomes the program.
    Landlock,
    /// Is shut off already, but for system calls; starts the program.
    Enter,
    /// Makes namespaces.
    Unshare,
    /// The first process in them; starts the program.
    Init,
}

impl Stage {
    const ALL: [Self; 5] = [Self::Keep, Self::Landlock, Self::Enter, Self::Unshare, Self::Init];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Landlock => "landlock",
            Self::Enter => "enter",
            Self::Unshare => "unshare",
            Self::Init => "init",
        }
    }
}

/// What a launcher has to do. Every stage reads a copy of its own.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Instructions {
    /// What the keeper starts.
    pub(super) next: Vec<String>,
    /// When the keeper ends everything.
    pub(super) timeout_ms: u64,
    pub(super) denied: DeniedSet,
    /// The program's own directory.
    pub(super) directory: PathBuf,
    /// A Unix socket that must not be reachable.
    pub(super) socket: PathBuf,
    /// Our own executable.
    pub(super) launcher: PathBuf,
    /// What reports begin with. The program never sees it.
    pub(super) word: String,
    /// The program and its arguments.
    pub(super) command: Vec<String>,
}

impl Instructions {
    /// The form in which a launcher reads them.
    pub(super) fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let text = serde_json::to_vec(self)?;
        let mut bytes = format!("{:08x}", text.len()).into_bytes();
        bytes.extend(text);
        Ok(bytes)
    }

    /// Takes them from the beginning of standard input, and not a byte more.
    fn read() -> io::Result<Self> {
        let mut length = [0; 8];
        read_exactly(&mut length)?;
        let length = std::str::from_utf8(&length).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let mut text = vec![0; length.ok_or(io::ErrorKind::InvalidData)?];
        read_exactly(&mut text)?;
        Ok(serde_json::from_slice(&text)?)
    }
}

/// Reads around the buffer of `io::stdin`, which would take more than asked for.
fn read_exactly(buffer: &mut [u8]) -> io::Result<()> {
    let stdin = io::stdin();
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::read(&stdin, &mut buffer[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Does a stage of starting a sandboxed program; gives the exit code.
#[must_use]
pub fn main(stage: &str) -> u8 {
    let Some(stage) = Stage::ALL.into_iter().find(|known| known.as_str() == stage) else {
        return refuse("this is no stage of a sandbox");
    };
    // Whatever was left open by whoever started us is not for the program.
    close_inherited();
    match Instructions::read() {
        Ok(instructions) => run(stage, &instructions),
        Err(error) => refuse(&format!("instructions cannot be read: {error}")),
    }
}

fn run(stage: Stage, instructions: &Instructions) -> u8 {
    if matches!(stage, Stage::Landlock | Stage::Unshare | Stage::Enter) {
        // Away from the terminal that we were started in. bubblewrap has done it already.
        let _ = rustix::process::setsid();
    }
    match stage {
        Stage::Keep => keeper::keep(instructions).unwrap_or_else(|error| refuse(&error)),
        #[cfg(target_os = "linux")]
        Stage::Landlock => restrict(stage, instructions)
            .and_then(|()| become_program(instructions))
            .unwrap_or_else(|error| refuse(&error)),
        Stage::Enter => restrict(stage, instructions)
            .and_then(|()| start_program(instructions))
            .unwrap_or_else(|error| refuse(&error)),
        #[cfg(target_os = "linux")]
        Stage::Unshare => super::namespaces::unshare(instructions).unwrap_or_else(|error| refuse(&error)),
        #[cfg(target_os = "linux")]
        Stage::Init => super::namespaces::init(instructions).unwrap_or_else(|error| refuse(&error)),
        #[cfg(not(target_os = "linux"))]
        Stage::Landlock | Stage::Unshare | Stage::Init => refuse("this system does not have that"),
    }
}

/// Says why the program will not be started.
fn refuse(reason: &str) -> u8 {
    // Nobody is left to tell when standard output is gone.
    let _ = say(&format!("failed: {}", reason.replace('\n', " ")));
    NOT_STARTED
}

/// A line to whoever started us, at once.
pub(super) fn say(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// What is left to do inside of a sandbox, and the test of the whole.
#[cfg_attr(not(target_os = "linux"), allow(unused_variables, reason = "only Linux has more than one stage"))]
pub(super) fn restrict(stage: Stage, instructions: &Instructions) -> Result<(), String> {
    #[cfg(target_os = "linux")]
    {
        // The program must not outlive its keeper.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(|error| error.to_string())?;
        super::syscalls::drop_privileges()?;
        if stage == Stage::Landlock {
            super::landlock::restrict(&instructions.denied)?;
        }
        super::syscalls::filter()?;
    }
    self_test::check(&instructions.denied, &instructions.socket)
}

/// The program, announced to whoever started us and ready to be started.
fn announced(instructions: &Instructions) -> Result<Command, String> {
    let (program, arguments) = instructions.command.split_first().ok_or("there is no program to run")?;
    let mut command = Command::new(program);
    // bubblewrap adds this one.
    command.args(arguments).env_remove("PWD");
    say("ready").map_err(|error| error.to_string())?;
    Ok(command)
}

/// Replaces this process by the program, which whoever keeps watch outside sees end; comes back only
/// when that fails.
#[cfg(target_os = "linux")]
fn become_program(instructions: &Instructions) -> Result<u8, String> {
    let error = announced(instructions)?.exec();
    Report::not_started(&error).send(&instructions.word);
    Ok(NOT_STARTED)
}

/// Starts the program and reports how it ends: from farther outside, a signal looks like an exit code.
pub(super) fn start_program(instructions: &Instructions) -> Result<u8, String> {
    let report = match announced(instructions)?.status() {
        Ok(status) => Report::of(status),
        Err(error) => Report::not_started(&error),
    };
    report.send(&instructions.word);
    Ok(0)
}

/// Closes everything but the three standard streams.
fn close_inherited() {
    let directory = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let open: Vec<i32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > 2)
        .collect();
    for descriptor in open {
        // The listing's own one is closed already.
        let _ = nix::unistd::close(descriptor);
    }
}
