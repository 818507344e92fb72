//! `open`, `open-worker`, `open-manager`: show a terminal in a window.

use clap::builder::PossibleValuesParser;
use conveyor_core::windows::{self, Request, WindowChoice};
use conveyor_model::Role;
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;

/// What the three have in common.
#[derive(clap::Args)]
pub struct WindowFlags {
    /// The program of the window; auto: Ghostty where it is installed, else Terminal
    #[arg(long, value_name = "PROGRAM", default_value = "auto", value_parser = PossibleValuesParser::new(WindowChoice::TEXTS))]
    terminal: String,
    /// Open nothing, show the command
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl WindowFlags {
    fn request<'a>(&self, name: &'a str) -> Request<'a> {
        let choice = WindowChoice::from_text(&self.terminal).unwrap_or_default();
        Request { name, choice, dry_run: self.dry_run }
    }

    fn open_side(&self, app: &mut App<'_>, task: &str, role: Role) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Write)?;
        let desktop = app.host.environment.desktop.clone();
        let opened = windows::open_side(&mut cx, &desktop, &self.request(task), role)?;
        app.out().json(&opened)
    }
}

/// Arguments of `open`.
#[derive(clap::Args)]
pub struct Open {
    /// The worker of the state root
    #[arg(value_name = "WORKER")]
    name: String,
    /// Open a further window
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    window: WindowFlags,
}

impl Subcommand for Open {
    const NAME: &'static str = "open";
    const GROUP: Group = Group::Terminals;
    const ABOUT: &'static str = "Show the terminal of a worker of the state root in a window (macOS)";
    const HELP: &'static str = "\
Elsewhere, and at any time, `tmux attach -t codex-WORKER` shows it in the terminal at hand. A window that was
opened before is not opened again without --force; the worker's event log knows.

Example:
  conveyor open worker-1
  conveyor open worker-1 --terminal ghostty --dry-run";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut place = app.place(&self.window.db)?;
        let desktop = app.host.environment.desktop.clone();
        let opened = windows::open(&mut place, &desktop, &self.window.request(&self.name), self.force)?;
        app.out().json(&opened)
    }
}

/// Arguments of `open-worker`.
#[derive(clap::Args)]
pub struct OpenWorker {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    #[command(flatten)]
    window: WindowFlags,
}

impl Subcommand for OpenWorker {
    const NAME: &'static str = "open-worker";
    const GROUP: Group = Group::Terminals;
    const ABOUT: &'static str = "Show the terminal of a task's worker in a window (macOS)";
    const HELP: &'static str = "\
Elsewhere, and at any time, `tmux attach -t SESSION` shows it in the terminal at hand.

Example:
  conveyor open-worker demo --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        self.window.open_side(app, &self.task, Role::Worker)
    }
}

/// Arguments of `open-manager`.
#[derive(clap::Args)]
pub struct OpenManager {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    #[command(flatten)]
    window: WindowFlags,
}

impl Subcommand for OpenManager {
    const NAME: &'static str = "open-manager";
    const GROUP: Group = Group::Terminals;
    const ABOUT: &'static str = "Show the terminal of a task's manager in a window (macOS)";
    const HELP: &'static str = "\
Elsewhere, and at any time, `tmux attach -t SESSION` shows it in the terminal at hand.

Example:
  conveyor open-manager demo --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        self.window.open_side(app, &self.task, Role::Manager)
    }
}
