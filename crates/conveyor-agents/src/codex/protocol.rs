//! The messages of the app-server that are used, with the fields that are used. Everything else in
//! an answer is ignored, so that newer servers can be read. A test compares these types with the
//! schema that the installed Codex gives out.

use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};

/// A thread: one conversation, in memory or saved.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Thread {
    /// UUID of version 7; the session id of its rollout.
    pub id: String,
    /// What a person or Conveyor calls it.
    pub name: Option<String>,
    /// The first user message; empty before there is one.
    pub preview: String,
    /// Its directory.
    pub cwd: String,
    /// Its rollout; there is no such file before the thread has a name or a turn.
    pub path: Option<String>,
    /// What it does right now.
    pub status: Status,
    /// When it was made, in seconds.
    pub created_at: i64,
    /// Whether it is never saved: a helper, not a session.
    pub ephemeral: bool,
    /// Who made it: `user`, `conveyor`, or a helper of Codex; free text.
    pub thread_source: Option<String>,
    /// The version of Codex that made it.
    pub cli_version: String,
    /// The thread for which it works, of an agent that another agent has started.
    pub parent_thread_id: Option<String>,
}

impl Thread {
    /// Whether it is one of Codex's own helpers (it starts one to invent titles), never a session.
    #[must_use]
    pub fn is_helper(&self) -> bool {
        self.ephemeral || !matches!(self.thread_source.as_deref(), None | Some("user" | "conveyor"))
    }
}

/// What the server says about a thread.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Status {
    /// Saved; this server does not hold it.
    NotLoaded,
    /// Loaded, no turn.
    Idle,
    /// No turn; the last one failed.
    SystemError,
    /// A turn runs.
    #[serde(rename_all = "camelCase")]
    Active {
        /// What it waits for.
        active_flags: Vec<Flag>,
    },
    /// A state that 0.169.0 does not know.
    #[serde(other)]
    Unknown,
}

/// What a running turn waits for.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum Flag {
    /// A permission.
    WaitingOnApproval,
    /// An answer.
    WaitingOnUserInput,
    /// Something that 0.169.0 does not know.
    #[serde(other)]
    Unknown,
}

/// One turn of a thread.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Turn {
    /// UUID of version 7.
    pub id: String,
    /// How far it is.
    pub status: TurnStatus,
    /// Why it failed.
    pub error: Option<TurnError>,
    /// When it began, in seconds; absent right after the start.
    pub started_at: Option<i64>,
    /// When it ended, in seconds; absent for a turn that died with its server.
    pub completed_at: Option<i64>,
    /// Its items, as far as they were asked for.
    pub items: Vec<Item>,
}

impl Turn {
    /// Whether it has ended. A turn is shown as interrupted for some milliseconds when it begins or
    /// ends, and for ever when it died with its server: without a time of its end, which the others
    /// have, only asking again tells.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match self.status {
            TurnStatus::InProgress => false,
            TurnStatus::Interrupted => self.completed_at.is_some(),
            _ => true,
        }
    }
}

/// How far a turn is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum TurnStatus {
    /// It runs.
    InProgress,
    /// It ended by itself.
    Completed,
    /// It was ended.
    Interrupted,
    /// It ended with an error.
    Failed,
    /// A state that 0.169.0 does not know.
    #[serde(other)]
    Unknown,
}

/// Why a turn failed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TurnError {
    /// For people.
    pub message: String,
    /// For programs: a word, or an object with one key.
    pub codex_error_info: Option<serde_json::Value>,
}

impl TurnError {
    /// Whether a quota is used up or requests come too fast: waiting helps, repeating does not.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        let Some(info) = &self.codex_error_info else { return false };
        match info.as_str() {
            Some(word) => matches!(word, "usageLimitExceeded" | "rateLimitExceeded"),
            // A 429 that does not say that the quota is used up.
            None => info["responseTooManyFailedAttempts"]["httpStatusCode"] == 429,
        }
    }
}

/// A part of a turn.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Item {
    /// What a user, or Conveyor in the user's place, wrote.
    #[serde(rename_all = "camelCase")]
    UserMessage {
        /// Its id in the thread.
        id: String,
        /// The id that the sender gave; terminals give one, too.
        client_id: Option<String>,
        /// Its parts.
        content: Vec<Content>,
    },
    /// Everything else.
    #[serde(other)]
    Other,
}

impl Item {
    /// The text of a user message.
    #[must_use]
    pub fn user_text(&self) -> Option<String> {
        match self {
            Self::UserMessage { content, .. } => {
                Some(content.iter().filter_map(|part| part.text.as_deref()).collect())
            }
            Self::Other => None,
        }
    }
}

/// A part of a user message; only texts have a text.
#[derive(Clone, Debug, Deserialize)]
pub struct Content {
    /// The text.
    pub text: Option<String>,
}

/// An item with the turn it belongs to.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemEntry {
    /// The turn.
    pub turn_id: String,
    /// The item.
    pub item: Item,
    /// When it began, in milliseconds.
    pub started_at_ms: Option<i64>,
}

