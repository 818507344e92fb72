use std::time::Duration;

use super::state::State;

/// Why something could not be done with a Codex server. Each message is one line.
#[derive(Debug, thiserror::Error)]
pub enum CodexError {
    /// Nobody answers for this home: no server, a dead one, or the connection was lost before the
    /// request was written. Nothing was done.
    #[error("the Codex server cannot be reached: {reason}")]
    NotReachable {
        /// What was found, for people.
        reason: String,
    },
    /// The thread is not one of this home, or the server does not have it loaded.
    #[error("{text}")]
    NotFound {
        /// What the server said.
        text: String,
    },
    /// The thread is not in the state that the caller expects. Nothing was sent.
    #[error("the thread is {}, which does not take a message", state.as_str())]
    NotReady {
        /// The state that was found.
        state: State,
    },
    /// The server answered with an error.
    #[error("Codex refused {method}: {text}")]
    Refused {
        /// The method that was called.
        method: &'static str,
        /// What the refusal means.
        cause: Refusal,
        /// The JSON-RPC error code.
        code: i64,
        /// What the server said.
        text: String,
    },
    /// The installed Codex cannot do this.
    #[error("this Codex does not support it: {text}")]
    Unsupported {
        /// What is missing.
        text: String,
    },
    /// No answer within the time limit.
    #[error("Codex did not answer {method} within {limit:?}")]
    Timeout {
        /// The method that was called.
        method: &'static str,
        /// The limit.
        limit: Duration,
        /// Whether the request was sent: then, and only then, its fate is unknown.
        sent: bool,
    },
    /// The connection was lost after the request was written: its fate is unknown.
    #[error("the connection to Codex was lost during {method}: {reason}")]
    Lost {
        /// The method that was called.
        method: &'static str,
        /// What happened, for people.
        reason: String,
    },
    /// The other side speaks differently than expected.
    #[error("Codex answered unexpectedly: {text}")]
    Protocol {
        /// What was wrong.
        text: String,
    },
}

impl CodexError {
    /// Whether a request may or may not have taken effect. It is then looked up, never repeated.
    #[must_use]
    pub fn is_fate_unknown(&self) -> bool {
        matches!(self, Self::Timeout { sent: true, .. } | Self::Lost { .. })
    }

    /// What the refusal means, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused { cause, .. } => Some(*cause),
            _ => None,
        }
    }

    pub(super) fn refused(method: &'static str, code: i64, text: String) -> Self {
        match Refusal::of(code, &text) {
            Refusal::NotFound => Self::NotFound { text },
            cause => Self::Refused { method, cause, code, text },
        }
    }

    pub(super) fn protocol(text: impl Into<String>) -> Self {
        Self::Protocol { text: text.into() }
    }
}

/// What an error answer of the server means. Its codes say little (most are −32600), so the text
/// decides; the texts are those of 0.169.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another turn runs than the one named, or none that could be steered: read again.
    Race,
    /// No turn runs.
    NothingRunning,
    /// The server has no such thread, or has it not loaded.
    NotFound,
    /// Another process writes to the thread.
    OwnedElsewhere,
    /// The thread is so new that there is nothing to read yet: no absence of anything.
    Fresh,
    /// The server understands the protocol differently.
    Protocol,
    /// The server has too much to do: later.
    Overloaded,
    /// Everything else.
    Other,
}

impl Refusal {
    /// Parts of the texts and what they mean; the first that occurs decides.
    const TEXTS: [(&str, Self); 15] = [
        ("no active turn to interrupt", Self::NothingRunning),
        ("no active turn to steer", Self::Race),
        ("expected active turn id", Self::Race),
        ("already has an active writer", Self::OwnedElsewhere),
        ("no rollout found", Self::Fresh),
        ("failed to read session metadata", Self::Fresh),
        ("is not materialized yet", Self::Fresh),
        ("not supported yet", Self::Fresh),
        ("thread not found", Self::NotFound),
        ("thread not loaded", Self::NotFound),
        ("invalid thread id", Self::NotFound),
        ("requires experimentalApi capability", Self::Protocol),
        ("unknown variant", Self::Protocol),
        ("missing field", Self::Protocol),
        ("Server overloaded", Self::Overloaded),
    ];

    pub(super) fn of(code: i64, text: &str) -> Self {
        if code == OVERLOADED {
            return Self::Overloaded;
        }
        Self::TEXTS.iter().find(|(part, _)| text.contains(part)).map_or(Self::Other, |(_, cause)| *cause)
    }
}

/// The code with which the server asks for patience.
const OVERLOADED: i64 = -32_001;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart_by_their_text() {
        let cases = [
            (-32600, "no active turn to interrupt", Refusal::NothingRunning),
            (-32600, "expected active turn id A but found B", Refusal::Race),
            (-32600, "thread not loaded: 01a2", Refusal::NotFound),
            (-32600, "thread X is not materialized yet; thread/turns/list is unavailable", Refusal::Fresh),
            (-32601, "thread/items/list is not supported yet", Refusal::Fresh),
            (-32600, "Invalid request: unknown variant `x`, expected one of `y`", Refusal::Protocol),
            (-32001, "anything", Refusal::Overloaded),
            (-32600, "something new", Refusal::Other),
        ];
        for (code, text, cause) in cases {
            assert_eq!(Refusal::of(code, text), cause, "{text}");
        }
        let gone = CodexError::refused("thread/read", -32600, "thread not found: 1".into());
        assert!(matches!(gone, CodexError::NotFound { .. }));
    }

    #[test]
    fn only_what_was_sent_has_an_unknown_fate() {
        let late = |sent| CodexError::Timeout { method: "turn/start", limit: Duration::from_secs(5), sent };
        assert!(late(true).is_fate_unknown());
        assert!(!late(false).is_fate_unknown());
        assert!(CodexError::Lost { method: "turn/start", reason: "reset".into() }.is_fate_unknown());
        assert!(!CodexError::NotReachable { reason: "down".into() }.is_fate_unknown());
    }
}
