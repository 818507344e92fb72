use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use super::client::{Client, NewThread};
use super::error::CodexError;
use super::protocol::{Approval, Sandbox, Thread};
use super::websocket::shortened;
use crate::programs::{self, Output};

/// An installed Codex and the home it works with.
#[derive(Clone, Debug)]
pub struct Codex {
    program: PathBuf,
    home: PathBuf,
}

/// What `codex app-server daemon start` reports.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerStart {
    /// `started`, or `alreadyRunning`.
    pub status: String,
    /// The server's process; absent when it ran already.
    pub pid: Option<u32>,
    /// The version of the program that was asked.
    pub cli_version: Option<String>,
    /// The version of the server that runs.
    pub app_server_version: Option<String>,
}

/// What an installed Codex understands, as its help says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `--no-alt-screen`: the pane keeps the history.
    pub keeps_history: bool,
    /// `--no-daemon`: the terminal writes its rollout itself, although a shared server runs.
    pub does_without_server: bool,
    /// `--remote`: the terminal can be sent to a server.
    pub names_server: bool,
    /// What may follow `--ask-for-approval`; empty where the help does not say.
    pub approvals: Words,
    /// What may follow `--sandbox`; empty where the help does not say.
    pub sandboxes: Words,
}

/// The words that an option takes.
pub type Words = Vec<String>;

/// What every terminal gets that we start. The question about an update would stand in front of the
/// session, and its selected answer installs one. A terminal that is given any setting does without
/// the shared server, unless [`AT_SERVER`] sends it there.
pub const WITHOUT_UPDATE: [&str; 2] = ["-c", "check_for_update_on_startup=false"];

/// What sends a terminal to the shared server of its home, if its help lists the option.
pub const AT_SERVER: [&str; 2] = ["--remote", "unix://"];

/// How a terminal is to be attached to a thread. The sandbox and the like take effect only when the
/// terminal has to load the thread, for instance after the server's restart; in a thread that is
/// loaded, what it was made with holds, or what [`Client::thread_permissions_set`] said.
#[derive(Clone, Copy, Debug)]
pub struct Attachment<'a> {
    /// What its commands may do.
    pub sandbox: Sandbox,
    /// When it asks.
    pub approval: Approval,
    /// The model; the thread's own when absent.
    pub model: Option<&'a str>,
    /// Directories that may be written beside its own.
    pub writable: &'a [PathBuf],
    /// Whether to pass `--no-alt-screen`, so that the pane keeps the history. Older programs do not
    /// know it.
    pub keep_history: bool,
    /// Whether to send it to the server by name, and so without the question about an update. Older
    /// programs do not know how.
    pub name_server: bool,
}

