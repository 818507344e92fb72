//! What the terminals of a task showed: captures with their full text, and segments, the
//! differences between them.

use conveyor_model::{Actor, Role, SegmentKind, json};
use serde::Serialize;
use serde_json::{Value, json};

use crate::audit::{self, AuditEvent};
use crate::telemetry::{self, Emit};
use crate::{Row, StoreError, Tx, params};

/// A capture about to be recorded.
pub struct NewCapture<'a> {
    /// The task.
    pub task_id: &'a str,
    /// The legacy worker, if it is one's terminal.
    pub worker_id: Option<&'a str>,
    /// The legacy manager, if it is one's terminal.
    pub manager_id: Option<&'a str>,
    /// Whose terminal.
    pub role: Role,
    /// The terminal.
    pub tmux_session: &'a str,
    /// Its pane.
    pub tmux_pane_id: Option<&'a str>,
    /// How many lines above the screen were asked for.
    pub history_lines: i64,
    /// Digest of the text.
    pub content_sha256: &'a str,
    /// The text.
    pub content: &'a str,
    /// Its lines.
    pub line_count: i64,
    /// What the screen was taken for: a JSON object.
    pub classifier: &'a Value,
    /// Which command captured it.
    pub source: &'a str,
}

/// Records a capture with its telemetry; gives its id.
///
/// # Errors
/// A failing statement.
pub fn insert_capture(tx: &mut Tx<'_>, new: &NewCapture<'_>) -> Result<i64, StoreError> {
    let now = tx.now()?.to_s_text();
    let byte_count = length(new.content);
    let id = tx.one(
        "insert into terminal_captures (task_id, worker_id, manager_id, role, tmux_session, tmux_pane_id, \
         captured_at, history_lines, content_sha256, content, byte_count, line_count, classifier_json, source) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) returning id",
        params![
            new.task_id,
            new.worker_id,
            new.manager_id,
            new.role.as_str(),
            new.tmux_session,
            new.tmux_pane_id,
            now,
            new.history_lines,
            new.content_sha256,
            new.content,
            byte_count,
            new.line_count,
            json::compact(new.classifier),
            new.source,
        ],
        |row| row.int(0),
    )?;
    let correlation = json!({
        "capture_id": id,
        "command_id": null,
        "manager_id": new.manager_id,
        "role": new.role,
        "source": new.source,
        "worker_id": new.worker_id,
    });
    let attributes = json!({
        "byte_count": byte_count,
        "classifier": new.classifier,
        "content_path": null,
        "history_lines": new.history_lines,
        "line_count": new.line_count,
        "tmux_pane_id": new.tmux_pane_id,
        "tmux_session": new.tmux_session,
    });
    let summary = format!("Captured the terminal of the {}.", new.role);
    let event = Emit::info(Actor::Workerctl, "terminal_capture_recorded", summary, correlation, attributes);
    telemetry::emit(tx, &event.of_task(Some(new.task_id)))?;
    Ok(id)
}

/// A capture to compare the next one with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousCapture {
    /// Its id.
    pub id: i64,
    /// Digest of its text.
    pub content_sha256: String,
    /// Its text, unless it was dropped.
    pub content: Option<String>,
}

/// The newest capture of one side of a task.
///
/// # Errors
/// A failing statement.
pub fn newest_capture(
    tx: &mut Tx<'_>,
    task_id: &str,
    role: Role,
) -> Result<Option<PreviousCapture>, StoreError> {
    tx.first(
        "select id, content_sha256, content from terminal_captures where task_id = $1 and role = $2 \
         order by id desc limit 1",
        params![task_id, role.as_str()],
        |row| {
            Ok(PreviousCapture { id: row.int(0)?, content_sha256: row.text(1)?, content: row.opt_text(2)? })
        },
    )
}

/// Whether the newest capture of one side of a task was made of this terminal by this command; `Some`
/// tells whether it brought the transcript forward.
///
/// # Errors
/// A failing statement.
pub fn newest_is_of(
    tx: &mut Tx<'_>,
    task_id: &str,
    role: Role,
    tmux_session: &str,
    source: &str,
) -> Result<Option<bool>, StoreError> {
    let newest = tx.first(
        "select c.tmux_session, c.source, (select count(*) from transcript_segments s where s.task_id = c.task_id \
         and s.role = c.role and s.source_capture_id = c.id and s.line_count > 0) \
         from terminal_captures c where c.task_id = $1 and c.role = $2 order by c.id desc limit 1",
        params![task_id, role.as_str()],
        |row| Ok((row.text(0)?, row.text(1)?, row.boolean(2)?)),
    )?;
    Ok(newest.filter(|(session, by, _)| session == tmux_session && by == source).map(|(_, _, has)| has))
}

