//! Transcripts of a task: what the terminals of its worker and manager showed, captured whole and
//! kept as differences.

mod capture;
mod context;
mod difference;
mod look;
mod show;

use std::path::Path;

use conveyor_model::{CaptureMode, Roles};
use conveyor_store::transcripts;
use serde::Serialize;

use crate::{Cx, Error, Result, reference};

pub use capture::{CaptureRecord, Captured, Side, TaskRecord};
pub(crate) use capture::{Extent, capture};
pub(crate) use context::{Context, Owner, find as find_context};
pub(crate) use look::is_missing;
pub use show::{Segment, Shown, show};

/// The command that most captures are made by.
const SOURCE: &str = "transcript_capture";

/// What to capture.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The task, by id or name.
    pub task: &'a str,
    /// Whose terminals.
    pub roles: Roles,
    /// How much becomes a segment.
    pub mode: CaptureMode,
    /// How many lines above the screen.
    pub lines: u32,
    /// Refuse when a side has nothing new.
    pub require_segment: bool,
    /// Show what was captured.
    pub include_content: bool,
    /// Where workers of older versions have their files.
    pub state_root: &'a Path,
}

/// What was captured.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct Captures {
    pub captures: Vec<Captured>,
    pub mode: CaptureMode,
    pub role: Roles,
    pub task: TaskRecord,
}

/// Captures the terminals of a task. When both sides are asked for, one that fails does not keep
/// the other one from being captured.
///
/// # Errors
/// An unknown task; the failure of the one side that was asked for; a missing segment when one is
/// required (the captures stay then); a failing ledger.
pub fn capture_all(cx: &mut Cx, request: &Request<'_>) -> Result<Captures> {
    let task = cx.db.read(|tx| reference::task(tx, request.task))?;
    let extent = Extent { lines: request.lines, mode: request.mode, source: SOURCE };
    let tmux = cx.tmux.clone();
    let mut captures = Vec::new();
    let mut lacking = Vec::new();
    for &role in request.roles.each() {
        let captured = cx
            .db
            .read(|tx| find_context(tx, request.state_root, &tmux, &task, role))
            .and_then(|context| context.ok_or_else(|| Error::NoTerminal { task: task.name.clone(), role }))
            .and_then(|context| capture(cx, request.state_root, &context, &extent));
        let captured = match captured {
            Ok(captured) => captured,
            Err(Error::Store(error)) => return Err(error.into()),
            Err(error) if request.roles != Roles::All => return Err(error),
            Err(error) => Captured::failed(role, &error),
        };
        if !captured.has_new_lines() {
            lacking.push(match &captured.error {
                Some(reason) => format!("{role} ({reason})"),
                None => role.to_string(),
            });
        }
        captures.push(if request.include_content { captured } else { captured.redacted() });
    }
    if request.require_segment && !lacking.is_empty() {
        return Err(Error::NoSegment(lacking.join(", ")));
    }
    Ok(Captures { captures, mode: request.mode, role: request.roles, task: TaskRecord::of(&task) })
}

/// What pruning did, or would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct Pruned {
    pub dry_run: bool,
    pub keep_latest: i64,
    pub pruned_count: usize,
    pub would_prune_count: usize,
}

/// Drops the texts of a task's segments, but for the newest `keep` of each side.
///
/// # Errors
/// An unknown task, or a failing ledger.
pub fn prune(cx: &mut Cx, task: &str, keep: i64, dry_run: bool) -> Result<Pruned> {
    let count = |segments: &[i64]| Pruned {
        dry_run,
        keep_latest: keep,
        pruned_count: if dry_run { 0 } else { segments.len() },
        would_prune_count: segments.len(),
    };
    let prunable = |tx: &mut conveyor_store::Tx<'_>, task_id: &str| -> Result<Vec<i64>> {
        let mut segments = Vec::new();
        for &role in Roles::All.each() {
            segments.extend(transcripts::prunable(tx, task_id, role, keep)?);
        }
        Ok(segments)
    };
    if dry_run {
        return cx.db.read(|tx| {
            let task = reference::task(tx, task)?;
            Ok(count(&prunable(tx, &task.id)?))
        });
    }
    cx.db.write(|tx| {
        let task = reference::task(tx, task)?;
        let segments = prunable(tx, &task.id)?;
        if !segments.is_empty() {
            transcripts::prune(tx, &task.id, &segments, keep)?;
        }
        Ok(count(&segments))
    })
}
