//! `sandbox-exec` of macOS: everything is allowed but the denied places and Unix sockets.

use std::path::Path;

use super::bubblewrap::text;
use super::denied::{DeniedSet, Kind};
use super::launch::{ENTRY, Stage};

/// The program of the system.
const PROGRAM: &str = "/usr/bin/sandbox-exec";

/// The command that starts a launcher inside.
pub(super) fn command(denied: &DeniedSet, launcher: &Path) -> Result<Vec<String>, String> {
    if !Path::new(PROGRAM).exists() {
        return Err("sandbox-exec not available".into());
    }
    let launcher = text(launcher)?;
    let words = [PROGRAM, "-p", &profile(denied)?, launcher, ENTRY, Stage::Enter.as_str()];
    Ok(words.map(str::to_owned).to_vec())
}

fn profile(denied: &DeniedSet) -> Result<String, String> {
    let mut lines = vec!["(version 1)".to_owned(), "(allow default)".to_owned()];
    for place in denied.outermost() {
        let matcher = if place.kind == Kind::Directory { "subpath" } else { "literal" };
        let path = text(&place.path)?.replace('\\', "\\\\").replace('"', "\\\"");
        lines.push(format!("(deny file-read* file-write* ({matcher} \"{path}\"))"));
    }
    for ancestor in denied.ancestors() {
        // Moving a directory away would move what is denied with it.
        let path = text(&ancestor)?.replace('\\', "\\\\").replace('"', "\\\"");
        lines.push(format!("(deny file-write-unlink (literal \"{path}\"))"));
    }
    lines.push("(deny network-outbound (remote unix-socket))".to_owned());
    lines.push("(deny network-bind (local unix-socket))".to_owned());
    // Names of hosts are looked up there; of several rules the last one counts.
    lines.push("(allow network-outbound (literal \"/private/var/run/mDNSResponder\"))".to_owned());
    Ok(lines.join("\n"))
}