/// A segment about to be recorded.
pub struct NewSegment<'a> {
    /// The task.
    pub task_id: &'a str,
    /// Whose terminal.
    pub role: Role,
    /// The capture it is part of.
    pub source_capture_id: i64,
    /// The capture before that.
    pub previous_capture_id: Option<i64>,
    /// Digest of the whole capture.
    pub content_sha256: &'a str,
    /// What it holds.
    pub kind: SegmentKind,
    /// Its text, and the lines of the capture that it is, from 1.
    pub text: Option<(&'a str, i64, i64)>,
    /// How many lines it has.
    pub line_count: i64,
}

/// Records a segment with its telemetry; gives its id.
///
/// # Errors
/// A failing statement.
pub fn insert_segment(tx: &mut Tx<'_>, new: &NewSegment<'_>) -> Result<i64, StoreError> {
    let now = tx.now()?.to_s_text();
    let (text, start, end) = match new.text {
        Some((text, start, end)) => (Some(text), Some(start), Some(end)),
        None => (None, None, None),
    };
    let byte_count = text.map_or(0, length);
    let id = tx.one(
        "insert into transcript_segments (task_id, role, source_capture_id, previous_capture_id, captured_at, \
         content_sha256, segment_text, segment_start_line, segment_end_line, byte_count, line_count, \
         retention_class, segment_kind, redacted, created_at) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'hot', $12, 0, $5) returning id",
        params![
            new.task_id,
            new.role.as_str(),
            new.source_capture_id,
            new.previous_capture_id,
            now,
            new.content_sha256,
            text,
            start,
            end,
            byte_count,
            new.line_count,
            new.kind.as_str(),
        ],
        |row| row.int(0),
    )?;
    let correlation = json!({
        "previous_capture_id": new.previous_capture_id,
        "role": new.role,
        "segment_id": id,
        "source_capture_id": new.source_capture_id,
    });
    let attributes = json!({
        "byte_count": byte_count,
        "line_count": new.line_count,
        "retention_class": "hot",
        "segment_end_line": end,
        "segment_kind": new.kind,
        "segment_start_line": start,
    });
    let summary = format!("Recorded a transcript segment of the {}.", new.role);
    let event = Emit::info(Actor::Workerctl, "transcript_segment_recorded", summary, correlation, attributes);
    telemetry::emit(tx, &event.of_task(Some(new.task_id)))?;
    Ok(id)
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}

/// A segment as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
    pub segment_text: Option<String>,
    pub source_capture_id: i64,
    pub task_id: String,
}

fn segment_row(row: &Row<'_>) -> Result<Segment, StoreError> {
    Ok(Segment {
        byte_count: row.int(0)?,
        captured_at: row.text(1)?,
        content_sha256: row.text(2)?,
        created_at: row.text(3)?,
        id: row.int(4)?,
        line_count: row.int(5)?,
        previous_capture_id: row.opt_int(6)?,
        redacted: row.boolean(7)?,
        retention_class: row.text(8)?,
        role: row.text(9)?,
        segment_end_line: row.opt_int(10)?,
        segment_kind: row.text(11)?,
        segment_start_line: row.opt_int(12)?,
        segment_text: row.opt_text(13)?,
        source_capture_id: row.int(14)?,
        task_id: row.text(15)?,
    })
}

/// Hands the newest `limit` segments of a task, or all of them, to `each`, oldest first; of one
/// side only if given.
///
/// # Errors
/// A failing statement, or what `each` returns.
pub fn each_segment<E: From<StoreError>>(
    tx: &mut Tx<'_>,
    task_id: &str,
    role: Option<Role>,
    limit: Option<i64>,
    each: &mut dyn FnMut(Segment) -> Result<(), E>,
) -> Result<(), E> {
    let wanted = if role.is_some() { "role = $2" } else { "$2 = ''" };
    let first = "select min(id) from (select id from transcript_segments";
    tx.each(
        &format!(
            "select byte_count, captured_at, content_sha256, created_at, id, line_count, previous_capture_id, redacted, \
             retention_class, role, segment_end_line, segment_kind, segment_start_line, segment_text, \
             source_capture_id, task_id from transcript_segments where task_id = $1 and {wanted} and id >= \
             coalesce(({first} where task_id = $1 and {wanted} order by id desc limit $3) newest), 0) order by id"
        ),
        params![task_id, role.map_or("", Role::as_str), limit.unwrap_or(i64::MAX)],
        &mut |row| each(segment_row(row)?),
    )
}

