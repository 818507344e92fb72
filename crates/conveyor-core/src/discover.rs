//! Finding tasks, sessions, bindings and telemetry by a few words, with advice on what to do next.

use conveyor_model::Role;
use conveyor_model::records::{Session, Task, TelemetryEvent};
use conveyor_model::shell::quote;
use conveyor_model::text::{is_blank, trimmed};
use conveyor_store::bindings::Overview;
use conveyor_store::sessions::{Filter, Liveness};
use conveyor_store::{StoreError, Tx, bindings, sessions, tasks, telemetry};
use serde::Serialize;

use crate::sessions::SessionRecord;
use crate::tasks::TaskRecord;
use crate::{Cx, Result, reference};

/// What to look for.
pub struct Request<'a> {
    /// Part of a name or text, in any case; blank finds everything.
    pub query: &'a str,
    /// How many of each kind.
    pub limit: usize,
    /// Whether closed tasks and gone sessions are wanted as well.
    pub all: bool,
}

/// The reply of [`discover`].
#[derive(Debug, Serialize)]
pub struct Found {
    /// The query, trimmed.
    pub query: String,
    /// Tasks in order of creation.
    pub tasks: Vec<TaskRecord>,
    /// Sessions in order of registration.
    pub sessions: Vec<SessionRecord>,
    /// Live bindings, newest first.
    pub bindings: Vec<Overview>,
    /// Events, oldest first; none without a query.
    pub telemetry: Vec<TelemetryEvent>,
    /// What to do next.
    pub suggestions: Vec<Suggestion>,
}

/// What to do next.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Suggestion {
    /// A task and two sessions are there and unbound.
    Bind {
        /// The task's name.
        task: String,
        /// The worker session's name.
        worker: String,
        /// The manager session's name.
        manager: String,
        /// The command that binds them.
        command: String,
    },
    /// No worker session was found.
    RegisterWorker {
        /// What to ask the operator for.
        prompt: String,
    },
    /// No manager session was found.
    RegisterManager {
        /// What to ask the operator for.
        prompt: String,
    },
}

/// Looks for a query in everything that can be bound, and in telemetry. Writes nothing.
///
/// # Errors
/// A failing ledger.
pub fn discover(cx: &mut Cx, request: &Request<'_>) -> Result<Found> {
    let ledger = cx.ledger();
    let query = if is_blank(request.query) { "" } else { trimmed(request.query) };
    let needle = Needle::new(query);
    let limit = request.limit;
    cx.db.read(|tx| {
        Ok(Found {
            query: query.to_owned(),
            tasks: matching_tasks(tx, &needle, limit, request.all)?,
            sessions: matching_sessions(tx, &needle, limit, request.all, &ledger)?,
            bindings: matching_bindings(tx, &needle, limit)?,
            telemetry: match query {
                "" => Vec::new(),
                query => telemetry::search(tx, query, i64::try_from(limit).unwrap_or(i64::MAX))?,
            },
            suggestions: suggestions(tx, &needle, &ledger)?,
        })
    })
}

/// A query in lower case.
struct Needle(String);

impl Needle {
    fn new(query: &str) -> Self {
        Self(query.to_lowercase())
    }

    /// Whether any field holds the query. Compared here and not in the database: the engines
    /// disagree on what lower case is.
    fn is_in(&self, fields: &[Option<&str>]) -> bool {
        self.0.is_empty() || fields.iter().flatten().any(|field| field.to_lowercase().contains(&self.0))
    }

    fn is_in_task(&self, task: &Task) -> bool {
        self.is_in(&[Some(&task.name), Some(&task.goal), task.summary.as_deref(), Some(&task.state)])
    }

    fn is_in_session(&self, session: &Session) -> bool {
        self.is_in(&[
            Some(&session.name),
            Some(&session.role),
            Some(&session.state),
            Some(&session.cwd),
            session.tmux_session.as_deref(),
            session.codex_session_id.as_deref(),
        ])
    }

    fn is_in_binding(&self, binding: &Overview) -> bool {
        self.is_in(&[
            Some(&binding.task_name),
            Some(&binding.task_goal),
            binding.worker_name.as_deref(),
            binding.manager_name.as_deref(),
            Some(&binding.state),
        ])
    }
}

