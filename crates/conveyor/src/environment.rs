//! Every environment variable that the program looks at, read once.

use std::path::PathBuf;

use conveyor_core::ServerChoice;

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
    /// `CONVEYOR_TYPING_GUARD`: the default of `--typing-guard`.
    pub typing_guard: Option<String>,
    /// `CONVEYOR_NATIVE`: whether agents' servers are asked, `on` or `off`.
    pub native: Option<String>,
    /// `CODEX_THREAD_ID`: the agent that runs us.
    pub codex_thread_id: Option<String>,
    /// `CONVEYOR_DETACHED`: set for the copy of itself that a command hands its work to.
    pub detached: bool,
    /// The file of this program; `None` where it runs inside another one.
    pub executable: Option<PathBuf>,
    /// The tmux program, where it is not the one on `PATH`; for tests.
    pub tmux: Option<PathBuf>,
    /// `TMUX` and `TMUX_TMPDIR`: which tmux server. The server that we run in comes first.
    pub tmux_server: ServerChoice,
}

impl Environment {
    /// Reads the process's environment.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn of_process() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = path("HOME");
        Self {
            state_root: text("WORKERCTL_STATE_ROOT"),
            database_url: text("CONVEYOR_DATABASE_URL"),
            program: text("CONVEYOR_CLI_PROG"),
            server_password: text("PGPASSWORD"),
            password_file: path("PGPASSFILE").or_else(|| Some(home.as_ref()?.join(".pgpass"))),
            home,
            typing_guard: text("CONVEYOR_TYPING_GUARD"),
            native: text("CONVEYOR_NATIVE"),
            codex_thread_id: text("CODEX_THREAD_ID"),
            detached: text(DETACHED).is_some(),
            executable: std::env::current_exe().ok(),
            tmux: None,
            tmux_server: tmux_server(text("TMUX").as_deref(), path("TMUX_TMPDIR")),
        }
    }
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
