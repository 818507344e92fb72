//! Disks below the files: whoever may read them needs no file's name.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// The devices of whole disks and partitions that this user may open; none, but for the super-user
/// and members of a group for disks.
pub(super) fn readable_disks() -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(Path::new("/dev"), 2, &mut found);
    found
}

fn collect(directory: &Path, depth: u8, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
        if kind.is_dir() && depth > 1 {
            collect(&path, depth - 1, found);
        }
        let passes_commands = ["sg", "bsg"]
            .iter()
            .any(|prefix| kind.is_char_device() && entry.file_name().to_string_lossy().starts_with(prefix));
        let usable =
            |path: &Path| access(path, Access::READ_OK).is_ok() || access(path, Access::WRITE_OK).is_ok();
        if (kind.is_block_device() || passes_commands) && usable(&path) {
            found.push(path);
        }
    }
}
