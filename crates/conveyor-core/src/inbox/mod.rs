//! Inboxes: looking at, waiting for and consuming the messages addressed to a session.

mod advance;

use std::time::{Duration, Instant};

use conveyor_model::{Actor, Role};
use conveyor_store::inbox::{self, SessionInboxItem};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{Changes, Tx};
use serde::Serialize;
use serde_json::json;

use crate::outage::Outage;
use crate::tasks::TaskRef;
use crate::{Cx, Error, Result, fault, reference};

/// Whose inbox.
#[derive(Clone, Copy, Debug)]
pub enum Inbox<'a> {
    /// Of the session of this name, whatever its state.
    Session(&'a str),
    /// Of one side of a task's live binding.
    Side {
        /// Which side.
        role: Role,
        /// Task id or name.
        task: &'a str,
    },
}

/// What is wanted of an inbox.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Whose.
    pub inbox: Inbox<'a>,
    /// Take the first message out.
    pub consume: bool,
    /// Wait until something is there (with `consume`: until something was consumed).
    pub wait: bool,
    /// Longest wait in seconds.
    pub timeout: f64,
    /// Seconds after which a quiet inbox is looked at again.
    pub interval: f64,
    /// Most messages listed; below 1 counts as 1.
    pub limit: i64,
}

/// What is in an inbox.
#[derive(Debug, Serialize)]
pub struct Reply {
    /// The message taken out.
    pub consumed: Option<SessionInboxItem>,
    /// What is still in it, up to the limit.
    pub items: Vec<SessionInboxItem>,
    /// Whose it is.
    pub session: SessionRef,
    /// The task it was found by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskRef>,
    /// How it was waited for.
    pub wait: Waited,
}

/// The short form of a session.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct SessionRef {
    pub id: String,
    pub name: String,
    pub role: String,
}

/// How a message was waited for.
#[derive(Debug, Serialize)]
pub struct Waited {
    /// Measured time, at most the timeout; 0 without waiting.
    pub elapsed_seconds: f64,
    /// Whether waiting was wanted.
    pub enabled: bool,
    /// As given.
    pub interval_seconds: f64,
    /// How often the inbox was looked at.
    pub poll_count: u64,
    /// Whether the wait ended without what it waited for.
    pub timed_out: bool,
    /// As given.
    pub timeout_seconds: f64,
}

/// Looks into an inbox, takes a message out, waits for one. While it waits it holds no lock and no
/// transaction, and lives through outages of the ledger, of each of which `warn` hears once.
///
/// What was consumed is committed before this returns, the list of the rest included.
///
/// # Errors
/// An unknown session or task, no binding or no session on that side of it, a failing ledger.
pub fn visit(cx: &mut Cx, request: &Request<'_>, warn: &mut dyn FnMut(&str)) -> Result<Reply> {
    let mut visit = Visit::new(request);
    let mut outage = Outage::none();
    loop {
        match visit.go_on(cx, &mut outage) {
            Err(Error::Store(error)) if request.wait && error.is_transient() => {
                // What the broken connection observed is gone with it.
                visit.changes = None;
                let deadline = visit.deadline;
                outage.survive(&mut cx.db, error, &|| Instant::now() >= deadline, warn)?;
            }
            outcome => return outcome,
        }
    }
}

/// A visit to an inbox, across outages.
struct Visit<'r> {
    request: &'r Request<'r>,
    started: Instant,
    deadline: Instant,
    interval: Duration,
    owner: Option<(SessionRef, Option<TaskRef>)>,
    changes: Option<Changes>,
    polls: u64,
    in_doubt: Option<Taken>,
}

/// What a look found.
struct Found {
    consumed: Option<SessionInboxItem>,
    items: Vec<SessionInboxItem>,
}

/// A consumption. Its event is its receipt: it is in the ledger exactly when the consumption is.
struct Taken {
    found: Found,
    event_id: String,
}

