//! The executable of the fake: its name and its answer to `--version` are what tells which Codex runs
//! in a terminal. The rest is the script beside it. Compiled by the build script, by itself.

use std::path::PathBuf;
use std::process::{Command, exit};

fn beside(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the own path");
    own.parent().expect("a directory").join(name)
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("--version") {
        let version = std::fs::read_to_string(beside("version")).expect("a version");
        println!("codex-cli {version}");
        return;
    }
    let status = Command::new("bash").arg(beside("fake.sh")).args(std::env::args_os().skip(1)).status();
    exit(status.ok().and_then(|status| status.code()).unwrap_or(1));
}
