//! Versions of Codex: which are tested, which are accepted, and which one runs in a terminal.
//!
//! Server and terminal drift apart after every update and stay apart, so that neither what a thread
//! says nor what is on `PATH` tells the version of the program whose screen is looked at: only its
//! own executable does.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use super::terminal::PROGRAM;
use crate::age;
use crate::processes::ForegroundProcess;
use crate::programs;

/// A version as Codex tells it; what follows a hyphen does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

/// The versions that the tests run; scripts and tests read the same file.
const TESTED: &str = include_str!("tested-versions");

impl Version {
    /// The first in which naming a thread writes its rollout. Before it nothing can be attached to a
    /// thread that has no turn.
    pub const FIRST_ACCEPTED: Self = Self { major: 0, minor: 161, patch: 0 };

    /// The version in a text: of `codex --version`, of a server, of a record. A build that has no
    /// version, 0.0.0, tells none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.split_whitespace()
            .find_map(Self::parse_word)
            .filter(|version| *version != Self { major: 0, minor: 0, patch: 0 })
    }

    fn parse_word(word: &str) -> Option<Self> {
        let word = word.strip_prefix('v').unwrap_or(word);
        let mut numbers = word.split(['-', '+']).next()?.split('.').map(|number| number.parse().ok());
        let version = Self { major: numbers.next()??, minor: numbers.next()??, patch: numbers.next()?? };
        numbers.next().is_none().then_some(version)
    }

    /// The oldest and the newest version that the tests run.
    #[must_use]
    pub fn tested() -> (Self, Self) {
        let pinned = |name: &str| {
            let line = TESTED.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            // A test sees to it that the file names both.
            line.and_then(Self::parse).unwrap_or(Self::FIRST_ACCEPTED)
        };
        (pinned("older"), pinned("newest"))
    }

    /// Whether it can do what is needed.
    #[must_use]
    pub fn is_accepted(self) -> bool {
        self >= Self::FIRST_ACCEPTED
    }

    /// Whether nobody has looked at its screens yet.
    #[must_use]
    pub fn is_untested(self) -> bool {
        self > Self::tested().1
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// How long an executable may take to tell its version.
const LIMIT: Duration = Duration::from_secs(2);

/// The version of the Codex among these processes: what its own executable says, asked once for each
/// file. `None` where it cannot be found out. Only an executable that is called like Codex and
/// belongs to us or to root is run.
#[must_use]
pub fn running_version(processes: &[ForegroundProcess]) -> Option<Version> {
    let called = |process: &&ForegroundProcess| process.names.iter().any(|name| name == PROGRAM);
    // npm's starter may stay as the parent of the program itself.
    processes.iter().filter(called).find_map(|process| version_of(&executable(process.pid)?))
}

/// What tells one executable from another, also after an update in the same place.
type Identity = (u64, u64, i64, i64);

fn version_of(executable: &File) -> Option<Version> {
    static KNOWN: Mutex<BTreeMap<Identity, Version>> = Mutex::new(BTreeMap::new());
    let meta = executable.metadata().ok()?;
    let own = rustix::process::geteuid().as_raw();
    if !meta.is_file() || !(meta.uid() == own || meta.uid() == 0) {
        return None;
    }
    let identity = (meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec());
    if let Some(version) = KNOWN.lock().ok()?.get(&identity) {
        return Some(*version);
    }
    let version = ask(executable)?;
    KNOWN.lock().ok()?.insert(identity, version);
    Some(version)
}

/// Runs exactly this file, whatever has its name by now.
fn ask(executable: &File) -> Option<Version> {
    let mut command = Command::new(format!("/dev/fd/{}", executable.as_raw_fd()));
    command.arg0(PROGRAM).arg("--version").env_clear().current_dir("/");
    let output = programs::run(&mut command, LIMIT).ok()?;
    Version::parse(&output.stdout).filter(|_| output.is_success())
}

/// The executable that a process runs, if it is called like Codex. An update may have put another
/// program in its place; this is still the one that runs.
fn executable(pid: u32) -> Option<File> {
    let link = PathBuf::from(format!("/proc/{pid}/exe"));
    if let Ok(target) = std::fs::read_link(&link) {
        let name = target.file_name()?.to_str()?;
        // What was replaced or removed is told after the name.
        let name = name.strip_suffix(" (deleted)").unwrap_or(name);
        return (name == PROGRAM).then(|| File::open(&link).ok()).flatten();
    }
    // Without /proc only the path is known; a file that changed after the start may be another one.
    let path = ps(pid, "comm=")?;
    let path = Path::new(&path);
    if !path.is_absolute() || path.file_name()? != PROGRAM {
        return None;
    }
    let file = File::open(path).ok()?;
    let age = age::since_millis(file.metadata().ok()?.ctime().saturating_mul(1_000));
    (age.as_secs() > elapsed(&ps(pid, "etime=")?)?).then_some(file)
}

/// What `ps` tells of a process.
fn ps(pid: u32, what: &str) -> Option<String> {
    let mut command = Command::new("ps");
    command.args(["-ww", "-o", what, "-p", &pid.to_string()]);
    let output = programs::run(&mut command, LIMIT).ok()?;
    let said = output.stdout.trim();
    (output.is_success() && !said.is_empty()).then(|| said.to_owned())
}

/// Seconds of `[[days-]hours:]minutes:seconds`.
fn elapsed(text: &str) -> Option<u64> {
    let (days, rest) = text.split_once('-').unwrap_or(("0", text));
    let clock = rest.split(':').try_fold(0, |sum: u64, part| Some(sum * 60 + part.parse::<u64>().ok()?))?;
    Some(days.parse::<u64>().ok()? * 86_400 + clock)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Option<String> {
        Version::parse(text).map(|version| version.to_string())
    }

    #[test]
    fn versions_are_found_in_what_is_said() {
        for (text, expected) in [
            ("codex-cli 0.171.0", "0.171.0"),
            ("codex-cli 0.172.0-alpha.3\n", "0.172.0"),
            ("v1.2.3", "1.2.3"),
            ("0.169.0", "0.169.0"),
        ] {
            assert_eq!(version(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "codex", "codex-cli 0.171", "0.0.0", "1.2.3.4", "0.x.1", "GNU bash, version 5"] {
            assert_eq!(version(text), None, "{text}");
        }
        assert!(Version::parse("0.100.0") > Version::parse("0.99.9"));
    }

    #[test]
    fn the_tested_versions_are_pinned_and_in_order() {
        let (older, newest) = Version::tested();
        assert!(Version::FIRST_ACCEPTED < older && older < newest, "{older} {newest}");
        let next = Version { minor: newest.minor + 1, ..newest };
        assert!(next.is_untested() && !newest.is_untested() && !older.is_untested());
        assert!(older.is_accepted() && !Version::parse("0.160.9").unwrap().is_accepted());
    }

    #[test]
    fn the_time_since_a_start_is_read() {
        assert_eq!(elapsed("05:07"), Some(307));
        assert_eq!(elapsed("2-01:00:01"), Some(2 * 86_400 + 3601));
        assert_eq!(elapsed("now"), None);
    }
}