impl<'r> Visit<'r> {
    fn new(request: &'r Request<'r>) -> Self {
        let started = Instant::now();
        Self {
            request,
            started,
            deadline: started + duration(request.timeout),
            // A pause of nothing would be a loop without pause.
            interval: duration(request.interval).max(Duration::from_millis(1)),
            owner: None,
            changes: None,
            polls: 0,
            in_doubt: None,
        }
    }

    /// Looks until there is something or the time is over.
    fn go_on(&mut self, cx: &mut Cx, outage: &mut Outage) -> Result<Reply> {
        // Observing begins before the first look: what is committed after that look ends the wait.
        if self.request.wait && self.changes.is_none() && Instant::now() < self.deadline {
            self.changes = Some(cx.db.observe_changes()?);
        }
        let (session, task) = match &self.owner {
            Some(owner) => owner.clone(),
            None => self.owner.insert(cx.db.read(|tx| owner(tx, self.request.inbox))?).clone(),
        };
        fault::point("inbox.found");
        if let Some(found) = self.settle_doubt(cx)? {
            return Ok(self.reply(found, session, task));
        }
        loop {
            // Before the look, so that a look always follows the end of the time.
            let last = !self.request.wait || Instant::now() >= self.deadline;
            if let Some(found) = self.look(cx, &session.id, last)? {
                return Ok(self.reply(found, session, task));
            }
            outage.over(&cx.db);
            let until = self.deadline.min(Instant::now() + self.interval);
            if let Some(changes) = &mut self.changes {
                cx.db.wait_for_change(changes, until, &mut || false)?;
            }
        }
    }

    /// A connection that broke during a commit leaves open whether the commit came to pass; the
    /// ledger knows. Without asking it a consumed message could be consumed and never shown.
    fn settle_doubt(&mut self, cx: &mut Cx) -> Result<Option<Found>> {
        let Some(taken) = &self.in_doubt else { return Ok(None) };
        let receipt = cx.db.read(|tx| telemetry::find(tx, &taken.event_id))?;
        Ok(self.in_doubt.take().filter(|_| receipt.is_some()).map(|taken| taken.found))
    }

    /// One look; `None` when the wait goes on.
    fn look(&mut self, cx: &mut Cx, session_id: &str, last: bool) -> Result<Option<Found>> {
        self.polls += 1;
        if self.request.consume {
            let found = self.consume(cx, session_id)?;
            if found.is_some() || !last {
                return Ok(found);
            }
        }
        let items = cx.db.read(|tx| inbox::list(tx, session_id, self.request.limit.max(1)))?;
        Ok((last || !items.is_empty()).then_some(Found { consumed: None, items }))
    }

    fn consume(&mut self, cx: &mut Cx, session_id: &str) -> Result<Option<Found>> {
        // A plain read first: waiting consumers do not queue up for the write lock in vain.
        if !cx.db.read(|tx| inbox::has_items(tx, session_id))? {
            return Ok(None);
        }
        fault::point("inbox.looked");
        let (request, polls) = (self.request, self.polls);
        let in_doubt = &mut self.in_doubt;
        cx.db.write(|tx| {
            *in_doubt = take(tx, session_id, request, polls)?;
            Ok::<(), Error>(())
        })?;
        fault::point("inbox.consumed");
        Ok(self.in_doubt.take().map(|taken| taken.found))
    }

    fn reply(&self, found: Found, session: SessionRef, task: Option<TaskRef>) -> Reply {
        let request = self.request;
        let satisfied = if request.consume { found.consumed.is_some() } else { !found.items.is_empty() };
        let elapsed = if request.wait { self.started.elapsed().as_secs_f64() } else { 0.0 };
        let wait = Waited {
            elapsed_seconds: ((elapsed * 1000.0).round() / 1000.0).min(request.timeout),
            enabled: request.wait,
            interval_seconds: request.interval,
            poll_count: self.polls,
            timed_out: request.wait && !satisfied,
            timeout_seconds: request.timeout,
        };
        Reply { consumed: found.consumed, items: found.items, session, task, wait }
    }
}

