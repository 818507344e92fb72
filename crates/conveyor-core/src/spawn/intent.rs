//! What is written down before a start has its first effect, so that a start that was cut off can
//! be explained, finished or cleaned up.
//!
//! Three audit events: `session_spawn_intent` before anything exists, `session_spawn_thread` once
//! the thread does, `session_spawn_ended` when nothing is left. A registration of the name settles
//! all of it.

use conveyor_agents::tmux::Tmux;
use conveyor_model::Role;
use conveyor_model::records::Object;
use conveyor_model::shell::quote;
use conveyor_store::audit::{self, AuditEvent, SPAWN_ENDED, SPAWN_INTENT, SPAWN_THREAD, SpawnEvent};
use conveyor_store::{Tx, sessions};
use serde::Serialize;
use serde_json::{Value, json};

use super::error::exact;
use super::{Request, Spawn};
use crate::legacy::tmux_session_of;
use crate::{Cx, Error, Result};

/// What a start that was cut off may have left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    name: String,
    role: Role,
    started_at: String,
    thread_id: Option<String>,
    codex_home: Option<String>,
}

/// The same as a report shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct LeftRecord {
    /// What registers it, or cleans it up.
    pub commands: Vec<String>,
    pub name: String,
    pub role: Role,
    pub started_at: String,
    /// Whether its terminal still runs; null when tmux could not be asked.
    pub terminal_alive: Option<bool>,
    pub thread_id: Option<String>,
    pub tmux_session: String,
}

impl Left {
    fn of(event: &SpawnEvent) -> Option<Self> {
        let text = |key: &str| text_of(&event.payload, key);
        Some(Self {
            name: text("name")?,
            role: Role::from_text(&text("role")?)?,
            started_at: event.created_at.clone(),
            thread_id: None,
            codex_home: text("codex_home"),
        })
    }

    fn tmux_session(&self) -> String {
        tmux_session_of(&self.name)
    }

    /// What to run about it.
    fn commands(&self, terminal_alive: bool, ledger: &str) -> Vec<String> {
        let session = self.tmux_session();
        let mut commands = Vec::new();
        if let Some(thread) = &self.thread_id {
            let terminal =
                if terminal_alive { format!(" --tmux-session {}", quote(&session)) } else { String::new() };
            let home = self.codex_home.as_ref().map(|home| format!(" --codex-home {}", quote(home)));
            commands.push(format!(
                "conveyor register-{} --name {} --thread-id {thread}{terminal}{} --path {}",
                self.role,
                quote(&self.name),
                home.unwrap_or_default(),
                quote(ledger)
            ));
        }
        if terminal_alive {
            commands.push(format!("tmux kill-session -t {}", quote(&exact(&session))));
        }
        commands
    }

    /// One line about it.
    #[must_use]
    pub fn explain(&self, terminal_alive: bool, ledger: &str) -> String {
        let mut left = Vec::new();
        left.extend(self.thread_id.as_ref().map(|thread| format!("the Codex thread {thread}")));
        if terminal_alive {
            left.push(format!("the running tmux session {:?}", self.tmux_session()));
        }
        let left = if left.is_empty() { "nothing that is known of".to_owned() } else { left.join(" and ") };
        let commands = self.commands(terminal_alive, ledger);
        let advice = match commands.split_first() {
            None => String::new(),
            Some((first, rest)) => {
                let others = rest.iter().map(|command| format!(", or clean up with `{command}`"));
                let verb = if self.thread_id.is_some() { "register it" } else { "clean up" };
                format!("; {verb} with `{first}`{}", others.collect::<String>())
            }
        };
        format!(
            "an earlier start of {:?} ({}) was cut off and left {left}{advice}",
            self.name, self.started_at
        )
    }

    /// The same as a report shows it.
    pub(crate) fn record(&self, tmux: &Tmux, ledger: &str) -> LeftRecord {
        let tmux_session = self.tmux_session();
        let terminal_alive = tmux.has_session(&tmux_session).ok();
        LeftRecord {
            commands: self.commands(terminal_alive == Some(true), ledger),
            name: self.name.clone(),
            role: self.role,
            started_at: self.started_at.clone(),
            terminal_alive,
            thread_id: self.thread_id.clone(),
            tmux_session,
        }
    }
}

fn text_of(payload: &Object, key: &str) -> Option<String> {
    payload.get(key).and_then(Value::as_str).map(ToOwned::to_owned)
}

/// Starts that were cut off, in order of their names: neither registered nor known to have left
/// nothing.
pub(crate) fn all_left(tx: &mut Tx<'_>) -> Result<Vec<Left>> {
    let mut open = std::collections::BTreeMap::<String, Left>::new();
    for event in audit::spawn_events(tx)? {
        let Some(name) = text_of(&event.payload, "name") else { continue };
        match event.event_type.as_str() {
            SPAWN_INTENT => {
                if let Some(left) = Left::of(&event) {
                    open.insert(name, left);
                }
            }
            SPAWN_THREAD => {
                if let Some(left) = open.get_mut(&name) {
                    left.thread_id = text_of(&event.payload, "thread_id");
                }
            }
            _ => drop(open.remove(&name)),
        }
    }
    let mut left = Vec::new();
    for (name, one) in open {
        if sessions::by_name(tx, &name)?.is_none() {
            left.push(one);
        }
    }
    Ok(left)
}

/// What a start of this name that was cut off left.
pub(crate) fn left_of(tx: &mut Tx<'_>, name: &str) -> Result<Option<Left>> {
    Ok(all_left(tx)?.into_iter().find(|left| left.name == name))
}

/// Records that a start left nothing, or that what it left has gone.
pub(crate) fn end(tx: &mut Tx<'_>, name: &str, reason: &str) -> Result<()> {
    record(tx, SPAWN_ENDED, json!({ "name": name, "reason": reason }))
}

/// Before the first effect.
pub(super) fn begin(cx: &mut Cx, spawn: &Spawn<'_>, native: bool) -> Result<()> {
    let Request { role, name, via, installation, .. } = spawn.request;
    let payload = json!({
        "codex_home": installation.home,
        "cwd": spawn.cwd()?,
        "name": name,
        "native": native,
        "role": role,
        "tmux_session": spawn.tmux_session,
        "via": via,
    });
    cx.db.write(|tx| record(tx, SPAWN_INTENT, payload.clone()))
}

/// Once the thread exists.
pub(super) fn thread(cx: &mut Cx, spawn: &Spawn<'_>, thread_id: &str, path: Option<&str>) -> Result<()> {
    let payload = json!({
        "codex_session_path": path,
        "name": spawn.request.name,
        "thread_id": thread_id,
    });
    cx.db.write(|tx| record(tx, SPAWN_THREAD, payload.clone()))
}

fn record(tx: &mut Tx<'_>, event_type: &str, payload: Value) -> Result<()> {
    audit::record(tx, &AuditEvent { event_type, task_id: None, command_id: None, payload })?;
    Ok::<_, Error>(())
}
