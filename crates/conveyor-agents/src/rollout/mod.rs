//! Rollout files: JSON Lines that Codex appends to, one record `{timestamp, type, payload}` a line.

mod canonical;
mod error;
mod file;
mod identity;
mod meta;
mod reader;
mod record;
mod state;

pub use error::RolloutError;
pub use file::{Directory, Probe, RolloutFile, open, probe};
pub use identity::{Relation, RolloutIdentity};
pub use meta::{SessionMeta, session_meta};
pub use reader::{Ahead, Content, Line, Reader};
pub use record::{Event, Skip};
pub use state::{TURN_SUBTYPES, TurnEvent, turn_event};

/// Longest line that is read, in bytes without its newline. Longer ones are skipped, because
/// ingesting has to stay within 32 MiB whatever a file contains.
pub const MAX_LINE: usize = 8 * 1024 * 1024;
