use std::io;
use std::path::{Path, PathBuf};

use super::MAX_LINE;

/// Why a rollout file cannot be used. Each message is one line, names the path and says what is
/// wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// Nothing is at the path.
    #[error("rollout file {path:?} does not exist")]
    Missing {
        /// The path as given.
        path: PathBuf,
    },
    /// Something that is not a regular file is at the path; it was not opened.
    #[error("rollout file {path:?} is not a regular file but a {kind}")]
    NotRegular {
        /// The path as given.
        path: PathBuf,
        /// What it is, for people: `directory`, `FIFO`, …
        kind: &'static str,
    },
    /// The system refused to open or read the file.
    #[error("rollout file {path:?} cannot be read: {reason}")]
    Unreadable {
        /// The path as given.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// The file has no bytes.
    #[error("rollout file {path:?} is empty")]
    Empty {
        /// The path as given.
        path: PathBuf,
    },
    /// The first line has nothing but white space.
    #[error("rollout file {path:?} has an empty first line")]
    EmptyFirstLine {
        /// The path as given.
        path: PathBuf,
    },
    /// The first line is longer than [`MAX_LINE`].
    #[error("the first line of rollout file {path:?} is longer than {} MiB", MAX_LINE / 1024 / 1024)]
    FirstLineTooLong {
        /// The path as given.
        path: PathBuf,
    },
    /// The first line is not JSON in UTF-8.
    #[error("the first line of rollout file {path:?} is not JSON: {reason}")]
    NotJson {
        /// The path as given.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// It is about a helper of a session, which nobody can talk to.
    #[error("rollout file {path:?} is of a helper of a session ({kind}), not of a session")]
    Helper {
        /// The path as given.
        path: PathBuf,
        /// Which.
        kind: String,
    },
    /// The first record is of another type, or not a record.
    #[error("the first record of rollout file {path:?} is not session_meta but {found}")]
    NotSessionMeta {
        /// The path as given.
        path: PathBuf,
        /// What it is, for people.
        found: String,
    },
    /// The payload of the first record is missing or not an object.
    #[error("the session_meta payload of rollout file {path:?} is not an object")]
    PayloadNotObject {
        /// The path as given.
        path: PathBuf,
    },
    /// The payload of the first record has no usable session id.
    #[error("the session_meta payload of rollout file {path:?} has no usable id: it is {problem}")]
    NoId {
        /// The path as given.
        path: PathBuf,
        /// What is wrong with it, for people.
        problem: &'static str,
    },
}

impl RolloutError {
    /// The cause behind a failed system call.
    pub(super) fn io(path: &Path, reason: io::Error) -> Self {
        let path = path.to_path_buf();
        if reason.kind() == io::ErrorKind::NotFound {
            Self::Missing { path }
        } else {
            Self::Unreadable { path, reason }
        }
    }
}
