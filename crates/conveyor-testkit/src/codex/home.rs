//! A Codex home of one's own: configuration, shared server, projects, end.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{Mixture, Release, place};
use crate::model_server::Model;
use crate::wait;

/// Waits for the end of its standard input, which is the end of the process that made the home,
/// and then stops the home's server and removes everything. `$1` codex, `$2` the home.
///
/// `daemon stop` may have to wait for a turn, hence the kill of the process that the home's own
/// file names, if it still is an app-server.
const WATCHDOG: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
pid=$(sed -n 's/^{"pid":\([0-9]*\),.*/\1/p' "$2/app-server-daemon/daemon.pid" 2>/dev/null)
"$1" app-server daemon stop & stop=$!
(sleep 5; kill "$stop") 2>/dev/null &
wait "$stop"
case "$(ps -o args= -p "${pid:-0}")" in *"app-server --listen"*) kill -9 "$pid" ;; esac
rm -rf "$2"
"#;

/// Codex must neither replace itself by a newer version during a test nor leave the process behind
/// that looks for one: it outlives `daemon stop`.
const DAEMON_SETTINGS: &str = r#"{"remoteControlEnabled":false,"updater":{"autoUpdateEnabled":false}}"#;

/// A `CODEX_HOME` for tests, whose model is a [`Model`]. The server that it may have started ends,
/// and everything in it is removed, when the value is dropped or the process is gone.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    codex: &'static Path,
    watchdog: Child,
}

impl Home {
    /// A new home of the newest Codex; its server is not started yet. `None` when the tests with the
    /// real Codex are switched off.
    ///
    /// # Panics
    /// With one line that says what to do, when Codex is not installed or the home cannot be made.
    #[must_use]
    pub fn new(model: &Model) -> Option<Self> {
        Self::of(Mixture::NEWEST, model)
    }

    /// The same with a server of one version and terminals of another: whichever program starts the
    /// server, it starts the copy that is there.
    ///
    /// # Panics
    /// As [`Home::new`].
    #[must_use]
    pub fn of(mixture: Mixture, model: &Model) -> Option<Self> {
        let codex = mixture.terminal.binary()?;
        let packages = packages(mixture.server)?;
        let homes = place::homes();
        fs::create_dir_all(homes).expect("a directory for the homes");
        let dir = tempfile::Builder::new().prefix("home-").tempdir_in(homes).expect("a directory");
        let path = dir.keep();
        let watchdog = command(codex, &path, "/bin/sh")
            .args(["-c", WATCHDOG, "conveyor-test-codex"])
            .args([codex, &path])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Outside the terminal's process group, so that Ctrl-C leaves it to its work.
            .process_group(0)
            .spawn()
            .expect("/bin/sh for the watchdog");
        let home = Self { path, codex, watchdog };
        fs::write(home.path.join("config.toml"), configuration(model)).expect("a writable home");
        prepare_daemon(&home.path);
        std::os::unix::fs::symlink(packages, home.path.join("packages")).expect("a writable home");
        Some(home)
    }

    /// The directory, absolute: what `CODEX_HOME` is set to.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A trusted project, new and empty but for a repository without commits.
    ///
    /// # Panics
    /// When the name is taken.
    #[must_use]
    pub fn project(&self, name: &str) -> PathBuf {
        let project = self.untrusted_project(name);
        let trusted =
            format!("\n[projects.{:?}]\ntrust_level = \"trusted\"\n", project.display().to_string());
        let config = fs::OpenOptions::new().append(true).open(self.path.join("config.toml"));
        config.and_then(|mut config| config.write_all(trusted.as_bytes())).expect("a writable home");
        project
    }

    /// The same, but Codex will ask whether to trust it.
    ///
    /// # Panics
    /// When the name is taken.
    #[must_use]
    pub fn untrusted_project(&self, name: &str) -> PathBuf {
        let project = self.path.join("work").join(name);
        assert!(!project.exists(), "there is a project {name:?} already");
        // A repository of its own, because trust belongs to the root of the repository around it.
        for dir in [".git/objects", ".git/refs"] {
            fs::create_dir_all(project.join(dir)).expect("a writable home");
        }
        fs::write(project.join(".git/HEAD"), "ref: refs/heads/main\n").expect("a writable home");
        project
    }

