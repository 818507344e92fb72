//! Capturing a terminal of a task and recording it: the whole text, what is new in it, that it was
//! seen.

use conveyor_agents::screen::{self, Activity};
use conveyor_agents::tmux::{self, Look, Target, TmuxError};
use conveyor_model::records::Task;
use conveyor_model::{CaptureMode, Role, SegmentKind};
use conveyor_store::audit::{self, AuditEvent};
use conveyor_store::observations::{self, Observation};
use conveyor_store::transcripts::{self, NewCapture, NewSegment};
use conveyor_store::Tx;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::context::{Context, Owner};
use super::difference;
use crate::tail::line_count;
use crate::{Cx, Error, Result};

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
pub(crate) fn capture(cx: &mut Cx, context: &Context, extent: &Extent) -> Result<Captured> {
    let (session, look) = look_at(&cx.tmux, context, extent.lines)?;
    let digest = Sha256::digest(look.text.as_bytes());
    let shot = Shot {
        context,
        extent,
        session: &session,
        sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        classifier: classify(&look),
        look: &look,
    };
    cx.db.write(|tx| shot.record(tx))
}

/// The registered terminal, as it is now.
fn look_at(tmux: &tmux::Tmux, context: &Context, lines: u32) -> Result<(String, Look)> {
    let side = &context.side;
    let Some(session) = &side.tmux_session else {
        return Err(mismatch(context, &[Mismatch::Session]));
    };
    let extent = tmux::Extent { history_lines: lines, attributes: false };
    let look = match tmux.look(&Target::Session(session.clone()), extent) {
        Ok(look) => look,
        Err(TmuxError::NoSession { .. }) => return Err(mismatch(context, &[Mismatch::Session])),
        Err(error) => return Err(error.into()),
    };
    if side.tmux_pane_id.as_ref().is_some_and(|recorded| *recorded != look.pane.id) {
        return Err(mismatch(context, &[Mismatch::Pane]));
    }
    Ok((session.clone(), look))
}

/// In what a terminal is not the registered one.
#[derive(Clone, Copy)]
enum Mismatch {
    Session,
    Pane,
}

fn mismatch(context: &Context, found: &[Mismatch]) -> Error {
    let name_of = |found: &Mismatch| match (context.owner, found) {
        (Owner::Session, Mismatch::Session) => "tmux_session_missing",
        (Owner::Session, Mismatch::Pane) => "tmux_pane_mismatch",
        (Owner::LegacyManager, Mismatch::Session) => "manager_session_missing",
        (Owner::LegacyManager, Mismatch::Pane) => "manager_pane_mismatch",
    };
    let names: Vec<&str> = found.iter().map(name_of).collect();
    let owner = match context.owner {
        Owner::Session => "Session",
        Owner::LegacyManager => "Manager",
    };
    Error::OtherTerminal { owner, name: context.side.name.clone(), mismatches: names.join(", ") }
}

/// What the screen is taken for, however old it is.
fn classify(look: &Look) -> Value {
    let screen = screen::visible(&look.text, look.pane.height);
    let startup = screen::startup(screen);
    let activity =
        Activity { status_age_seconds: Some(i64::MAX), busy_wait_seconds: 0, recent_events: 0 };
    json!({
        "busy_wait": screen::busy_wait(screen, &activity),
        "startup": [startup.state.as_str(), startup.reason],
    })
}

/// A look that is to be recorded.
struct Shot<'a> {
    context: &'a Context,
    extent: &'a Extent,
    session: &'a str,
    sha256: String,
    classifier: Value,
    look: &'a Look,
}

impl Shot<'_> {
    fn record(&self, tx: &mut Tx<'_>) -> Result<Captured> {
        let task = &self.context.task;
        let lines = line_count(&self.look.text);
        let previous = transcripts::newest_capture(tx, &task.id, self.context.role)?;
        let capture_id = transcripts::insert_capture(
            tx,
            &NewCapture {
                task_id: &task.id,
                worker_id: None,
                manager_id: self.legacy_manager(),
                role: self.context.role,
                tmux_session: self.session,
                tmux_pane_id: Some(&self.look.pane.id),
                history_lines: self.extent.lines.into(),
                content_sha256: &self.sha256,
                content: &self.look.text,
                line_count: signed(lines),
                classifier: &self.classifier,
                source: self.extent.source,
            },
        )?;
        let segment = self.record_segment(tx, capture_id, previous)?;
        let observation_id = self.observe(tx, capture_id, segment.as_ref())?;
        let capture = CaptureRecord {
            classifier: self.classifier.clone(),
            content_sha256: self.sha256.clone(),
            history_lines: self.extent.lines,
            id: capture_id,
            line_count: lines,
            output: Some(self.look.text.clone()),
            output_byte_count: None,
            output_line_count: None,
            output_redacted: None,
            source: self.extent.source,
        };
        let side = Side { tmux_pane_id: Some(self.look.pane.id.clone()), ..self.context.side.clone() };
        let (worker, manager) = match self.context.role {
            Role::Worker => (Some(side), None),
            Role::Manager => (None, Some(side)),
        };
        Ok(Captured {
            binding_id: Some(None),
            capture: Some(capture),
            error: None,
            manager,
            observation_id: Some(observation_id),
            role: self.context.role,
            task: Some(TaskRecord::of(task)),
            transcript_segment: Some(segment),
            worker,
        })
    }

    fn legacy_manager(&self) -> Option<&str> {
        (self.context.owner == Owner::LegacyManager).then_some(self.context.side.id.as_str())
    }

    fn record_segment(
        &self,
        tx: &mut Tx<'_>,
        capture_id: i64,
        previous: Option<transcripts::PreviousCapture>,
    ) -> Result<Option<SegmentRecord>> {
        let mode = self.extent.mode;
        let same = previous.as_ref().is_some_and(|previous| previous.content_sha256 == self.sha256);
        if same && mode != CaptureMode::Metadata {
            return Ok(None);
        }
        let before = previous.as_ref().and_then(|previous| previous.content.as_deref());
        let Some(part) = difference::part(before, &self.look.text, mode) else { return Ok(None) };
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
        let (task, role) = (&self.context.task, self.context.role);
        let payload = json!({
            "capture_id": capture_id,
            "content_sha256": self.sha256,
            "history_lines": self.extent.lines,
            "source": self.extent.source,
        });
        let event_type = match role {
            Role::Worker => "worker_terminal_captured",
            Role::Manager => "manager_terminal_captured",
        };
        audit::record(tx, &AuditEvent { event_type, task_id: Some(&task.id), command_id: None, payload })?;
        if let Some(manager) = self.legacy_manager() {
            transcripts::legacy_manager_seen(tx, manager, &self.sha256)?;
        }
        let payload = json!({
            "content_sha256": self.sha256,
            "history_lines": self.extent.lines,
            "source": self.extent.source,
            "transcript_segment_id": segment.map(|segment| segment.id),
        });
        let id = observations::record(
            tx,
            &Observation {
                task_id: &task.id,
                worker_id: None,
                manager_id: self.legacy_manager(),
                role,
                observation_type: "capture",
                source_capture_id: Some(capture_id),
                command_id: None,
                message: &format!("{role} terminal captured"),
                payload,
            },
        )?;
        Ok(id)
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
