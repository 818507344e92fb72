//! Guarded typing: a text goes into a terminal only while it is proven that the agent there is
//! idle and its composer empty, and counts as delivered only once the agent's own record has it.
//!
//! | step | where |
//! | --- | --- |
//! | what the agent's own sources say | `agent`, `record` |
//! | what the pane shows: it may veto, never permit | `pane` |
//! | evidence → verdict, pure | [`verdict`] |
//! | what a composer makes of a text | `message` |
//! | one at a time | `lock` |
//! | typing and its proof | `typist` |
//! | the delivery's row: intent, lock, outcome | `session` |
//! | the commands | [`nudge`], [`interrupt`], [`slash`] |

pub(crate) mod agent;
pub mod interrupt;
mod journal;
pub(crate) mod lock;
pub(crate) mod message;
pub mod nudge;
mod pane;
mod record;
mod refusal;
pub(crate) mod session;
pub mod slash;
pub(crate) mod typist;
pub mod verdict;

use serde::Serialize;

pub(crate) use pane::SHELLS;
pub use refusal::NotReady;

/// How careful to be with terminals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Prove before typing, and prove what was typed. Otherwise as 0.1.10 did.
    pub strict: bool,
    /// Ask agents' servers.
    pub native: bool,
    /// Type in spite of missing proofs; that is recorded.
    pub force: bool,
}

impl Default for Guard {
    fn default() -> Self {
        Self { strict: true, native: true, force: false }
    }
}

/// A text that was sent to a terminal.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "documented with the command")]
pub struct Sent {
    /// How far the proof has come; absent where none was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    pub dry_run: bool,
    /// The missing proof in spite of which it was typed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forced: Option<verdict::Refusal>,
    pub session: String,
    pub side_effect_completed: bool,
    pub side_effect_started: bool,
    pub target: String,
    pub text: String,
    pub time: String,
}

/// What is known of a delivery.
#[derive(Clone, Debug, Serialize)]
pub struct Delivery {
    /// Its row; null where there is none.
    pub delivery_id: Option<String>,
    /// Why it is not proven.
    pub reason: Option<&'static str>,
    /// `seen` or `unknown`.
    pub stage: &'static str,
    /// The turn that begins with the text.
    pub turn_id: Option<String>,
}
