//! tmux, run as an external program: the only way to terminals.
//!
//! A [`Tmux`] is cheap; nothing is started before something is asked. Every call has a deadline,
//! and every target is exact: tmux itself would take `codex-a` for `codex-abc`.

mod call;
mod error;
mod facts;
mod keys;
mod look;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use call::Call;
use facts::PANE_FORMAT;

use conveyor_model::shell;

pub use error::TmuxError;
pub use facts::{ClientFacts, PaneFacts};
pub use keys::{Held, PaneKey};
pub use look::{Extent, Look, Looking};

/// How long tmux may take for one call. It answers within milliseconds unless it hangs.
const DEADLINE: Duration = Duration::from_secs(10);

/// How often a server is asked again that is just ending, and how long it is given.
const TRIES: usize = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Size of new sessions: wide enough that no line of an agent's screen is broken.
const COLUMNS: &str = "200";
const ROWS: &str = "50";
const COLUMNS_AS_NUMBER: usize = 200;
const ROWS_AS_NUMBER: usize = 50;

/// What a new session begins with. Left alone, it ends by itself.
const WAITING: &str = "exec sleep 60";

/// The user's shell, as tmux knows it.
const SHELL: &str = "exec \"${SHELL:-/bin/sh}\"";

/// Which tmux server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServerChoice {
    /// The user's default server.
    #[default]
    Default,
    /// The default server below this directory (`TMUX_TMPDIR`).
    Directory(PathBuf),
    /// The server of this name (`-L`).
    Name(String),
    /// The server that listens on this socket (`-S`).
    Socket(PathBuf),
}

/// A tmux program and a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tmux {
    program: PathBuf,
    server: ServerChoice,
    deadline: Duration,
}

/// What a call addresses: exactly this session's active pane, or exactly this pane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The active pane of the session of this name.
    Session(String),
    /// The pane of this id, `%12`.
    Pane(String),
}

/// A session to be started.
#[derive(Clone, Debug, Default)]
pub struct NewSession<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where its program runs; `None`: the current directory.
    pub cwd: Option<&'a Path>,
    /// Environment variables that the program gets in addition.
    pub environment: &'a [(OsString, OsString)],
    /// The program and its arguments; empty: the user's shell.
    pub command: &'a [OsString],
    /// Keep the pane with what it shows when the program ends, until [`Tmux::let_go`]: so that one
    /// that fails at its start can be asked why.
    pub keep: bool,
}

/// The server that a [`Tmux`] talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its process.
    pub pid: u32,
    /// Its socket, by which every process can reach it.
    pub socket: PathBuf,
}

/// A pane of any session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaneOfSession {
    /// The session.
    pub session: String,
    /// The pane's id.
    pub id: String,
    /// The process that tmux started in it.
    pub pid: u32,
}

impl Target {
    /// As tmux takes it.
    fn argument(&self) -> Result<String, TmuxError> {
        match self {
            Self::Session(name) => Ok(format!("{}:", exact(name)?)),
            Self::Pane(id) if is_pane_id(id) => Ok(id.clone()),
            Self::Pane(id) => Err(TmuxError::NoSession { target: id.clone() }),
        }
    }

    /// As people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Session(name) | Self::Pane(name) => name,
        }
    }
}

