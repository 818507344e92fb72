//! Showing the segments of a task's transcript.

use conveyor_model::records::Task;
use conveyor_model::{Role, Roles};
use conveyor_store::transcripts;
use serde::Serialize;

use super::TaskRecord;
use crate::tail::line_count;
use crate::{Cx, Error, Result, Sink, reference};

/// Which segments to show.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The task, by id or name.
    pub task: &'a str,
    /// Whose.
    pub roles: Roles,
    /// Only the newest so many; `None`: all.
    pub limit: Option<i64>,
    /// Show their texts.
    pub include_content: bool,
}

/// A segment as it is shown.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Segment {
    pub byte_count: i64,
    pub captured_at: String,
    pub content_sha256: String,
    pub created_at: String,
    pub id: i64,
    pub line_count: i64,
    pub previous_capture_id: Option<i64>,
    pub redacted: bool,
    pub retention_class: String,
    pub role: String,
    pub segment_end_line: Option<i64>,
    pub segment_kind: String,
    pub segment_start_line: Option<i64>,
    /// The text, where it is to be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_text: Option<Option<String>>,
    /// Its size where it is not to be shown, like the next two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_text_byte_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_text_line_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_text_redacted: Option<bool>,
    pub source_capture_id: i64,
    pub task_id: String,
}

impl Segment {
    fn of(stored: transcripts::Segment, include_content: bool) -> Self {
        let hidden = stored.segment_text.as_deref().filter(|_| !include_content);
        Self {
            segment_text_byte_count: hidden.map(str::len),
            segment_text_line_count: hidden.map(line_count),
            segment_text_redacted: hidden.map(|_| true),
            byte_count: stored.byte_count,
            captured_at: stored.captured_at,
            content_sha256: stored.content_sha256,
            created_at: stored.created_at,
            id: stored.id,
            line_count: stored.line_count,
            previous_capture_id: stored.previous_capture_id,
            redacted: stored.redacted,
            retention_class: stored.retention_class,
            role: stored.role,
            segment_end_line: stored.segment_end_line,
            segment_kind: stored.segment_kind,
            segment_start_line: stored.segment_start_line,
            segment_text: include_content.then_some(stored.segment_text),
            source_capture_id: stored.source_capture_id,
            task_id: stored.task_id,
        }
    }
}

/// Hands the segments of a task's transcript to `sink`, oldest first; gives the task.
///
/// # Errors
/// An unknown task, a failing ledger, or a failing `sink`.
pub fn show(cx: &mut Cx, wanted: &Shown<'_>, sink: Sink<'_, Segment>) -> Result<TaskRecord> {
    cx.db.read(|tx| {
        let task: Task = reference::task(tx, wanted.task)?;
        let role = match wanted.roles {
            Roles::All => None,
            Roles::Worker => Some(Role::Worker),
            Roles::Manager => Some(Role::Manager),
        };
        transcripts::each_segment(tx, &task.id, role, wanted.limit, &mut |segment| {
            sink(Segment::of(segment, wanted.include_content)).map_err(Error::from)
        })?;
        Ok(TaskRecord::of(&task))
    })
}
