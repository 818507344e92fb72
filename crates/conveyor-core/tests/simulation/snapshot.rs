//! All of the ledger that matters here, read by SQL of the test's own.

use std::collections::BTreeMap;

use crate::ledger::{Cells, Raw};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub place: i64,
    pub task: String,
    pub kind: String,
    pub message: String,
    pub created_at: String,
    pub state: String,
    pub attempts: i64,
    pub lapses: i64,
    pub error: Option<String>,
    pub available_at: Option<String>,
    pub claimed_by: Option<String>,
    pub claim_expires_at: Option<String>,
    pub parked_reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub command: String,
    pub dispatcher: String,
    pub state: String,
    pub started: bool,
    pub finished_at: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    pub task: String,
    pub binding: String,
    pub source: String,
    pub target: String,
    pub signal: String,
    pub event: Option<i64>,
    pub dedupe_key: String,
    pub command: Option<String>,
    pub created_at: String,
    pub message: String,
    pub state: String,
    pub started: bool,
    pub consumed_at: Option<String>,
    pub consumed_by: Option<String>,
}

impl Notification {
    /// What never changes about it.
    pub fn fixed(&self) -> [&str; 8] {
        [
            &self.task,
            &self.binding,
            &self.source,
            &self.target,
            &self.signal,
            &self.dedupe_key,
            &self.created_at,
            &self.message,
        ]
    }

    pub fn is_delivered(&self) -> bool {
        self.state == "delivered"
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub name: String,
    pub state: String,
    pub tmux: bool,
    pub file: String,
    pub offset: Option<u64>,
    pub routed: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub id: String,
    pub worker: String,
    pub manager: String,
    pub created_at: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub session: String,
    pub is_completion: bool,
    pub payload: String,
    pub timestamp: String,
    pub offset: u64,
    /// Whether a dispatcher read it.
    pub by_dispatcher: bool,
}

/// The ledger at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub commands: BTreeMap<String, Command>,
    pub attempts: BTreeMap<i64, Attempt>,
    pub notifications: BTreeMap<i64, Notification>,
    pub sessions: BTreeMap<String, Session>,
    /// The live bindings, by task.
    pub live: BTreeMap<String, Binding>,
    pub events: BTreeMap<i64, Event>,
    /// How many rows of telemetry and of its search table there are.
    pub telemetry: i64,
    pub searchable: i64,
}

fn text(cells: &Cells, n: usize) -> String {
    cells[n].clone().unwrap_or_else(|| panic!("column {n} of {cells:?} is null"))
}

fn int(cells: &Cells, n: usize) -> i64 {
    text(cells, n).parse().unwrap()
}

fn flag(cells: &Cells, n: usize) -> bool {
    int(cells, n) != 0
}

/// The value of a text field in a JSON object whose texts need no escapes.
fn field(json: &str, name: &str) -> String {
    let mark = format!("\"{name}\":\"");
    let value = json.split_once(&mark).and_then(|(_, rest)| rest.split_once('"'));
    value.map_or_else(String::new, |(value, _)| value.to_owned())
}

impl Snapshot {
    /// Reads the ledger. Nobody else is at work on it.
    pub fn take(raw: &mut Raw) -> Self {
        Self {
            commands: commands(raw),
            attempts: attempts(raw),
            notifications: notifications(raw),
            sessions: sessions(raw),
            live: live(raw),
            events: events(raw),
            telemetry: raw.cell("select count(*) from telemetry_events").unwrap().parse().unwrap(),
            searchable: raw.cell("select count(*) from telemetry_events_fts").unwrap().parse().unwrap(),
        }
    }

    /// The session on the side of a task's live binding to which commands of this type go.
    pub fn target(&self, task: &str, kind: &str) -> Option<(&str, &Session)> {
        let binding = self.live.get(task)?;
        let id = if kind == "nudge_worker" { &binding.worker } else { &binding.manager };
        self.sessions.get(id).map(|session| (id.as_str(), session))
    }

    pub fn session_id(&self, name: &str) -> &str {
        let found = self.sessions.iter().find(|(_, session)| session.name == name);
        found.map_or_else(|| panic!("no session {name}"), |(id, _)| id)
    }

    /// The delivered notifications in a session's inbox, in its order.
    pub fn inbox(&self, session_id: &str) -> Vec<i64> {
        let waits = |(_, row): &(&i64, &Notification)| {
            row.target == session_id && row.is_delivered() && row.consumed_at.is_none()
        };
        let mut waiting: Vec<_> =
            self.notifications.iter().filter(waits).map(|(id, row)| (&row.created_at, *id)).collect();
        waiting.sort_unstable();
        waiting.into_iter().map(|(_, id)| id).collect()
    }

