//! Writing to terminals.

pub mod interrupt;
pub mod nudge;
pub mod session_interrupt;
pub mod session_nudge;

use std::io::Write;

use conveyor_core::Error;
use conveyor_core::typing::Guard;

use crate::app::App;
use crate::failure::Failure;

/// How careful to be: shared by the commands that write to terminals at once.
#[derive(clap::Args)]
pub struct GuardFlags {
    /// Type in spite of missing proofs; that is recorded
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    mode: GuardMode,
}

/// Which proofs there are: shared by all commands that write to terminals.
#[derive(clap::Args)]
pub struct GuardMode {
    /// `off` types as agent-conveyor 0.1.10 did, without any proof [default: $CONVEYOR_TYPING_GUARD, else strict]
    #[arg(long, value_name = "MODE", value_parser = clap::builder::PossibleValuesParser::new(["strict", "off"]))]
    typing_guard: Option<String>,
    /// Never ask agents' servers [default: unless $CONVEYOR_NATIVE is off]
    #[arg(long)]
    no_native: bool,
}

impl GuardFlags {
    /// As [`GuardMode::guard`], forced where that is wanted.
    ///
    /// # Errors
    /// An environment variable with another value than it may have.
    pub fn guard(&self, app: &mut App<'_>) -> Result<Guard, Failure> {
        Ok(Guard { force: self.force, ..self.mode.guard(app)? })
    }
}

impl GuardMode {
    /// What the flags and, where they are silent, the environment say; nothing is forced. One line
    /// warns of doing without a guard.
    ///
    /// # Errors
    /// An environment variable with another value than it may have.
    pub fn guard(&self, app: &mut App<'_>) -> Result<Guard, Failure> {
        guard(app, self.typing_guard.as_deref(), self.no_native)
    }
}

/// What the environment says, for commands without flags about it.
///
/// # Errors
/// An environment variable with another value than it may have.
pub fn guard_of_environment(app: &mut App<'_>) -> Result<Guard, Failure> {
    guard(app, None, false)
}

fn guard(app: &mut App<'_>, mode: Option<&str>, no_native: bool) -> Result<Guard, Failure> {
    let environment = &app.host.environment;
    environment.decodable(&["CONVEYOR_TYPING_GUARD"])?;
    let strict = match mode.or(environment.typing_guard.as_deref()) {
        None | Some("strict" | "on") => true,
        Some("off") => false,
        Some(other) => return Err(bad_switch("CONVEYOR_TYPING_GUARD", other, "strict or off")),
    };
    let native = native(app, no_native)?;
    if !strict {
        let line = "the typing guard is off: nothing proves that the terminal takes the text as a message";
        // Nobody is left to warn when standard error is gone.
        let _ = writeln!(app.host.stderr, "{line}");
    }
    Ok(Guard { strict, native, force: false })
}

/// Whether agents' servers are asked.
///
/// # Errors
/// An environment variable with another value than it may have.
pub(super) fn native(app: &App<'_>, no_native: bool) -> Result<bool, Failure> {
    app.host.environment.decodable(&["CONVEYOR_NATIVE"])?;
    match app.host.environment.native.as_deref() {
        None | Some("on") => Ok(!no_native),
        Some("off") => Ok(false),
        Some(other) => Err(bad_switch("CONVEYOR_NATIVE", other, "on or off")),
    }
}

fn bad_switch(name: &str, value: &str, allowed: &str) -> Failure {
    Failure::usage(format!("the environment variable {name} is {value:?}: it may be {allowed}"))
}

/// Prints the refusal object of a terminal that does not take a message, if JSON was asked for.
/// Gives the failure back.
pub(super) fn refused(app: &mut App<'_>, json: bool, error: Error) -> Failure {
    if let (Error::TargetNotReady(object), true) = (&error, json)
        && let Err(failure) = app.out().json(object)
    {
        return failure;
    }
    error.into()
}
