//! The ledger's workers and managers beside the terminals and processes that there are.

use std::collections::{BTreeMap, BTreeSet};

use conveyor_agents::processes;
use conveyor_agents::tmux::{ServerChoice, Tmux, TmuxError};
use conveyor_model::{Timestamp, json};
use conveyor_store::endpoints;
use conveyor_store::supervision::{self, Side, Supervised, Unfinished};
use serde::Serialize;
use serde_json::Value;

use crate::{Cx, Result};

/// What the machine says about every task.
#[derive(Debug, Serialize)]
pub struct Live {
    /// Managers of older versions that run but were not seen for long.
    pub manager_liveness_warnings: Vec<Warning>,
    /// Whether nothing drifted and no command is unfinished.
    pub ok: bool,
    /// The tasks, by name.
    pub results: Vec<LiveTask>,
}

/// A task and who works on it.
#[derive(Debug, Serialize)]
pub struct LiveTask {
    /// In what ledger and machine differ.
    pub drift: Vec<&'static str>,
    /// The manager, if there is one.
    pub manager: Option<Manager>,
    /// The task.
    pub task: TaskState,
    /// Commands that are not finished: last touched first.
    pub unfinished_commands: Vec<Unfinished>,
    /// The worker, if there is one.
    pub worker: Option<Worker>,
}

/// A task in short.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct TaskState {
    pub id: String,
    pub name: String,
    pub state: String,
}

/// A worker in the ledger and on the machine.
#[derive(Debug, Serialize)]
pub struct Worker {
    /// Its id.
    pub id: String,
    /// Whether it runs, where that can be told.
    pub live: Option<bool>,
    /// Its name.
    pub name: String,
    /// Its process.
    pub pid: Option<i64>,
    /// Its pane as recorded.
    pub recorded_pane_id: Option<String>,
    /// Its terminal.
    pub session: Option<String>,
    /// Its state as recorded.
    pub state: String,
    /// The pane that its terminal has.
    pub tmux_pane_id: Option<String>,
}

/// A manager in the ledger and on the machine.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "as those of a worker")]
pub struct Manager {
    pub id: String,
    /// Digest of what its terminal showed last (older versions).
    pub last_capture_sha256: Option<String>,
    /// Seconds since it was seen.
    pub last_seen_age_seconds: Value,
    /// When it was seen.
    pub last_seen_at: Option<String>,
    pub live: Option<bool>,
    pub name: String,
    pub pid: Option<i64>,
    pub recorded_pane_id: Option<String>,
    pub session: Option<String>,
    pub state: String,
    pub tmux_pane_id: Option<String>,
}

/// A manager of an older version that runs but was not seen for long, or never.
#[derive(Debug, Serialize)]
pub struct Warning {
    /// Seconds since it was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<Value>,
    /// When it was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<String>,
    /// Its name.
    pub manager: String,
    /// Its id.
    pub manager_id: String,
    /// Why it is here.
    pub reason: &'static str,
    /// What to do.
    pub recommended_action: &'static str,
    /// The limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_seconds: Option<i64>,
    /// Its task's name.
    pub task: String,
    /// Its task's id.
    pub task_id: String,
}

/// Compares the ledger with the machine.
pub(super) fn compare(cx: &mut Cx, stale_seconds: i64) -> Result<Live> {
    let now = cx.now();
    let (tasks, sockets, without_process) = cx.db.read(|tx| {
        let mut tasks = Vec::new();
        for supervised in supervision::all(tx)? {
            let unfinished = supervision::unfinished_commands(tx, &supervised.task.id)?;
            tasks.push((supervised, unfinished));
        }
        let without_process = endpoints::sessions_without_process(tx)?;
        Ok::<_, crate::Error>((tasks, endpoints::tmux_sockets(tx)?, without_process))
    })?;
    let mut terminals = Terminals { tmux: &cx.tmux, sockets, without_process, known: BTreeMap::new() };
    let mut live = Live { manager_liveness_warnings: Vec::new(), ok: true, results: Vec::new() };
    for (supervised, unfinished) in tasks {
        live.manager_liveness_warnings.extend(warning(&supervised, &mut terminals, now, stale_seconds)?);
        let task = examine(supervised, unfinished, &mut terminals, now)?;
        live.ok &= task.drift.is_empty();
        live.results.push(task);
    }
    Ok(live)
}

/// The terminals that there are, each asked for once.
struct Terminals<'t> {
    tmux: &'t Tmux,
    /// The sockets of other servers, by session.
    sockets: BTreeMap<String, String>,
    /// Sessions whose process tells nothing about them.
    without_process: BTreeSet<String>,
    known: BTreeMap<String, Terminal>,
}

#[derive(Clone)]
struct Terminal {
    live: bool,
    pane_id: Option<String>,
}

impl Terminals<'_> {
    fn find(&mut self, session: &str) -> Result<Terminal> {
        if let Some(known) = self.known.get(session) {
            return Ok(known.clone());
        }
        let tmux = match self.sockets.get(session) {
            Some(socket) => &self.tmux.clone().on_server(ServerChoice::Socket(socket.into())),
            None => self.tmux,
        };
        let found = match tmux.first_pane(session) {
            Ok(pane_id) => Terminal { live: pane_id.is_some(), pane_id },
            // Where there is no tmux, nothing runs in it.
            Err(TmuxError::NotInstalled { .. }) => Terminal { live: false, pane_id: None },
            Err(error) => return Err(error.into()),
        };
        self.known.insert(session.to_owned(), found.clone());
        Ok(found)
    }
}

