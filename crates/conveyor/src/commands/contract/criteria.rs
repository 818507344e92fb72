//! `criteria`: list, add and settle the acceptance criteria of a task.

use conveyor_core::contract::criteria::{self, NewCriterion};
use conveyor_model::records::Object;
use conveyor_model::{CriterionSource, CriterionStatus};
use conveyor_store::Access;
use conveyor_store::criteria::Change;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;
use crate::{input, values};

/// Arguments of `criteria`.
#[derive(clap::Args)]
pub struct Criteria {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    /// Show the criteria
    #[arg(long)]
    list: bool,
    /// Add a criterion; needs --criterion and --source
    #[arg(long)]
    add: bool,
    /// Set a criterion to accepted: the task must fulfil it
    #[arg(long, value_name = "ID", value_parser = values::integer)]
    accept: Option<i64>,
    /// Set a criterion to satisfied
    #[arg(long, value_name = "ID", value_parser = values::integer)]
    satisfy: Option<i64>,
    /// Set a criterion to deferred: it is for later
    #[arg(long, value_name = "ID", value_parser = values::integer)]
    defer: Option<i64>,
    /// Set a criterion to rejected: it does not count
    #[arg(long, value_name = "ID", value_parser = values::integer)]
    reject: Option<i64>,
    /// With --add: what must hold
    #[arg(long, value_name = "TEXT")]
    criterion: Option<String>,
    /// With --add: where it came from
    #[arg(long, value_name = "SOURCE", value_parser = values::criterion_source())]
    source: Option<CriterionSource>,
    /// With --list: only these, repeatable; with --add: the first one [default: proposed]
    #[arg(long, value_name = "STATUS", value_parser = values::criterion_status())]
    status: Vec<CriterionStatus>,
    /// What shows that it holds
    #[arg(long, value_name = "TEXT")]
    proof: Option<String>,
    /// Why it is so
    #[arg(long, value_name = "TEXT")]
    rationale: Option<String>,
    /// What shows that it holds, for programs: a JSON object, in place of the present one
    #[arg(long, value_name = "JSON")]
    evidence_json: Option<String>,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

/// What is to be done.
enum Action {
    List,
    Add,
    Set(CriterionStatus, i64),
}

impl Criteria {
    /// The one action that was asked for.
    fn action(&self) -> Result<Action, Failure> {
        let set = [
            (self.accept, CriterionStatus::Accepted),
            (self.satisfy, CriterionStatus::Satisfied),
            (self.defer, CriterionStatus::Deferred),
            (self.reject, CriterionStatus::Rejected),
        ];
        let set = set.into_iter().filter_map(|(id, status)| Some(Action::Set(status, id?)));
        let plain = [(self.list, Action::List), (self.add, Action::Add)];
        let mut asked = plain.into_iter().filter_map(|(given, action)| given.then_some(action)).chain(set);
        match (asked.next(), asked.next()) {
            (Some(action), None) => Ok(action),
            _ => Err(Failure::usage(
                "criteria needs exactly one of --list, --add, --accept ID, --satisfy ID, --defer ID, --reject ID",
            )),
        }
    }

    /// Refuses options that the action has no use for.
    fn check(&self, action: &Action) -> Result<(), Failure> {
        let (of_add, of_list) = ("needs --add", "is of no use with --list");
        let is_add = matches!(action, Action::Add);
        let is_list = matches!(action, Action::List);
        let misused = [
            ("--criterion", self.criterion.is_some() && !is_add, of_add),
            ("--source", self.source.is_some() && !is_add, of_add),
            ("--status", !self.status.is_empty() && !is_add && !is_list, "needs --list or --add"),
            ("--proof", self.proof.is_some() && is_list, of_list),
            ("--rationale", self.rationale.is_some() && is_list, of_list),
            ("--evidence-json", self.evidence_json.is_some() && is_list, of_list),
        ];
        match misused.iter().find(|(_, misused, _)| *misused) {
            Some((option, _, rule)) => Err(Failure::usage(format!("{option} {rule}"))),
            None if is_add && self.status.len() > 1 => {
                Err(Failure::usage("--status can be given only once with --add"))
            }
            None => Ok(()),
        }
    }

    fn new_criterion<'a>(&'a self, evidence: &'a Object) -> Result<NewCriterion<'a>, Failure> {
        let need = |what: &str| Failure::usage(format!("criteria --add needs {what}"));
        Ok(NewCriterion {
            criterion: self.criterion.as_deref().ok_or_else(|| need("--criterion TEXT"))?,
            source: self
                .source
                .ok_or_else(|| need(&format!("--source, one of {}", CriterionSource::TEXTS.join(", "))))?,
            status: self.status.first().copied().unwrap_or(CriterionStatus::Proposed),
            proof: self.proof.as_deref(),
            rationale: self.rationale.as_deref(),
            evidence,
        })
    }
}

impl Subcommand for Criteria {
    const NAME: &'static str = "criteria";
    const GROUP: Group = Group::Contract;
    const ABOUT: &'static str = "List, add and settle the acceptance criteria of a task";
    const HELP: &'static str = "\
Exactly one of --list, --add, --accept, --satisfy, --defer and --reject. A criterion usually goes from proposed to
accepted to satisfied; deferred is for follow-ups, rejected for noise. Any state may follow any other, and the record
keeps all of it. Adding what is there already (same source, same text) changes nothing. The reply shows the criterion
concerned as affected_criterion, and counts all.

A satisfied criterion with the evidence {\"evidence_type\": \"adversarial_check\", \"failure_mode\": …, \"check\": …,
\"result\": …} is what finish-task --require-adversarial-proof asks for.

Example:
  conveyor criteria demo --list --status accepted --path ./ledger.db
  conveyor criteria demo --add --criterion 'cargo test passes' --source user_requested --status accepted \\
    --path ./ledger.db
  conveyor criteria demo --satisfy 1 --proof 'cargo test: 44 passed' \\
    --evidence-json '{\"command\": \"cargo test\", \"status\": \"pass\"}' --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let action = self.action()?;
        self.check(&action)?;
        let evidence =
            self.evidence_json.as_deref().map(|text| input::object("--evidence-json", text)).transpose()?;
        let report = match action {
            Action::List => {
                let mut cx = app.open(&self.db, Access::Read)?;
                criteria::list(&mut cx, &self.task, &self.status)?
            }
            Action::Add => {
                let evidence = evidence.unwrap_or_default();
                let new = self.new_criterion(&evidence)?;
                let mut cx = app.open(&self.db, Access::Write)?;
                criteria::add(&mut cx, &self.task, &new)?
            }
            Action::Set(status, id) => {
                let mut cx = app.open(&self.db, Access::Write)?;
                let (proof, rationale) = (self.proof.as_deref(), self.rationale.as_deref());
                let change = Change { status, proof, rationale, evidence: evidence.as_ref() };
                criteria::change(&mut cx, &self.task, id, &change)?
            }
        };
        app.out().json(&report)
    }
}
