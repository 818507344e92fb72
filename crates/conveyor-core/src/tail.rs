//! Looking at the newest events of a session, without the texts in them unless asked for.

use std::borrow::Cow;

use conveyor_model::Actor;
use conveyor_model::records::Object;
use conveyor_store::codex_events::{self, Event, Newest};
use conveyor_store::telemetry::{self, Emit};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{Cx, Result, Sink, reference};

/// What to look at.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Name of the session.
    pub session: &'a str,
    /// At most so many events.
    pub limit: i64,
    /// Events of exactly this subtype; `None`: all.
    pub subtype: Option<&'a str>,
    /// Show the texts.
    pub include_content: bool,
}

/// An event as it is shown.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct TailEvent {
    pub byte_offset: i64,
    pub id: i64,
    pub payload: Object,
    pub subtype: Option<String>,
    pub timestamp: String,
    #[serde(rename = "type")]
    pub event_type: String,
}

/// Hands the newest stored events of a session to `sink`, newest first.
///
/// # Errors
/// An unknown session, a failing ledger, or a failing `sink`.
pub fn tail(cx: &mut Cx, request: &Request<'_>, sink: Sink<'_, TailEvent>) -> Result<()> {
    // The record of the look is committed first, so that nothing is shown when that fails; the id
    // of the newest event then makes the list the recorded one.
    let (session_id, until) = cx.db.write(|tx| note(tx, request))?;
    let Some(until) = until else { return Ok(()) };
    cx.db.read(|tx| {
        codex_events::each(tx, &selection(request, &session_id, until), &mut |event| {
            Ok(sink(shown(event, request.include_content))?)
        })
    })
}

fn selection<'a>(request: &Request<'a>, session_id: &'a str, until: i64) -> Newest<'a> {
    Newest { session_id, subtype: request.subtype, limit: request.limit, until }
}

/// Records the look; gives the session's id and the newest event that it will show.
fn note(tx: &mut conveyor_store::Tx<'_>, request: &Request<'_>) -> Result<(String, Option<i64>)> {
    let session = reference::session(tx, request.session)?;
    let (count, newest) = codex_events::count(tx, &selection(request, &session.id, i64::MAX))?;
    let correlation = json!({ "session": session.name, "session_id": session.id });
    let attributes = json!({ "limit": request.limit, "returned_count": count, "subtype": request.subtype });
    let summary = format!("Read {count} events of session {}.", session.name);
    let event = Emit::info(Actor::Workerctl, "codex_events_tail_read", summary, correlation, attributes);
    telemetry::emit(tx, &event)?;
    Ok((session.id, newest))
}

fn shown(event: Event, include_content: bool) -> TailEvent {
    let Event { id, timestamp, event_type, subtype, payload, byte_offset } = event;
    let payload = if include_content { payload } else { redact_object(payload) };
    TailEvent { byte_offset, id, payload, subtype, timestamp, event_type }
}

/// The keys under which texts of people, agents and programs stand in rollouts.
const TEXT_KEYS: [&str; 16] = [
    "aggregated_output",
    "arguments",
    "cmd",
    "command",
    "content",
    "developer_instructions",
    "input",
    "last_agent_message",
    "message",
    "output",
    "segment_text",
    "stderr",
    "stdout",
    "summary",
    "text",
    "user_instructions",
];

/// Puts the size of each text in its place, at any depth.
fn redact_object(object: Object) -> Object {
    let mut redacted = Object::new();
    for (key, value) in object {
        match text_under(&key, &value) {
            Some(text) => {
                redacted.insert(format!("{key}_byte_count"), text.len().into());
                redacted.insert(format!("{key}_line_count"), line_count(&text).into());
                redacted.insert(format!("{key}_redacted"), true.into());
            }
            None => {
                redacted.insert(key, redact_value(value));
            }
        }
    }
    redacted
}

fn redact_value(value: Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(redact_object(object)),
        Value::Array(items) => items.into_iter().map(redact_value).collect(),
        other => other,
    }
}

/// The text to take out, if there is one under this key. A list with bare strings in it (a command
/// with its arguments) is one text: its elements, one a line. Other lists are looked into.
fn text_under<'v>(key: &str, value: &'v Value) -> Option<Cow<'v, str>> {
    if !TEXT_KEYS.contains(&key) {
        return None;
    }
    match value {
        Value::String(text) => Some(text.into()),
        Value::Array(items) if items.iter().any(Value::is_string) => {
            let lines: Vec<Cow<'_, str>> = items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string().into(), Cow::from))
                .collect();
            Some(lines.join("\n").into())
        }
        _ => None,
    }
}

/// Line ends (`\r\n`, `\n` or `\r`), and one more if something follows the last of them.
pub(crate) fn line_count(text: &str) -> usize {
    let bytes = text.as_bytes();
    let ends = bytes.iter().enumerate().filter(|&(at, byte)| match byte {
        b'\n' => true,
        b'\r' => bytes.get(at + 1) != Some(&b'\n'),
        _ => false,
    });
    ends.count() + usize::from(!text.is_empty() && !text.ends_with(['\n', '\r']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_by_their_ends() {
        for (text, lines) in [("", 0), ("a", 1), ("a\n", 1), ("a\r\nb", 2), ("\r\r\n\n", 3), ("a\rb\r", 2)] {
            assert_eq!(line_count(text), lines, "{text:?}");
        }
    }

    #[test]
    fn texts_are_taken_out_at_any_depth() {
        let redacted = redact_value(json!({
            "content": [{ "type": "input_text", "text": "größer\nx" }],
            "command": ["bash", "-lc", "ls"],
            "message": { "role": "user", "stdout": "" },
            "command_count": 2,
            "output": 7,
        }));
        let expected = json!({
            "content": [{ "type": "input_text", "text_byte_count": 10, "text_line_count": 2, "text_redacted": true }],
            "command_byte_count": 11, "command_line_count": 3, "command_redacted": true,
            "message": { "role": "user", "stdout_byte_count": 0, "stdout_line_count": 0, "stdout_redacted": true },
            "command_count": 2,
            "output": 7,
        });
        assert_eq!(redacted, expected);
    }

    #[test]
    fn every_text_key_is_covered_as_text_and_as_list() {
        for key in TEXT_KEYS {
            for value in [json!("secret"), json!(["secret", 1])] {
                let redacted = redact_object(Object::from_iter([(key.to_owned(), value)]));
                assert_eq!(redacted.len(), 3, "{key}");
                assert!(!Value::Object(redacted).to_string().contains("secret"), "{key}");
            }
        }
    }
}
