//! `events`: show the event log of a worker or session.

use std::io::Write;

use conveyor_core::legacy::{self, Selection};

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::values;

/// Arguments of `events`.
#[derive(clap::Args)]
pub struct Events {
    /// The worker or session
    #[arg(value_name = "NAME")]
    name: String,
    /// Only events of exactly this type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only the last so many; 0: all
    #[arg(long, value_name = "N", default_value = "0", value_parser = values::non_negative_integer)]
    limit: i64,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for Events {
    const NAME: &'static str = "events";
    const GROUP: Group = Group::Legacy;
    const ABOUT: &'static str = "Show the event log of a worker or session";
    const HELP: &'static str = "\
Prints events.jsonl of its directory, one JSON object a line. Lines that are no JSON objects are passed over and
counted on standard error. The ledger's own log is another one.

Example:
  conveyor events worker-1 --path ./ledger.db
  conveyor events worker-1 --type status_updated --limit 5 --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut place = app.place(&self.db)?;
        let selection = Selection {
            name: &self.name,
            event_type: self.event_type.as_deref(),
            limit: usize::try_from(self.limit).unwrap_or(usize::MAX),
        };
        let mut out = app.out();
        let mut lines = out.json_lines();
        let malformed = legacy::each_event(&mut place, &selection, &mut |event| lines.push(&event))?;
        lines.end()?;
        if malformed > 0 {
            // Nobody is left to tell when standard error is gone.
            let _ = writeln!(app.host.stderr, "workerctl: {malformed} malformed event line(s) skipped");
        }
        Ok(())
    }
}
