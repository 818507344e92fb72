//! What the shell of an agent finds. Codex runs commands in the user's login shell, whose profile
//! may have set `PATH` anew.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{Access, access};

use crate::programs;

/// How long a profile may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Asked when the user has no shell of their own.
const DEFAULT: &str = "/bin/sh";

/// Stands between what the profile prints and the answer.
const MARK: &str = "--conveyor-probe--";

/// What a login shell finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Where the program is, in the shell's words.
    pub found: Option<String>,
    /// The directories in which it looks.
    pub places: Vec<PathBuf>,
}

impl Probe {
    /// The directory in which a link to a program would be found: the first that may be written,
    /// those of the user first.
    #[must_use]
    pub fn place_for_link(&self, home: Option<&Path>) -> Option<&Path> {
        let is_writable =
            |place: &&PathBuf| place.is_dir() && access(place.as_path(), Access::WRITE_OK).is_ok();
        let is_own = |place: &&PathBuf| home.is_some_and(|home| place.starts_with(home));
        let writable = || self.places.iter().filter(is_writable);
        let local = |place: &&PathBuf| place.ends_with("usr/local/bin");
        let best = writable().find(is_own).or_else(|| writable().find(local)).or_else(|| writable().next());
        best.map(PathBuf::as_path)
    }
}

/// Asks the user's login shell for a program; `None` when it gives no answer.
#[must_use]
pub fn probe(shell: Option<&Path>, program: &str) -> Option<Probe> {
    let mut command = Command::new(shell.unwrap_or(Path::new(DEFAULT)));
    command.args(["-lc", &format!("echo; echo {MARK}; command -v {program}; echo {MARK}; printenv PATH")]);
    let output = programs::run(&mut command, LIMIT).ok().filter(|output| !output.timed_out)?;
    let mut parts = output.stdout.split(MARK).skip(1);
    let (found, path) = (parts.next()?.trim(), parts.next()?.trim());
    let found = (!found.is_empty()).then(|| found.to_owned());
    Some(Probe { found, places: std::env::split_paths(path).collect() })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A shell that stands for a login shell with this profile.
    fn shell(dir: &Path, profile: &str) -> PathBuf {
        let file = dir.join("shell");
        fs::write(&file, format!("#!/bin/sh\n{profile}\nshift\neval \"$1\"\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        file
    }

    #[test]
    fn what_the_profile_leaves_on_the_path_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let tool = dir.path().join("tool");
        fs::write(&tool, "").unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        let path = |dir: &Path| format!("echo Welcome; PATH={}:/usr/bin:/bin; export PATH", dir.display());
        let found = probe(Some(&shell(dir.path(), &path(dir.path()))), "tool").unwrap();
        assert_eq!(found.found.as_deref(), tool.to_str());
        assert_eq!(found.place_for_link(Some(dir.path())), Some(dir.path()));
        let other = probe(Some(&shell(dir.path(), &path(Path::new("/nowhere")))), "tool").unwrap();
        assert_eq!(other.found, None);
        assert_eq!(other.places, ["/nowhere", "/usr/bin", "/bin"].map(PathBuf::from));
        assert_eq!(probe(Some(&shell(dir.path(), "exit 3")), "tool"), None);
        assert_eq!(probe(Some(Path::new("/nowhere/sh")), "tool"), None);
    }
}
