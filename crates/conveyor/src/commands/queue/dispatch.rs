//! `dispatch`: move messages to where they are read.

use std::io::Write;

use conveyor_core::detaching;
use conveyor_core::dispatch::{self, Request, Signal, Stop};
use conveyor_model::{CommandType, WORKER_TASK_COMPLETE};
use conveyor_store::Access;

use crate::app::App;
use crate::commands::typing::GuardMode;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;
use crate::values;

/// Arguments of `dispatch`.
#[derive(clap::Args)]
pub struct Dispatch {
    /// Do one pass and end (the default)
    #[arg(long, conflicts_with = "watch")]
    once: bool,
    /// Go on: act at once when a message is queued or a worker's turn ends
    #[arg(long)]
    watch: bool,
    /// With --watch: end after N iterations
    #[arg(long, value_name = "N", value_parser = values::integer)]
    watch_iterations: Option<i64>,
    /// With --watch: seconds between iterations, each with a heartbeat
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = values::number)]
    interval: f64,
    /// Most items per pass
    #[arg(long, value_name = "N", default_value = "10", value_parser = values::non_negative_integer)]
    limit: i64,
    /// How long a claim holds when this dispatcher dies, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = values::integer)]
    lease_seconds: i64,
    /// The identity recorded everywhere
    #[arg(long, value_name = "ID", default_value = "dispatch-local")]
    dispatcher_id: String,
    /// Move only this kind of message
    #[arg(long = "type", value_name = "TYPE", value_parser = clap::builder::PossibleValuesParser::new(TYPES))]
    only: Option<String>,
    /// With --watch: end once no task is bound any more
    #[arg(long, requires = "watch", conflicts_with = "once")]
    exit_when_unbound: bool,
    /// Leave the session of whoever starts this: for `pair`, whose dispatcher outlives it
    #[arg(long, hide = true, requires = "watch")]
    own_session: bool,
    /// Read the rollouts of bound sessions before each pass (an unlimited --watch does so by itself)
    #[arg(long, conflicts_with = "no_ingest")]
    ingest: bool,
    /// Never read rollouts
    #[arg(long)]
    no_ingest: bool,
    /// Say what would be done, without doing it
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    guard: GuardMode,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    db: DbPath,
}

const TYPES: [&str; 3] =
    [CommandType::NotifyManager.as_str(), CommandType::NudgeWorker.as_str(), WORKER_TASK_COMPLETE];

impl Subcommand for Dispatch {
    const NAME: &'static str = "dispatch";
    const GROUP: Group = Group::Queue;
    const ABOUT: &'static str = "Route queued messages and worker completions to their receivers";
    const HELP: &'static str = "\
A dispatcher is mechanical: it never judges work. A message for a session without a terminal goes into its
inbox. A message for a terminal is typed only while it is proven that the agent there is idle and its composer
empty, and counts as delivered only once the agent's own record has the turn that begins with it. Until then it
is put off, with the reason; a watch tries again as soon as the agent's turn has ended. What was typed and cannot
be proven is unconfirmed and never typed again. Any number of dispatchers may run on one ledger; each message is
executed once.

Example:
  conveyor dispatch --once --json --path ./ledger.db
  conveyor dispatch --watch --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        if self.own_session {
            detaching::leave_session()?;
        }
        let guard = self.guard.guard(app)?;
        let mut cx = app.open(&self.db, if self.dry_run { Access::Read } else { Access::Write })?;
        let request = Request {
            watch: self.watch,
            iterations: self.watch_iterations.map(|most| u64::try_from(most).unwrap_or(0)),
            interval: self.interval,
            limit: usize::try_from(self.limit).unwrap_or(usize::MAX),
            lease_seconds: self.lease_seconds,
            dispatcher_id: self.dispatcher_id,
            exit_when_unbound: self.exit_when_unbound,
            only: self.only.as_deref().map(|only| match CommandType::from_text(only) {
                Some(command_type) => Signal::Command(command_type),
                None => Signal::Completion,
            }),
            dry_run: self.dry_run,
            guard,
            ingest: self.ingest.then_some(true).or_else(|| self.no_ingest.then_some(false)),
        };
        let stop = Stop::default();
        let signals = if self.watch { Some(stop_on_signals(&stop)?) } else { None };
        let stderr = &mut app.host.stderr;
        let report = dispatch::run(&mut cx, &request, &stop, &mut |line| {
            // Nobody is left to warn when standard error is gone.
            let _ = writeln!(stderr, "{}", crate::out::printable(line));
        });
        if let Some(signals) = signals {
            signals.close();
        }
        let report = report?;
        if self.json.json {
            return app.out().json(&report);
        }
        app.out().line(&format!("Processed {} item(s).", report.processed_total))
    }
}

/// Makes SIGINT and SIGTERM end the watch after the batch in hand.
fn stop_on_signals(stop: &Stop) -> Result<signal_hook::iterator::Handle, Failure> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let handle = signals.handle();
    let stop = stop.clone();
    std::thread::spawn(move || {
        for _ in &mut signals {
            stop.request();
        }
    });
    Ok(handle)
}