/// The session whose inbox it is, and the task it was found by.
fn owner(tx: &mut Tx<'_>, inbox: Inbox<'_>) -> Result<(SessionRef, Option<TaskRef>)> {
    let (session, task) = match inbox {
        Inbox::Session(name) => (reference::session(tx, name)?, None),
        Inbox::Side { role, task } => {
            let task = reference::task(tx, task)?;
            let binding = reference::live_binding(tx, &task)?;
            let session = reference::bound_session(tx, &binding, role)?
                .ok_or_else(|| Error::NoBoundSession { task: task.name.clone(), role })?;
            (session, Some(TaskRef::from(&task)))
        }
    };
    Ok((SessionRef { id: session.id, name: session.name, role: session.role }, task))
}

/// Consumes the first message, with all that belongs to it.
fn take(tx: &mut Tx<'_>, session_id: &str, request: &Request<'_>, polls: u64) -> Result<Option<Taken>> {
    let Some(item) = inbox::consume_next(tx, session_id)? else { return Ok(None) };
    advance::advance(tx, &item)?;
    let correlation = json!({
        "correlation_id": item.correlation_id,
        "notification_id": item.id,
        "signal_type": item.signal_type,
        "target_session_id": item.target_session_id,
    });
    let attributes = json!({
        "consumed_by_session_id": item.consumed_by_session_id,
        "delivery_mode": item.delivery_mode,
        "poll_count": polls,
        "source_session_name": item.source_session_name,
        "target_session_name": item.target_session_name,
        "target_session_role": item.target_session_role,
        "wait_enabled": request.wait,
    });
    let summary =
        format!("Session {} consumed {} from its inbox.", item.target_session_name, item.signal_type);
    let event = Emit::info(Actor::Dispatch, "dispatch_inbox_consumed", summary, correlation, attributes);
    let event_id = telemetry::emit(tx, &event.of_task(Some(&item.task_id)))?;
    // Listed here and not afterwards: once it is committed, nothing may keep the item from its consumer.
    let items = inbox::list(tx, session_id, request.limit.max(1))?;
    Ok(Some(Taken { found: Found { consumed: Some(item), items }, event_id }))
}

/// Seconds as a duration; more than a century counts as a century, which no wait outlasts.
fn duration(seconds: f64) -> Duration {
    const CENTURY: Duration = Duration::from_secs(100 * 366 * 86_400);
    Duration::try_from_secs_f64(seconds).unwrap_or(CENTURY).min(CENTURY)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use conveyor_store::{Access, Db, Location, OpenOptions};
    use conveyor_testkit::{ManualClock, SequentialIds};

    use super::*;

    #[test]
    fn a_commit_in_doubt_counts_exactly_when_its_receipt_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let options = OpenOptions {
            clock: Arc::new(ManualClock::default()),
            ids: Arc::new(SequentialIds::new()),
            machine: conveyor_model::Machine::default(),
            server_password: None,
            password_file: None,
        };
        let db = Db::open(&Location::File(dir.path().join("x.db")), Access::Write, options).unwrap();
        let tmux = crate::Tmux::new("tmux", crate::ServerChoice::Default);
        let mut cx = Cx { db, cwd: dir.path().to_owned(), parent_pid: 1, tmux };
        let event = || Emit::info(Actor::Dispatch, "x", "s".into(), json!({}), json!({}));
        let event_id = cx.db.write(|tx| telemetry::emit(tx, &event())).unwrap();
        let inbox = Inbox::Session("demo-worker");
        let request = Request { inbox, consume: true, wait: true, timeout: 1.0, interval: 1.0, limit: 1 };
        let mut visit = Visit::new(&request);
        for (event_id, committed) in [(event_id, true), ("telemetry-lost".into(), false)] {
            visit.in_doubt = Some(Taken { found: Found { consumed: None, items: Vec::new() }, event_id });
            assert_eq!(visit.settle_doubt(&mut cx).unwrap().is_some(), committed);
            assert!(visit.in_doubt.is_none(), "settled once and for all");
        }
    }

    #[test]
    fn any_finite_number_of_seconds_is_a_wait() {
        assert_eq!(duration(0.25), Duration::from_millis(250));
        assert_eq!(duration(1e300), duration(1e12));
        let _ = Instant::now() + duration(f64::MAX);
    }
}
