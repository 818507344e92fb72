//! Capturing a terminal of a task and recording it: the whole text, what is new in it, that it was
//! seen.

use std::path::Path;

use conveyor_model::records::Task;
use conveyor_model::{CaptureMode, Role, SegmentKind};
use conveyor_store::observations::{self, Observation};
use conveyor_store::transcripts::{self, NewCapture, NewSegment, PreviousCapture};
use conveyor_store::{Tx, audit};
use serde::Serialize;
use serde_json::{Value, json};

use super::context::Context;
use super::difference;
use super::look::{self, Seen};
use crate::tail::line_count;
use crate::{Cx, Error, Result, digest};

/// How much of a terminal is captured, and for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// How many lines above the screen.
    pub(crate) lines: u32,
    /// How much becomes a segment.
    pub(crate) mode: CaptureMode,
    /// Which command captures.
    pub(crate) source: &'static str,
}

/// What became of one side: a capture, or the error.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct Captured {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding_id: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture: Option<CaptureRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager: Option<Side>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observation_id: Option<i64>,
    pub role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcript_segment: Option<Option<SegmentRecord>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<Side>,
}

/// A task, briefly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct TaskRecord {
    pub id: String,
    pub name: String,
    pub state: String,
}

impl TaskRecord {
    pub(crate) fn of(task: &Task) -> Self {
        Self { id: task.id.clone(), name: task.name.clone(), state: task.state.clone() }
    }
}

/// A worker or manager with its terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Side {
    pub id: String,
    pub name: String,
    pub state: String,
    pub tmux_pane_id: Option<String>,
    pub tmux_session: Option<String>,
}

/// A capture; with its text, or with the size of that in its place.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct CaptureRecord {
    pub classifier: Value,
    pub content_sha256: String,
    pub history_lines: u32,
    pub id: i64,
    pub line_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_byte_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_line_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_redacted: Option<bool>,
    pub source: &'static str,
}

/// A segment, briefly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct SegmentRecord {
    pub id: i64,
    pub line_count: usize,
    pub mode: CaptureMode,
    pub previous_capture_id: Option<i64>,
    pub segment_kind: SegmentKind,
    pub source_capture_id: i64,
}

impl Captured {
    /// A side whose terminal was not captured.
    pub(super) fn failed(role: Role, error: &Error) -> Self {
        Self {
            binding_id: None,
            capture: None,
            error: Some(error.to_string()),
            manager: None,
            observation_id: None,
            role,
            task: None,
            transcript_segment: None,
            worker: None,
        }
    }

    /// The same with the size of the text in its place.
    pub(crate) fn redacted(mut self) -> Self {
        if let Some(capture) = &mut self.capture
            && let Some(output) = capture.output.take()
        {
            capture.output_byte_count = Some(output.len());
            capture.output_line_count = Some(line_count(&output));
            capture.output_redacted = Some(true);
        }
        self
    }

    /// Whether it brought the transcript forward.
    pub(crate) fn has_new_lines(&self) -> bool {
        self.transcript_segment.iter().flatten().any(|segment| segment.line_count > 0)
    }
}

/// Captures the terminal of one side and records it.
///
/// # Errors
/// A terminal that is not the registered one, that cannot be looked at, or a failing ledger.
pub(crate) fn capture(
    cx: &mut Cx,
    state_root: &Path,
    context: &Context,
    extent: &Extent,
) -> Result<Captured> {
    let seen = look::look(cx, state_root, context, extent.lines)?;
    let shot =
        Shot { context, extent, sha256: digest::of(seen.text.as_bytes()), classifier: seen.classify(), seen };
    cx.db.write(|tx| shot.record(tx))
}

/// A look that is to be recorded.
struct Shot<'a> {
    context: &'a Context,
    extent: &'a Extent,
    sha256: String,
    classifier: Value,
    seen: Seen,
}