fn is_pane_id(id: &str) -> bool {
    id.strip_prefix('%')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The session of exactly this name, as tmux takes it. No session has a name with `:` or `.` in it,
/// and none of a name that begins with `$` can be addressed: to tmux they would mean other things.
fn exact(session: &str) -> Result<String, TmuxError> {
    if session.is_empty() || session.starts_with('$') || session.contains([':', '.', '\0']) {
        return Err(TmuxError::NoSession { target: session.to_owned() });
    }
    Ok(format!("={session}"))
}

impl Tmux {
    /// A program (looked up on `PATH` if it has no directory) and a server. Starts nothing.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, server: ServerChoice) -> Self {
        Self { program: program.into(), server, deadline: DEADLINE }
    }

    /// The same with another time limit for each call.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// The same program on another server.
    #[must_use]
    pub fn on_server(self, server: ServerChoice) -> Self {
        Self { server, ..self }
    }

    /// Which server it talks to.
    #[must_use]
    pub fn server(&self) -> &ServerChoice {
        &self.server
    }

    /// The version that tmux tells, `tmux 3.4`; proof that it is installed.
    ///
    /// # Errors
    /// tmux is missing or does not run.
    pub fn version(&self) -> Result<String, TmuxError> {
        Ok(self.run(Call::new("-V", ""))?.trim().to_owned())
    }

    /// Makes sure that the server can be reached.
    ///
    /// # Errors
    /// tmux is missing, or access is denied.
    pub fn start_server(&self) -> Result<(), TmuxError> {
        match self.run(Call::new("start-server", "")) {
            // It was about to end, for want of sessions: reached it was.
            Ok(_) | Err(TmuxError::NoSession { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the server has a session of exactly this name.
    ///
    /// # Errors
    /// tmux could not be asked.
    pub fn has_session(&self, session: &str) -> Result<bool, TmuxError> {
        present(
            exact(session)
                .and_then(|exact| self.run(Call::new("has-session", session).arg("-t").arg(&exact))),
        )
    }

    /// Whether there is a server at all: without one nothing follows from a session's absence.
    ///
    /// # Errors
    /// tmux could not be asked.
    pub fn is_running(&self) -> Result<bool, TmuxError> {
        match self.run(Call::new("list-sessions", "").hidden_arg("-F").hidden_arg("-")) {
            Ok(_) => Ok(true),
            Err(TmuxError::NoSession { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Starts a session in the background, 200 columns and 50 rows large, and gives the pane in
    /// which its program runs.
    ///
    /// The session is made with a program that waits, and only then the pane, known by its id, gets
    /// its size and its options and the program itself: whatever hooks and defaults of the user add
    /// to new sessions, or however small the terminals are that are attached to the server.
    ///
    /// # Errors
    /// The name is taken, or tmux refuses.
    pub fn new_session(&self, new: &NewSession<'_>) -> Result<PaneFacts, TmuxError> {
        let deadline = Instant::now() + self.deadline;
        let id = loop {
            match self.make_session(new) {
                // The server had no sessions and was about to end; the next call starts another one.
                Err(TmuxError::NoSession { .. }) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                outcome => break outcome?,
            }
        };
        let pane = Target::Pane(id);
        let started = self.prepare_pane(&pane, new);
        if started.is_err() {
            // What waits in there would be in the way of the next try. It ends by itself, too.
            let _ = self.kill_pane(&pane);
        }
        started
    }

    /// Makes the session; gives the id of its pane.
    fn make_session(&self, new: &NewSession<'_>) -> Result<String, TmuxError> {
        // tmux would change the name silently.
        let Ok(name) = exact(new.name) else {
            return Err(TmuxError::Failed {
                command: "tmux new-session".into(),
                message: format!("{:?} cannot be the name of a tmux session", new.name),
            });
        };
        let mut call = Call::new("new-session", new.name).arg("-d").arg("-s").arg(new.name);
        call = call.hidden_arg("-P").hidden_arg("-F").hidden_arg("#{pane_id}");
        call = call.arg("-x").arg(COLUMNS).arg("-y").arg(ROWS);
        if let Some(cwd) = new.cwd {
            call = call.hidden_arg("-c").hidden_arg(cwd);
        }
        for (name, value) in new.environment {
            let mut assignment = name.clone();
            assignment.push("=");
            assignment.push(value);
            call = call.hidden_arg("-e").hidden_arg(assignment);
        }
        call = call.hidden_arg("--").hidden_arg(WAITING);
        // In the same call, or a user's setting would end the session before anybody looks.
        call = call.then("set-option").hidden_arg("-t").hidden_arg(format!("{name}:"));
        let printed = self.run(call.hidden_arg("destroy-unattached").hidden_arg("off"))?;
        let id = printed.lines().find(|line| is_pane_id(line)).map(ToOwned::to_owned);
        id.ok_or_else(|| TmuxError::Failed {
            command: "tmux new-session".into(),
            message: format!("tmux tells no pane of the new session, but {printed:?}"),
        })
    }

    /// Gives a pane its size, its options and its program; what is known of it then.
    fn prepare_pane(&self, pane: &Target, new: &NewSession<'_>) -> Result<PaneFacts, TmuxError> {
        let id = pane.argument()?;
        let facts = self.pane(pane)?;
        if (facts.width, facts.height) != (COLUMNS_AS_NUMBER, ROWS_AS_NUMBER) && facts.panes_in_window == 1 {
            let call = Call::new("resize-window", &id).arg("-t").arg(&id);
            let call = call.arg("-x").arg(COLUMNS).arg("-y").arg(ROWS).then("set-option");
            // Who attaches later gets the size that they are used to.
            let call = call.hidden_arg("-w").hidden_arg("-u").hidden_arg("-t").hidden_arg(&id);
            self.run(call.hidden_arg("window-size"))?;
        }
        let mut call = Call::new("respawn-pane", &id);
        if new.keep {
            call = Call::new("set-option", &id).hidden_arg("-p").hidden_arg("-t").hidden_arg(&id);
            call = call.hidden_arg("remain-on-exit").hidden_arg("on").then("respawn-pane");
        }
        let mut call = call.hidden_arg("-k").hidden_arg("-t").hidden_arg(&id);
        if let Some(cwd) = new.cwd {
            call = call.hidden_arg("-c").hidden_arg(cwd);
        }
        if !new.command.is_empty() {
            call = call.hidden_arg("--");
        }
        let call = match new.command {
            // The program that waits would be started again.
            [] => call.hidden_arg(SHELL),
            // A single word would be read by a shell.
            [only] => call.hidden_arg(as_shell_command(only)?),
            words => words.iter().fold(call, Call::hidden_arg),
        };
        // In the same call: a program may end before anybody asks.
        let call = call.then("display-message").hidden_arg("-p").hidden_arg("-t").hidden_arg(&id);
        let printed = self.run(call.hidden_arg(PANE_FORMAT))?;
        pane_of(printed.lines().next().unwrap_or_default(), pane)
    }

    /// From now on a pane that was started to be kept ends with its program, as panes do.
    ///
    /// # Errors
    /// No such pane, or tmux could not be asked.
    pub fn let_go(&self, pane: &Target) -> Result<(), TmuxError> {
        let id = pane.argument()?;
        let call = Call::new("set-option", &id).hidden_arg("-p").hidden_arg("-u").hidden_arg("-t");
        self.run(call.hidden_arg(&id).arg("remain-on-exit")).map(drop)
    }

    /// Ends a pane and what runs in it, and its session if it has no other; `false` when there was
    /// no such pane.
    ///
    /// # Errors
    /// tmux could not be asked.
    pub fn kill_pane(&self, pane: &Target) -> Result<bool, TmuxError> {
        let killed =
            pane.argument().and_then(|exact| self.run(Call::new("kill-pane", &exact).arg("-t").arg(&exact)));
        present(killed)
    }

    /// As [`Self::kill_pane`], but only while it has this process: tmux itself compares, so that
    /// nothing can come in between. `false` when it has another one, or there is no such pane.
    ///
    /// # Errors
    /// tmux could not be asked.
    pub fn kill_pane_of(&self, pane_id: &str, pid: u32) -> Result<bool, TmuxError> {
        let exact = match Target::Pane(pane_id.to_owned()).argument() {
            Ok(exact) => exact,
            Err(_) => return Ok(false),
        };
        let call = Call::new("if-shell", &exact).hidden_arg("-F").hidden_arg("-t").arg(&exact);
        let call = call.hidden_arg(format!("#{{==:#{{pane_pid}},{pid}}}"));
        let call = call.hidden_arg(format!("display-message -p killed ; kill-pane -t {exact}"));
        match self.run(call) {
            Ok(printed) => Ok(printed.contains("killed")),
            Err(TmuxError::NoSession { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Which server it is.
    ///
    /// # Errors
    /// No server runs, or tmux could not be asked.
    pub fn server_facts(&self) -> Result<ServerFacts, TmuxError> {
        let call = Call::new("display-message", "").arg("-p");
        let printed = self.run(call.hidden_arg("#{pid} #{socket_path}"))?;
        let facts = printed.trim_end().split_once(' ').and_then(|(pid, socket)| {
            let socket = PathBuf::from(socket);
            Some(ServerFacts { pid: pid.parse().ok()?, socket })
        });
        facts.ok_or_else(|| TmuxError::Failed {
            command: "tmux display-message".into(),
            message: format!("tmux tells no process and socket of its server, but {printed:?}"),
        })
    }

    /// The panes of all sessions; none when no server runs.
    ///
    /// # Errors
    /// tmux could not be asked.
    pub fn panes(&self) -> Result<Vec<PaneOfSession>, TmuxError> {
        let call = Call::new("list-panes", "").arg("-a").hidden_arg("-F");
        let printed = match self.run(call.hidden_arg("#{pane_pid} #{pane_id} #{session_name}")) {
            Ok(printed) => printed,
            Err(TmuxError::NoSession { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let pane = |line: &str| {
            let mut fields = line.splitn(3, ' ');
            let (pid, id, session) = (fields.next()?.parse().ok()?, fields.next()?, fields.next()?);
            Some(PaneOfSession { session: session.to_owned(), id: id.to_owned(), pid })
        };
        Ok(printed.lines().filter_map(pane).collect())
    }

    /// What tmux knows about a pane, in one call.
    ///
    /// # Errors
    /// No such session or pane, or tmux could not be asked.
    pub fn pane(&self, target: &Target) -> Result<PaneFacts, TmuxError> {
        let exact = target.argument()?;
        let call = self.describe(target, &exact);
        // Describing prints nothing of a pane that does not exist; this fails then.
        let call = call.then("list-panes").hidden_arg("-t").hidden_arg(&exact);
        let printed = self.run(call.hidden_arg("-F").hidden_arg("-"))?;
        pane_of(printed.lines().next().unwrap_or_default(), target)
    }

    /// Puts a text into a named buffer of the server, through standard input: neither its length
    /// nor what it begins with matters, and no list of processes shows it.
    ///
    /// # Errors
    /// tmux could not be asked.
    pub fn load_buffer(&self, buffer: &str, text: &str) -> Result<(), TmuxError> {
        let call = Call::new("load-buffer", buffer).arg("-b").arg(buffer).arg("-");
        self.run(call.input(text.as_bytes())).map(drop)
    }

    /// Deletes a buffer; one that is gone already is no failure.
    ///
    /// # Errors
    /// tmux could not be asked.
    pub fn delete_buffer(&self, buffer: &str) -> Result<(), TmuxError> {
        match self.run(Call::new("delete-buffer", buffer).arg("-b").arg(buffer)) {
            Ok(_) | Err(TmuxError::NoSession { .. }) => Ok(()),
            Err(TmuxError::Failed { message, .. }) if message.contains("buffer") => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn describe<'c>(&self, target: &Target, exact: &str) -> Call<'c> {
        let call = Call::new("display-message", target.name()).arg("-p").arg("-t").arg(exact);
        call.hidden_arg(PANE_FORMAT)
    }

    /// Runs a call. A server that just ends because its last session has ended, or because it never
    /// had one, takes nothing with it: the next one is asked then.
    fn run(&self, call: Call<'_>) -> Result<String, TmuxError> {
        for _ in 0..TRIES {
            match call.clone().run(self.program(), self.deadline) {
                Err(TmuxError::Failed { message, .. }) if is_ending(&message) => {
                    std::thread::sleep(BETWEEN_TRIES);
                }
                answer => return answer,
            }
        }
        call.run(self.program(), self.deadline)
    }

    fn program(&self) -> Command {
        let mut program = Command::new(&self.program);
        // The server is the one that was chosen, whatever terminal we happen to run in.
        program.env_remove("TMUX").env_remove("TMUX_PANE").env_remove("TMUX_TMPDIR");
        // Without this flag tmux prints `_` for every letter beyond ASCII in a plain locale.
        program.arg("-u");
        match &self.server {
            ServerChoice::Default => {}
            ServerChoice::Directory(dir) => {
                program.env("TMUX_TMPDIR", dir);
            }
            ServerChoice::Name(name) => {
                program.arg("-L").arg(name);
            }
            ServerChoice::Socket(path) => {
                program.arg("-S").arg(path);
            }
        }
        program
    }
}

/// Whether what was asked for is there.
fn present(answer: Result<String, TmuxError>) -> Result<bool, TmuxError> {
    match answer {
        Ok(_) => Ok(true),
        Err(TmuxError::NoSession { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether tmux says that its server ended while it was asked.
fn is_ending(message: &str) -> bool {
    message.starts_with("server exited unexpectedly") || message.starts_with("lost server")
}

fn pane_of(line: &str, target: &Target) -> Result<PaneFacts, TmuxError> {
    PaneFacts::parse(line).ok_or_else(|| TmuxError::NoSession { target: target.name().to_owned() })
}

/// A shell command that runs a program with no arguments.
fn as_shell_command(program: &OsStr) -> Result<OsString, TmuxError> {
    let text = program.to_str().ok_or_else(|| TmuxError::Failed {
        command: "tmux new-session".into(),
        message: "the name of the program is not valid UTF-8".into(),
    })?;
    Ok(format!("exec {}", shell::quote(text)).into())
}
