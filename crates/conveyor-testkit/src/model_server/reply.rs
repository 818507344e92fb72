//! One answer of the model, and how it goes over the wire.

use std::io;
use std::net::TcpStream;

use serde_json::{Value, json};

use super::http;

/// One answer of the model.
#[derive(Clone, Debug)]
pub struct Reply {
    what: What,
    hold: Option<String>,
}

#[derive(Clone, Debug)]
enum What {
    Text(String),
    /// A tool's name and arguments.
    Call(&'static str, Value),
    /// The beginning of a text, then the end of the connection.
    Cut(String),
    /// A status with a body instead of a stream.
    Refusal(u16, Value),
}

impl Reply {
    /// A final answer.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::of(What::Text(text.to_owned()))
    }

    /// A command in the agent's shell, inside its sandbox.
    #[must_use]
    pub fn shell(command: &str) -> Self {
        Self::of(What::Call("exec_command", json!({"cmd": command, "yield_time_ms": 30_000})))
    }

    /// A command that the agent does not wait for: it goes on while the turn does, and behind its end.
    #[must_use]
    pub fn background(command: &str) -> Self {
        Self::of(What::Call("exec_command", json!({"cmd": command, "yield_time_ms": 250})))
    }

    /// A command outside the sandbox, for which Codex asks its user: this opens the approval
    /// dialog under every approval policy but `never`.
    #[must_use]
    pub fn escalated(command: &str, justification: &str) -> Self {
        let arguments = json!({
            "cmd": command,
            "yield_time_ms": 30_000,
            "sandbox_permissions": "require_escalated",
            "justification": justification,
        });
        Self::of(What::Call("exec_command", arguments))
    }

    /// Another agent that works for this one and is told `message`.
    #[must_use]
    pub fn agent(message: &str) -> Self {
        Self::of(What::Call("multi_agent_v1/spawn_agent", json!({"message": message})))
    }

    /// A question with a choice of answers to the user.
    #[must_use]
    pub fn question(question: &str, answers: [&str; 2]) -> Self {
        let options = answers.map(|label| json!({"label": label, "description": label}));
        let question = json!({"id": "choice", "header": "Choice", "question": question, "options": options});
        Self::of(What::Call("request_user_input", json!({"questions": [question]})))
    }

    /// A stream that ends in the middle of a text.
    #[must_use]
    pub fn cut(text: &str) -> Self {
        Self::of(What::Cut(text.to_owned()))
    }

    /// HTTP 500.
    #[must_use]
    pub fn server_error(message: &str) -> Self {
        let body = json!({"error": {"message": message, "type": "server_error"}});
        Self::of(What::Refusal(500, body))
    }

    /// HTTP 429 because the account's quota is used up; Codex calls it `usageLimitExceeded`.
    #[must_use]
    pub fn usage_limit(resets_in_seconds: u64) -> Self {
        let body = json!({"error": {
            "message": "The usage limit has been reached",
            "type": "usage_limit_reached",
            "plan_type": "plus",
            "resets_in_seconds": resets_in_seconds,
        }});
        Self::of(What::Refusal(429, body))
    }

    /// HTTP 429 because of too many requests; Codex calls it `responseTooManyFailedAttempts` with
    /// the status.
    #[must_use]
    pub fn rate_limit() -> Self {
        let body = json!({"error": {"message": "slow down", "type": "rate_limit_exceeded"}});
        Self::of(What::Refusal(429, body))
    }

    /// The same answer, but only after `Model::release(name)`. Until then the turn runs.
    #[must_use]
    pub fn held(mut self, name: &str) -> Self {
        self.hold = Some(name.to_owned());
        self
    }

    fn of(what: What) -> Self {
        Self { what, hold: None }
    }

    /// Sends the answer to the request with this number; `held` waits for the release of a name.
    /// `false` when the other side did not wait for it.
    pub(super) fn send(
        &self,
        stream: &TcpStream,
        number: usize,
        held: impl Fn(&str) -> bool,
    ) -> io::Result<bool> {
        let id = format!("resp_{number}");
        if let What::Refusal(status, body) = &self.what {
            if self.hold.as_deref().is_some_and(|name| !held(name)) {
                return Ok(false);
            }
            return http::write_json(stream, *status, body).map(|()| true);
        }
        http::begin_events(stream)?;
        http::event(stream, "response.created", json!({"response": {"id": id}}))?;
        if self.hold.as_deref().is_some_and(|name| !held(name)) {
            return Ok(false);
        }
        let item = match &self.what {
            What::Text(text) => {
                text_events(stream, number, text)?;
                message(number, text)
            }
            What::Cut(text) => return text_events(stream, number, text).map(|()| true),
            What::Call(name, arguments) => call(number, name, arguments),
            What::Refusal(..) => return Ok(true),
        };
        http::event(stream, "response.output_item.done", json!({"output_index": 0, "item": item}))?;
        let usage = json!({
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 15,
        });
        let last = json!({"response": {"id": id, "usage": usage}});
        http::event(stream, "response.completed", last).map(|()| true)
    }
}

fn message(number: usize, text: &str) -> Value {
    json!({
        "type": "message",
        "id": format!("msg_{number}"),
        "role": "assistant",
        "content": [{"type": "output_text", "text": text}],
    })
}

/// A call of a tool, perhaps one in a namespace.
fn call(number: usize, name: &str, arguments: &Value) -> Value {
    let (namespace, name) = name.split_once('/').map_or((None, name), |(space, name)| (Some(space), name));
    let mut call = json!({
        "type": "function_call",
        "id": format!("fc_{number}"),
        "call_id": format!("call_{number}"),
        "name": name,
        "arguments": arguments.to_string(),
    });
    if let Some(namespace) = namespace {
        call["namespace"] = namespace.into();
    }
    call
}

fn text_events(stream: &TcpStream, number: usize, text: &str) -> io::Result<()> {
    let mut item = message(number, text);
    item["content"] = json!([]);
    http::event(stream, "response.output_item.added", json!({"output_index": 0, "item": item}))?;
    let id = item["id"].clone();
    let delta = json!({"item_id": id, "output_index": 0, "content_index": 0, "delta": text});
    http::event(stream, "response.output_text.delta", delta)
}
