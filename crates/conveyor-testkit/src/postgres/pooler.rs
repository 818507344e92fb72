//! A real PgBouncer in front of a test server.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use super::binaries;
use super::schema::percent_encode;
use super::server::run_as;
use super::{Server, TestSchema};
use crate::wait;

/// The port in the socket's name; nothing listens on the network.
const PORT: u16 = 6432;

/// Ends the pooler with the end of its standard input, which is the end of the process that started
/// it. `$1` the program, `$2` the directory.
const WATCHDOG: &str = r#"
trap '' INT TERM HUP
"$1" -q "$2/pgbouncer.ini" </dev/null & pooler=$!
cat >/dev/null
kill "$pooler"
wait "$pooler"
rm -rf "$2"
"#;

/// How a pooler shares out its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    /// One for as long as a client is there.
    Session,
    /// One for each transaction.
    Transaction,
    /// One for each statement.
    Statement,
}

/// A pooler; it ends when the value is dropped or the process is gone.
#[derive(Debug)]
pub struct Pooler {
    dir: PathBuf,
    watchdog: Child,
}

impl Pooler {
    /// Starts a pooler with `connections` connections to `server`. `more` is appended to its settings.
    ///
    /// # Panics
    /// With one line when there is no PgBouncer, or it does not start.
    #[must_use]
    pub fn start(server: &Server, mode: PoolMode, connections: u32, more: &str) -> Self {
        let program = find();
        let account = binaries::account().unwrap_or_else(|reason| panic!("{reason}"));
        let dir = tempfile::Builder::new().prefix("cvpb-").tempdir_in("/tmp").expect("a directory");
        let mode = match mode {
            PoolMode::Session => "session",
            PoolMode::Transaction => "transaction",
            PoolMode::Statement => "statement",
        };
        let here = dir.path().display();
        let settings = format!(
            "[databases]\npostgres = host={} dbname=postgres\n\n[pgbouncer]\nlisten_addr =\nlisten_port = {PORT}\n\
             unix_socket_dir = {here}\nlogfile = {here}/log\nauth_type = trust\nauth_file = {here}/users\n\
             pool_mode = {mode}\ndefault_pool_size = {connections}\nmax_client_conn = 100\n\
             server_idle_timeout = 600\n{more}\n",
            server.socket_dir().display()
        );
        std::fs::write(dir.path().join("pgbouncer.ini"), settings).expect("the settings");
        std::fs::write(dir.path().join("users"), "\"conveyor\" \"\"\n").expect("the users");
        if let Some(account) = account {
            std::os::unix::fs::chown(dir.path(), Some(account.uid), Some(account.gid))
                .expect("its directory");
        }
        let watchdog = run_as("/bin/sh".as_ref(), account, dir.path())
            .args(["-c", WATCHDOG, "conveyor-test-pgbouncer"])
            .args([&program, dir.path()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let pooler = Self { dir: dir.keep(), watchdog };
        let listens =
            || std::os::unix::net::UnixStream::connect(pooler.dir.join(format!(".s.PGSQL.{PORT}"))).is_ok();
        wait::until(Duration::from_secs(20), "PgBouncer", listens);
        pooler
    }

    /// The URL of a schema by way of the pooler.
    #[must_use]
    pub fn url(&self, schema: &TestSchema) -> String {
        let host = percent_encode(self.dir.to_str().expect("a directory of plain letters"));
        let options = percent_encode(&format!("-c search_path={}", schema.name()));
        format!("postgres://conveyor@{host}:{PORT}/postgres?options={options}")
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// Debian puts it where only root's shell looks.
fn find() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path)
        .chain(["/usr/sbin", "/opt/homebrew/bin", "/usr/local/bin"].map(Into::into));
    let mut programs = places.map(|place: PathBuf| place.join("pgbouncer"));
    programs.find(|program| Path::is_file(program)).expect(
        "PgBouncer is needed for these tests: install the package `pgbouncer` (`scripts/install-needs test`)",
    )
}
