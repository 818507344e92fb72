//! `pair`: from nothing to a running, bound worker and manager with a contract and a dispatcher.
//!
//! Nothing is rolled back when a step fails: what was achieved stays, is recorded (`pair_failed`),
//! and the error says what is left. The first messages go out last, once the binding and the run
//! they speak of are on disk.

mod dispatcher;
mod record;

use std::path::Path;

use conveyor_model::Role;
use conveyor_model::permissions;
use conveyor_model::records::Task;
use conveyor_model::shell::quote;
use conveyor_store::manager_configs;
use serde::Serialize;

use crate::contract::config::ConfigFlags;
use crate::legacy::check_name;
use crate::prompts::{self, ManagerFacts};
use crate::queue;
use crate::spawn::{self, Installation, Spawned, StartError, Startup, starting};
use crate::tasks::Created;
use crate::{Cx, Error, Result, fault};

pub use dispatcher::{Dispatch, Dispatcher};
use record::Pairing;

/// A pair to be started.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The task, by id or name; made when missing and there is a goal.
    pub task: &'a str,
    /// What it is for, for a new task.
    pub goal: Option<&'a str>,
    /// More about it, for a new task.
    pub summary: Option<&'a str>,
    /// What the worker is told; default: the task's goal.
    pub prompt: Option<&'a str>,
    /// The name of the worker's session.
    pub worker: &'a str,
    /// The name of the manager's session.
    pub manager: &'a str,
    /// Where both work, absolute.
    pub cwd: &'a Path,
    /// How each is started.
    pub startup: &'a Startup,
    /// Which Codex.
    pub installation: &'a Installation,
    /// The contract.
    pub contract: &'a ConfigFlags,
    /// The dispatcher that is to run; `None`: none is seen to.
    pub dispatcher: Option<&'a Dispatcher>,
}

/// A running pair.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct Paired {
    pub binding_id: String,
    pub dispatch: Dispatch,
    pub dispatch_command: Option<Vec<String>>,
    pub ensure_dispatch: bool,
    pub manager: Spawned,
    pub manager_acceptance_criteria_seeded: usize,
    pub manager_config_seeded: bool,
    pub manager_config_seeded_by_pair: bool,
    pub run_id: String,
    pub task: Created,
    pub worker: Spawned,
    /// Set when a first message was not sent, or is not proven to have arrived.
    #[serde(skip)]
    pub unsent: Option<Error>,
}

impl Request<'_> {
    /// Refuses what no ledger and no program is needed to refuse.
    ///
    /// # Errors
    /// A name that no terminal can have, equal names, an option of the contract that is wrong.
    pub fn check(&self) -> Result<()> {
        check_name(self.worker)?;
        check_name(self.manager)?;
        if self.worker == self.manager {
            return Err(Error::invalid(format!(
                "worker and manager are both called {:?}: give them different names",
                self.worker
            )));
        }
        for (option, text) in [("--task-prompt", self.prompt), ("--task-goal", self.goal)] {
            queue::check_says_something(option, text.unwrap_or_default())?;
        }
        for permit in &self.contract.permits {
            if let Some(unknown) = permissions::unknown_part(permit) {
                return Err(queue::unknown_permission(&unknown));
            }
        }
        self.contract.check()
    }
}

/// Starts a pair.
///
/// # Errors
/// A missing task without a goal: nothing is recorded. Everything after that is recorded, and is
/// [`Error::Unpaired`] with the reason.
pub fn pair(cx: &mut Cx, request: &Request<'_>) -> Result<Paired> {
    request.check()?;
    let mut pairing = cx.db.write(|tx| Pairing::begin(tx, request))?;
    fault::point("pair.begun");
    match carry_out(cx, request, &mut pairing) {
        Ok(paired) => Ok(paired),
        Err(error) => {
            let reason = reason_of(request, &pairing.task, &error);
            let unpaired = Error::Unpaired { task: pairing.task.name.clone(), reason };
            // The cause is what the user must hear of, also if it cannot be recorded.
            match cx.db.write(|tx| pairing.fail(tx, &error)) {
                Ok(()) => Err(unpaired),
                Err(_) => Err(error),
            }
        }
    }
}

