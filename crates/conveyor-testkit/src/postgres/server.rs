//! One server: its directory, its life, its watchdog.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::binaries::{self, Account};

/// Where the socket directories are: a short path, because a socket's path must stay below 107
/// bytes, which the temporary directory of the environment may not leave room for.
const PARENT: &str = "/tmp";

/// Durability is worth nothing here; the server and its data live as long as one test run.
const SETTINGS: &str = "-c listen_addresses='' -c fsync=off -c synchronous_commit=off \
     -c full_page_writes=off -c max_connections=200 -c autovacuum_naptime=5min";

/// Waits for the end of its standard input, which is the end of the process that started it, and
/// then stops the server and removes everything. `$1` pg_ctl, `$2` the directory.
///
/// When the end comes before `up` was read, the data directory may still be in the making by a
/// process that outlived its parent; it gets time to finish.
const WATCHDOG: &str = r#"
trap '' INT TERM HUP
read -r state
if [ "$state" = up ]; then cat >/dev/null; else sleep 5; fi
"$1" -D "$2/data" -m immediate -w stop
rm -rf "$2"
"#;

/// A PostgreSQL server for tests.
#[derive(Debug)]
pub struct Server {
    socket_dir: PathBuf,
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    pg_ctl: PathBuf,
    account: Option<Account>,
    watchdog: Child,
}

impl Server {
    /// Starts a server of one's own; it ends, with all its data, when the value is dropped or the
    /// process is gone.
    ///
    /// # Errors
    /// One line for the person who runs the tests, when there is no PostgreSQL or it does not
    /// start.
    pub fn own() -> Result<Self, String> {
        let programs = binaries::find()?;
        let account = binaries::account()?;
        let dir = tempfile::Builder::new()
            .prefix("cvpg-")
            .tempdir_in(PARENT)
            .map_err(|error| format!("creating a directory for PostgreSQL in {PARENT}: {error}"))?;
        if let Some(Account { uid, gid }) = account {
            std::os::unix::fs::chown(dir.path(), Some(uid), Some(gid))
                .map_err(|error| format!("giving {} to the server's user: {error}", dir.path().display()))?;
        }
        let pg_ctl = programs.join("pg_ctl");
        let watchdog = run_as("/bin/sh".as_ref(), account, dir.path())
            .args(["-c", WATCHDOG, "conveyor-test-postgres"])
            .args([&pg_ctl, dir.path()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Outside the terminal's process group, so that Ctrl-C leaves it to its work.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("starting the watchdog of PostgreSQL: {error}"))?;
        // From here on the watchdog owns the directory.
        let mut server = Self { socket_dir: dir.keep(), own: Some(Own { pg_ctl, account, watchdog }) };
        let data = server.data_dir();
        let mut initdb = run_as(programs.join("initdb").as_os_str(), account, &server.socket_dir);
        initdb
            .args(["-U", "conveyor", "--auth=trust", "--no-sync", "--no-locale", "-E", "UTF8", "-D"])
            .arg(data);
        server.run(initdb, "initdb")?;
        server.try_start()?;
        server.tell_watchdog()?;
        Ok(server)
    }

    /// The server that listens in this socket directory, started by somebody else.
    #[must_use]
    pub fn running_at(socket_dir: impl AsRef<OsStr>) -> Self {
        Self { socket_dir: PathBuf::from(socket_dir.as_ref()), own: None }
    }

    /// The directory of the server's socket.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// Ends the server at once, as a crash does: no checkpoint, all connections cut.
    ///
    /// # Panics
    /// When this is not an own server, or it cannot be stopped.
    pub fn stop_immediate(&self) {
        let mut stop = self.pg_ctl();
        stop.args(["-m", "immediate", "-w", "stop"]);
        self.run(stop, "stopping PostgreSQL").unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// Starts the server again after [`Server::stop_immediate`].
    ///
    /// # Panics
    /// When this is not an own server, or it does not start.
    pub fn start(&self) {
        self.try_start().unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// A connection to the server.
    ///
    /// # Panics
    /// When there is none to be had.
    #[must_use]
    pub fn client(&self) -> ::postgres::Client {
        self.config().connect(::postgres::NoTls).unwrap_or_else(|error| {
            panic!("connecting to PostgreSQL in {}: {error}", self.socket_dir.display())
        })
    }

    pub(super) fn config(&self) -> ::postgres::Config {
        let mut config = ::postgres::Config::new();
        config.host_path(&self.socket_dir).user("conveyor").dbname("postgres");
        config
    }

    fn try_start(&self) -> Result<(), String> {
        let mut start = self.pg_ctl();
        let settings = format!("{SETTINGS} -k {}", self.socket_dir.display());
        start.args(["-w", "-t", "60", "-o", &settings, "start", "-l"]).arg(self.socket_dir.join("log"));
        self.run(start, "starting PostgreSQL")
    }

    fn pg_ctl(&self) -> Command {
        let own = self.own.as_ref().expect("only a server of one's own is stopped and started");
        let mut command = run_as(own.pg_ctl.as_os_str(), own.account, &self.socket_dir);
        command.arg("-D").arg(self.data_dir());
        command
    }

    fn data_dir(&self) -> PathBuf {
        self.socket_dir.join("data")
    }

    fn tell_watchdog(&mut self) -> Result<(), String> {
        let pipe = self.own.as_mut().and_then(|own| own.watchdog.stdin.as_mut());
        let told = pipe.map_or(Ok(()), |pipe| pipe.write_all(b"up\n"));
        told.map_err(|error| format!("the watchdog of PostgreSQL is gone: {error}"))
    }

    /// Runs a program to its end. Its output goes to a file, not to a pipe, because the server
    /// that it leaves behind would keep a pipe open.
    fn run(&self, mut command: Command, what: &str) -> Result<(), String> {
        let output = self.socket_dir.join("output");
        let failed = |reason: String| format!("{what} failed: {reason}");
        let file = File::create(&output).map_err(|error| failed(error.to_string()))?;
        let copy = file.try_clone().map_err(|error| failed(error.to_string()))?;
        let status = command.stdin(Stdio::null()).stdout(file).stderr(copy).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => {
                let said = |name: &Path| std::fs::read_to_string(name).unwrap_or_default();
                Err(failed(format!("{status}\n{}{}", said(&output), said(&self.socket_dir.join("log")))))
            }
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(own) = &mut self.own {
            drop(own.watchdog.stdin.take());
            let _ = own.watchdog.wait();
        }
    }
}

/// A command that runs as the server's user, in a directory that this user can enter.
pub(super) fn run_as(program: &OsStr, account: Option<Account>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).env("HOME", dir).env("LC_ALL", "C").env_remove("PGDATA").env_remove("PGOPTIONS");
    if let Some(Account { uid, gid }) = account {
        command.gid(gid).uid(uid);
    }
    command
}