fn examine(
    supervised: Supervised,
    unfinished_commands: Vec<Unfinished>,
    terminals: &mut Terminals<'_>,
    now: Timestamp,
) -> Result<LiveTask> {
    let Supervised { task, worker, worker_session, manager, manager_session } = supervised;
    let worker = merged(worker, worker_session).map(|side| found(side, terminals)).transpose()?;
    let manager = merged(manager, manager_session).map(|side| found(side, terminals)).transpose()?;
    let mut drift = Vec::new();
    let is_missing = |found: &Option<Found>, states: &[&str]| {
        found
            .as_ref()
            .is_some_and(|found| found.live == Some(false) && states.contains(&found.side.state.as_str()))
    };
    if is_missing(&worker, &["active", "candidate"]) {
        drift.push("worker_missing");
    }
    if is_missing(&manager, &["active", "starting", "ready", "stopping"]) {
        drift.push("manager_missing");
    }
    if worker.as_ref().is_some_and(Found::has_other_pane) {
        drift.push("worker_pane_mismatch");
    }
    if manager.as_ref().is_some_and(Found::has_other_pane) {
        drift.push("manager_pane_mismatch");
    }
    if !unfinished_commands.is_empty() {
        drift.push("unfinished_commands");
    }
    Ok(LiveTask {
        drift,
        manager: manager.map(|found| found.into_manager(now)),
        task: TaskState { id: task.id, name: task.name, state: task.state },
        unfinished_commands,
        worker: worker.map(Found::into_worker),
    })
}

/// One side of a task: what the legacy row says comes before what the session says.
fn merged(legacy: Option<Side>, session: Option<Side>) -> Option<Side> {
    let (legacy, session) = match (legacy, session) {
        (Some(legacy), Some(session)) => (legacy, session),
        (one, other) => return one.or(other),
    };
    Some(Side {
        id: legacy.id,
        name: legacy.name,
        state: legacy.state,
        tmux_session: legacy.tmux_session.or(session.tmux_session),
        tmux_pane_id: legacy.tmux_pane_id.or(session.tmux_pane_id),
        pid: legacy.pid.or(session.pid),
        last_seen_at: legacy.last_seen_at.or(session.last_seen_at),
        last_capture_sha256: legacy.last_capture_sha256,
    })
}

/// A side with what the machine says.
struct Found {
    side: Side,
    live: Option<bool>,
    pane_id: Option<String>,
}

fn found(side: Side, terminals: &mut Terminals<'_>) -> Result<Found> {
    let (live, pane_id) = match &side.tmux_session {
        Some(session) => {
            let terminal = terminals.find(session)?;
            (Some(terminal.live), terminal.pane_id)
        }
        None if terminals.without_process.contains(&side.id) => (None, None),
        None => (side.pid.map(processes::is_alive), None),
    };
    Ok(Found { side, live, pane_id })
}

impl Found {
    fn has_other_pane(&self) -> bool {
        matches!((&self.side.tmux_pane_id, &self.pane_id), (Some(recorded), Some(found)) if recorded != found)
    }

    fn into_worker(self) -> Worker {
        let Self { side, live, pane_id } = self;
        Worker {
            id: side.id,
            live,
            name: side.name,
            pid: side.pid,
            recorded_pane_id: side.tmux_pane_id,
            session: side.tmux_session,
            state: side.state,
            tmux_pane_id: pane_id,
        }
    }

    fn into_manager(self, now: Timestamp) -> Manager {
        let Self { side, live, pane_id } = self;
        Manager {
            id: side.id,
            last_capture_sha256: side.last_capture_sha256,
            last_seen_age_seconds: age(side.last_seen_at.as_deref(), now).map_or(Value::Null, json::number),
            last_seen_at: side.last_seen_at,
            live,
            name: side.name,
            pid: side.pid,
            recorded_pane_id: side.tmux_pane_id,
            session: side.tmux_session,
            state: side.state,
            tmux_pane_id: pane_id,
        }
    }
}

/// Seconds since a moment, with their fraction.
fn age(since: Option<&str>, now: Timestamp) -> Option<f64> {
    let since = Timestamp::parse(since?)?;
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of centuries are exact")]
    let millis = (now.as_millis() - since.as_millis()).max(0) as f64;
    Some(millis / 1000.0)
}

fn warning(
    supervised: &Supervised,
    terminals: &mut Terminals<'_>,
    now: Timestamp,
    stale_seconds: i64,
) -> Result<Option<Warning>> {
    let Some(manager) = &supervised.manager else { return Ok(None) };
    let Some(session) = &manager.tmux_session else { return Ok(None) };
    if !terminals.find(session)?.live {
        return Ok(None);
    }
    let never_seen = Warning {
        age_seconds: None,
        last_seen_at: None,
        manager: manager.name.clone(),
        manager_id: manager.id.clone(),
        reason: "manager_never_seen",
        recommended_action: "Observe the manager.",
        stale_seconds: None,
        task: supervised.task.name.clone(),
        task_id: supervised.task.id.clone(),
    };
    let Some(age) = age(manager.last_seen_at.as_deref(), now) else { return Ok(Some(never_seen)) };
    #[allow(clippy::cast_precision_loss, reason = "a number of seconds that somebody typed")]
    let is_stale = age > stale_seconds as f64;
    Ok(is_stale.then(|| Warning {
        age_seconds: Some(json::number(age)),
        last_seen_at: manager.last_seen_at.clone(),
        reason: "manager_seen_stale",
        recommended_action: "Inspect its terminal; do not recover it automatically while the tmux session lives.",
        stale_seconds: Some(stale_seconds),
        ..never_seen
    }))
}
