//! `create`, `start-test`: start a worker of the state root.

use std::path::Path;

use clap::builder::PossibleValuesParser;
use conveyor_core::legacy::{self, Contract, CreateRequest, Created, Surroundings};
use conveyor_core::windows::{WindowChoice, attach_command};
use conveyor_model::shell::quote;

use crate::app::App;
use crate::commands::{DbPath, Group, Subcommand};
use crate::failure::Failure;
use crate::values;

/// What both have in common.
#[derive(clap::Args)]
pub struct CreateFlags {
    /// What it is to do
    #[arg(long, value_name = "TEXT")]
    task: Option<String>,
    /// Where it works [default: the current directory]
    #[arg(long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    cwd: String,
    /// Start a worker of that name again
    #[arg(long)]
    reuse: bool,
    /// Answer Codex's question whether the directory may be trusted with yes
    #[arg(long)]
    accept_trust: bool,
    /// How many seconds to wait until Codex takes messages
    #[arg(long, value_name = "N", default_value = "30", value_parser = values::positive_integer)]
    wait_ready_timeout: u64,
    /// How many seconds to wait for the first report
    #[arg(long, value_name = "N", default_value = "60", value_parser = values::positive_integer)]
    verify_timeout: u64,
    /// Show the terminal in a window (macOS)
    #[arg(long)]
    open: bool,
    /// With --open: also when a window was opened before
    #[arg(long, requires = "open")]
    force_open: bool,
    /// With --open: the program of the window; auto: Ghostty where it is installed, else Terminal
    #[arg(long, value_name = "PROGRAM", default_value = "auto", value_parser = PossibleValuesParser::new(WindowChoice::TEXTS))]
    terminal: String,
    /// End it at the end
    #[arg(long)]
    stop_after: bool,
    #[command(flatten)]
    db: DbPath,
}

/// In what the two differ.
struct Choice<'a> {
    name: &'a str,
    task: Option<&'a str>,
    with_contract: bool,
    wait_ready: bool,
    verify: bool,
}

