//! What Codex asked, as far as a script or a test wants to know.

use serde_json::Value;

use super::http::Message;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The next step of a turn.
    Turn,
    /// A summary of the conversation, after which the conversation begins with that summary.
    Compaction,
    /// Something that Codex does by itself, for instance inventing a title for a thread.
    Helper,
}

/// One recorded request.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it is for.
    pub kind: Kind,
    /// The thread it belongs to, where Codex says so.
    pub thread_id: Option<String>,
    /// The turn it belongs to, where Codex says so.
    pub turn_id: Option<String>,
    /// The last text that a user (or Conveyor in the user's place) wrote; empty when there is none.
    pub user_text: String,
    /// How many tool outputs came after that text: the number of the step within the turn.
    pub step: usize,
    /// The texts of those outputs.
    pub outputs: Vec<String>,
    /// Whether the other side went away before the answer was complete.
    pub abandoned: bool,
    /// The whole body.
    pub body: Value,
}

impl Request {
    pub(super) fn read(message: &Message) -> Option<Self> {
        let body: Value = serde_json::from_slice(&message.body).ok()?;
        let metadata: Value = message
            .header("x-codex-turn-metadata")
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let named = |name: &str| metadata[name].as_str().map(str::to_owned);
        let kind = match (metadata["request_kind"].as_str(), metadata["thread_source"].as_str()) {
            (Some("compaction"), _) => Kind::Compaction,
            (None | Some("turn"), None | Some("user" | "conveyor" | "subagent")) => Kind::Turn,
            _ => Kind::Helper,
        };
        let input = body["input"].as_array().map(Vec::as_slice).unwrap_or_default();
        let last = input.iter().rposition(is_user_text);
        let after = last.map_or(input, |last| &input[last + 1..]);
        let outputs: Vec<_> =
            after.iter().filter(|item| item["type"] == "function_call_output").map(output).collect();
        Some(Self {
            kind,
            thread_id: named("thread_id"),
            turn_id: named("turn_id"),
            user_text: last.map(|last| text(&input[last])).unwrap_or_default(),
            step: outputs.len(),
            outputs,
            abandoned: false,
            body,
        })
    }

    /// Whether it is a step of a turn whose last user text contains `text`.
    #[must_use]
    pub fn is_about(&self, text: &str) -> bool {
        self.kind == Kind::Turn && self.user_text.contains(text)
    }
}

/// Codex puts what it says itself into user messages, too: in tags, or under the heading of the
/// agents file.
fn is_user_text(item: &Value) -> bool {
    let own = |text: &str| text.starts_with('<') || text.starts_with("# AGENTS.md");
    item["type"] == "message" && item["role"] == "user" && !own(&text(item))
}

fn text(item: &Value) -> String {
    let parts = item["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    parts.iter().filter_map(|part| part["text"].as_str()).collect()
}

/// A tool's output is a text, or a list of parts with texts.
fn output(item: &Value) -> String {
    let output = &item["output"];
    output.as_str().map_or_else(
        || {
            let parts = output.as_array().map(Vec::as_slice).unwrap_or_default();
            parts.iter().filter_map(|part| part["text"].as_str()).collect()
        },
        str::to_owned,
    )
}
