//! What actors do: one operation each, in a process of its own.

use std::rc::Rc;
use std::sync::Arc;

use conveyor_core::dispatch::{self, Signal, Stop};
use conveyor_core::inbox::{self, Inbox};
use conveyor_core::ingest::{self, Follower};
use conveyor_core::queue::{self, EnqueueRequest};
use conveyor_core::typing::Guard;
use conveyor_core::{Cx, Error, bindings, sessions};
use conveyor_model::{CommandType, Role};

use crate::ledger::{Place, Raw, register};
use crate::old;
use crate::stage::Line;

/// One operation.
#[derive(Clone, Debug)]
pub enum Job {
    Dispatch { id: String, limit: usize, lease: i64, only: Option<Signal>, ingest: bool, dry_run: bool },
    Consume { session: String, limit: i64 },
    ConsumeSide { task: String, role: Role },
    Peek { session: String },
    Enqueue { task: String, kind: CommandType, key: String },
    Ingest { session: String },
    Follow,
    Bind { task: String, worker: String, manager: String },
    Unbind { task: String },
    Register { session: String, file: String, tmux: bool },
    Deregister { session: String },
    OldCommand { lease: i64 },
    OldCompletion { lease: i64 },
}

impl Job {
    /// Whether it is the old program's.
    pub fn is_old(&self) -> bool {
        matches!(self, Self::OldCommand { .. } | Self::OldCompletion { .. })
    }

    /// Whether it may consume something.
    pub fn consumes(&self) -> bool {
        matches!(self, Self::Consume { .. } | Self::ConsumeSide { .. })
    }

    /// Whether it may store events.
    pub fn ingests(&self) -> bool {
        matches!(self, Self::Dispatch { ingest: true, .. } | Self::Ingest { .. } | Self::Follow)
    }

    /// Whether it may route something.
    pub fn routes(&self) -> bool {
        self.is_old() || matches!(self, Self::Dispatch { dry_run: false, .. })
    }

    /// Whether it must leave the ledger as it is.
    pub fn only_looks(&self) -> bool {
        matches!(self, Self::Dispatch { dry_run: true, ingest: false, .. } | Self::Peek { .. })
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing that the test needs to know.
    Done,
    /// Refused for a reason that lies in what the ledger holds.
    Refused(String),
    /// The message is queued as this command.
    Accepted(String),
    /// The message had been queued before.
    KeyTaken,
    /// An inbox: what was taken out, and what is still in it.
    Inbox { session: String, consumed: Option<(i64, String)>, rest: Vec<i64> },
}

/// One process: its connections and what it remembers.
pub struct Process {
    place: Arc<Place>,
    line: Rc<Line>,
    cx: Option<Cx>,
    raw: Option<Raw>,
    follower: Follower,
}

impl Process {
    pub fn new(place: Arc<Place>, line: Rc<Line>) -> Self {
        Self { place, line, cx: None, raw: None, follower: Follower::new() }
    }

    /// Does a job. An error is something that no user may ever see here.
    pub fn perform(&mut self, job: &Job) -> Result<Outcome, String> {
        if let Job::OldCommand { lease } = job {
            let raw = self.raw.get_or_insert_with(|| self.place.raw());
            old::command(raw, &self.place.clock, *lease, &mut |point| self.line.pause(point));
            return Ok(Outcome::Done);
        }
        if let Job::OldCompletion { lease } = job {
            let raw = self.raw.get_or_insert_with(|| self.place.raw());
            old::completion(raw, &self.place.clock, *lease, &mut |point| self.line.pause(point));
            return Ok(Outcome::Done);
        }
        let cx = self.cx.get_or_insert_with(|| self.place.open());
        match operate(cx, &mut self.follower, job) {
            Ok(outcome) => Ok(outcome),
            Err(Error::KeyTaken(_)) => Ok(Outcome::KeyTaken),
            Err(error @ (Error::Store(_) | Error::Output(_) | Error::File { .. } | Error::Invalid(_))) => {
                Err(error.to_string())
            }
            Err(refusal) => Ok(Outcome::Refused(refusal.to_string())),
        }
    }
}

/// A dispatcher that makes one pass.
pub fn one_pass(id: &str, limit: usize, ingest: bool) -> dispatch::Request {
    dispatch::Request {
        watch: false,
        iterations: None,
        interval: 0.0,
        limit,
        lease_seconds: 60,
        dispatcher_id: id.to_owned(),
        only: None,
        dry_run: false,
        ingest: Some(ingest),
        guard: Guard::default(),
        exit_when_unbound: false,
    }
}

fn operate(cx: &mut Cx, follower: &mut Follower, job: &Job) -> conveyor_core::Result<Outcome> {
    match job {
        Job::Dispatch { id, limit, lease, only, ingest, dry_run } => {
            let request = dispatch::Request {
                lease_seconds: *lease,
                only: *only,
                dry_run: *dry_run,
                ..one_pass(id, *limit, *ingest)
            };
            dispatch::run(cx, &request, &Stop::default(), &mut |_| {})?;
            Ok(Outcome::Done)
        }
        Job::Consume { session, limit } => visit(cx, Inbox::Session(session), true, *limit),
        Job::ConsumeSide { task, role } => visit(cx, Inbox::Side { role: *role, task }, true, 50),
        Job::Peek { session } => visit(cx, Inbox::Session(session), false, 50),
        Job::Enqueue { task, kind, key } => {
            let request = EnqueueRequest {
                command_type: *kind,
                task,
                message: key,
                correlation_id: None,
                idempotency_key: Some(key),
                required_permission: None,
            };
            queue::enqueue(cx, &request).map(|queued| Outcome::Accepted(queued.command_id))
        }
        Job::Ingest { session } => ingest::ingest(cx, session, &mut |_, _| {}).map(|_| Outcome::Done),
        Job::Follow => {
            while follower.pass(cx)?.more {}
            Ok(Outcome::Done)
        }
        Job::Bind { task, worker, manager } => {
            bindings::bind(cx, task, worker, manager).map(|_| Outcome::Done)
        }
        Job::Unbind { task } => bindings::unbind(cx, task).map(|()| Outcome::Done),
        Job::Register { session, file, tmux } => {
            register(cx, session, file, tmux.then_some("terminal")).map(|()| Outcome::Done)
        }
        Job::Deregister { session } => sessions::deregister(cx, session).map(|()| Outcome::Done),
        Job::OldCommand { .. } | Job::OldCompletion { .. } => Ok(Outcome::Done),
    }
}

fn visit(cx: &mut Cx, inbox: Inbox<'_>, consume: bool, limit: i64) -> conveyor_core::Result<Outcome> {
    let request = inbox::Request { inbox, consume, wait: false, timeout: 0.0, interval: 0.0, limit };
    let reply = inbox::visit(cx, &request, &mut |_| {})?;
    let message = |payload: &serde_json::Map<String, serde_json::Value>| {
        payload.get("message").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    };
    Ok(Outcome::Inbox {
        session: reply.session.id,
        consumed: reply.consumed.map(|item| (item.id, message(&item.payload))),
        rest: reply.items.iter().map(|item| item.id).collect(),
    })
}