/// The error with its advice, which names what is left.
fn reason_of(request: &Request<'_>, task: &Task, error: &Error) -> String {
    if let Error::Start(StartError::NameTaken(_)) = error {
        let [task, worker, manager] = [&task.name, request.worker, request.manager].map(quote);
        return format!(
            "{error}: choose other names, or complete a pair that was cut off: start what is missing \
             (`conveyor start-worker --name {worker}`, `conveyor start-manager --name {manager} --task {task}`), then \
             `conveyor bind --task {task} --worker {worker} --manager {manager}`"
        );
    }
    error.hint().map_or_else(|| error.to_string(), |hint| format!("{error}: {hint}"))
}

fn carry_out(cx: &mut Cx, request: &Request<'_>, pairing: &mut Pairing) -> Result<Paired> {
    cx.db.read(|tx| pairing.check_free(tx))?;
    for name in [request.worker, request.manager] {
        spawn::check_free(cx, name)?;
    }
    let seeded = cx.db.write(|tx| pairing.seed(tx, request))?;
    fault::point("pair.seeded");

    let (worker_prompt, manager_prompt) = prompts_of(cx, request, &pairing.task)?;
    let worker_request = side(request, Role::Worker, &worker_prompt);
    let mut worker = spawn::start(cx, &worker_request)?;
    cx.db.write(|tx| pairing.spawned(tx, &worker))?;
    fault::point("pair.worker_started");
    let manager_request = side(request, Role::Manager, &manager_prompt);
    let mut manager = spawn::start(cx, &manager_request)?;
    cx.db.write(|tx| pairing.spawned(tx, &manager))?;
    fault::point("pair.manager_started");

    let bound = cx.db.write(|tx| pairing.bind(tx, &seeded))?;
    fault::point("pair.bound");
    let dispatch = dispatcher::ensure(cx, request.dispatcher)?;
    let task_id = Some(pairing.task.id.as_str());
    let unsent = [(&mut worker, &worker_request), (&mut manager, &manager_request)]
        .into_iter()
        .map(|(spawned, request)| starting::send_first(cx, spawned, request, task_id))
        .collect::<Result<Vec<_>>>()?;
    Ok(Paired {
        binding_id: bound.binding_id,
        dispatch_command: dispatch.command.clone(),
        ensure_dispatch: dispatch.ensure,
        dispatch,
        manager,
        manager_acceptance_criteria_seeded: seeded.criteria,
        manager_config_seeded: true,
        manager_config_seeded_by_pair: seeded.written,
        run_id: bound.run_id,
        task: pairing.created(),
        worker,
        unsent: unsent.into_iter().flatten().next(),
    })
}

/// What each side is told first.
fn prompts_of(cx: &mut Cx, request: &Request<'_>, task: &Task) -> Result<(String, String)> {
    let config = cx.db.read(|tx| manager_configs::of_task(tx, &task.id))?;
    let ledger = cx.ledger();
    let worker = prompts::worker(request.prompt.unwrap_or(&task.goal), &task.name, &ledger);
    let manager = prompts::manager_bootstrap(&ManagerFacts {
        cwd: &request.cwd.display().to_string(),
        ledger: &ledger,
        manager: request.manager,
        task: Some(&task.name),
        goal: Some(&task.goal),
        worker: Some(request.worker),
        config: config.as_ref(),
    });
    Ok((worker, manager))
}

fn side<'a>(request: &Request<'a>, role: Role, prompt: &'a str) -> spawn::Request<'a> {
    spawn::Request {
        role,
        name: match role {
            Role::Worker => request.worker,
            Role::Manager => request.manager,
        },
        cwd: request.cwd,
        prompt: Some(prompt),
        startup: request.startup,
        installation: request.installation,
        via: "pair",
    }
}
