//! One run of a sandboxed program, from outside.

use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::Engine;
use super::denied::DeniedSet;
use super::launch::{ENTRY, Instructions, Stage};
use super::report::Report;
use crate::conversation::{Answer, End, converse, wait};

/// The most that a program may say.
const MAX_OUTPUT: usize = 1024 * 1024;

/// What the launcher says may come on top.
const HEADING: usize = 8 * 1024;

/// How long setting up and clearing away may take, beside the program's own time.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to run, and how.
pub struct Request<'a> {
    /// Our own executable, which is the launcher.
    pub launcher: &'a Path,
    /// The engines to try, in this order.
    pub engines: &'a [Engine],
    /// The program and its arguments.
    pub command: &'a [String],
    /// The program's whole environment, but for `TMPDIR`.
    pub environment: &'a [(String, OsString)],
    /// What it reads from its standard input.
    pub input: &'a [u8],
    /// How long it may run.
    pub timeout: Duration,
    /// Absolute paths that it may not reach.
    pub denied: &'a [PathBuf],
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The program ended by itself with this exit code.
    Exited(i32),
    /// A signal ended it.
    Signal(i32),
    /// Its time was up.
    TimedOut,
    /// It said more than a mebibyte.
    TooMuch,
    /// The sandbox stood; the program could not be started in it.
    NotStarted(String),
    /// No sandbox could be set up; nothing was run.
    NoSandbox(String),
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// How it ended.
    pub ending: Ending,
    /// What the program wrote to its standard output.
    pub stdout: Vec<u8>,
    /// Whether it wrote anything to its standard error.
    pub has_stderr: bool,
    /// How many places were asked to be denied, each counted once.
    pub denied_count: usize,
    /// The engine in use, or the only one there is; `None` when none of several, or none at all, was
    /// usable.
    pub engine: Option<Engine>,
}

impl Ran {
    fn refused(reason: String, denied_count: usize, engine: Option<Engine>) -> Self {
        let ending = Ending::NoSandbox(reason);
        Self { ending, stdout: Vec::new(), has_stderr: false, denied_count, engine }
    }
}

/// Runs a program in a sandbox. Whatever goes wrong is an [`Ending`].
#[must_use]
pub fn run(request: &Request<'_>) -> Ran {
    let (denied, denied_count) = match DeniedSet::resolve(request.denied) {
        Ok(resolved) => resolved,
        Err(reason) => return Ran::refused(reason, request.denied.len(), None),
    };
    let place = match Place::new(&denied) {
        Ok(place) => place,
        Err(reason) => return Ran::refused(reason, denied_count, None),
    };
    let mut reasons = Vec::new();
    for engine in request.engines {
        match attempt(*engine, request, &denied, &place) {
            Ok(ran) => return Ran { denied_count, engine: Some(*engine), ..ran },
            Err(reason) => reasons.push(format!("{}: {reason}", engine.as_str())),
        }
    }
    let reason = if reasons.is_empty() { "this system has no sandbox".into() } else { reasons.join("; ") };
    let only = if let [engine] = request.engines { Some(*engine) } else { None };
    Ran::refused(reason, denied_count, only)
}

/// The program's directory, and a socket beside it that must not be reachable from there. Both are
/// removed with this value.
struct Place {
    directory: tempfile::TempDir,
    real: PathBuf,
    _outside: tempfile::TempDir,
    socket: PathBuf,
    _listener: UnixListener,
}

impl Place {
    fn new(denied: &DeniedSet) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("no private directory can be made: {error}");
        let mode = Permissions::from_mode(0o700);
        let make =
            || tempfile::Builder::new().prefix("conveyor-sandbox-").permissions(mode.clone()).tempdir();
        let (directory, outside) = (make().map_err(failed)?, make().map_err(failed)?);
        let real = directory.path().canonicalize().map_err(failed)?;
        if denied.covers(&real) {
            return Err(format!("the directory for temporary files, {}, is denied itself", real.display()));
        }
        let socket = outside.path().canonicalize().map_err(failed)?.join("live");
        let listener = UnixListener::bind(&socket)
            .map_err(|error| format!("no Unix socket can be made for the self-test: {error}"))?;
        Ok(Self { directory, real, _outside: outside, socket, _listener: listener })
    }
}

