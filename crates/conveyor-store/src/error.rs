//! What can go wrong between the program and a database, told by cause.

use std::path::{Path, PathBuf};

use crate::space;

/// A failure of the ledger's storage. The text says what was wrong; what to do is added by the
/// program from the variant.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file or its directory cannot be created, opened, read or written.
    #[error("cannot open database {}: {reason}", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// The operating system's or SQLite's reason.
        reason: String,
    },
    /// The file is a database, but of another program.
    #[error("{} is not a Conveyor database: it holds other tables", path.display())]
    Foreign {
        /// The database file.
        path: PathBuf,
    },
    /// The file was written by a newer version.
    #[error("database {location} has schema version {found}; the newest supported one is {supported}")]
    Newer {
        /// File or URL (without password).
        location: String,
        /// Version found.
        found: i64,
        /// Newest version that this program reads.
        supported: i64,
    },
    /// The file's version number makes no sense.
    #[error("database {location} has unknown schema version {found}")]
    UnknownVersion {
        /// File or URL (without password).
        location: String,
        /// Version found.
        found: i64,
    },
    /// Upgrading an old file failed; it is as it was.
    #[error("cannot upgrade database {location} (left unchanged): {reason}")]
    Upgrade {
        /// File or URL (without password).
        location: String,
        /// What failed.
        reason: String,
    },
    /// Another process held the write lock longer than the busy timeout.
    #[error("database is busy: another process has held the write lock for more than {seconds} s")]
    Busy {
        /// The timeout that passed.
        seconds: u64,
    },
    /// The PostgreSQL server cannot be reached, or the connection broke.
    #[error("cannot reach the database server at {location}: {reason}")]
    Unreachable {
        /// URL without password.
        location: String,
        /// The client library's reason.
        reason: String,
    },
    /// There is no room for what was to be written: a full disk, or a quota that is used up.
    #[error("no space left for the database at {location}: {reason}")]
    NoSpace {
        /// File or URL (without password).
        location: String,
        /// What the engine or the operating system said.
        reason: String,
    },
    /// The server takes no changes at present.
    #[error("the database server at {location} takes no changes: {reason}")]
    ReadOnly {
        /// URL without password.
        location: String,
        /// What the server said.
        reason: String,
    },
    /// A URL that names no usable server.
    #[error("invalid database URL: {reason}")]
    Url {
        /// What is wrong with it; never contains the password.
        reason: String,
    },
    /// A unique index refused a row.
    #[error("already taken: {constraint}")]
    Unique {
        /// `table.column` list or index name as the engine reports it.
        constraint: String,
    },
    /// The file is not a database or is damaged.
    #[error("cannot read database {}: {reason}", path.display())]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// SQLite's reason.
        reason: String,
    },
    /// Any other failure of a statement.
    #[error("database error: {0}")]
    Sql(String),
    /// A serialization failure or deadlock: running the same work again is the cure.
    #[error("database conflict: {0}")]
    Conflict(String),
    /// A stored value has another type than its column promises.
    #[error("unexpected value in column {column}: expected {expected}")]
    Type {
        /// Position of the column in the query.
        column: usize,
        /// What was expected.
        expected: &'static str,
    },
}

