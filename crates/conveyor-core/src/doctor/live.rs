//! The ledger's workers and managers beside the terminals and processes that there are.

use std::collections::BTreeMap;

use conveyor_agents::tmux::{Target, Tmux, TmuxError};
use conveyor_model::{Timestamp, json};
use conveyor_store::supervision::{self, Side, Supervised, Unfinished};
use conveyor_store::{Tx, sessions};
use serde::Serialize;
use serde_json::Value;

use crate::addressing::{Found, Lives, Terminal};
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
    let tmux = cx.tmux.clone();
    let (tasks, sessions) = cx.db.read(|tx| {
        let mut tasks = Vec::new();
        for supervised in supervision::all(tx)? {
            let unfinished = supervision::unfinished_commands(tx, &supervised.task.id)?;
            tasks.push((supervised, unfinished));
        }
        let sessions = Sessions::load(tx, &tasks, &tmux)?;
        Ok::<_, crate::Error>((tasks, sessions))
    })?;
    let mut live = Live { manager_liveness_warnings: Vec::new(), ok: true, results: Vec::new() };
    for (supervised, unfinished) in tasks {
        live.manager_liveness_warnings.extend(warning(&supervised, &sessions, now, stale_seconds)?);
        let task = examine(supervised, unfinished, &sessions, now)?;
        live.ok &= task.drift.is_empty();
        live.results.push(task);
    }
    Ok(live)
}

/// What the ledger says about the sessions of all tasks.
struct Sessions {
    tmux: Tmux,
    terminals: BTreeMap<String, Terminal>,
    lives: Lives,
}

impl Sessions {
    fn load(tx: &mut Tx<'_>, tasks: &[(Supervised, Vec<Unfinished>)], tmux: &Tmux) -> Result<Self> {
        let mut terminals = BTreeMap::new();
        let sides = tasks.iter().flat_map(|(task, _)| [&task.worker_session, &task.manager_session]);
        for side in sides.flatten() {
            if let Some(session) = sessions::by_id(tx, &side.id)?
                && let Some(terminal) = Terminal::of_session(tx, &session, tmux)?
            {
                terminals.insert(side.id.clone(), terminal);
            }
        }
        Ok(Self { tmux: tmux.clone(), terminals, lives: Lives::load(tx)? })
    }

    /// The terminal of a side, with the session that stands behind it.
    fn terminal(&self, side: &Side, session_id: Option<&str>) -> Option<Terminal> {
        let name = side.tmux_session.as_deref()?;
        let of_session = session_id.and_then(|id| self.terminals.get(id));
        let of_session = of_session.filter(|terminal| terminal.session == name).cloned();
        Some(of_session.unwrap_or_else(|| Terminal::of_names(&self.tmux, name, side.tmux_pane_id.as_deref())))
    }
}

/// Where a terminal is, and the id of the pane that is there under its name.
fn look(terminal: &Terminal) -> Result<(Option<bool>, Option<String>)> {
    match terminal.locate() {
        Ok(Found::Here(here)) => Ok((Some(true), Some(here.facts.id))),
        Ok(Found::Unknown) => Ok((None, None)),
        Ok(Found::Gone) => {
            let namesake = terminal.tmux.pane(&Target::Session(terminal.session.clone()));
            Ok((Some(false), namesake.ok().map(|pane| pane.id)))
        }
        // Where there is no tmux, nothing runs in it.
        Err(TmuxError::NotInstalled { .. }) => Ok((Some(false), None)),
        Err(error) => Err(error.into()),
    }
}

fn examine(
    supervised: Supervised,
    unfinished_commands: Vec<Unfinished>,
    sessions: &Sessions,
    now: Timestamp,
) -> Result<LiveTask> {
    let Supervised { task, worker, worker_session, manager, manager_session } = supervised;
    let worker = both(worker, worker_session, sessions)?;
    let manager = both(manager, manager_session, sessions)?;
    let mut drift = Vec::new();
    let is_missing = |found: &Option<SideFound>, states: &[&str]| {
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
    if worker.as_ref().is_some_and(SideFound::has_other_pane) {
        drift.push("worker_pane_mismatch");
    }
    if manager.as_ref().is_some_and(SideFound::has_other_pane) {
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
        worker: worker.map(SideFound::into_worker),
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
struct SideFound {
    side: Side,
    live: Option<bool>,
    pane_id: Option<String>,
}

/// One side of a task with what the machine says.
fn both(legacy: Option<Side>, session: Option<Side>, sessions: &Sessions) -> Result<Option<SideFound>> {
    let session_id = session.as_ref().map(|session| session.id.clone());
    let Some(side) = merged(legacy, session) else { return Ok(None) };
    let (live, pane_id) = match sessions.terminal(&side, session_id.as_deref()) {
        Some(terminal) => look(&terminal)?,
        None => (sessions.lives.of(session_id.as_deref().unwrap_or(&side.id), side.pid).known(), None),
    };
    Ok(Some(SideFound { side, live, pane_id }))
}

impl SideFound {
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
    sessions: &Sessions,
    now: Timestamp,
    stale_seconds: i64,
) -> Result<Option<Warning>> {
    let Some(manager) = &supervised.manager else { return Ok(None) };
    let Some(terminal) = sessions.terminal(manager, None) else { return Ok(None) };
    if look(&terminal)?.0 != Some(true) {
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