/// Tries one engine; `Err` when it could not be set up, and then nothing was run.
fn attempt(engine: Engine, request: &Request<'_>, denied: &DeniedSet, place: &Place) -> Result<Ran, String> {
    let mut environment = request.environment.to_vec();
    environment.push(("TMPDIR".into(), place.real.clone().into_os_string()));
    let next = next_stage(engine, request, denied, place, &environment)?;
    let word = secret_word();
    let instructions = Instructions {
        next,
        timeout_ms: u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX),
        denied: denied.clone(),
        directory: place.real.clone(),
        socket: place.socket.clone(),
        launcher: request.launcher.to_owned(),
        word: word.clone(),
        command: request.command.to_vec(),
    };
    let stages = if engine == Engine::Namespaces { 3 } else { 2 };
    let mut input = instructions.to_bytes().map_err(|error| error.to_string())?.repeat(stages);
    input.extend_from_slice(request.input);
    let mut child = Command::new(request.launcher)
        .args([ENTRY, Stage::Keep.as_str()])
        .env_clear()
        .envs(environment)
        .current_dir(place.directory.path())
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("the launcher cannot be started: {error}"))?;
    let deadline = Instant::now() + request.timeout + PATIENCE;
    let answer = converse(&mut child, &input, deadline, MAX_OUTPUT + HEADING);
    let is_over = matches!(&answer, Ok(answer) if matches!(answer.end, End::Ended(_)));
    if !is_over {
        end(&mut child);
    }
    judge(answer.map_err(|error| format!("the launcher cannot be heard: {error}"))?, &word)
}

/// A word that nobody can guess.
#[allow(clippy::disallowed_methods, reason = "a secret of one run, no id of a record")]
fn secret_word() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// What the keeper starts.
fn next_stage(
    engine: Engine,
    request: &Request<'_>,
    denied: &DeniedSet,
    place: &Place,
    environment: &[(String, OsString)],
) -> Result<Vec<String>, String> {
    let own = |stage: Stage| -> Result<Vec<String>, String> {
        let launcher = super::bubblewrap::text(request.launcher)?;
        Ok([launcher, ENTRY, stage.as_str()].map(str::to_owned).to_vec())
    };
    match engine {
        Engine::Landlock => own(Stage::Landlock),
        Engine::Namespaces => own(Stage::Unshare),
        Engine::Bubblewrap => {
            let program = super::bubblewrap::find(environment).ok_or("bwrap is not installed")?;
            let mut command = vec![super::bubblewrap::text(&program)?.to_owned()];
            command.extend(super::bubblewrap::arguments(denied, environment, &place.real, request.launcher)?);
            Ok(command)
        }
        #[cfg(target_os = "macos")]
        Engine::SandboxExec => super::macos::command(denied, request.launcher),
        #[cfg(not(target_os = "macos"))]
        Engine::SandboxExec => Err("sandbox-exec not available".into()),
    }
}

/// Ends the keeper and all it keeps.
fn end(child: &mut Child) {
    let Some(keeper) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return };
    // It ends what left its group as well, which a signal to the group would not reach.
    let _ = kill_process(keeper, Signal::TERM);
    if !matches!(wait(child, Instant::now() + PATIENCE), Ok(Some(_))) {
        // It is not reaped yet, so that the id of its group is still its own.
        let _ = kill_process_group(keeper, Signal::KILL);
        let _ = child.wait();
    }
}

/// What the launcher and the program said and how they ended.
fn judge(answer: Answer, word: &str) -> Result<Ran, String> {
    let line_end = answer.stdout.iter().position(|byte| *byte == b'\n').unwrap_or(answer.stdout.len());
    let (heading, rest) = answer.stdout.split_at(line_end);
    let heading = String::from_utf8_lossy(heading).into_owned();
    if heading != "ready" {
        return Err(match heading.strip_prefix("failed: ") {
            Some(reason) => reason.to_owned(),
            None => silent_failure(&answer),
        });
    }
    let said = rest.strip_prefix(b"\n").unwrap_or(rest);
    let report = Report::find(said, word);
    let stdout = said[..report.map_or(said.len(), |(own, _)| own)].to_vec();
    let ending = match (answer.end, report) {
        _ if stdout.len() > MAX_OUTPUT => Ending::TooMuch,
        (End::TooMuch, _) => Ending::TooMuch,
        (End::TimedOut, _) => Ending::TimedOut,
        (End::Ended(_), Some((_, report))) => ending_of(report),
        // The keeper itself was ended.
        (End::Ended(status), None) => ending_of(Report::of(status)),
    };
    let has_stderr = !answer.stderr.is_empty();
    Ok(Ran { ending, stdout, has_stderr, denied_count: 0, engine: None })
}

fn ending_of(report: Report) -> Ending {
    match report {
        Report::Exited(code) => Ending::Exited(code),
        Report::Signal(signal) => Ending::Signal(signal),
        Report::TimedOut => Ending::TimedOut,
        Report::NotStarted(errno) => {
            Ending::NotStarted(format!("cannot be started: {}", std::io::Error::from_raw_os_error(errno)))
        }
    }
}

/// Why a launcher that said nothing did not come up: by the last line of the helper's complaint.
fn silent_failure(answer: &Answer) -> String {
    let stderr = String::from_utf8_lossy(&answer.stderr);
    match stderr.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => line.trim().chars().take(300).collect(),
        None => "it did not come up".into(),
    }
}
