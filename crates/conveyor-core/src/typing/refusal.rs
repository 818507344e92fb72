//! What is said when a terminal does not take a message now.

use std::fmt;

use serde::Serialize;

use super::verdict::{Grade, Refusal};

/// A terminal that does not take a message now. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotReady {
    /// Always `target_not_ready`.
    pub error: &'static str,
    /// Always `false`: what is forced is not refused.
    pub forced: bool,
    /// Which proof is missing.
    pub guard: Refusal,
    /// What to do.
    pub hint: &'static str,
    /// The state to wait for, where waiting helps.
    pub next_state_hint: Option<&'static str>,
    /// Always `true`: trying again is safe.
    pub retryable: bool,
    /// The session or worker.
    pub session: String,
    /// What the agent does, as far as known.
    pub state: String,
    /// The terminal.
    pub target: String,
}

impl NotReady {
    pub(crate) fn new(guard: Refusal, session: &str, state: &str, target: String) -> Self {
        Self {
            error: "target_not_ready",
            forced: false,
            hint: hint(&guard),
            next_state_hint: waiting_helps(&guard).then_some("idle"),
            guard,
            retryable: true,
            session: session.to_owned(),
            state: state.to_owned(),
            target,
        }
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, state, guard, .. } = self;
        write!(f, "{session} does not take a message now (state {state}, {}): {}", guard.reason, guard.detail)
    }
}

fn waiting_helps(guard: &Refusal) -> bool {
    matches!(
        guard.reason,
        "busy" | "waiting_approval" | "waiting_input" | "dialog" | "human_active" | "usage_limited"
    )
}

fn hint(guard: &Refusal) -> &'static str {
    match guard.reason {
        "busy" => "wait for the end of its turn and try again",
        "waiting_approval" | "waiting_input" | "dialog" => "answer the dialog in its terminal first",
        "draft" => "send or clear the draft in its terminal first",
        "human_active" => "try again when nobody types there",
        "shell" | "gone" => "start the agent again",
        "replaced" => "register the session again",
        "pane_in_mode" => "leave the mode in its terminal first (q)",
        "order" => {
            "look into its terminal whether the text stands in the composer; --force types all the same"
        }
        "usage_limited" => "wait until the quota is renewed",
        _ if guard.verdict == Grade::Unproven => {
            "--force types all the same; CONVEYOR_TYPING_GUARD=off does without proofs"
        }
        _ => "look into its terminal; --force types all the same",
    }
}
