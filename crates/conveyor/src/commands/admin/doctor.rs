//! `doctor`, `doctor-self`: check what this machine and this session offer.

use std::io::Write;
use std::path::Path;

use conveyor_core::doctor;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;

/// Arguments of `doctor`.
#[derive(clap::Args)]
pub struct Doctor {
    /// Where agents are to work [default: the current directory]
    #[arg(long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    cwd: String,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    _db: DbPath,
}

impl Subcommand for Doctor {
    const NAME: &'static str = "doctor";
    const GROUP: Group = Group::Admin;
    const ABOUT: &'static str = "Check whether this machine has what Conveyor needs";
    const HELP: &'static str = "\
Looks for tmux and Codex, their versions, the directories, the SQLite inside this program, Codex's server, and
whether the shell of an agent would find `conveyor`. The last two and the state root are not needed: trouble with
them is a warning, and what to do stands there. Exit code 1 when something that is needed is missing. The ledger is
not touched; `conveyor db-doctor` checks it.

Example:
  conveyor doctor --cwd ~/project";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let cwd = app.absolute(&self.cwd)?;
        let state_root = app.state_root_below(&cwd)?;
        let (installation, tmux, tmux_program) = (app.installation(None)?, app.tmux()?, app.tmux_program());
        let environment = &app.host.environment;
        let found = doctor::machine(&doctor::MachineRequest {
            tmux_program: tmux_program.as_deref(),
            tmux: &tmux,
            installation: &installation,
            cwd: &cwd,
            state_root: &state_root,
            executable: environment.executable.as_deref(),
            shell: environment.shell.as_deref(),
        })?;
        for warning in &found.warnings {
            // Nobody is left to warn when standard error is gone.
            let _ = writeln!(app.host.stderr, "warning: {}", crate::out::printable(warning));
        }
        app.out().json(&found)?;
        if found.ok { Ok(()) } else { Err(Failure::Verdict(1)) }
    }
}

/// Arguments of `doctor-self`.
#[derive(clap::Args)]
pub struct DoctorSelf {
    /// The tmux session that shows this session [default: found by the thread, or the pane at hand]
    #[arg(long, value_name = "SESSION", alias = "tmux-session")]
    session: Option<String>,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for DoctorSelf {
    const NAME: &'static str = "doctor-self";
    const GROUP: Group = Group::Admin;
    const ABOUT: &'static str = "Check whether the Codex session that runs this can take part";
    const HELP: &'static str = "\
For agents. Inside one, TMUX and TMUX_PANE prove nothing, because they come from whichever terminal started its
server: the terminal is looked up by the agent's thread, and is unknown where none or several show it. Exit code 1
when the session cannot be a worker in tmux. The ledger is not touched.

Example:
  conveyor doctor-self
  conveyor doctor-self --session codex-worker-1";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let (installation, tmux, tmux_program) = (app.installation(None)?, app.tmux()?, app.tmux_program());
        let ledger = app.location(&self.db)?.to_string();
        let environment = &app.host.environment;
        environment.decodable(&["CODEX_THREAD_ID"])?;
        let workerctl = environment.program("workerctl");
        let found = doctor::agent(&doctor::AgentRequest {
            session: self.session.as_deref(),
            thread_id: environment.codex_thread_id.as_deref(),
            pane: environment.tmux_pane.as_deref(),
            tmux: &tmux,
            workerctl: workerctl.as_deref(),
            tmux_program: tmux_program.as_deref(),
            codex: installation.program.as_deref(),
            program_dir: environment.executable.as_deref().and_then(Path::parent),
            codex_home: &installation.home,
            ledger: &ledger,
        });
        app.out().json(&found)?;
        if found.ok { Ok(()) } else { Err(Failure::Verdict(1)) }
    }
}
