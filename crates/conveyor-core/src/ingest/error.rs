use std::path::PathBuf;

use conveyor_agents::rollout::RolloutError;

/// Why a session's rollout is not read. Nothing has been written then.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The session is registered no more.
    #[error("session {session:?} is {state}")]
    NotActive {
        /// The session.
        session: String,
        /// Its state.
        state: String,
    },
    /// The session was registered without a rollout.
    #[error("session {0:?} has no rollout file")]
    NoRollout(String),
    /// The file cannot be used.
    #[error("session {session:?}: {reason}")]
    Unusable {
        /// The session.
        session: String,
        /// What is wrong with the file.
        reason: RolloutError,
    },
    /// The file ends before the place up to which it was read.
    #[error(
        "the rollout of session {session:?} shrank: {offset} bytes of {path:?} have been read, but it has {size}; \
         it was probably rotated or truncated"
    )]
    Shrank {
        /// The session.
        session: String,
        /// The file.
        path: PathBuf,
        /// How far it was read.
        offset: u64,
        /// Its size now.
        size: u64,
    },
    /// Another file has taken the name, or other contents the file.
    #[error(
        "the rollout of session {session:?} was replaced: {path:?} begins with another line than the file of which \
         {offset} bytes have been read"
    )]
    Replaced {
        /// The session.
        session: String,
        /// The file.
        path: PathBuf,
        /// How far its predecessor was read.
        offset: u64,
    },
}

impl IngestError {
    /// What to do about it, as the end of a sentence.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::NotActive { .. } => {
                "register it again with `conveyor register-worker` or `conveyor register-manager`"
            }
            Self::NoRollout(_) => "register it again with --codex-session FILE",
            Self::Unusable { .. } => {
                "check the file and its permissions, or register the session again with --codex-session FILE"
            }
            Self::Shrank { .. } | Self::Replaced { .. } => {
                "register the session again to read the file from its beginning"
            }
        }
    }

    /// The stable machine code of this cause.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotActive { .. } => "session_not_active",
            Self::NoRollout(_) => "no_rollout",
            Self::Unusable { .. } => "rollout_unusable",
            Self::Shrank { .. } => "rollout_shrank",
            Self::Replaced { .. } => "rollout_replaced",
        }
    }
}