/// Ends a walk over rows early.
enum Stop {
    /// Enough was found.
    Enough,
    /// The ledger failed.
    Failed(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// Keeps what a walk finds, and ends it at the limit.
struct Kept<T> {
    found: Vec<T>,
    limit: usize,
}

impl<T> Kept<T> {
    /// What `walk` offers, up to `limit`; with nothing wanted there is no walk at all.
    fn of(limit: usize, walk: impl FnOnce(&mut Self) -> Result<(), Stop>) -> Result<Vec<T>> {
        let mut kept = Self { found: Vec::new(), limit };
        if limit == 0 {
            return Ok(kept.found);
        }
        match walk(&mut kept) {
            Ok(()) | Err(Stop::Enough) => Ok(kept.found),
            Err(Stop::Failed(error)) => Err(error.into()),
        }
    }

    fn offer(&mut self, matches: bool, make: impl FnOnce() -> T) -> Result<(), Stop> {
        if matches {
            self.found.push(make());
        }
        if self.found.len() < self.limit { Ok(()) } else { Err(Stop::Enough) }
    }
}

fn matching_tasks(tx: &mut Tx<'_>, needle: &Needle, limit: usize, all: bool) -> Result<Vec<TaskRecord>> {
    Kept::of(limit, |kept| {
        tasks::each(tx, !all, &mut |task, budget| {
            kept.offer(needle.is_in_task(&task), || TaskRecord::new(task, budget))
        })
    })
}

fn matching_sessions(
    tx: &mut Tx<'_>,
    needle: &Needle,
    limit: usize,
    all: bool,
    ledger: &str,
) -> Result<Vec<SessionRecord>> {
    let liveness = if all { Liveness::All } else { Liveness::Active };
    Kept::of(limit, |kept| {
        sessions::each(tx, &Filter { liveness, ..Filter::default() }, &mut |session| {
            kept.offer(needle.is_in_session(&session), || SessionRecord::new(session, ledger))
        })
    })
}

fn matching_bindings(tx: &mut Tx<'_>, needle: &Needle, limit: usize) -> Result<Vec<Overview>> {
    Kept::of(limit, |kept| {
        bindings::each_live(tx, &mut |binding| kept.offer(needle.is_in_binding(&binding), || binding))
    })
}

/// Advice from everything that matches, whatever the limit of the lists.
fn suggestions(tx: &mut Tx<'_>, needle: &Needle, ledger: &str) -> Result<Vec<Suggestion>> {
    let mut advice = Vec::new();
    let worker = first_session(tx, needle, Role::Worker, true)?;
    let manager = first_session(tx, needle, Role::Manager, true)?;
    if let (Some(worker), Some(manager)) = (&worker, &manager) {
        advice.extend(bind_suggestion(tx, needle, worker, manager, ledger)?);
    }
    if worker.is_none() && first_session(tx, needle, Role::Worker, false)?.is_none() {
        advice.push(Suggestion::RegisterWorker { prompt: register_prompt(Role::Worker) });
    }
    if manager.is_none() && first_session(tx, needle, Role::Manager, false)?.is_none() {
        advice.push(Suggestion::RegisterManager { prompt: register_prompt(Role::Manager) });
    }
    Ok(advice)
}

/// The name of the first active session of a role that matches.
fn first_session(tx: &mut Tx<'_>, needle: &Needle, role: Role, unbound: bool) -> Result<Option<String>> {
    let filter = Filter { role: Some(role), unbound, ..Filter::default() };
    let found = Kept::of(1, |kept| {
        sessions::each(tx, &filter, &mut |session| {
            kept.offer(needle.is_in_session(&session), || session.name)
        })
    })?;
    Ok(found.into_iter().next())
}

fn bind_suggestion(
    tx: &mut Tx<'_>,
    needle: &Needle,
    worker: &str,
    manager: &str,
    ledger: &str,
) -> Result<Option<Suggestion>> {
    let found = Kept::of(1, |kept| {
        tasks::each_unbound(tx, &mut |task| kept.offer(needle.is_in_task(&task), || task))
    })?;
    let Some(task) = found.into_iter().next() else { return Ok(None) };
    let command = format!(
        "conveyor bind --task {} --worker {} --manager {} --path {}",
        quote(&reference::name_of_task(tx, &task)?),
        quote(worker),
        quote(manager),
        quote(ledger)
    );
    Ok(Some(Suggestion::Bind {
        task: task.name,
        worker: worker.to_owned(),
        manager: manager.to_owned(),
        command,
    }))
}

fn register_prompt(role: Role) -> String {
    format!(
        "Open the Codex session that is to be the {role} and tell it: Use the skill manage-codex-workers to \
         register this session as a Conveyor {role}."
    )
}