/// A goal that Codex pursues by itself, starting turns.
#[derive(Clone, Debug, Deserialize)]
pub struct Goal {
    /// What is to be reached.
    pub objective: String,
    /// `active`, or why not.
    pub status: String,
}

/// A message that waits in Codex's own queue.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Queued {
    /// Its place in the queue.
    pub id: String,
    /// The id that the sender gave.
    pub client_user_message_id: String,
}

/// A command that a thread has started and that still runs, in the turn or behind its back.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackgroundTerminal {
    /// The command, as the agent wrote it.
    pub command: String,
    /// Its process, as far as the server tells.
    pub os_pid: Option<u32>,
}

/// A part of a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The entries.
    pub data: Vec<T>,
    /// Where the next part begins; `None` at the end.
    pub next_cursor: Option<String>,
}

/// What a thread's commands may do without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sandbox {
    /// Read.
    ReadOnly,
    /// Write below the directory.
    WorkspaceWrite,
    /// Everything.
    DangerFullAccess,
}

impl Sandbox {
    /// The word for it, on the command line and at the server.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::WorkspaceWrite => "workspace-write",
            Self::DangerFullAccess => "danger-full-access",
        }
    }
}

/// When Codex asks before it executes a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// For everything that is not known to be harmless.
    Untrusted,
    /// When the model says that it needs more than the sandbox gives.
    OnRequest,
    /// Never: what is not allowed fails.
    Never,
}

/// An id in a request. An empty one is never sent: the server takes it for whatever there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Id<'a>(pub(super) &'a str);

impl Serialize for Id<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.trim().is_empty() {
            return Err(S::Error::custom("an id is empty"));
        }
        serializer.serialize_str(self.0)
    }
}

impl Approval {
    /// The word for it, on the command line and at the server.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::OnRequest => "on-request",
            Self::Never => "never",
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ThreadStartParams<'a> {
    pub(super) cwd: &'a str,
    pub(super) sandbox: Sandbox,
    pub(super) approval_policy: Approval,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<&'a str>,
    pub(super) thread_source: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SettingsParams<'a> {
    pub(super) thread_id: Id<'a>,
    pub(super) approval_policy: Approval,
    pub(super) sandbox_policy: SandboxPolicy,
}

/// A sandbox with all that belongs to it.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub(super) enum SandboxPolicy {
    ReadOnly,
    WorkspaceWrite(WorkspaceWrite),
    DangerFullAccess,
}

/// What the home's configuration says about writing below the directory. It is read in one spelling
/// and sent in the other.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all(serialize = "camelCase"))]
pub(super) struct WorkspaceWrite {
    pub(super) writable_roots: Vec<String>,
    pub(super) network_access: bool,
    pub(super) exclude_tmpdir_env_var: bool,
    pub(super) exclude_slash_tmp: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ThreadParams<'a> {
    pub(super) thread_id: Id<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NameParams<'a> {
    pub(super) thread_id: Id<'a>,
    pub(super) name: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResumeParams<'a> {
    pub(super) thread_id: Id<'a>,
    pub(super) exclude_turns: bool,
}

/// Newest first: what is looked for has just happened.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageParams<'a> {
    pub(super) thread_id: Id<'a>,
    pub(super) limit: u32,
    pub(super) sort_direction: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<&'a str>,
}

/// A part of what belongs to a thread.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartParams<'a> {
    pub(super) thread_id: Id<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GoalParams<'a> {
    pub(super) thread_id: Id<'a>,
    pub(super) status: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueuedParams<'a> {
    pub(super) thread_id: Id<'a>,
    pub(super) queued_submission_id: Id<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListParams<'a> {
    pub(super) limit: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TurnStartParams<'a> {
    pub(super) thread_id: Id<'a>,
    pub(super) input: [Input<'a>; 1],
    pub(super) client_user_message_id: Id<'a>,
    pub(super) turn_trigger: &'static str,
}

/// A text as the user's input.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "text")]
pub(super) struct Input<'a> {
    pub(super) text: &'a str,
    pub(super) text_elements: [(); 0],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TurnParams<'a> {
    pub(super) thread_id: Id<'a>,
    pub(super) turn_id: Id<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct ConfigParams<'a> {
    pub(super) cwd: &'a str,
}

#[derive(Debug, Deserialize)]
pub(super) struct ThreadAnswer {
    pub(super) thread: Thread,
}

#[derive(Debug, Deserialize)]
pub(super) struct TurnAnswer {
    pub(super) turn: Turn,
}

#[derive(Debug, Deserialize)]
pub(super) struct GoalAnswer {
    pub(super) goal: Option<Goal>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InitializeAnswer {
    pub(super) codex_home: String,
    pub(super) user_agent: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct DeletedAnswer {
    pub(super) deleted: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct UnsubscribeAnswer {
    pub(super) status: String,
}

/// An answer of which nothing is needed but that it came.
#[derive(Debug, Deserialize)]
pub(super) struct Empty {}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