impl Codex {
    /// `program` is called by this path, `home` is what `CODEX_HOME` says.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, home: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), home: home.into() }
    }

    /// The home.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// A connection to the server, if one runs.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect(&self, limit: Duration) -> Result<Client, CodexError> {
        Client::connect(&self.home, limit)
    }

    /// Starts the shared server with `codex app-server daemon start`, which does nothing when it
    /// runs. It goes on after its starter's end. The first start in a home takes seconds, because
    /// Codex copies itself there.
    ///
    /// # Errors
    /// [`CodexError::Unsupported`] when this Codex has no such command; [`CodexError::NotReachable`]
    /// with what it said when it fails.
    pub fn start_server(&self, limit: Duration) -> Result<ServerStart, CodexError> {
        let run = self.run(&["app-server", "daemon", "start"], limit)?;
        if run.is_success() {
            let line = run.stdout.lines().rev().find(|line| line.starts_with('{')).unwrap_or_default();
            return serde_json::from_str(line).map_err(|error| {
                CodexError::protocol(format!("daemon start said {:?}: {error}", shortened(&run.stdout)))
            });
        }
        let said = run.stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        // What clap says to a subcommand that it does not know; a failed start ends with 1.
        if run.code == Some(2) {
            return Err(CodexError::Unsupported { text: "codex app-server daemon start".into() });
        }
        let reason = format!("codex app-server daemon start failed ({}): {}", run.ending(), shortened(said));
        Err(CodexError::NotReachable { reason })
    }

    /// What `codex --version` says.
    ///
    /// # Errors
    /// The program cannot be run, or fails.
    pub fn version(&self, limit: Duration) -> Result<String, CodexError> {
        let run = self.run(&["--version"], limit)?;
        let said = [&run.stdout, &run.stderr].map(|text| text.trim());
        let said = said.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
        if run.is_success() {
            return Ok(said.to_owned());
        }
        let reason = format!("codex --version failed ({}): {}", run.ending(), shortened(said));
        Err(CodexError::NotReachable { reason })
    }

    /// What the help of `codex` lists.
    ///
    /// # Errors
    /// The program cannot be run.
    pub fn features(&self, limit: Duration) -> Result<Features, CodexError> {
        Ok(Features::of_help(&self.run(&["--help"], limit)?.stdout))
    }

    /// The words of the command that attaches a terminal to a thread. It must be started in the
    /// thread's directory, with `HOME` and `CODEX_HOME` of this home; the thread must have a name
    /// or a turn, or else the program ends at once.
    #[must_use]
    pub fn attach(&self, thread_id: &str, how: &Attachment<'_>) -> Vec<String> {
        let word = |text: &str| text.to_owned();
        let mut words = vec![self.program.display().to_string(), word("resume"), word(thread_id)];
        if how.name_server {
            words.extend(WITHOUT_UPDATE.into_iter().chain(AT_SERVER).map(word));
        }
        if how.keep_history {
            words.push(word("--no-alt-screen"));
        }
        words.extend(["--sandbox", how.sandbox.as_str()].map(word));
        // For this one the terminal would open a dialog of its own; the thread has it already.
        if how.approval != Approval::Untrusted {
            words.extend(["--ask-for-approval", how.approval.as_str()].map(word));
        }
        if let Some(model) = how.model {
            words.extend(["--model", model].map(word));
        }
        // A terminal that is sent to a server refuses this one; the thread has it already.
        for dir in how.writable.iter().filter(|_| !how.name_server) {
            words.extend([word("--add-dir"), dir.display().to_string()]);
        }
        words
    }

    /// Runs the program with this home to its end, or to the deadline.
    fn run(&self, arguments: &[&str], limit: Duration) -> Result<Output, CodexError> {
        let unusable = |reason: String| CodexError::NotReachable {
            reason: format!("{}: {reason}", self.program.display()),
        };
        let mut command = Command::new(&self.program);
        command.args(arguments).env("CODEX_HOME", &self.home);
        match programs::run(&mut command, limit) {
            Ok(output) if output.timed_out => Err(unusable(format!("no end within {limit:?}"))),
            Ok(output) => Ok(output),
            Err(error) => Err(unusable(error.to_string())),
        }
    }
}

impl Features {
    fn of_help(help: &str) -> Self {
        Self {
            keeps_history: help.contains("--no-alt-screen"),
            does_without_server: help.contains("--no-daemon"),
            names_server: help.contains("--remote <"),
            approvals: words_of(help, "--ask-for-approval"),
            sandboxes: words_of(help, "--sandbox"),
        }
    }
}

/// The words that a help lists for an option: one on each line with a hyphen, or all in brackets.
fn words_of(help: &str, option: &str) -> Words {
    let is_it =
        |line: &str| line.trim_start().starts_with('-') && line.split([' ', ',']).any(|word| word == option);
    let mut lines = help.lines().skip_while(|line| !is_it(line));
    lines.next();
    let mut words = Words::new();
    for line in lines.map(str::trim) {
        if let Some((_, list)) = line.split_once("[possible values: ") {
            return list.trim_end_matches(']').split(", ").map(ToOwned::to_owned).collect();
        }
        if line.starts_with("--") || (line.starts_with('-') && !line.starts_with("- ")) {
            break;
        }
        let word = line.strip_prefix("- ").and_then(|line| line.split_once(':'));
        words.extend(word.map(|(word, _)| word.to_owned()));
    }
    words
}

