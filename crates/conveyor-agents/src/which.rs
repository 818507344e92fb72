//! Where a program is, as a shell would find it.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The first executable file of this name in the directories of `path`, the value of `PATH`;
/// relative ones, and a name that is a path itself, are below `cwd`.
#[must_use]
pub fn which(name: &Path, path: Option<&OsStr>, cwd: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return Some(cwd.join(name)).filter(|file| is_executable(file));
    }
    std::env::split_paths(path?).map(|dir| cwd.join(dir).join(name)).find(|file| is_executable(file))
}

/// Whether this is a file that somebody may run.
#[must_use]
pub fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_executable_counts() {
        let dir = tempfile::tempdir().unwrap();
        let make = |file: &str, mode: u32| {
            let file = dir.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            file
        };
        make("a/tool", 0o644);
        fs::create_dir_all(dir.path().join("b/tool")).unwrap();
        let tool = make("c/tool", 0o755);
        make("d/tool", 0o755);
        let path = std::env::join_paths(["a", "b", "nowhere", "c", "d"]).unwrap();
        let find = |name: &str| which(Path::new(name), Some(&path), dir.path());
        assert_eq!(find("tool"), Some(tool.clone()));
        assert_eq!(find("c/tool"), Some(tool));
        assert_eq!(find("a/tool"), None);
        assert_eq!(find("other"), None);
        assert_eq!(which(Path::new("tool"), None, dir.path()), None);
    }
}
