//! `mutation-audit`: which decision stood behind each action on a task.

use conveyor_core::mutation_audit::{self, Audit};
use conveyor_store::Access;
use serde_json::Value;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;

/// Arguments of `mutation-audit`.
#[derive(clap::Args)]
pub struct MutationAudit {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for MutationAudit {
    const NAME: &'static str = "mutation-audit";
    const GROUP: Group = Group::Observing;
    const ABOUT: &'static str = "Check that a decision of the manager stood behind each action on a task";
    const HELP: &'static str = "\
Lists what was done, or tried, to the task and its worker, each with the decision that it names and the last one
before it. Exit code 1 when something does not fit:

  missing_decision_id, missing_decision_metadata  the action names no decision
  nearest_decision_unlinked                       there was one before it, which it does not name
  linked_decision_incompatible                    the decision it names is of another kind
  unexpected_linked_decision                      it names one and needs none
  decision_…                                      the decision did not hold when the action was taken

What a rule refused before it did anything is listed and is not a mistake. Reads only.

Example:
  conveyor mutation-audit demo --path ./ledger.db
  conveyor mutation-audit demo --json --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Read)?;
        let audit = mutation_audit::audit(&mut cx, &self.task)?;
        if self.json.json {
            app.out().json(&audit)?;
        } else {
            show(app, &audit)?;
        }
        if audit.ok { Ok(()) } else { Err(Failure::Verdict(1)) }
    }
}

fn show(app: &mut App<'_>, audit: &Audit) -> Result<(), Failure> {
    let mut out = app.out();
    let mut head = out.rows(&["TASK", "MUTATIONS", "WARNINGS"]);
    let count = |name: &str, count: usize| format!("{name}={count}");
    let (mutations, warnings) =
        (count("mutations", audit.summary.mutations), count("warnings", audit.summary.with_warnings));
    head.push(&[&audit.task.name, &mutations, &warnings])?;
    head.end()?;
    let mut rows = out.rows(&["AT", "ACTION", "DECISION", "WARNINGS"]);
    for record in &audit.records {
        let id = match record.linked_decision.as_ref().map(|decision| &decision["id"]) {
            None | Some(Value::Null) => "-".to_owned(),
            Some(Value::String(id)) => id.clone(),
            Some(id) => id.to_string(),
        };
        let verdict = if record.ok { "ok".to_owned() } else { record.warnings.join(",") };
        let command = &record.command;
        rows.push(&[&command.created_at, &command.command_type, &format!("decision={id}"), &verdict])?;
    }
    rows.end()
}
