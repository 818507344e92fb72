//! `ingest`: read what a session wrote into the ledger.

use std::time::{Duration, Instant};

use conveyor_core::ingest;
use conveyor_store::Access;
use indicatif::{ProgressBar, ProgressStyle};

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;

/// Arguments of `ingest`.
#[derive(clap::Args)]
pub struct Ingest {
    /// The session
    #[arg(value_name = "SESSION")]
    session: String,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for Ingest {
    const NAME: &'static str = "ingest";
    const GROUP: Group = Group::Sessions;
    const ABOUT: &'static str = "Read new lines of a session's rollout into the ledger";
    const HELP: &'static str = "\
Each complete line is stored once, however often this runs and whoever else reads the same rollout; a line that
is still being written waits for the next time. Lines that hold no event are counted as skipped. The session's
lease is renewed. A running `dispatch --watch` does the same by itself for all bound sessions.

When the rollout was replaced or became shorter, nothing is read until the session is registered again.

Example:
  conveyor ingest worker-1 --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Write)?;
        let mut bar = Bar::new(app.host.stderr_is_terminal);
        let ingested = ingest::ingest(&mut cx, &self.session, &mut |read, size| bar.show(read, size));
        bar.clear();
        app.out().json(&ingested?)
    }
}

/// A progress bar that appears only on a terminal and when it takes a while.
pub(crate) struct Bar {
    begun: Instant,
    wanted: bool,
    bar: Option<ProgressBar>,
}

impl Bar {
    /// From when on people want to know how long it will take.
    const PATIENCE: Duration = Duration::from_secs(1);

    pub(crate) fn new(wanted: bool) -> Self {
        Self { begun: Instant::now(), wanted, bar: None }
    }

    pub(crate) fn show(&mut self, read: u64, size: u64) {
        if !self.wanted || self.begun.elapsed() < Self::PATIENCE {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("ingest {wide_bar} {bytes}/{total_bytes} {eta}");
            ProgressBar::new(size).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        // The file may have grown since it was opened.
        bar.set_length(size.max(read));
        bar.set_position(read);
    }

    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
