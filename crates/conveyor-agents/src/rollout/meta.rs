use std::path::Path;

use serde_json::{Map, Value};

use super::file::FirstLine;
use super::{RolloutError, open};

/// What the first record of a rollout says about its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionMeta {
    /// Codex's session id; never empty.
    pub id: String,
    /// The session's working directory.
    pub cwd: Option<String>,
    /// When the session was made, as Codex wrote it.
    pub timestamp: Option<String>,
    /// Which program made it, for example `codex_exec`.
    pub originator: Option<String>,
    /// Codex's version.
    pub cli_version: Option<String>,
    /// Which helper of a session it is about, if it is no session of a user: `subagent` and the like.
    pub helper: Option<String>,
}

/// Reads the first record of the rollout at `path`. A first line without newline counts when it is
/// a whole record: Codex may be about to end it.
///
/// # Errors
/// Those of [`open`], and one for each way in which the first line fails to be a session's.
pub fn session_meta(path: &Path) -> Result<SessionMeta, RolloutError> {
    open(path)?.session_meta()
}

impl SessionMeta {
    pub(super) fn parse(path: &Path, first_line: FirstLine) -> Result<Self, RolloutError> {
        let path = path.to_path_buf();
        let line = match first_line {
            FirstLine::TooLong => return Err(RolloutError::FirstLineTooLong { path }),
            FirstLine::Unterminated(line) if line.is_empty() => return Err(RolloutError::Empty { path }),
            FirstLine::Complete(line) | FirstLine::Unterminated(line) => line,
        };
        if line.trim_ascii().is_empty() {
            return Err(RolloutError::EmptyFirstLine { path });
        }
        let record: Value = match serde_json::from_slice(&line) {
            Ok(record) => record,
            Err(error) => return Err(RolloutError::NotJson { path, reason: error.to_string() }),
        };
        match record.get("type") {
            Some(Value::String(kind)) if kind == "session_meta" => {}
            other => return Err(RolloutError::NotSessionMeta { path, found: describe(&record, other) }),
        }
        let Some(payload) = record.get("payload").and_then(Value::as_object) else {
            return Err(RolloutError::PayloadNotObject { path });
        };
        match payload.get("id") {
            Some(Value::String(id)) if !id.is_empty() => Ok(Self::from_payload(id, payload)),
            Some(Value::String(_)) => Err(RolloutError::NoId { path, problem: "empty" }),
            Some(_) => Err(RolloutError::NoId { path, problem: "not a string" }),
            None => Err(RolloutError::NoId { path, problem: "missing" }),
        }
    }

    fn from_payload(id: &str, payload: &Map<String, Value>) -> Self {
        let text = |key: &str| payload.get(key).and_then(Value::as_str).map(str::to_owned);
        Self {
            id: id.to_owned(),
            cwd: text("cwd"),
            timestamp: text("timestamp"),
            originator: text("originator"),
            cli_version: text("cli_version"),
            helper: helper(payload),
        }
    }
}

/// Newer records say who made the thread; older ones have it in the source of a sub-agent alone.
fn helper(payload: &Map<String, Value>) -> Option<String> {
    let subagent = payload.get("source").is_some_and(|source| source.get("subagent").is_some());
    match payload.get("thread_source").and_then(Value::as_str) {
        Some("user" | "conveyor") => None,
        Some(other) => Some(other.to_owned()),
        None => subagent.then(|| "subagent".to_owned()),
    }
}

fn describe(record: &Value, kind: Option<&Value>) -> String {
    match (record, kind) {
        (Value::Object(_), Some(Value::String(kind))) => format!("{kind:?}"),
        (Value::Object(_), _) => "a record without type".into(),
        _ => "a value that is no object".into(),
    }
}
