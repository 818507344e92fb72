//! What `pair` writes into the ledger, step by step.

use conveyor_model::records::Task;
use conveyor_model::{Actor, Role, Severity};
use conveyor_store::audit::{self, AuditEvent};
use conveyor_store::runs::{self, NewRun};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{Tx, tasks};
use serde_json::{Value, json};

use super::Request;
use crate::bindings::{bind_in, check_unbound};
use crate::contract::config::{self, Seeded};
use crate::spawn::Spawned;
use crate::tasks::Created;
use crate::{Error, Result};

/// A pair in the making: who belongs to it, and what was achieved.
pub(super) struct Pairing {
    pub(super) task: Task,
    task_created: bool,
    worker: String,
    manager: String,
    worker_session_id: Option<String>,
    manager_session_id: Option<String>,
    binding_id: Option<String>,
    run_id: Option<String>,
}

/// A binding and its run.
pub(super) struct Bound {
    pub(super) binding_id: String,
    pub(super) run_id: String,
}

impl Pairing {
    /// Finds or makes the task.
    pub(super) fn begin(tx: &mut Tx<'_>, request: &Request<'_>) -> Result<Self> {
        let known = tasks::find(tx, request.task)?;
        let task_created = known.is_none();
        let task = match (known, request.goal) {
            (Some(task), _) => task,
            (None, Some(goal)) => crate::tasks::insert(tx, request.task, goal, request.summary)?,
            (None, None) => return Err(Error::NoGoal(request.task.to_owned())),
        };
        let pairing = Self {
            task,
            task_created,
            worker: request.worker.to_owned(),
            manager: request.manager.to_owned(),
            worker_session_id: None,
            manager_session_id: None,
            binding_id: None,
            run_id: None,
        };
        let attributes = json!({
            "cwd": request.cwd,
            "task_created": task_created,
            "task_goal_provided": request.goal.is_some(),
        });
        pairing.say(tx, "pair_started", json!({}), attributes)?;
        pairing.say(tx, "pair_task_resolved", json!({}), json!({ "created": task_created }))?;
        Ok(pairing)
    }

    /// Refuses a task that is in somebody's hands.
    pub(super) fn check_free(&self, tx: &mut Tx<'_>) -> Result<()> {
        check_unbound(tx, Some(&self.task), &[])?;
        match runs::active_of_task(tx, &self.task.id)? {
            Some(run) => Err(Error::RunActive { task: self.task.name.clone(), run: run.name }),
            None => Ok(()),
        }
    }

    /// Writes the contract, and the criteria that follow from it.
    pub(super) fn seed(&self, tx: &mut Tx<'_>, request: &Request<'_>) -> Result<Seeded> {
        let seeded = config::seed(tx, &self.task, request.contract, &self.correlation())?;
        Ok(seeded)
    }

    /// One side runs.
    pub(super) fn spawned(&mut self, tx: &mut Tx<'_>, spawned: &Spawned) -> Result<()> {
        let attributes = json!({
            "codex_session_id": spawned.codex_session_id,
            "codex_session_path": spawned.codex_session_path,
            "pid": spawned.pid,
            "tmux_session": spawned.tmux_session,
        });
        let (event_type, key, place) = match spawned.role {
            Role::Worker => ("pair_worker_spawned", "worker_session_id", &mut self.worker_session_id),
            Role::Manager => ("pair_manager_spawned", "manager_session_id", &mut self.manager_session_id),
        };
        *place = Some(spawned.session_id.clone());
        self.say(tx, event_type, json!({ key: spawned.session_id }), attributes)
    }

    /// Binds both sides and opens the run.
    pub(super) fn bind(&mut self, tx: &mut Tx<'_>, seeded: &Seeded) -> Result<Bound> {
        let binding_id = bind_in(tx, &self.task, &self.worker, &self.manager)?;
        let payload = json!({
            "binding_id": binding_id,
            "manager": self.manager,
            "task": self.task.name,
            "worker": self.worker,
        });
        self.audit(tx, "binding_created", payload)?;
        self.binding_id = Some(binding_id.clone());
        let attributes = json!({
            "manager_session_id": self.manager_session_id,
            "worker_session_id": self.worker_session_id,
        });
        self.say(tx, "pair_binding_created", json!({}), attributes)?;
        let metadata = json!({
            "binding_id": binding_id,
            "manager": self.manager,
            "manager_config_seeded": true,
            "manager_config_seeded_by_pair": seeded.written,
            "source": "pair",
            "worker": self.worker,
        });
        let name = format!("{}-pair", self.task.id);
        let new = NewRun { task_id: &self.task.id, name: &name, purpose: &self.task.goal, metadata };
        let run_id = runs::insert_active(tx, &new)?;
        self.audit(tx, "run_created", json!({ "run_id": run_id, "source": "pair" }))?;
        self.run_id = Some(run_id.clone());
        let attributes = json!({
            "manager_acceptance_criteria_seeded": seeded.criteria,
            "manager_config_seeded": true,
            "manager_config_seeded_by_pair": seeded.written,
        });
        self.say(tx, "pair_run_created", json!({}), attributes)?;
        tx.wake_waiters();
        Ok(Bound { binding_id, run_id })
    }

    /// Records what went wrong, and what had been achieved.
    pub(super) fn fail(&self, tx: &mut Tx<'_>, error: &Error) -> Result<()> {
        let attributes = json!({
            "binding_created": self.binding_id.is_some(),
            "error": error.to_string(),
            "error_type": error.audit_type(),
            "manager_spawned": self.manager_session_id.is_some(),
            "run_created": self.run_id.is_some(),
            "worker_spawned": self.worker_session_id.is_some(),
        });
        self.emit(tx, "pair_failed", Severity::Error, json!({}), attributes)
    }

    /// The task as the reply tells it.
    pub(super) fn created(&self) -> Created {
        Created { created: self.task_created, id: self.task.id.clone(), name: self.task.name.clone() }
    }

    /// What ties the telemetry of a pair together.
    fn correlation(&self) -> Value {
        json!({
            "binding_id": self.binding_id,
            "manager": self.manager,
            "source": "pair",
            "task": self.task.name,
            "worker": self.worker,
        })
    }

    fn say(&self, tx: &mut Tx<'_>, event_type: &str, more: Value, attributes: Value) -> Result<()> {
        self.emit(tx, event_type, Severity::Info, more, attributes)
    }

    fn emit(
        &self,
        tx: &mut Tx<'_>,
        event_type: &str,
        severity: Severity,
        more: Value,
        attributes: Value,
    ) -> Result<()> {
        let mut correlation = self.correlation();
        if let (Some(correlation), Value::Object(more)) = (correlation.as_object_mut(), more) {
            correlation.extend(more);
        }
        let what = event_type.trim_start_matches("pair_").replace('_', " ");
        let summary = format!("Pair for task {}: {what}.", self.task.name);
        let run_id = Some(self.run_id.as_deref()).filter(|_| event_type == "pair_run_created").flatten();
        let event = Emit::info(Actor::Workerctl, event_type, summary, correlation, attributes)
            .of_task(Some(&self.task.id))
            .of_run(run_id)
            .severity(severity)
            .in_whole_seconds();
        telemetry::emit(tx, &event)?;
        Ok(())
    }

    fn audit(&self, tx: &mut Tx<'_>, event_type: &str, payload: Value) -> Result<()> {
        let task_id = Some(self.task.id.as_str());
        audit::record(tx, &AuditEvent { event_type, task_id, command_id: None, payload })?;
        Ok(())
    }
}
