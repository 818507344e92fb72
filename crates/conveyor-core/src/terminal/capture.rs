//! Recording what a terminal shows: in the ledger and in the files of its worker or session.

use std::path::{Path, PathBuf};

use conveyor_agents::tmux::Extent;
use conveyor_model::WorkerState;
use conveyor_model::records::Object;
use conveyor_store::captures::{self, NewCapture};
use conveyor_store::workers::{self, Facts};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Subject, SubjectKind, resolve};
use crate::addressing::Here;
use crate::legacy::{Place, read_object, taken, write_object, write_text};
use crate::{Cx, Error, Result, digest, tail};

/// A recorded capture.
#[derive(Clone, Debug, Serialize)]
pub struct Captured {
    /// Whether the program shows its alternate screen, which has no history.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub alternate_screen: bool,
    /// Bytes of the text.
    pub byte_count: usize,
    /// The text is not shown.
    pub content_redacted: bool,
    /// How many lines above the screen were asked for.
    pub history_lines: i64,
    /// Lines of the text.
    pub line_count: usize,
    /// The worker or session.
    pub name: String,
    /// Digest of the text.
    pub sha256: String,
    /// Where the text is.
    pub transcript_path: PathBuf,
    /// The text.
    #[serde(skip)]
    pub text: String,
    /// The visible part of it.
    #[serde(skip)]
    pub visible: String,
}

/// Captures the terminal of a worker or session and records it.
///
/// # Errors
/// An unknown name, a terminal that is not there, a failing tmux, ledger or file.
pub fn capture(place: &mut Place, name: &str, history_lines: i64) -> Result<Captured> {
    let subject = resolve(place, name)?;
    let here = subject.terminal()?.require(name)?;
    let root = place.root().to_owned();
    record(place.cx()?, &root, &subject, &here, history_lines)
}

/// Captures the terminal of a subject, which was found there, and records it below `root`.
///
/// # Errors
/// A failing tmux, ledger or file.
pub(crate) fn record(
    cx: &mut Cx,
    root: &Path,
    subject: &Subject,
    here: &Here,
    history_lines: i64,
) -> Result<Captured> {
    let terminal = subject.terminal()?;
    let extent =
        Extent { history_lines: u32::try_from(history_lines.max(0)).unwrap_or(u32::MAX), attributes: false };
    let look = terminal.look_again(&subject.name, here, extent)?;
    let text = look.text.trim_end_matches('\n').to_owned();
    let captured = Captured {
        alternate_screen: look.pane.alternate_screen,
        byte_count: text.len(),
        content_redacted: true,
        history_lines,
        line_count: tail::line_count(&text),
        name: subject.name.clone(),
        sha256: digest::of(text.as_bytes()),
        transcript_path: root.join(&subject.name).join("transcript.txt"),
        visible: look.visible().to_owned(),
        text,
    };
    let meta_path = meta_path(root, &subject.name);
    let previous = Meta::of(&read_object(&meta_path)?.unwrap_or_default());
    let changed = previous.sha256.as_deref() != Some(captured.sha256.as_str());
    let unchanged_since = previous.changed_at.filter(|_| !changed);
    let facts = facts(subject, &terminal.session, &look.pane.id);
    // The ledger first: should we be stopped in between, the text comes in again rather than never.
    let (captured_at, changed_at) = insert(cx, &facts, &captured, changed, unchanged_since.as_deref())?;
    write_text(&captured.transcript_path, &format!("{}\n", captured.text))?;
    let meta = json!({
        "captured_at": captured_at,
        "changed_at": changed_at,
        "history_lines": history_lines,
        "sha256": captured.sha256,
    });
    write_object(&meta_path, &meta)?;
    Ok(captured)
}

/// What the row of a subject in `workers` says.
fn facts<'a>(subject: &'a Subject, tmux_session: &'a str, pane_id: &'a str) -> Facts<'a> {
    let of_worker = match &subject.kind {
        SubjectKind::Worker(config) => config.facts(&subject.name, tmux_session, WorkerState::Active),
        SubjectKind::Session(session) => Facts {
            name: &subject.name,
            tmux_session,
            tmux_pane_id: None,
            identity_token: Some(&session.identity_token),
            cwd: &session.cwd,
            state: WorkerState::Active,
        },
    };
    Facts { tmux_pane_id: Some(pane_id), ..of_worker }
}

/// Records the capture in the ledger; gives when it was made and since when the text is the same.
fn insert(
    cx: &mut Cx,
    facts: &Facts<'_>,
    captured: &Captured,
    changed: bool,
    unchanged_since: Option<&str>,
) -> Result<(String, String)> {
    let inserted = cx.db.write(|tx| {
        let now = tx.now()?.to_s_text();
        let changed_at = unchanged_since.unwrap_or(&now).to_owned();
        let worker_id = workers::upsert(tx, facts)?;
        let new = NewCapture {
            worker_id: &worker_id,
            sha256: &captured.sha256,
            text: &captured.text,
            line_count: i64::try_from(captured.line_count).unwrap_or(i64::MAX),
            changed,
            captured_at: &now,
            changed_at: &changed_at,
            history_lines: captured.history_lines,
        };
        captures::insert(tx, &new)?;
        Ok::<_, Error>((now, changed_at))
    });
    inserted.map_err(|error| taken(error, facts.name))
}

/// The facts about the last capture, as its file holds them.
#[derive(Clone, Debug, Default)]
pub(super) struct Meta {
    pub(super) captured_at: Option<String>,
    pub(super) changed_at: Option<String>,
    pub(super) error: Option<String>,
    sha256: Option<String>,
}

impl Meta {
    pub(super) fn of(object: &Object) -> Self {
        let text = |key: &str| object.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
        Self {
            captured_at: text("captured_at"),
            changed_at: text("changed_at"),
            error: text("error"),
            sha256: text("sha256"),
        }
    }
}

pub(super) fn meta_path(root: &Path, name: &str) -> PathBuf {
    root.join(name).join("capture-meta.json")
}
