//! `start`: open an unregistered Codex in a terminal.

use conveyor_core::legacy::{self, StartRequest, Surroundings};

use crate::app::App;
use crate::commands::{DbPath, Foreign, Group, Subcommand};
use crate::failure::Failure;

/// Arguments of `start`.
#[derive(clap::Args)]
pub struct Start {
    /// The tmux session, named exactly so
    #[arg(value_name = "SESSION")]
    session: String,
    /// Where Codex works [default: the current directory]
    #[arg(long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    cwd: String,
    /// Do not tell Codex how to become a worker
    #[arg(long)]
    no_start_prompt: bool,
    /// Handed on to Codex
    #[arg(value_name = "CODEX ARGUMENT")]
    codex: Vec<String>,
}

impl Subcommand for Start {
    const NAME: &'static str = "start";
    const GROUP: Group = Group::Legacy;
    const ABOUT: &'static str = "Open a Codex in a tmux session that can become a worker";
    const HELP: &'static str = "\
Codex is not registered; its first message says how it becomes a supervised worker. Every option that is not one of
the above goes to Codex, with the next argument where Codex takes one, and so do further words and all that follows
`--`. The ledger is not touched; the commands in the message name the default one.

Example:
  conveyor start scratch --model gpt-5 --sandbox workspace-write
  conveyor start scratch --cwd ~/project --no-start-prompt -- resume --last";
    const FOREIGN: Option<Foreign> = Some(Foreign {
        with_value: &[
            "--add-dir",
            "--ask-for-approval",
            "--cd",
            "--config",
            "--image",
            "--model",
            "--profile",
            "--remote",
            "--remote-auth-token-env",
            "--sandbox",
            "-C",
            "-a",
            "-c",
            "-i",
            "-m",
            "-p",
            "-s",
        ],
    });

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let (cwd, state_root) = (app.absolute(&self.cwd)?, app.state_root()?);
        let installation = app.installation(None)?;
        let program_dir = app.program_dir();
        let ledger = app.location(&DbPath { path: None })?.to_string();
        let request = StartRequest {
            session: &self.session,
            cwd: &cwd,
            arguments: &self.codex,
            with_prompt: !self.no_start_prompt,
            state_root: &state_root,
            ledger: &ledger,
            surroundings: Surroundings { installation: &installation, program_dir: program_dir.as_deref() },
        };
        let started = legacy::start(&app.tmux()?, &request)?;
        if started.start_prompt_sent {
            super::warn_of_agent_shell(app, &installation);
        }
        app.out().json(&started)
    }
}
