//! Where homes can be: where the sandbox that Codex puts around an agent's commands works.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::Release;

/// The directory of all homes: below the target directory, else below the user's cache, else below
/// `/var/tmp`, the first in which a command of an agent sees its project. Below `/tmp` it does not:
/// there Codex makes no links to its helper programs.
pub(super) fn homes() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let candidates = candidates();
        let usable = candidates.iter().find(|place| is_shown(place));
        // Where no sandbox works at all, the tests that need one tell.
        usable.unwrap_or(&candidates[0]).clone()
    })
}

fn candidates() -> Vec<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let cache = std::env::home_dir().map(|home| home.join(".cache/conveyor-tests"));
    let target = super::target_dir().join("codex-homes");
    let last = PathBuf::from(format!("/var/tmp/conveyor-tests-{user}"));
    [Some(target), cache, Some(last)].into_iter().flatten().collect()
}

/// Whether commands in a sandbox see what is in this directory.
fn is_shown(place: &Path) -> bool {
    let Some(codex) = Release::Newest.binary() else { return true };
    if fs::create_dir_all(place).is_err() {
        return false;
    }
    let Ok(home) = tempfile::Builder::new().prefix("probe-").tempdir_in(place) else { return false };
    let project = home.path().join("project");
    if fs::create_dir(&project).is_err() {
        return false;
    }
    let mut command = super::home::command(codex, home.path(), codex);
    command.args(["sandbox", "-P", ":workspace", "--", "test", "-d"]).arg(&project).current_dir(&project);
    command.output().is_ok_and(|output| output.status.success())
}
