//! What the terminals of single workers and sessions showed (table `transcript_captures`). The
//! captures of a task are in `transcripts`.

use conveyor_model::Actor;
use serde_json::json;

use crate::telemetry::{self, Emit};
use crate::{StoreError, Tx, params};

/// A capture about to be recorded.
#[derive(Clone, Copy, Debug)]
pub struct NewCapture<'a> {
    /// The worker's row.
    pub worker_id: &'a str,
    /// Digest of the text.
    pub sha256: &'a str,
    /// The text; kept only if it differs from the last one.
    pub text: &'a str,
    /// Its lines.
    pub line_count: i64,
    /// Whether it differs from the last one.
    pub changed: bool,
    /// When it was captured, as it is written.
    pub captured_at: &'a str,
    /// When the text last differed from the one before.
    pub changed_at: &'a str,
    /// How many lines above the screen were asked for.
    pub history_lines: i64,
}

/// Records a capture with its telemetry.
///
/// # Errors
/// A failing statement.
pub fn insert(tx: &mut Tx<'_>, new: &NewCapture<'_>) -> Result<(), StoreError> {
    let byte_count = i64::try_from(new.text.len()).unwrap_or(i64::MAX);
    let id = tx.one(
        "insert into transcript_captures (worker_id, sha256, content, captured_at, changed_at, history_lines, \
         byte_count, line_count, capture_kind, retention_class) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'hot') returning id",
        params![
            new.worker_id,
            new.sha256,
            new.changed.then_some(new.text),
            new.captured_at,
            new.changed_at,
            new.history_lines,
            byte_count,
            new.line_count,
            if new.changed { "changed" } else { "metadata_only" },
        ],
        |row| row.int(0),
    )?;
    let correlation = json!({ "capture_id": id, "worker_id": new.worker_id });
    let attributes = json!({
        "byte_count": byte_count,
        "changed": new.changed,
        "history_lines": new.history_lines,
        "line_count": new.line_count,
        "retention_class": "hot",
    });
    let summary = "Captured the terminal of a worker.".to_owned();
    let event = Emit::info(Actor::Workerctl, "transcript_capture_recorded", summary, correlation, attributes);
    telemetry::emit(tx, &event.of_moment(new.captured_at))?;
    Ok(())
}

/// Whether the capture of a text at a moment is recorded already.
///
/// # Errors
/// A failing statement.
pub fn exists(tx: &mut Tx<'_>, worker_id: &str, sha256: &str, captured_at: &str) -> Result<bool, StoreError> {
    let found = tx.first(
        "select id from transcript_captures where worker_id = $1 and sha256 = $2 and captured_at = $3 limit 1",
        params![worker_id, sha256, captured_at],
        |row| row.int(0),
    )?;
    Ok(found.is_some())
}
