//! Whether a failure was want of space: a full disk, or a quota that is used up.

use std::io::{Error, ErrorKind, Write};
use std::path::Path;

use rusqlite::ffi;

/// More than a transaction of ours usually needs: what does not fit where this fits failed for
/// another reason.
const ROOM: usize = 1 << 20;

/// Whether the operating system says that there is no space.
pub(crate) fn is_lack_of_it(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Whether SQLite failed at something that takes space.
pub(crate) fn may_be_lacking(extended_code: i32) -> bool {
    matches!(
        extended_code,
        ffi::SQLITE_CANTOPEN
            | ffi::SQLITE_IOERR_WRITE
            | ffi::SQLITE_IOERR_FSYNC
            | ffi::SQLITE_IOERR_DIR_FSYNC
            | ffi::SQLITE_IOERR_TRUNCATE
            | ffi::SQLITE_IOERR_SHMOPEN
            | ffi::SQLITE_IOERR_SHMSIZE
            | ffi::SQLITE_IOERR_SHMMAP
    )
}

/// Tries it out: SQLite keeps to itself what the operating system said.
pub(crate) fn is_lacking_beside(database: &Path) -> bool {
    let Some(directory) = database.parent() else { return false };
    let tried = tempfile::tempfile_in(directory).and_then(|mut file| {
        file.write_all(&vec![0; ROOM])?;
        file.sync_data()
    });
    tried.is_err_and(|error| is_lack_of_it(&error))
}
