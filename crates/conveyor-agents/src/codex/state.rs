use std::time::Duration;

use super::client::Client;
use super::error::{CodexError, Refusal};
use super::protocol::{Flag, Goal, Status, Thread, Turn, TurnStatus};

/// What a thread does, as the server itself says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Loaded, no turn, no goal: it takes a message.
    Idle,
    /// A turn runs, or a goal will start one.
    Busy,
    /// A turn waits for a permission.
    WaitingApproval,
    /// A turn waits for an answer.
    WaitingInput,
    /// No turn; the last one failed.
    Error,
    /// No turn; the last one failed because a quota is used up.
    UsageLimited,
    /// Saved; the server does not hold it.
    NotLoaded,
    /// The server says something that 0.169.0 does not know.
    Unknown,
}

impl State {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::WaitingApproval => "waiting_approval",
            Self::WaitingInput => "waiting_input",
            Self::Error => "error",
            Self::UsageLimited => "usage_limited",
            Self::NotLoaded => "not_loaded",
            Self::Unknown => "unknown",
        }
    }
}

/// What was read about a thread in one look.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The thread with its status.
    pub thread: Thread,
    /// Its last turn; `None` before there is one.
    pub last_turn: Option<Turn>,
    /// The goal that it pursues by itself.
    pub goal: Option<Goal>,
}

impl Reading {
    /// The state that follows from it.
    #[must_use]
    pub fn state(&self) -> State {
        match &self.thread.status {
            Status::NotLoaded => State::NotLoaded,
            Status::Active { active_flags } if active_flags.contains(&Flag::WaitingOnApproval) => {
                State::WaitingApproval
            }
            Status::Active { active_flags } if active_flags.contains(&Flag::WaitingOnUserInput) => {
                State::WaitingInput
            }
            Status::Active { .. } => State::Busy,
            Status::SystemError if self.hit_a_limit() => State::UsageLimited,
            Status::SystemError => State::Error,
            Status::Idle if self.goal.as_ref().is_some_and(|goal| goal.status == "active") => State::Busy,
            Status::Idle => State::Idle,
            Status::Unknown => State::Unknown,
        }
    }

    /// The turn that runs.
    #[must_use]
    pub fn running_turn(&self) -> Option<&Turn> {
        self.last_turn.as_ref().filter(|turn| turn.status == TurnStatus::InProgress)
    }

    fn hit_a_limit(&self) -> bool {
        let error = self.last_turn.as_ref().and_then(|turn| turn.error.as_ref());
        error.is_some_and(super::protocol::TurnError::is_limit)
    }
}

/// Looks at a thread. The status is read last, so that it is never older than the rest.
///
/// # Errors
/// [`CodexError::NotFound`] when this home has no such thread.
pub fn probe(client: &mut Client, thread_id: &str) -> Result<Reading, CodexError> {
    let mut last_turn = last_turn(client, thread_id)?;
    let goal = match client.goal(thread_id) {
        Err(CodexError::NotFound { .. }) => None,
        Err(error) if error.refusal() == Some(Refusal::Fresh) => None,
        goal => goal?,
    };
    let mut thread = client.thread_read(thread_id)?;
    for _ in 0..LOOKS {
        if agree(&thread.status, last_turn.as_ref()) {
            break;
        }
        std::thread::sleep(PAUSE);
        last_turn = self::last_turn(client, thread_id)?;
        thread = client.thread_read(thread_id)?;
    }
    Ok(Reading { thread, last_turn, goal })
}

/// How often, and after what time, two answers that do not agree are asked for again.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// Whether the list of turns has caught up with the status: a turn that begins or ends is missing
/// there, or shown as interrupted, for some milliseconds.
fn agree(status: &Status, last_turn: Option<&Turn>) -> bool {
    let last = last_turn.map(|turn| turn.status);
    match status {
        Status::Active { .. } => last == Some(TurnStatus::InProgress),
        Status::SystemError => last == Some(TurnStatus::Failed),
        _ => last != Some(TurnStatus::InProgress),
    }
}

/// Nothing can be read of a thread without a rollout; it has no turn then.
fn last_turn(client: &mut Client, thread_id: &str) -> Result<Option<Turn>, CodexError> {
    match client.turns(thread_id, 1) {
        Err(error) if error.refusal() == Some(Refusal::Fresh) => Ok(None),
        turns => Ok(turns?.into_iter().next()),
    }
}
