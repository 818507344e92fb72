//! `transcript-prune`: drop the texts of old segments of a task's transcript.

use conveyor_core::transcripts;
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::values;

/// Arguments of `transcript-prune`.
#[derive(clap::Args)]
pub struct TranscriptPrune {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    /// How many segments of each side keep their texts
    #[arg(long, value_name = "N", default_value = "20", value_parser = values::non_negative_integer)]
    keep_latest: i64,
    /// Say what would be dropped, without dropping it
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for TranscriptPrune {
    const NAME: &'static str = "transcript-prune";
    const GROUP: Group = Group::Transcripts;
    const ABOUT: &'static str = "Drop the texts of old segments of a task's transcript";
    const HELP: &'static str = "\
The segments themselves stay, with their sizes and digests, and so do the captures that they come from.

Example:
  conveyor transcript-prune demo --keep-latest 5 --dry-run --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Write)?;
        let pruned = transcripts::prune(&mut cx, &self.task, self.keep_latest, self.dry_run)?;
        app.out().json(&pruned)
    }
}
