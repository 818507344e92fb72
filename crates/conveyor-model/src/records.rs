//! Rows of the ledger as values, shared by the store that reads them and the operations that
//! use them. Field names are column names.

use serde::Serialize;
use serde_json::{Map, Value};

/// A JSON object as stored in a column.
pub type Object = Map<String, Value>;

/// A row of `tasks`. `state` stays text because older files may hold what we do not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Task {
    pub id: String,
    pub name: String,
    pub goal: String,
    pub summary: Option<String>,
    pub state: String,
    pub created_at: String,
    pub updated_at: String,
}

/// A row of `sessions` with its sixteen columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Session {
    pub id: String,
    pub name: String,
    pub role: String,
    pub identity_token: String,
    pub tmux_session: Option<String>,
    pub tmux_pane_id: Option<String>,
    pub codex_session_path: Option<String>,
    pub codex_session_id: Option<String>,
    pub codex_app_thread_id: Option<String>,
    pub codex_app_thread_title: Option<String>,
    pub pid: Option<i64>,
    pub cwd: String,
    pub registered_at: String,
    pub last_heartbeat_at: Option<String>,
    pub state: String,
    pub last_ingest_offset: Option<i64>,
}

impl Session {
    /// The tmux session that messages are pushed to; a stored empty name counts as none.
    #[must_use]
    pub fn tmux(&self) -> Option<&str> {
        self.tmux_session.as_deref().filter(|name| !name.is_empty())
    }
}

/// A live binding of a task with the names of its sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Binding {
    pub binding_id: String,
    pub task_id: String,
    pub worker_session_id: Option<String>,
    pub worker_session_name: Option<String>,
    pub manager_session_id: Option<String>,
    pub manager_session_name: Option<String>,
    pub state: String,
    pub created_at: String,
}

/// A row of `commands` as lists print it, with the name of its task.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Command {
    pub id: String,
    pub idempotency_key: String,
    pub created_at: String,
    pub updated_at: String,
    pub task_id: Option<String>,
    pub task_name: Option<String>,
    pub worker_id: Option<String>,
    pub manager_id: Option<String>,
    pub correlation_id: Option<String>,
    #[serde(rename = "type")]
    pub command_type: String,
    pub state: String,
    pub available_at: Option<String>,
    pub claimed_by: Option<String>,
    pub claimed_at: Option<String>,
    pub claim_expires_at: Option<String>,
    pub attempts: i64,
    pub max_attempts: i64,
    pub required_permission: Option<String>,
    pub payload: Object,
    pub result: Option<Object>,
    pub error: Option<String>,
    /// Oldest first; `None` where it was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt_history: Option<Vec<Attempt>>,
}

/// One dispatcher attempt at a command.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Attempt {
    pub id: i64,
    pub command_id: String,
    pub correlation_id: String,
    pub dispatcher_id: String,
    pub started_at: String,
    pub finished_at: Option<String>,
    pub state: String,
    pub result: Option<Object>,
    pub error: Option<String>,
    pub side_effect_started: bool,
    pub side_effect_completed: bool,
}

/// A telemetry event about to be written, or read back.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct TelemetryEvent {
    pub id: String,
    pub run_id: Option<String>,
    pub task_id: Option<String>,
    pub timestamp: String,
    pub actor: String,
    pub event_type: String,
    pub severity: String,
    pub summary: String,
    pub correlation: Object,
    pub attributes: Object,
}
