//! A tmux server of a test's own.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// A private tmux server: its socket is in a temporary directory, and it ends with this value,
/// also when the test fails. Nothing is started before the first session is.
pub struct TmuxServer {
    dir: tempfile::TempDir,
}

impl TmuxServer {
    /// A server that nobody else uses.
    ///
    /// # Panics
    /// When there is no room for temporary files.
    #[must_use]
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// The value of `TMUX_TMPDIR` that leads to it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs `tmux` on this server; gives what it printed.
    ///
    /// # Panics
    /// When tmux fails.
    pub fn tmux<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        self.try_tmux(arguments).unwrap_or_else(|said| panic!("tmux failed: {said}"))
    }

    /// Runs `tmux` on this server; gives what it printed.
    ///
    /// # Errors
    /// What tmux said when it failed.
    ///
    /// # Panics
    /// When there is no tmux.
    pub fn try_tmux<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<String, String> {
        let output = self.command().args(arguments).output().expect("tmux is installed");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.env_remove("TMUX").env_remove("TMUX_PANE").env("TMUX_TMPDIR", self.dir());
        // No configuration of the person who runs the tests, and letters beyond ASCII as they are.
        command.args(["-u", "-f", "/dev/null"]).stdin(Stdio::null());
        command
    }
}

impl Default for TmuxServer {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TmuxServer {
    fn drop(&mut self) {
        // tmux makes its directory when a server is first asked for.
        let used = std::fs::read_dir(self.dir()).is_ok_and(|mut entries| entries.next().is_some());
        if !used {
            return;
        }
        // Fails when the server has ended: just what is wanted.
        let _ = self.command().arg("kill-server").stderr(Stdio::null()).status();
    }
}