impl Shot<'_> {
    fn record(&self, tx: &mut Tx<'_>) -> Result<Captured> {
        let (context, seen) = (self.context, &self.seen);
        let previous = transcripts::newest_capture(tx, &context.task.id, context.role)?;
        let capture_id = self.record_capture(tx)?;
        let segment = self.record_segment(tx, capture_id, previous)?;
        let observation_id = self.observe(tx, capture_id, segment.as_ref())?;
        let side = Side { tmux_pane_id: seen.pane_id.clone(), ..context.side.clone() };
        let (worker, manager) = match context.role {
            Role::Worker => (Some(side), None),
            Role::Manager => (None, Some(side)),
        };
        Ok(Captured {
            binding_id: Some(context.owner.binding_id().map(ToOwned::to_owned)),
            capture: Some(self.capture_record(capture_id)),
            error: None,
            manager,
            observation_id: Some(observation_id),
            role: context.role,
            task: Some(TaskRecord::of(&context.task)),
            transcript_segment: Some(segment),
            worker,
        })
    }

    fn record_capture(&self, tx: &mut Tx<'_>) -> Result<i64> {
        let (context, seen) = (self.context, &self.seen);
        let id = transcripts::insert_capture(
            tx,
            &NewCapture {
                task_id: &context.task.id,
                worker_id: context.legacy_worker_id(),
                manager_id: context.legacy_manager_id(),
                role: context.role,
                tmux_session: &seen.tmux_session,
                tmux_pane_id: seen.pane_id.as_deref(),
                history_lines: self.extent.lines.into(),
                content_sha256: &self.sha256,
                content: &seen.text,
                line_count: signed(line_count(&seen.text)),
                classifier: &self.classifier,
                source: self.extent.source,
            },
        )?;
        Ok(id)
    }

    fn capture_record(&self, id: i64) -> CaptureRecord {
        CaptureRecord {
            classifier: self.classifier.clone(),
            content_sha256: self.sha256.clone(),
            history_lines: self.extent.lines,
            id,
            line_count: line_count(&self.seen.text),
            output: Some(self.seen.text.clone()),
            output_byte_count: None,
            output_line_count: None,
            output_redacted: None,
            source: self.extent.source,
        }
    }

    fn record_segment(
        &self,
        tx: &mut Tx<'_>,
        capture_id: i64,
        previous: Option<PreviousCapture>,
    ) -> Result<Option<SegmentRecord>> {
        let mode = self.extent.mode;
        let same = previous.as_ref().is_some_and(|previous| previous.content_sha256 == self.sha256);
        if same && mode != CaptureMode::Metadata {
            return Ok(None);
        }
        let before = previous.as_ref().and_then(|previous| previous.content.as_deref());
        let Some(part) = difference::part(before, &self.seen.text, mode) else { return Ok(None) };
        let lines = part.text.as_ref().map_or(0, |(text, ..)| line_count(text));
        let previous_capture_id = previous.as_ref().map(|previous| previous.id);
        let id = transcripts::insert_segment(
            tx,
            &NewSegment {
                task_id: &self.context.task.id,
                role: self.context.role,
                source_capture_id: capture_id,
                previous_capture_id,
                content_sha256: &self.sha256,
                kind: part.kind,
                text: part.text.as_ref().map(|(text, first, last)| (text.as_str(), *first, *last)),
                line_count: signed(lines),
            },
        )?;
        Ok(Some(SegmentRecord {
            id,
            line_count: lines,
            mode,
            previous_capture_id,
            segment_kind: part.kind,
            source_capture_id: capture_id,
        }))
    }

    /// Records that the agent was seen; gives the id of the observation.
    fn observe(&self, tx: &mut Tx<'_>, capture_id: i64, segment: Option<&SegmentRecord>) -> Result<i64> {
        let (context, role) = (self.context, self.context.role);
        let mut payload = json!({
            "content_sha256": self.sha256,
            "history_lines": self.extent.lines,
            "source": self.extent.source,
            "transcript_segment_id": segment.map(|segment| segment.id),
        });
        let observation_id = observations::record(
            tx,
            &Observation {
                task_id: &context.task.id,
                worker_id: context.legacy_worker_id(),
                manager_id: context.legacy_manager_id(),
                role,
                observation_type: "capture",
                source_capture_id: Some(capture_id),
                command_id: None,
                message: &format!("{role} terminal captured"),
                payload: payload.clone(),
            },
        )?;
        payload["capture_id"] = capture_id.into();
        payload.as_object_mut().and_then(|payload| payload.remove("transcript_segment_id"));
        let event_type = match role {
            Role::Worker => "worker_terminal_captured",
            Role::Manager => "manager_terminal_captured",
        };
        let legacy = (context.legacy_worker_id(), context.legacy_manager_id());
        audit::record_of_terminal(tx, event_type, &context.task.id, legacy, &payload)?;
        if let Some(manager) = context.legacy_manager_id() {
            transcripts::legacy_manager_seen(tx, manager, &self.sha256)?;
        }
        Ok(observation_id)
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
