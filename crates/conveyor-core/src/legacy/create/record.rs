//! The files and rows of a new worker.

use std::path::PathBuf;

use conveyor_agents::processes;
use conveyor_agents::tmux::PaneFacts;
use conveyor_model::records::Object;
use conveyor_model::{WorkerState, WorkerStatus};
use conveyor_store::audit::{self, WorkerEvent};
use conveyor_store::workers::{self, Facts, NewStatus};
use conveyor_store::{StoreError, Tx};
use serde_json::{Value, json};

use super::begin::Begun;
use super::watch::Startup;
use super::{Request, contract};
use crate::legacy::status::Report;
use crate::legacy::{Config, Place, read_object, taken, tmux_session_of, write_object, write_text};
use crate::{Error, Result};

/// A worker in the making.
pub(super) struct Worker {
    pub(super) directory: PathBuf,
    pub(super) contract_path: PathBuf,
    pub(super) config: Config,
    /// Its first status, which is ours.
    pub(super) report: Report,
    pub(super) identity_token: String,
    pub(super) pane_id: Option<String>,
}

/// Writes the files of a worker that is not started yet, and records it.
pub(super) fn candidate(place: &mut Place, request: &Request<'_>, begun: Begun) -> Result<Worker> {
    let directory = place.root().join(request.name);
    let now = place.now().to_s_text();
    let tmux_session = tmux_session_of(request.name);
    // What an earlier worker of the name had beside what is ours stays.
    let mut config = read_object(&Config::path(place.root(), request.name))?.unwrap_or_default();
    for stale in [
        "codex_home",
        "codex_thread_id",
        "pane_pid",
        "pane_started",
        "server_pid",
        "startup_checked_at",
        "startup_recommended_action",
        "tmux_pane_id",
    ] {
        config.remove(stale);
    }
    let ours = json!({
        "created_at": now,
        "cwd": request.cwd,
        "identity_token": begun.identity_token,
        "name": request.name,
        "startup": "launched",
        "startup_reason": "Codex was launched, and nobody has looked at it yet.",
        "state_dir": directory,
        "tmux_session": tmux_session,
        "tmux_target": tmux_session,
    });
    extend(&mut config, ours);
    let report = Report {
        blocker: None,
        current_task: request.task.unwrap_or("start worker session").to_owned(),
        last_update: now,
        next_action: "wait for instructions".to_owned(),
        state: WorkerStatus::Waiting,
    };
    let mut worker = Worker {
        contract_path: directory.join("contract.txt"),
        directory,
        config: Config::from_object(config.clone()),
        report,
        identity_token: begun.identity_token,
        pane_id: None,
    };
    write_object(&worker.directory.join("config.json"), &config)?;
    write_object(&worker.directory.join("status.json"), &worker.report)?;
    write_text(&worker.directory.join("transcript.txt"), "")?;
    let worker_id = insert(place, request, &worker)?;
    worker.configure(json!({ "worker_id": worker_id }))?;
    let text = contract::text(place, request, &worker)?;
    write_text(&worker.contract_path, &text)?;
    Ok(worker)
}

impl Worker {
    /// Adds to its configuration.
    pub(super) fn configure(&mut self, more: Value) -> Result<()> {
        let path = self.directory.join("config.json");
        let mut config = read_object(&path)?.unwrap_or_default();
        extend(&mut config, more);
        write_object(&path, &config)?;
        self.config = Config::from_object(config);
        Ok(())
    }

    fn facts<'a>(
        &'a self,
        request: &Request<'a>,
        tmux_session: &'a str,
        cwd: &'a str,
        state: WorkerState,
    ) -> Facts<'a> {
        Facts {
            name: request.name,
            tmux_session,
            tmux_pane_id: self.pane_id.as_deref(),
            identity_token: Some(&self.identity_token),
            cwd,
            state,
        }
    }
}

fn extend(object: &mut Object, more: Value) {
    if let Value::Object(more) = more {
        object.extend(more);
    }
}

fn insert(place: &mut Place, request: &Request<'_>, worker: &Worker) -> Result<String> {
    let (tmux_session, cwd) = (tmux_session_of(request.name), request.cwd.display().to_string());
    let facts = worker.facts(request, &tmux_session, &cwd, WorkerState::Candidate);
    let payload = json!({ "cwd": cwd, "name": request.name, "tmux_session": tmux_session });
    let recorded = place.cx()?.db.write(|tx| {
        let worker_id = workers::upsert(tx, &facts)?;
        let status = NewStatus {
            worker_id: &worker_id,
            state: worker.report.state,
            current_task: Some(&worker.report.current_task),
            next_action: Some(&worker.report.next_action),
            blocker: None,
            created_at: &worker.report.last_update,
        };
        workers::insert_status(tx, &status)?;
        event(tx, &worker_id, "worker_create_recorded", payload.clone())?;
        tx.wake_waiters();
        Ok::<_, Error>(worker_id)
    });
    recorded.map_err(|error| taken(error, request.name))
}

/// Records that the worker's terminal is there.
pub(super) fn active(
    place: &mut Place,
    request: &Request<'_>,
    worker: &mut Worker,
    pane: &PaneFacts,
) -> Result<()> {
    let (tmux_session, cwd) = (tmux_session_of(request.name), request.cwd.display().to_string());
    worker.pane_id = Some(pane.id.clone());
    worker.configure(json!({
        "pane_pid": pane.pid,
        "pane_started": processes::started(pane.pid),
        "server_pid": pane.server_pid,
        "tmux_pane_id": pane.id,
    }))?;
    let facts = worker.facts(request, &tmux_session, &cwd, WorkerState::Active);
    let payload = json!({ "tmux_pane_id": worker.pane_id, "tmux_session": tmux_session });
    place.cx()?.db.write(|tx| {
        let worker_id = workers::upsert(tx, &facts)?;
        event(tx, &worker_id, "worker_tmux_started", payload.clone())?;
        tx.wake_waiters();
        Ok::<_, Error>(())
    })?;
    let facts = json!({
        "contract_path": worker.contract_path,
        "cwd": cwd,
        "initial_prompt": request.with_contract,
        "task": request.task,
    });
    place.log(request.name, "create", facts)
}

/// Records how far Codex came.
pub(super) fn startup(
    place: &mut Place,
    request: &Request<'_>,
    worker: &mut Worker,
    seen: &Startup,
) -> Result<()> {
    worker.configure(json!({
        "startup": seen.startup,
        "startup_checked_at": place.now().to_s_text(),
        "startup_reason": seen.reason,
        "startup_recommended_action": seen.recommended_action,
    }))?;
    place.log(request.name, "wait_ready", json!(seen))
}

fn event(tx: &mut Tx<'_>, worker_id: &str, event_type: &str, payload: Value) -> Result<(), StoreError> {
    let created_at = tx.now()?.to_ms_text();
    let event = WorkerEvent { created_at: &created_at, actor: "workerctl", worker_id, event_type, payload };
    audit::record_of_worker(tx, &event)
}
