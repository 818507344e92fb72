//! Checking the ledger itself, what it says about the machine, and what the machine offers.

mod agent;
mod live;
mod machine;

use conveyor_model::records::Object;
use conveyor_store::doctor::{self, Check};
use serde::Serialize;
use serde_json::json;

use crate::{Cx, Result};

pub use agent::{Agent, Request as AgentRequest, agent};
pub use live::{Live, LiveTask, Manager, Warning, Worker};
pub use machine::{
    AgentShell, KnownWorker, Machine, Request as MachineRequest, conveyor_in_agent_shell, machine,
};

/// What the checks found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The checks, in documented order.
    pub checks: Vec<Check>,
    /// What the machine says, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_reconcile: Option<Live>,
    /// Whether all of them are well.
    pub ok: bool,
    /// The ledger's file, or its URL without password.
    pub path: String,
    /// The newest version that the ledger says it was brought to.
    pub schema_version: Option<i64>,
    /// The version number in the file's header; a server has none.
    pub user_version: Option<i64>,
}

/// Runs all checks; writes nothing. With `manager_stale_seconds` the ledger is compared with the
/// terminals and processes of this machine as well.
///
/// # Errors
/// A failing ledger, or a tmux that cannot be asked.
pub fn examine(cx: &mut Cx, manager_stale_seconds: Option<i64>) -> Result<Report> {
    let found = cx.db.read(doctor::examine)?;
    let live_reconcile = manager_stale_seconds.map(|stale| live::compare(cx, stale)).transpose()?;
    let mut checks = found.checks;
    checks.extend(live_reconcile.as_ref().map(check_of));
    Ok(Report {
        ok: checks.iter().all(|check| check.ok),
        checks,
        live_reconcile,
        path: cx.ledger(),
        schema_version: found.schema_version,
        user_version: found.user_version,
    })
}

fn check_of(live: &Live) -> Check {
    let drift: usize = live.results.iter().map(|task| task.drift.len()).sum();
    let unfinished: usize = live.results.iter().map(|task| task.unfinished_commands.len()).sum();
    let findings = [
        ("drift_count", drift),
        ("manager_liveness_warning_count", live.manager_liveness_warnings.len()),
        ("task_count", live.results.len()),
        ("unfinished_command_count", unfinished),
    ];
    let findings = findings.into_iter().map(|(name, count)| (name.to_owned(), json!(count)));
    Check { name: "live_reconcile", ok: live.ok, findings: Object::from_iter(findings) }
}
