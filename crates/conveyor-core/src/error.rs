//! Everything that can make an operation fail, by cause. The text says what was wrong; [`Error::hint`]
//! says what to do; [`Error::exit_code`] and [`Error::code`] are the one table each for processes
//! and for machines.

use conveyor_model::Role;
use conveyor_store::StoreError;

use crate::ingest::IngestError;

/// A failed operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger's storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The receiver of a list cannot take it.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
    /// No task has this id or name.
    #[error("unknown task {0:?}")]
    UnknownTask(String),
    /// No session has this name.
    #[error("no session registered with name {0:?}")]
    UnknownSession(String),
    /// A session has the other role.
    #[error("session {name:?} is a {actual}, not a {wanted}")]
    WrongRole {
        /// The session.
        name: String,
        /// Its role.
        actual: String,
        /// The role that was needed.
        wanted: Role,
    },
    /// The task has no live binding with sessions.
    #[error("no active session-based binding for task {0:?}")]
    NoActiveBinding(String),
    /// One side of the task's binding has no usable session.
    #[error("no active bound {role} session for task {task:?}")]
    NoBoundSession {
        /// The task's name.
        task: String,
        /// The side.
        role: Role,
    },
    /// A command with this idempotency key exists.
    #[error("the idempotency key {0:?} is taken")]
    KeyTaken(String),
    /// A session's rollout is not read.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// A rule about given values is broken; the text names the value and the rule.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// A broken rule about given values.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    /// What to do about it, as the end of a sentence; `None` where the text says it already.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnknownTask(_) => "see `conveyor tasks` for the tasks of this ledger".into(),
            Self::UnknownSession(_) => {
                "see `conveyor sessions --state all`, or register it with `conveyor register-worker` or \
                 `conveyor register-manager`"
                    .into()
            }
            Self::NoBoundSession { role, .. } => format!(
                "register the {role} again if it is gone, or bind one with `conveyor bind --task … --worker … \
                 --manager …`"
            ),
            Self::NoActiveBinding(_) => {
                "bind a worker and a manager with `conveyor bind --task … --worker … --manager …`".into()
            }
            Self::KeyTaken(_) => {
                "the command was queued before; see `conveyor commands`, or give another --idempotency-key".into()
            }
            Self::Ingest(error) => error.hint().into(),
            Self::Store(error) => return store_hint(error),
            _ => return None,
        })
    }

    /// The stable machine code of this cause.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(_) => "store",
            Self::Output(_) => "output",
            Self::UnknownTask(_) => "unknown_task",
            Self::UnknownSession(_) => "unknown_session",
            Self::WrongRole { .. } => "wrong_role",
            Self::NoActiveBinding(_) => "no_active_binding",
            Self::NoBoundSession { .. } => "no_bound_session",
            Self::KeyTaken(_) => "key_taken",
            Self::Ingest(error) => error.code(),
            Self::Invalid(_) => "invalid",
        }
    }

    /// The exit code of a command that fails with this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        2
    }
}

fn store_hint(error: &StoreError) -> Option<String> {
    let hint = match error {
        StoreError::Open { .. } => "check the path given with --path, its directory and their permissions",
        StoreError::Foreign { .. } => "give another file with --path",
        StoreError::Newer { .. } => "update conveyor",
        StoreError::Busy { .. } => "try again; if it stays, find the process that holds the database open",
        StoreError::Unreachable { .. } => "check that the server runs and that the URL is right",
        StoreError::Damaged { .. } => "give another file with --path, or restore this one from a backup",
        _ => return None,
    };
    Some(hint.into())
}
