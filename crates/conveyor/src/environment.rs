//! Every environment variable that the program looks at, read once.

use std::path::PathBuf;

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
        }
    }
}
