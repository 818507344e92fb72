//! `classify`: tell what a captured screen shows.

use conveyor_core::{Error, terminal};

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::values;

/// Arguments of `classify`.
#[derive(clap::Args)]
pub struct Classify {
    /// The text of the screen
    #[arg(long, value_name = "TEXT", required_unless_present = "file")]
    text: Option<String>,
    /// A file with the text of the screen; --text comes first
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    /// Assume that the agent reported so many seconds ago
    #[arg(long, value_name = "N", default_value = "90", value_parser = values::integer)]
    status_age_seconds: i64,
    /// From which age on running work is remarkable
    #[arg(long, value_name = "N", default_value = "90", value_parser = values::integer)]
    busy_wait_seconds: i64,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    _db: DbPath,
}

impl Subcommand for Classify {
    const NAME: &'static str = "classify";
    const GROUP: Group = Group::Terminals;
    const ABOUT: &'static str = "Tell what the text of a terminal shows: start-up, dialogs, running work";
    const HELP: &'static str = "\
The text is taken for the visible screen of an agent. Startup: needs_trust, ready, working, error, starting.
busy_wait names a dialog, or running work whose agent has not reported for long, and says what to do. The ledger
is not touched.

Example:
  conveyor classify --file ./transcript.txt
  conveyor classify --text 'Press enter to confirm' --status-age-seconds 0";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let text = match (self.text, self.file) {
            (Some(text), _) => text,
            (None, Some(file)) => {
                let path = app.absolute(&file)?;
                let bytes = std::fs::read(&path).map_err(|reason| Error::Unreadable { path, reason })?;
                String::from_utf8_lossy(&bytes).into_owned()
            }
            (None, None) => return Err(Failure::usage("classify needs --text TEXT or --file FILE")),
        };
        app.out().json(&terminal::classify(&text, self.status_age_seconds, self.busy_wait_seconds))
    }
}
