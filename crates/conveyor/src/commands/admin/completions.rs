//! `completions`: shell completions.

use crate::app::App;
use crate::commands::{Group, Subcommand};
use crate::failure::Failure;

/// Arguments of `completions`.
#[derive(clap::Args)]
pub struct Completions {
    /// The shell to make completions for
    #[arg(value_name = "SHELL")]
    shell: clap_complete::Shell,
}

impl Subcommand for Completions {
    const NAME: &'static str = "completions";
    const GROUP: Group = Group::Admin;
    const ABOUT: &'static str = "Print completions for a shell";
    const HELP: &'static str = "\
Example:
  conveyor completions bash > ~/.local/share/bash-completion/completions/conveyor
  conveyor completions zsh > ~/.zfunc/_conveyor";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::clap_tree(), "conveyor", &mut script);
        app.out().raw(&String::from_utf8_lossy(&script))
    }
}
