//! `stop`: end the terminal of a worker or session.

use std::io::Write;

use conveyor_core::terminal::{self, StopRequest};
use conveyor_core::typing::Guard;
use conveyor_core::{Error, detaching};

use crate::app::App;
use crate::commands::typing::GuardMode;
use crate::commands::{DbPath, Group, Subcommand};
use crate::detached;
use crate::failure::Failure;

/// Arguments of `stop`.
#[derive(clap::Args)]
pub struct Stop {
    /// The worker of the state root, or the session
    #[arg(value_name = "NAME")]
    name: String,
    /// Tell it this first
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// End it even though its Codex server cannot say what it leaves in the background
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    guard: GuardMode,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for Stop {
    const NAME: &'static str = "stop";
    const GROUP: Group = Group::Legacy;
    const ABOUT: &'static str = "End the terminal of a worker or session";
    const HELP: &'static str = "\
Ends what is queued for the agent, the turn that runs, the commands that it left in the background, and then its
terminal; and looks whether all of it has ended. What goes on after some seconds, or cannot be looked at, is named
(exit 1), and the session is not gone; --force ends what can be ended where the Codex server lacks the methods, and
records background: unknown. A registered session is gone afterwards; its binding stays: tasks are closed with
finish-task or stop-task. The message needs the proofs that every message needs; where
they are missing, one line on standard error says so, and the terminal is ended all the same.

Example:
  conveyor stop worker-1 --message 'Push what you have, we stop here' --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let guard = Guard { force: self.force, ..self.guard.guard(app)? };
        let mut place = app.place(&self.db)?;
        if app.host.environment.detached {
            detaching::leave_session()?;
        } else if terminal::stop_ends_caller(
            &mut place,
            &self.name,
            app.host.environment.codex_thread_id.is_some(),
        )? && let Some(relayed) = detached::relay(app)
        {
            return relayed;
        }
        let request = StopRequest { name: &self.name, message: self.message.as_deref(), guard };
        let stopped = terminal::stop(&mut place, &request)?;
        if let Some(error) = &stopped.unsaid {
            let what = match error {
                Error::TargetNotReady(_) => "the message was not sent",
                _ => "the message may not have arrived",
            };
            let warning = format!("warning: {what}: {error}");
            // Nobody is left to warn when standard error is gone.
            let _ = writeln!(app.host.stderr, "{}", crate::out::printable(&warning));
        }
        let line = match stopped.killed {
            true => format!("stopped {}", self.name),
            false => format!("{} was not running", self.name),
        };
        if !stopped.background_known {
            let warning =
                "warning: what it left in the background is unknown: its Codex server could not say";
            // Nobody is left to warn when standard error is gone.
            let _ = writeln!(app.host.stderr, "{warning}");
        }
        app.out().line(&line)
    }
}
