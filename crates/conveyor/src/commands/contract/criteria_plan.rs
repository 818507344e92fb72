//! `criteria-plan`: suggest criteria from a worker's written answer.

use conveyor_core::Error;
use conveyor_core::contract::plan;
use conveyor_model::shell::quote;
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;
use crate::input;

/// Arguments of `criteria-plan`.
#[derive(clap::Args)]
pub struct CriteriaPlan {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    /// The answer itself
    #[arg(long, value_name = "TEXT")]
    from_text: Option<String>,
    /// The file that holds the answer
    #[arg(long, value_name = "FILE")]
    from_worker_response: Option<String>,
    /// Read the answer from standard input
    #[arg(long)]
    from_stdin: bool,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    db: DbPath,
}

impl CriteriaPlan {
    /// The worker's answer.
    fn answer(&self, app: &mut App<'_>) -> Result<String, Failure> {
        match (&self.from_text, &self.from_worker_response, self.from_stdin) {
            (Some(text), None, false) => Ok(text.clone()),
            (None, Some(file), false) => {
                let path = app.absolute(file)?;
                std::fs::read_to_string(&path).map_err(|reason| Error::Unreadable { path, reason }.into())
            }
            (None, None, true) => input::stdin_text(app.host),
            _ => Err(Failure::usage(
                "criteria-plan needs exactly one of --from-text TEXT, --from-worker-response FILE, --from-stdin",
            )),
        }
    }
}

impl Subcommand for CriteriaPlan {
    const NAME: &'static str = "criteria-plan";
    const GROUP: Group = Group::Contract;
    const ABOUT: &'static str = "Suggest criteria from a worker's written answer";
    const HELP: &'static str = "\
List items below a heading with must-have, current-task or accepted become accepted criteria, those below a heading
with follow-up or deferred become deferred ones. The commands that would add them are printed for the manager to
review; nothing is written.

Example:
  conveyor criteria-plan demo --path ./ledger.db --from-text 'Must-have:
  - cargo test passes
  Follow-up:
  - document the flag'";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let answer = self.answer(app)?;
        let mut cx = app.open(&self.db, Access::Read)?;
        let plan = plan::plan(&mut cx, &self.task, &answer)?;
        let mut out = app.out();
        if self.json.json {
            return out.json(&plan);
        }
        out.line(&format!("Suggested criteria commands for {}", plan.task))?;
        for suggestion in &plan.suggestions {
            let words: Vec<String> = suggestion.command.iter().map(|word| quote(word)).collect();
            out.line(&words.join(" "))?;
        }
        plan.warnings.iter().try_for_each(|warning| out.line(&format!("warning: {warning}")))
    }
}
