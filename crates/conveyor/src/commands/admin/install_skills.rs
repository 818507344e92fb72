//! `install-skills`: teach Codex how to work with Conveyor.

use conveyor_core::skills;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;

/// Arguments of `install-skills`.
#[derive(clap::Args)]
pub struct InstallSkills {
    /// Codex's own directory [default: $CODEX_HOME, else ~/.codex]
    #[arg(long, value_name = "DIR")]
    codex_home: Option<String>,
    /// Say what would be installed, without touching anything
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    _db: DbPath,
}

impl Subcommand for InstallSkills {
    const NAME: &'static str = "install-skills";
    const GROUP: Group = Group::Admin;
    const ABOUT: &'static str = "Install the skills that teach Codex to work with Conveyor";
    const HELP: &'static str = "\
manage-codex-workers: supervise workers, poll inboxes, answer heartbeats. codex-review: let a second model review
finished work. Each one replaces whatever has its name in the directory `skills` of the Codex home, so nothing of an
older version survives; other skills are not touched. New Codex sessions find them.

Example:
  conveyor install-skills --dry-run
  conveyor install-skills --codex-home ~/.codex";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let environment = &app.host.environment;
        if self.codex_home.is_none() && environment.codex_home.is_none() && environment.home.is_none() {
            return Err(Failure::usage("HOME is not set: give --codex-home DIR"));
        }
        let home = app.installation(self.codex_home.as_deref())?.home;
        let installation = skills::install(&home, self.dry_run)?;
        if self.json.json {
            return app.out().json(&installation);
        }
        let what = if self.dry_run { "would install" } else { "installed" };
        let mut out = app.out();
        for skill in &installation.skills {
            out.line(&format!("{what} {} skill in {}", skill.name, skill.target.display()))?;
        }
        Ok(())
    }
}
