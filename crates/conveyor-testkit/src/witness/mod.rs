//! A program that nobody may touch: it looks like an idle Codex and records every byte and every
//! signal that reaches it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::codex::Release;
use crate::{TmuxServer, fake_codex, wait};

const SCRIPT: &str = include_str!("codex.sh");

/// What of its terminal must stay as it is: which pane, which process, whether somebody scrolls in
/// it, and every option set on it or on its window.
const FACTS: &str = "#{pane_id} #{pane_pid} #{pane_dead} #{pane_in_mode} #{pane_pipe} #{pane_synchronized}";

/// A program in a pane that must be left alone.
pub struct Witness<'t> {
    tmux: &'t TmuxServer,
    dir: PathBuf,
    pane: String,
    before: String,
}

impl<'t> Witness<'t> {
    /// Starts it by a tmux command that makes or takes over a pane (`new-session`, `split-window`,
    /// `respawn-pane`, …, with its options); its files are in a new directory `name` below `place`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(tmux: &'t TmuxServer, place: &Path, name: &str, command: &[&str]) -> Self {
        let (dir, shell) = Self::prepare(place, name);
        tmux.tmux(command.iter().copied().chain([shell.as_str()]));
        Self::started(tmux, dir)
    }

    /// Prepares one that somebody else starts: gives its directory and the command for a shell.
    ///
    /// # Panics
    /// When its files cannot be written.
    #[must_use]
    pub fn prepare(place: &Path, name: &str) -> (PathBuf, String) {
        let dir = place.join(format!("witness-{name}"));
        fs::create_dir_all(&dir).expect("a directory");
        let program = dir.join("codex");
        // It may be running already, for somebody who wants to take charge of it.
        if !program.exists() {
            fake_codex::install(&dir, SCRIPT, Release::Newest.version());
        }
        let command = format!("exec '{}' '{}'", program.display(), dir.display());
        (dir, command)
    }

    /// Takes charge of one that was prepared and is being started.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn started(tmux: &'t TmuxServer, dir: PathBuf) -> Self {
        let ready = dir.join("ready");
        let text = wait::some(Duration::from_secs(30), "the witness", || fs::read_to_string(&ready).ok());
        let pane = text.split_whitespace().nth(1).expect("pid and pane").to_owned();
        let mut witness = Self { tmux, dir, pane, before: String::new() };
        witness.before = witness.facts();
        witness
    }

    /// The id of its pane.
    #[must_use]
    pub fn pane(&self) -> &str {
        &self.pane
    }

    /// What happened to it, a line each; empty while it was left alone.
    #[must_use]
    pub fn troubles(&self) -> String {
        let mut said = String::new();
        for kind in ["bytes", "signals"] {
            if let Ok(text) = fs::read_to_string(self.dir.join(kind)) {
                said += &format!("{kind}: {}\n", text.replace('\n', " "));
            }
        }
        let now = self.facts();
        if now != self.before {
            said += &format!("was {:?}, is {now:?}\n", self.before);
        }
        said
    }

    fn facts(&self) -> String {
        let ask = |arguments: &[&str]| {
            self.tmux.try_tmux(arguments).unwrap_or_else(|error| format!("tmux: {error}"))
        };
        let pane = self.pane.as_str();
        [
            ask(&["display-message", "-p", "-t", pane, FACTS]),
            ask(&["show-options", "-p", "-t", pane]),
            ask(&["show-options", "-w", "-t", pane]),
        ]
        .concat()
    }
}
