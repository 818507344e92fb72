//! A program called `codex` that behaves as a test wants: it draws the composer that is recognised,
//! takes typed and pasted text, and writes a rollout. It has no server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::codex::Release;
use crate::{TmuxServer, wait};

const SCRIPT: &str = include_str!("codex.sh");

/// The program that runs the script and tells a version.
const LAUNCHER: &str = concat!(env!("OUT_DIR"), "/fake-codex");

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It takes a message; its turn ends at once.
    Idle,
    /// It takes a message; its turn ends when [`FakeCodex::finish`] says so.
    Slow,
    /// A turn runs; Escape ends it.
    Busy,
    /// It asks whether a command may run; Enter and `y` say yes.
    Approval,
    /// It does not show what is typed.
    Blind,
    /// It does not react to Enter.
    Deaf,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Slow => "slow",
            Self::Busy => "busy",
            Self::Approval => "approval",
            Self::Blind => "blind",
            Self::Deaf => "deaf",
        }
    }
}

/// Puts an executable `codex` of this version that runs a script into a directory.
pub(crate) fn install(dir: &Path, script: &str, version: &str) -> PathBuf {
    let program = dir.join("codex");
    // By another process: what somebody has open for writing cannot be run, and a child that is
    // being started just now would have it open, too.
    let copied = Command::new("cp").arg(LAUNCHER).arg(&program).status().expect("cp");
    assert!(copied.success(), "a copy of {LAUNCHER}");
    fs::write(dir.join("version"), version).expect("the fake's version");
    fs::write(dir.join("fake.sh"), script).expect("the fake's script");
    program
}

/// A running fake in a tmux session; it ends with its tmux server.
pub struct FakeCodex<'t> {
    tmux: &'t TmuxServer,
    pane: String,
    dir: PathBuf,
}

impl<'t> FakeCodex<'t> {
    /// Starts it in a new tmux session; its files are in a new directory below `place`. It has
    /// ended a turn a while ago.
    ///
    /// # Panics
    /// When it does not show its composer.
    #[must_use]
    pub fn start(tmux: &'t TmuxServer, session: &str, place: &Path) -> Self {
        Self::start_version(tmux, session, place, Release::Newest.version())
    }

    /// The same for one that says that it is this version.
    ///
    /// # Panics
    /// As [`FakeCodex::start`].
    #[must_use]
    pub fn start_version(tmux: &'t TmuxServer, session: &str, place: &Path, version: &str) -> Self {
        let dir = place.join(format!("fake-{session}"));
        fs::create_dir_all(&dir).expect("a directory");
        let program = install(&dir, SCRIPT, version);
        let mut fake = Self { tmux, pane: String::new(), dir };
        let meta = "{\"timestamp\":\"2026-06-11T12:00:00.000Z\",\"type\":\"session_meta\",\"payload\":{\"id\":\"fake\",\"cwd\":\"/\",\"cli_version\":\"0.169.0\"}}\n";
        fs::write(fake.rollout(), meta).expect("a rollout");
        fake.record("task_complete");
        fake.quieten();
        fake.write_mode(Mode::Idle.word());
        // The shell that tmux starts is replaced, as when people start Codex this way.
        let text = |path: &Path| format!("'{}'", path.display());
        let command = format!("exec {} {} {}", text(&program), text(&fake.dir), text(&fake.rollout()));
        let new =
            ["new-session", "-d", "-P", "-F", "#{pane_id}", "-s", session, "-x", "100", "-y", "30", &command];
        fake.pane = tmux.tmux(new).trim_end().to_owned();
        fake.until_shown("? for shortcuts");
        fake
    }

    /// The id of its pane, which it keeps wherever the pane is moved.
    #[must_use]
    pub fn pane(&self) -> &str {
        &self.pane
    }

    /// The pid of its process.
    #[must_use]
    pub fn pid(&self) -> String {
        self.tmux.tmux(["display-message", "-p", "-t", &self.pane, "#{pane_pid}"]).trim_end().to_owned()
    }

    /// Its rollout.
    #[must_use]
    pub fn rollout(&self) -> PathBuf {
        self.dir.join("rollout.jsonl")
    }

    /// Changes its behaviour and waits until it shows.
    ///
    /// # Panics
    /// When it does not.
    pub fn behave(&self, mode: Mode) {
        match mode {
            Mode::Busy | Mode::Approval => self.record("task_started"),
            _ => {}
        }
        self.write_mode(mode.word());
        match mode {
            Mode::Busy => self.until_shown("esc to interrupt"),
            Mode::Approval => self.until_shown("Press enter to confirm"),
            // It looks four times a second or more often.
            _ => std::thread::sleep(Duration::from_millis(400)),
        }
    }

    /// Ends the turn that runs.
    pub fn finish(&self) {
        self.write_mode("finish");
    }

    /// Types keys as a person would.
    pub fn type_keys(&self, text: &str) {
        self.tmux.tmux(["send-keys", "-t", &self.pane, "-l", "--", text]);
    }

    /// What it shows.
    #[must_use]
    pub fn screen(&self) -> String {
        self.tmux.tmux(["capture-pane", "-p", "-t", &self.pane])
    }

    /// Waits until it shows a text.
    ///
    /// # Panics
    /// When it does not.
    pub fn until_shown(&self, text: &str) {
        wait::until(Duration::from_secs(10), text, || self.screen().contains(text));
    }

    /// Whether it was told to run the command it asked about.
    #[must_use]
    pub fn approved(&self) -> bool {
        self.dir.join("approved").exists()
    }

    /// Whether the key Escape reached it.
    #[must_use]
    pub fn escaped(&self) -> bool {
        self.dir.join("escaped").exists()
    }

    /// The messages that became turns.
    ///
    /// # Panics
    /// When its rollout is damaged.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        let rollout = fs::read_to_string(self.rollout()).expect("a rollout");
        let records =
            rollout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect(line));
        let text = |record: serde_json::Value| {
            record["payload"]["item"]["content"][0]["text"].as_str().map(ToOwned::to_owned)
        };
        records.filter_map(text).collect()
    }

    /// Makes its last record look as if it were a while old.
    ///
    /// # Panics
    /// When the rollout cannot be changed.
    pub fn quieten(&self) {
        let file = fs::File::options().append(true).open(self.rollout()).expect("a rollout");
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).expect("another time");
    }

    fn record(&self, kind: &str) {
        use std::io::Write as _;
        let mut file = fs::File::options().append(true).open(self.rollout()).expect("a rollout");
        let line = format!(
            "{{\"timestamp\":\"2026-06-11T12:00:00.000Z\",\"type\":\"event_msg\",\"payload\":{{\"type\":\"{kind}\",\"turn_id\":\"turn-before\"}}}}\n"
        );
        file.write_all(line.as_bytes()).expect("a record");
    }

    fn write_mode(&self, word: &str) {
        fs::write(self.dir.join("mode"), word).expect("the file of its mode");
    }
}
