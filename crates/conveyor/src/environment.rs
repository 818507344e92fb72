//! Every environment variable that the program looks at, read once.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use conveyor_core::ServerChoice;
use conveyor_core::continuation::Engine;
use conveyor_core::windows::Desktop;
use conveyor_model::Machine;
use conveyor_store::ServerDefaults;

use crate::failure::Failure;

/// What a reviewer gets to see of the environment.
const PASSED_ON: [&str; 5] = ["LANG", "LC_ALL", "LC_CTYPE", "PATH", "PYTHONIOENCODING"];

/// Set in the environment of a copy that works detached.
pub(crate) const DETACHED: &str = "CONVEYOR_DETACHED";

/// The environment as the program uses it. Unset and empty mean the same.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `WORKERCTL_STATE_ROOT`: where state is kept; default `.codex-workers` in the current directory.
    pub state_root: Option<String>,
    /// `CONVEYOR_DATABASE_URL`: the default of `--path`.
    pub database_url: Option<String>,
    /// `CONVEYOR_CLI_PROG`: the name used in help texts, `conveyor` or `workerctl`.
    pub program: Option<String>,
    /// `HOME`: what `~` means.
    pub home: Option<PathBuf>,
    /// `PGPASSWORD`: password for a PostgreSQL server.
    pub server_password: Option<String>,
    /// `PGPASSFILE`: password file for PostgreSQL servers; default `~/.pgpass`.
    pub password_file: Option<PathBuf>,
    /// The other `PG*` variables: they count for what a server's URL leaves open.
    pub server_defaults: ServerDefaults,
    /// The variables whose values are no UTF-8: whoever needs one must not take it for unset.
    pub undecodable: Vec<&'static str>,
    /// `CONVEYOR_TYPING_GUARD`: the default of `--typing-guard`.
    pub typing_guard: Option<String>,
    /// `CONVEYOR_NATIVE`: whether agents' servers are asked, `on` or `off`.
    pub native: Option<String>,
    /// `CODEX_HOME`: which Codex is meant; default `~/.codex`.
    pub codex_home: Option<PathBuf>,
    /// `CODEX_THREAD_ID`: the thread of the agent that runs us, if one does.
    pub codex_thread_id: Option<String>,
    /// `CONVEYOR_DETACHED`: set for the copy of itself that a command hands its work to.
    pub detached: bool,
    /// `PATH`: where programs are looked for.
    pub search_path: Option<std::ffi::OsString>,
    /// `LANG`, `LC_ALL`, `LC_CTYPE`, `PATH`, `PYTHONIOENCODING`: all that a reviewer gets to see.
    pub passed_on: Vec<(String, OsString)>,
    /// Our own program, where it is not the one that runs; for tests.
    pub launcher: Option<PathBuf>,
    /// The sandboxes to try, where they are not those of the system; for tests.
    pub sandboxes: Option<Vec<Engine>>,
    /// The tmux program, where it is not the one on `PATH`; for tests.
    pub tmux: Option<PathBuf>,
    /// Where we run; `CONVEYOR_HOST_ID` stands for the machine's own id.
    pub machine: Machine,
    /// `TMUX` and `TMUX_TMPDIR`: which tmux server. The server that we run in comes first.
    pub tmux_server: ServerChoice,
    /// `TMUX_PANE`: the pane that we run in. Inside an agent it proves nothing.
    pub tmux_pane: Option<String>,
    /// `SHELL`: the user's shell.
    pub shell: Option<PathBuf>,
    /// The running program.
    pub executable: Option<PathBuf>,
    /// The desktop on which windows are opened; tests put their own in its place.
    pub desktop: Desktop,
}

impl Environment {
    /// Reads the process's environment.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn of_process() -> Self {
        let mut undecodable = Vec::new();
        let mut path = |name: &'static str| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
            if value.to_str().is_none() {
                undecodable.push(name);
            }
            Some(PathBuf::from(value))
        };
        let home = path("HOME");
        let (codex_home, tmux_directory) = (path("CODEX_HOME"), path("TMUX_TMPDIR"));
        let password_file = path("PGPASSFILE").or_else(|| Some(home.as_ref()?.join(".pgpass")));
        let shell = path("SHELL");
        // What is no text is known from its name in the list.
        let mut text = |name: &'static str| path(name)?.into_os_string().into_string().ok();
        let server_defaults =
            ServerDefaults::names().fold(ServerDefaults::default(), |known, name| match text(name) {
                Some(value) => known.with(name, value),
                None => known,
            });
        Self {
            state_root: text("WORKERCTL_STATE_ROOT"),
            database_url: text("CONVEYOR_DATABASE_URL"),
            program: text("CONVEYOR_CLI_PROG"),
            server_password: text("PGPASSWORD"),
            password_file,
            server_defaults,
            home,
            machine: conveyor_core::machine::here(text("CONVEYOR_HOST_ID")),
            typing_guard: text("CONVEYOR_TYPING_GUARD"),
            native: text("CONVEYOR_NATIVE"),
            codex_home,
            codex_thread_id: text("CODEX_THREAD_ID"),
            detached: text(DETACHED).is_some(),
            search_path: std::env::var_os("PATH"),
            passed_on: PASSED_ON
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), std::env::var_os(name)?)))
                .collect(),
            launcher: None,
            sandboxes: None,
            tmux: None,
            tmux_server: tmux_server(text("TMUX").as_deref(), tmux_directory),
            tmux_pane: text("TMUX_PANE"),
            shell,
            executable: std::env::current_exe().ok(),
            desktop: Desktop::default(),
            undecodable,
        }
    }
}

impl Environment {
    /// Refuses to go on where one of these variables is set to what is no text: passing over it would
    /// put something else in its place.
    ///
    /// # Errors
    /// The variable, by name.
    pub(crate) fn decodable(&self, names: &[&str]) -> Result<(), Failure> {
        match self.undecodable.iter().find(|name| names.contains(name)) {
            None => Ok(()),
            Some(name) => Err(Failure::usage(format!(
                "the environment variable {name} is no valid UTF-8: set it to a text, or unset it"
            ))),
        }
    }

    /// The program of this name that a shell would run.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        let places = std::env::split_paths(self.search_path.as_ref()?).collect::<Vec<_>>();
        places.into_iter().map(|place| place.join(name)).find(|program| is_executable(program))
    }
}

fn is_executable(program: &Path) -> bool {
    let found = std::fs::metadata(program);
    found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The server that tmux itself would take: the one that we run in, whose socket is the first part
/// of `TMUX`, else the default one of `TMUX_TMPDIR`.
fn tmux_server(tmux: Option<&str>, tmpdir: Option<PathBuf>) -> ServerChoice {
    let socket = tmux.and_then(|tmux| tmux.split(',').next()).filter(|socket| !socket.is_empty());
    match (socket, tmpdir) {
        (Some(socket), _) => ServerChoice::Socket(socket.into()),
        (None, Some(dir)) => ServerChoice::Directory(dir),
        (None, None) => ServerChoice::Default,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tmux_server_is_the_one_we_run_in_or_the_default_one() {
        let dir = || Some(PathBuf::from("/d"));
        assert_eq!(tmux_server(Some("/s/x,12,0"), dir()), ServerChoice::Socket("/s/x".into()));
        assert_eq!(tmux_server(None, dir()), ServerChoice::Directory("/d".into()));
        assert_eq!(tmux_server(Some(",12,0"), None), ServerChoice::Default);
    }
}