    /// The `codex` of its terminals, absolute.
    #[must_use]
    pub fn program(&self) -> &'static Path {
        self.codex
    }

    /// `codex` with this home and nothing of the caller's own Codex.
    #[must_use]
    pub fn codex(&self) -> Command {
        command(self.codex, &self.path, self.codex)
    }

    /// The variables with which programs have to be started that shall use this home, as
    /// [`Home::codex`] has them.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        environment(&self.path)
    }

    /// Starts the shared server, or does nothing when it runs.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_server(&self) {
        daemon(self.codex, &self.path, "start");
    }

    /// Stops the shared server in an orderly way.
    ///
    /// # Panics
    /// When that fails.
    pub fn stop_server(&self) {
        daemon(self.codex, &self.path, "stop");
    }

    /// The process of the shared server, as the home's file names it.
    ///
    /// # Panics
    /// When no server was started.
    #[must_use]
    pub fn server_pid(&self) -> u32 {
        let text = fs::read(self.path.join("app-server-daemon/daemon.pid")).expect("a started server");
        let record: Value = serde_json::from_slice(&text).expect("a record of the server's process");
        record["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a process id")
    }

    /// Kills the shared server as a crash does, and waits for its end.
    ///
    /// # Panics
    /// When there is none, or it does not end.
    pub fn kill_server(&self) {
        let number = self.server_pid();
        let pid = i32::try_from(number).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("a running server");
        wait::until(Duration::from_secs(10), "the end of the killed server", || {
            rustix::process::test_kill_process(pid).is_err() || is_zombie(number)
        });
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// Nobody reaps the server in a container without an init process.
fn is_zombie(pid: u32) -> bool {
    let state = Command::new("ps").args(["-o", "state=", "-p", &pid.to_string()]).output();
    state.is_ok_and(|output| output.stdout.trim_ascii().starts_with(b"Z"))
}

/// Questions to the user exist in plan mode only, unless a feature is switched on.
fn configuration(model: &Model) -> String {
    format!(
        "model = \"scripted\"\nmodel_provider = \"testkit\"\ncheck_for_update_on_startup = false\n\
         suppress_unstable_features_warning = true\n\n\
         [features]\ndefault_mode_request_user_input = true\n\n\
         [model_providers.testkit]\nname = \"testkit\"\nbase_url = \"{}\"\nwire_api = \"responses\"\n\
         request_max_retries = 0\nstream_max_retries = 0\n\n[analytics]\nenabled = false\n",
        model.base_url()
    )
}

fn prepare_daemon(home: &Path) {
    let dir = home.join("app-server-daemon");
    fs::create_dir_all(&dir).expect("a writable home");
    fs::write(dir.join("settings.json"), DAEMON_SETTINGS).expect("a writable home");
}

/// A program whose Codex is the one in this home.
pub(super) fn command(codex: &Path, home: &Path, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        // A test may itself be run by an agent; its thread, keys and terminal are none of ours.
        let text = name.to_string_lossy();
        if ["CODEX_", "OPENAI_", "TMUX"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    debug_assert!(codex.is_absolute());
    command.envs(environment(home)).current_dir(home).stdin(Stdio::null());
    command
}

fn environment(home: &Path) -> Vec<(String, String)> {
    let home = home.display().to_string();
    // Whatever Codex wants to fetch or to report, it shall fail at once.
    let nowhere = "http://127.0.0.1:9".to_owned();
    let own = [("HOME", home.clone()), ("CODEX_HOME", home), ("NO_PROXY", "127.0.0.1".to_owned())];
    let proxies = ["HTTPS_PROXY", "https_proxy"].map(|name| (name, nowhere.clone()));
    own.into_iter().chain(proxies).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The copy of itself from which Codex runs its server: 400 MB, so all homes share one. It is made
/// by Codex itself, in a home that stays, because it remembers the home's path. `None` when switched
/// off.
fn packages(server: Release) -> Option<PathBuf> {
    let codex = server.binary()?;
    let seed = server.prefix().join("seed");
    let packages = seed.join("packages");
    fs::create_dir_all(&seed).expect("a writable target directory");
    // Several test programs may want it at the same time.
    let lock = File::create(seed.join("lock")).expect("a writable target directory");
    lock.lock().expect("a lock below the target directory");
    // A target directory that was moved has a link that leads nowhere.
    if !packages.join("app-server-daemon/current/bin/codex").is_file() {
        prepare_daemon(&seed);
        daemon(codex, &seed, "start");
        daemon(codex, &seed, "stop");
    }
    Some(packages)
}

fn daemon(codex: &Path, home: &Path, action: &str) {
    let output = command(codex, home, codex).args(["app-server", "daemon", action]).output();
    let Output { status, stdout, stderr } = output.expect("an installed codex");
    assert!(
        status.success(),
        "codex app-server daemon {action} failed: {status}\n{}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
}