/// Makes a thread with a name. The name writes the rollout, without which no terminal can be
/// attached. The caller stays subscribed until it lets go with `thread_unsubscribe`; a thread that
/// nobody is subscribed to is unloaded after a minute.
///
/// # Errors
/// As every request. When naming fails the thread exists without a rollout, which vanishes by
/// itself.
pub fn create(client: &mut Client, new: &NewThread<'_>, name: &str) -> Result<Thread, CodexError> {
    let thread = client.thread_start(new)?;
    client.thread_name_set(&thread.id, name)?;
    Ok(Thread { name: Some(name.to_owned()), ..thread })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use std::time::Instant;

    use super::*;

    /// A program that stands for codex.
    fn script(dir: &Path, text: &str) -> Codex {
        let program = dir.join("codex");
        std::fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Codex::new(program, dir)
    }

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_start_is_reported_though_the_server_keeps_the_pipes() {
        let dir = tempfile::tempdir().unwrap();
        let line = r#"echo '{"status":"started","pid":7,"cliVersion":"1","appServerVersion":"1","more":{}}'"#;
        let codex = script(dir.path(), &format!("sleep 3 & [ -n \"$CODEX_HOME\" ] && {line}"));
        let start = Instant::now();
        assert_eq!(codex.start_server(LIMIT).unwrap().pid, Some(7));
        assert!(start.elapsed() < Duration::from_secs(3));
    }

    #[test]
    fn a_failed_start_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let failure = |text: &str| script(dir.path(), text).start_server(LIMIT).unwrap_err().to_string();
        assert!(failure("echo 'no room' >&2; exit 1").contains("no room"));
        assert!(
            failure("echo \"error: unrecognized subcommand 'daemon'\" >&2; exit 2").contains("not support")
        );
        assert!(failure("echo started").contains("unexpectedly"));
        let slow = script(dir.path(), "exec sleep 60").start_server(Duration::from_millis(100));
        assert!(slow.unwrap_err().to_string().contains("no end within"));
        let absent = Codex::new(dir.path().join("absent"), dir.path()).start_server(LIMIT);
        assert!(matches!(absent, Err(CodexError::NotReachable { .. })));
    }

    #[test]
    fn the_command_of_the_terminal_has_a_place_for_everything() {
        let how = Attachment {
            sandbox: Sandbox::WorkspaceWrite,
            approval: Approval::OnRequest,
            model: Some("m"),
            writable: &[PathBuf::from("/a b")],
            keep_history: true,
            name_server: true,
        };
        let words = Codex::new("/opt/codex", "/h").attach("t-1", &how);
        assert_eq!(
            words.join("|"),
            "/opt/codex|resume|t-1|-c|check_for_update_on_startup=false|--remote|unix://|--no-alt-screen|--sandbox|workspace-write|--ask-for-approval|on-request\
             |--model|m"
        );
        let older = Codex::new("/opt/codex", "/h").attach("t-1", &Attachment { name_server: false, ..how });
        assert!(older.join("|").ends_with("--model|m|--add-dir|/a b") && !older.contains(&"-c".to_owned()));
    }

    #[test]
    fn the_words_of_an_option_are_those_of_the_help() {
        let newer = "Options:\n  -s, --sandbox <SANDBOX_MODE>\n          Select the policy\n\n          [possible values: \
                     read-only, workspace-write]\n\n  -a, --ask-for-approval <POLICY>\n          Configure\n\n          \
                     Possible values:\n          - on-request: The model decides when to ask\n          - never:      \
                     Never ask for\n            user approval\n\n      --search\n          - untrue: no word\n";
        let features = Features::of_help(newer);
        assert_eq!(features.sandboxes, ["read-only", "workspace-write"]);
        assert_eq!(features.approvals, ["on-request", "never"]);
        assert!(Features::of_help("codex\n  --no-daemon  x\n").approvals.is_empty());
        let Some(codex) = conveyor_testkit::codex::binary() else { return };
        let dir = tempfile::tempdir().unwrap();
        let real = Codex::new(codex, dir.path()).features(LIMIT).unwrap();
        assert_eq!(real.sandboxes, ["read-only", "workspace-write", "danger-full-access"]);
        assert!(real.approvals.contains(&"never".to_owned()) && real.keeps_history, "{real:?}");
    }
}