impl CreateFlags {
    fn create(&self, app: &mut App<'_>, choice: &Choice<'_>) -> Result<(), Failure> {
        let native = crate::commands::typing::native(app, false)?;
        let (cwd, installation, program_dir) =
            (app.absolute(&self.cwd)?, app.installation(None)?, app.program_dir());
        let mut place = app.place(&self.db)?;
        let desktop = app.host.environment.desktop.clone();
        let window = WindowChoice::from_text(&self.terminal).unwrap_or_default();
        let request = CreateRequest {
            name: choice.name,
            task: choice.task,
            cwd: &cwd,
            reuse: self.reuse,
            with_contract: choice.with_contract,
            accept_trust: self.accept_trust,
            wait_ready: choice.wait_ready.then_some(self.wait_ready_timeout),
            verify: choice.verify.then_some(self.verify_timeout),
            open: self.open.then_some((window, self.force_open)),
            stop_after: self.stop_after,
            native,
            surroundings: Surroundings { installation: &installation, program_dir: program_dir.as_deref() },
        };
        let created = legacy::create(&mut place, &desktop, &request)?;
        if choice.with_contract {
            super::warn_of_agent_shell(app, &installation);
        }
        let ledger = app.location(&self.db)?.to_string();
        print(app, &created, self.accept_trust, &ledger)?;
        match created.opened {
            Some(Err(error)) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn print(app: &mut App<'_>, created: &Created, accept_trust: bool, ledger: &str) -> Result<(), Failure> {
    let Created { name, tmux_session, .. } = created;
    let mut lines = vec![
        format!("created {name}"),
        format!("tmux session: {tmux_session}"),
        format!("state dir: {}", created.state_dir.display()),
        contract(&created.contract, &created.contract_path),
        match (accept_trust, created.trust_accepted) {
            (_, true) => "trust prompt: accepted".to_owned(),
            (true, false) => "trust prompt: none was seen to be accepted".to_owned(),
            (false, false) => "trust prompt: left to you".to_owned(),
        },
    ];
    if let Some(startup) = &created.startup {
        lines.push(format!("startup: {} ({})", startup.startup, startup.reason));
        if startup.recommended_action != "none" {
            lines.push(format!("recommended action: {}", startup.recommended_action));
        }
    }
    if let Some(found) = &created.verification {
        let verdict = if found.ok { "ok" } else { "not verified" };
        lines.push(format!("verification: {verdict} ({})", found.reason));
        lines.push(format!("state: {}", found.state));
        lines.push(format!("current task: {}", found.current_task));
    }
    lines.extend(["".to_owned(), "Attach:".to_owned(), format!("  {}", attach_command(tmux_session))]);
    lines.extend([
        "".to_owned(),
        "Stop:".to_owned(),
        format!("  conveyor stop {name} --path {}", quote(ledger)),
    ]);
    if let Some(Ok(opened)) = &created.opened {
        let program = opened.terminal.name();
        lines.extend(["".to_owned(), format!("opened a window of {program}")]);
    }
    if created.stopped {
        lines.extend(["".to_owned(), format!("stopped {name}")]);
    }
    lines.iter().try_for_each(|line| app.out().line(line))
}

fn contract(contract: &Contract, path: &Path) -> String {
    let path = path.display();
    match contract {
        Contract::Given => format!("contract: given as the first message, kept in {path}"),
        Contract::Saved => format!("contract: saved in {path}, not given"),
        Contract::Unproven(reason) => {
            format!("contract: saved in {path}; whether it arrived is not known ({reason})")
        }
    }
}

/// Arguments of `create`.
#[derive(clap::Args)]
pub struct Create {
    /// Its name
    #[arg(value_name = "WORKER")]
    name: String,
    /// Start Codex without telling it the contract
    #[arg(long, alias = "no-send-contract")]
    no_initial_prompt: bool,
    /// Wait until Codex takes messages, works, asks or fails
    #[arg(long)]
    wait_ready: bool,
    /// Wait until the worker reports for the first time
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    flags: CreateFlags,
}

impl Subcommand for Create {
    const NAME: &'static str = "create";
    const GROUP: Group = Group::Legacy;
    const ABOUT: &'static str = "Start a worker that is a directory of the state root";
    const HELP: &'static str = "\
Makes its files, starts Codex in tmux session codex-WORKER, and tells it its contract as the first message. Where
Codex's server runs, the thread is made there, the terminal shows exactly this thread, and the worker is registered
as a session, too; its commands may write to the directory and to the ledger's, and ask for more. Where none runs,
Codex is started by its command line, as it is configured. A first report that does not come is no failure.

Example:
  conveyor create worker-1 --task 'Fix the login' --accept-trust --wait-ready --path ./ledger.db
  conveyor create worker-1 --reuse --no-initial-prompt --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let choice = Choice {
            name: &self.name,
            task: self.flags.task.as_deref(),
            with_contract: !self.no_initial_prompt,
            wait_ready: self.wait_ready,
            verify: self.verify,
        };
        self.flags.create(app, &choice)
    }
}

/// Arguments of `start-test`.
#[derive(clap::Args)]
pub struct StartTest {
    /// Its name
    #[arg(value_name = "WORKER", default_value = "live-test")]
    name: String,
    #[command(flatten)]
    flags: CreateFlags,
}

impl Subcommand for StartTest {
    const NAME: &'static str = "start-test";
    const GROUP: Group = Group::Legacy;
    const ABOUT: &'static str = "Start a worker that proves that workers can be started here";
    const HELP: &'static str = "\
As `conveyor create` with --wait-ready and --verify, and with a small task: to read README.md, to report a summary of
it, and to change nothing.

Example:
  conveyor start-test --accept-trust --stop-after --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let ledger = app.location(&self.flags.db)?.to_string();
        let default = format!(
            "Read README.md in this directory. Then report a one-sentence summary of it as your current task, with\n\
             conveyor update-status {} --state done --current-task '<summary>' --next-action 'None' --path {}\n\
             Do not edit any tracked file.",
            self.name,
            quote(&ledger)
        );
        let task = self.flags.task.as_deref().unwrap_or(&default);
        let choice = Choice {
            name: &self.name,
            task: Some(task),
            with_contract: true,
            wait_ready: true,
            verify: true,
        };
        self.flags.create(app, &choice)
    }
}
