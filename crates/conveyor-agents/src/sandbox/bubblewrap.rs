//! bubblewrap: everything as it is, the denied places covered, and no process outside to be seen.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::denied::{DeniedSet, Kind};
use super::launch::{ENTRY, Stage};

/// Parts of `/proc` and `/sys` in which a write is a command to the whole system.
pub(super) const SYSTEM: [&str; 3] = ["/proc/sys", "/proc/sysrq-trigger", "/sys"];

/// The arguments of `bwrap` that start a launcher inside.
pub(super) fn arguments(
    denied: &DeniedSet,
    environment: &[(String, OsString)],
    directory: &Path,
    launcher: &Path,
) -> Result<Vec<String>, String> {
    let mut arguments = Arguments(Vec::new());
    arguments.add(["--dev-bind", "/", "/"]);
    let frozen = denied.frozen();
    for ancestor in denied.ancestors() {
        // A directory that is a mount of its own cannot be moved away together with what is denied.
        if ancestor != Path::new("/") {
            arguments.bind("--dev-bind", &ancestor)?;
        }
        if frozen.contains(&ancestor) {
            arguments.bind("--ro-bind", &ancestor)?;
            for inner in free_directories(denied, &ancestor) {
                arguments.bind("--dev-bind", &inner)?;
            }
        }
    }
    for place in denied.outermost() {
        let path = text(&place.path)?;
        match place.kind {
            Kind::Directory => arguments.add(["--tmpfs", path]),
            Kind::File => arguments.add(["--ro-bind", "/dev/null", path]),
            // bubblewrap would create it.
            Kind::Missing => {}
        }
    }
    arguments.add(["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--proc", "/proc"]);
    // A write there is a command to the whole system; the super-user needs no privilege for it.
    for place in SYSTEM {
        arguments.add(["--ro-bind-try", place, place]);
    }
    arguments.add(["--new-session", "--die-with-parent", "--cap-drop", "ALL", "--clearenv"]);
    for (name, value) in environment {
        let value = value.to_str().ok_or_else(|| format!("the variable {name} is not valid UTF-8"))?;
        arguments.add(["--setenv", name, value]);
    }
    arguments.add(["--chdir", text(directory)?, "--", text(launcher)?, ENTRY, Stage::Enter.as_str()]);
    Ok(arguments.0)
}

/// The directories inside of one in which nothing may be created, in which it may.
pub(super) fn free_directories(denied: &DeniedSet, frozen: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(frozen) else { return Vec::new() };
    let directories = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).filter(|path| !denied.covers(path)).collect()
}

/// Where `bwrap` is, on the `PATH` of these variables.
pub(super) fn find(environment: &[(String, OsString)]) -> Option<PathBuf> {
    let (_, path) = environment.iter().find(|(name, _)| name == "PATH")?;
    std::env::split_paths(path).map(|directory| directory.join("bwrap")).find(|file| file.is_file())
}

struct Arguments(Vec<String>);

impl Arguments {
    fn add<const N: usize>(&mut self, words: [&str; N]) {
        self.0.extend(words.map(str::to_owned));
    }

    fn bind(&mut self, how: &str, path: &Path) -> Result<(), String> {
        let path = text(path)?;
        self.add([how, path, path]);
        Ok(())
    }
}

pub(super) fn text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("{} is not valid UTF-8", path.display()))
}
