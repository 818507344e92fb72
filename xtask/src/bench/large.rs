//! The large ledger: made once, which takes minutes, and used again by later runs.

use std::path::PathBuf;

use super::Lab;
use super::ledger::{self, Scale};
use crate::failure::{Context as _, Failure};

/// Raised whenever the ledger is to be made differently.
const VERSION: &str = "1";

const SCALE: Scale =
    Scale { tasks: 10_000, live: 50, commands: 100_000, telemetry: 1_000_000, events: 1_000_000, queued: 0 };

/// The number of rows that the list commands show.
pub(super) const COMMANDS: usize = SCALE.commands;
pub(super) const TASKS: usize = SCALE.tasks;

/// The ledger; made now if there is none of this version.
pub(super) fn open(lab: &Lab) -> Result<PathBuf, Failure> {
    let (file, mark) = (lab.kept.join("large.db"), lab.kept.join("large.version"));
    if file.exists() && std::fs::read_to_string(&mark).is_ok_and(|version| version == VERSION) {
        return Ok(file);
    }
    eprintln!("  making the large ledger, which takes a few minutes, once");
    ledger::fill(lab, &file, SCALE)?;
    // Written last: a run that is interrupted begins anew.
    std::fs::write(&mark, VERSION).context(mark.display())?;
    Ok(file)
}
