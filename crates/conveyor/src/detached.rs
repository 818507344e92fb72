//! A copy of this program that goes on when whoever called it is ended.
//!
//! A command that an agent runs in its own turn ends with that turn. One that ends this very turn
//! therefore hands its work to a copy in a session of its own, and only relays what that says: its
//! records are complete whether or not the caller lives to hear of it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::app::App;
use crate::environment::DETACHED;
use crate::failure::Failure;

/// Runs this command in a copy and relays its output and exit code. `None` when there is no file
/// from which a copy could run; then nothing was done.
///
/// # Errors
/// The copy cannot be started, or ends with another exit code than 0.
pub(crate) fn relay(app: &mut App<'_>) -> Option<Result<(), Failure>> {
    let program = app.host.environment.executable.clone()?;
    let mut copy = Command::new(program);
    copy.args(app.arguments).env(DETACHED, "1");
    if let Ok(cwd) = &app.host.cwd {
        copy.current_dir(cwd);
    }
    copy.stdout(Stdio::piped()).stderr(Stdio::piped());
    if app.standard_input.is_some() {
        copy.stdin(Stdio::piped());
    }
    Some(run(app, copy))
}

fn run(app: &mut App<'_>, mut copy: Command) -> Result<(), Failure> {
    let mut running = copy.spawn()?;
    // What was read here cannot be read again; the copy reads it before it says anything.
    if let (Some(text), Some(mut stdin)) = (&app.standard_input, running.stdin.take()) {
        stdin.write_all(text.as_bytes())?;
    }
    let said = running.wait_with_output()?;
    // Nobody is left to tell when standard error is gone.
    let _ = app.host.stderr.write_all(&said.stderr);
    app.host.stdout.write_all(&said.stdout)?;
    app.host.stdout.flush()?;
    match said.status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(Failure::Verdict(u8::try_from(code).unwrap_or(1))),
        None => Err(Failure::usage(format!("the copy that did the work was ended: {}", said.status))),
    }
}
