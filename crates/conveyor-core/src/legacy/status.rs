//! What legacy workers say of themselves.

use conveyor_model::records::Object;
use conveyor_model::{WorkerState, WorkerStatus};
use conveyor_store::audit::{self, WorkerEvent};
use conveyor_store::workers::{self, NewStatus};
use serde::Serialize;
use serde_json::{Value, json};

use super::files::{append_event, read_object, write_object};
use super::{Config, Place};
use crate::{Error, Result};

/// The newest status of a name, from the ledger or from its file. What was never said is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latest {
    /// As it was recorded.
    pub state: Option<String>,
    /// The task.
    pub current_task: Option<String>,
    /// What comes next.
    pub next_action: Option<String>,
    /// What it waits for.
    pub blocker: Option<String>,
    /// When it was said.
    pub last_update: Option<String>,
}

impl Latest {
    /// The state, if it is one that we know.
    #[must_use]
    pub fn known_state(&self) -> WorkerStatus {
        self.state.as_deref().and_then(WorkerStatus::from_text).unwrap_or(WorkerStatus::Unknown)
    }

    fn of_file(object: &Object) -> Self {
        let text = |key: &str| object.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
        Self {
            state: text("state"),
            current_task: text("current_task"),
            next_action: text("next_action"),
            blocker: text("blocker"),
            last_update: text("last_update"),
        }
    }
}

/// The newest status of a name.
///
/// # Errors
/// A `status.json` that holds something else, even where the ledger knows better.
pub fn latest(place: &mut Place, name: &str, directory: &str) -> Result<Latest> {
    let file = read_object(&place.root().join(directory).join("status.json"))?;
    let recorded = place.look(|tx| workers::latest_status(tx, name)).flatten();
    Ok(match (recorded, file) {
        (Some(status), _) => Latest {
            state: Some(status.state),
            current_task: status.current_task,
            next_action: status.next_action,
            blocker: status.blocker,
            last_update: Some(status.created_at),
        },
        (None, Some(object)) => Latest::of_file(&object),
        (None, None) => Latest::default(),
    })
}

/// What a worker says.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// The worker.
    pub name: &'a str,
    /// What it is doing.
    pub state: WorkerStatus,
    /// Its task.
    pub current_task: &'a str,
    /// What comes next.
    pub next_action: &'a str,
    /// What it waits for.
    pub blocker: Option<&'a str>,
}

/// A status as its file holds it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What the worker waits for.
    pub blocker: Option<String>,
    /// Its task.
    pub current_task: String,
    /// When it said so.
    pub last_update: String,
    /// What comes next.
    pub next_action: String,
    /// What it is doing.
    pub state: WorkerStatus,
}

/// Records what a legacy worker says: in the ledger, then in its files.
///
/// # Errors
/// An unknown worker, a terminal that belongs to another one, a failing ledger or file.
pub fn update(place: &mut Place, update: &Update<'_>) -> Result<Report> {
    let config = Config::of(place.root(), update.name)?;
    let config = config.ok_or_else(|| Error::UnknownWorker(update.name.to_owned()))?;
    let directory = place.root().join(update.name);
    let payload = json!({
        "blocker": update.blocker,
        "current_task": update.current_task,
        "next_action": update.next_action,
        "state": update.state,
    });
    let last_update = record(place, update, &config, &payload)?;
    let report = Report {
        blocker: update.blocker.map(ToOwned::to_owned),
        current_task: update.current_task.to_owned(),
        last_update: last_update.clone(),
        next_action: update.next_action.to_owned(),
        state: update.state,
    };
    write_object(&directory.join("status.json"), &report)?;
    let mut event = payload;
    event["time"] = last_update.into();
    event["type"] = "status_updated".into();
    if let Value::Object(event) = &event {
        append_event(&directory.join("events.jsonl"), event)?;
    }
    Ok(report)
}

/// Records the status in the ledger; gives its moment.
fn record(place: &mut Place, update: &Update<'_>, config: &Config, payload: &Value) -> Result<String> {
    let tmux_session = config.tmux_session(update.name);
    let facts = config.facts(update.name, &tmux_session, WorkerState::Active);
    let recorded = place.cx()?.db.write(|tx| {
        let now = tx.now()?.to_s_text();
        let worker_id = workers::upsert(tx, &facts)?;
        let status = NewStatus {
            worker_id: &worker_id,
            state: update.state,
            current_task: Some(update.current_task),
            next_action: Some(update.next_action),
            blocker: update.blocker,
            created_at: &now,
        };
        workers::insert_status(tx, &status)?;
        let event = WorkerEvent {
            created_at: &now,
            actor: "workerctl",
            worker_id: &worker_id,
            event_type: "status_updated",
            payload: payload.clone(),
        };
        audit::record_of_worker(tx, &event)?;
        tx.wake_waiters();
        Ok::<String, Error>(now)
    });
    recorded.map_err(|error| taken(error, update.name))
}

/// A refused row of a worker, told by its name.
pub(crate) fn taken(error: Error, name: &str) -> Error {
    match error {
        Error::Store(store) if store.is_unique() => Error::WorkerTaken(name.to_owned()),
        other => other,
    }
}