impl StoreError {
    /// Whether waiting and trying again may cure this (server restart, busy file, full disk).
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Unreachable { .. } | Self::Conflict(_))
            || self.only_stops_writers()
    }

    /// Whether readers do not notice it: that it is over shows only once something was written.
    #[must_use]
    pub fn only_stops_writers(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::ReadOnly { .. })
    }

    /// What the operating system said of the database file or its directory.
    pub(crate) fn from_system(error: &std::io::Error, path: &Path) -> Self {
        let reason = error.to_string();
        if space::is_lack_of_it(error) {
            return Self::NoSpace { location: path.display().to_string(), reason };
        }
        Self::Open { path: path.to_owned(), reason }
    }

    /// Whether a unique index refused a row.
    #[must_use]
    pub fn is_unique(&self) -> bool {
        matches!(self, Self::Unique { .. })
    }

    /// Translates an SQLite error that arose on `path`.
    #[must_use]
    pub fn from_sqlite(error: &rusqlite::Error, path: &Path) -> Self {
        use rusqlite::ErrorCode;
        if let rusqlite::Error::SqlInputError { msg, .. } = error {
            // Its text repeats the whole statement, which tells a user nothing.
            return Self::Sql(msg.clone());
        }
        let reason = error.to_string();
        let Some(code) = error.sqlite_error() else { return Self::Sql(reason) };
        match code.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                Self::Busy { seconds: crate::BUSY_TIMEOUT.as_secs() }
            }
            ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt => {
                Self::Damaged { path: path.to_owned(), reason }
            }
            ErrorCode::DiskFull => Self::NoSpace { location: path.display().to_string(), reason },
            // SQLite tells of a full disk only where it writes pages, of a used-up quota nowhere.
            ErrorCode::CannotOpen | ErrorCode::SystemIoFailure
                if space::may_be_lacking(code.extended_code) && space::is_lacking_beside(path) =>
            {
                Self::NoSpace { location: path.display().to_string(), reason }
            }
            ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure => Self::Open { path: path.to_owned(), reason },
            ErrorCode::ConstraintViolation
                if matches!(
                    code.extended_code,
                    rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY
                ) =>
            {
                let constraint = reason.rsplit(": ").next().unwrap_or(&reason).to_owned();
                Self::Unique { constraint }
            }
            _ => Self::Sql(reason),
        }
    }

    /// Translates a PostgreSQL error that arose on `location` (a URL without password).
    #[must_use]
    pub fn from_postgres(error: &postgres::Error, location: &str) -> Self {
        use postgres::error::SqlState;
        let Some(db) = error.as_db_error() else {
            let reason = std::error::Error::source(error)
                .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
            return Self::Unreachable { location: location.to_owned(), reason };
        };
        match db.code() {
            &SqlState::UNIQUE_VIOLATION => {
                Self::Unique { constraint: db.constraint().unwrap_or("unique index").to_owned() }
            }
            &SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED => {
                Self::Conflict(db.message().to_owned())
            }
            &SqlState::LOCK_NOT_AVAILABLE => Self::Busy { seconds: crate::BUSY_TIMEOUT.as_secs() },
            &SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => {
                let reason =
                    "the server gave up a transaction in which this program was silent for too long".into();
                Self::Unreachable { location: location.to_owned(), reason }
            }
            &SqlState::DISK_FULL => {
                Self::NoSpace { location: location.to_owned(), reason: db.message().to_owned() }
            }
            &SqlState::READ_ONLY_SQL_TRANSACTION => {
                Self::ReadOnly { location: location.to_owned(), reason: db.message().to_owned() }
            }
            &SqlState::PROTOCOL_VIOLATION if is_for_good(db.message()) => {
                let reason =
                    format!("the pooler at {location} refuses: {}{}", db.message(), advice(db.message()));
                Self::Url { reason }
            }
            code if code.code().starts_with("57P")
                || code.code().starts_with("08")
                || code.code().starts_with("53") =>
            {
                Self::Unreachable { location: location.to_owned(), reason: db.message().to_owned() }
            }
            code if code.code().starts_with("28") => {
                Self::Url { reason: format!("the server at {location} refuses the login: {}", db.message()) }
            }
            _ => Self::Sql(db.message().to_owned()),
        }
    }
}

/// Poolers give most of what they have to say the code of a protocol violation; this of it does not
/// pass by itself.
fn is_for_good(message: &str) -> bool {
    const FOR_GOOD: [&str; 6] = [
        "statement pooling",
        "unsupported startup parameter",
        "no such database",
        "no such user",
        "authentication failed",
        "config error",
    ];
    FOR_GOOD.iter().any(|words| message.contains(words))
}

fn advice(message: &str) -> &'static str {
    if message.contains("statement pooling") { " (set pool_mode to session or transaction)" } else { "" }
}