/// The segments of one side of a task that still have text, but for the newest `keep`: the newest
/// first.
///
/// # Errors
/// A failing statement.
pub fn prunable(tx: &mut Tx<'_>, task_id: &str, role: Role, keep: i64) -> Result<Vec<i64>, StoreError> {
    tx.all(
        "select id from transcript_segments where task_id = $1 and role = $2 and segment_text is not null \
         order by id desc limit $4 offset $3",
        params![task_id, role.as_str(), keep, i64::MAX],
        |row| row.int(0),
    )
}

/// Drops the texts of segments of a task and records that.
///
/// # Errors
/// A failing statement.
pub fn prune(tx: &mut Tx<'_>, task_id: &str, segment_ids: &[i64], keep: i64) -> Result<(), StoreError> {
    for id in segment_ids {
        tx.execute(
            "update transcript_segments set segment_text = null, retention_class = 'cold', \
             segment_kind = 'metadata' where id = $1",
            params![*id],
        )?;
    }
    let payload = json!({ "keep_latest": keep, "segment_ids": segment_ids });
    audit::record(
        tx,
        &AuditEvent {
            event_type: "transcript_segments_pruned",
            task_id: Some(task_id),
            command_id: None,
            payload,
        },
    )
}

/// A manager of older versions that is still active, with a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct LegacyManager {
    pub id: String,
    pub name: String,
    pub state: String,
    pub tmux_session: String,
    pub tmux_pane_id: Option<String>,
}

/// The active manager of older versions that a task has.
///
/// # Errors
/// A failing statement.
pub fn legacy_manager(tx: &mut Tx<'_>, task_id: &str) -> Result<Option<LegacyManager>, StoreError> {
    tx.first(
        "select id, name, state, tmux_session, tmux_pane_id from managers where task_id = $1 \
         and state in ('starting', 'ready', 'stopping') and tmux_session <> ''",
        params![task_id],
        |row| {
            Ok(LegacyManager {
                id: row.text(0)?,
                name: row.text(1)?,
                state: row.text(2)?,
                tmux_session: row.text(3)?,
                tmux_pane_id: row.opt_text(4)?,
            })
        },
    )
}

/// Notes that a manager of older versions was seen, and what its terminal showed.
///
/// # Errors
/// A failing statement.
pub fn legacy_manager_seen(tx: &mut Tx<'_>, id: &str, content_sha256: &str) -> Result<(), StoreError> {
    let now = tx.now()?.to_s_text();
    tx.execute(
        "update managers set last_seen_at = $2, last_capture_sha256 = $3 where id = $1",
        params![id, now, content_sha256],
    )?;
    Ok(())
}

/// Notes that a manager of older versions was ended.
///
/// # Errors
/// A failing statement.
pub fn legacy_manager_stopped(tx: &mut Tx<'_>, id: &str) -> Result<(), StoreError> {
    let now = tx.now()?.to_ms_text();
    tx.execute("update managers set state = 'stopped', stopped_at = $2 where id = $1", params![id, now])?;
    Ok(())
}

/// A worker of older versions that is bound to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields are columns of the joined tables")]
pub struct LegacyWorker {
    pub binding_id: String,
    pub id: String,
    pub name: String,
    pub state: String,
    pub tmux_session: String,
    pub tmux_pane_id: Option<String>,
    pub identity_token: String,
}

/// The worker of older versions in a task's live binding.
///
/// # Errors
/// A failing statement.
pub fn legacy_worker(tx: &mut Tx<'_>, task_id: &str) -> Result<Option<LegacyWorker>, StoreError> {
    tx.first(
        "select b.id, w.id, w.name, w.state, w.tmux_session, w.tmux_pane_id, w.identity_token \
         from bindings b join workers w on w.id = b.worker_id \
         where b.task_id = $1 and b.state in ('active', 'ending') limit 1",
        params![task_id],
        |row| {
            Ok(LegacyWorker {
                binding_id: row.text(0)?,
                id: row.text(1)?,
                name: row.text(2)?,
                state: row.text(3)?,
                tmux_session: row.text(4)?,
                tmux_pane_id: row.opt_text(5)?,
                identity_token: row.text(6)?,
            })
        },
    )
}

/// Notes that a worker of older versions was ended.
///
/// # Errors
/// A failing statement.
pub fn legacy_worker_stopped(tx: &mut Tx<'_>, id: &str) -> Result<(), StoreError> {
    let now = tx.now()?.to_s_text();
    tx.execute("update workers set state = 'stopped', updated_at = $2 where id = $1", params![id, now])?;
    Ok(())
}