    /// The attempts of a command.
    pub fn attempts_of<'s>(&'s self, command: &'s str) -> impl Iterator<Item = (i64, &'s Attempt)> {
        let own = move |(_, attempt): &(&i64, &Attempt)| attempt.command == command;
        self.attempts.iter().filter(own).map(|(id, attempt)| (*id, attempt))
    }

    /// The notifications of a command.
    pub fn notifications_of<'s>(&'s self, command: &'s str) -> impl Iterator<Item = (i64, &'s Notification)> {
        let own = move |(_, row): &(&i64, &Notification)| row.command.as_deref() == Some(command);
        self.notifications.iter().filter(own).map(|(id, row)| (*id, row))
    }

    /// Whether any notification refers to an event.
    pub fn is_routed(&self, event: i64) -> bool {
        self.notifications.values().any(|row| row.event == Some(event))
    }
}

fn commands(raw: &mut Raw) -> BTreeMap<String, Command> {
    let rows = raw.rows(
        "select id, rowid, task_id, type, payload_json, created_at, state, attempts, lapses, error, available_at, \
         claimed_by, claim_expires_at, parked_reason from commands where type in ('notify_manager', 'nudge_worker')",
    );
    let command = |cells: Cells| {
        let row = Command {
            place: int(&cells, 1),
            task: text(&cells, 2),
            kind: text(&cells, 3),
            message: field(&text(&cells, 4), "message"),
            created_at: text(&cells, 5),
            state: text(&cells, 6),
            attempts: int(&cells, 7),
            lapses: int(&cells, 8),
            error: cells[9].clone(),
            available_at: cells[10].clone(),
            claimed_by: cells[11].clone(),
            claim_expires_at: cells[12].clone(),
            parked_reason: cells[13].clone(),
        };
        (text(&cells, 0), row)
    };
    rows.into_iter().map(command).collect()
}

fn attempts(raw: &mut Raw) -> BTreeMap<i64, Attempt> {
    let rows = raw.rows(
        "select id, command_id, dispatcher_id, state, side_effect_started, finished_at from command_attempts \
         where command_id in (select id from commands where type in ('notify_manager', 'nudge_worker'))",
    );
    let attempt = |cells: Cells| {
        let row = Attempt {
            command: text(&cells, 1),
            dispatcher: text(&cells, 2),
            state: text(&cells, 3),
            started: flag(&cells, 4),
            finished_at: cells[5].clone(),
        };
        (int(&cells, 0), row)
    };
    rows.into_iter().map(attempt).collect()
}

fn notifications(raw: &mut Raw) -> BTreeMap<i64, Notification> {
    let rows = raw.rows(
        "select id, task_id, binding_id, source_session_id, target_session_id, signal_type, source_event_id, \
         dedupe_key, command_id, created_at, payload_json, state, side_effect_started, consumed_at, \
         consumed_by_session_id from routed_notifications",
    );
    let notification = |cells: Cells| {
        let row = Notification {
            task: text(&cells, 1),
            binding: text(&cells, 2),
            source: text(&cells, 3),
            target: text(&cells, 4),
            signal: text(&cells, 5),
            event: cells[6].as_ref().map(|id| id.parse().unwrap()),
            dedupe_key: text(&cells, 7),
            command: cells[8].clone(),
            created_at: text(&cells, 9),
            message: field(&text(&cells, 10), "message"),
            state: text(&cells, 11),
            started: flag(&cells, 12),
            consumed_at: cells[13].clone(),
            consumed_by: cells[14].clone(),
        };
        (int(&cells, 0), row)
    };
    rows.into_iter().map(notification).collect()
}

fn sessions(raw: &mut Raw) -> BTreeMap<String, Session> {
    let rows = raw.rows(
        "select id, name, state, tmux_session, codex_session_path, last_ingest_offset, routed_event_id from sessions",
    );
    let session = |cells: Cells| {
        let row = Session {
            name: text(&cells, 1),
            state: text(&cells, 2),
            tmux: cells[3].as_ref().is_some_and(|name| !name.is_empty()),
            file: text(&cells, 4),
            offset: cells[5].as_ref().map(|offset| offset.parse().unwrap()),
            routed: cells[6].as_ref().map_or(0, |id| id.parse().unwrap()),
        };
        (text(&cells, 0), row)
    };
    rows.into_iter().map(session).collect()
}

fn live(raw: &mut Raw) -> BTreeMap<String, Binding> {
    let rows = raw.rows(
        "select task_id, id, worker_session_id, manager_session_id, created_at from bindings \
         where state in ('active', 'ending')",
    );
    let binding = |cells: Cells| {
        let row = Binding {
            id: text(&cells, 1),
            worker: text(&cells, 2),
            manager: text(&cells, 3),
            created_at: text(&cells, 4),
        };
        (text(&cells, 0), row)
    };
    rows.into_iter().map(binding).collect()
}

fn events(raw: &mut Raw) -> BTreeMap<i64, Event> {
    let rows = raw.rows(
        "select id, session_id, subtype, payload_json, timestamp, byte_offset, ingested_by from codex_events",
    );
    let event = |cells: Cells| {
        let row = Event {
            session: text(&cells, 1),
            is_completion: cells[2].as_deref() == Some("task_complete"),
            payload: text(&cells, 3),
            timestamp: text(&cells, 4),
            offset: text(&cells, 5).parse().unwrap(),
            by_dispatcher: cells[6].is_some(),
        };
        (int(&cells, 0), row)
    };
    rows.into_iter().map(event).collect()
}
