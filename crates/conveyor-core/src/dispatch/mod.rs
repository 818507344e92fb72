//! The dispatcher: a mechanical process that moves queued messages and worker completions into
//! the receivers' inboxes, or types them into terminals that are proven to take a message. It never
//! judges work.

mod agenda;
mod completions;
mod elements;
pub(crate) mod life;
mod pass;
mod permission;
mod push;
mod recovery;
mod routing;
mod watch;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use conveyor_model::CommandType;
use conveyor_store::Waker;
use serde::Serialize;

use agenda::Completions;
pub use elements::Element;

use crate::ingest::Follower;
use crate::typing::Guard;
use crate::{Cx, Result};

/// How many items one transaction handles at most.
const BATCH: usize = 100;

/// What a dispatcher may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Queued commands of one type.
    Command(CommandType),
    /// Completions of workers.
    Completion,
}

/// How a dispatcher is to run.
#[derive(Clone, Debug)]
pub struct Request {
    /// Go on until stopped; otherwise one pass.
    pub watch: bool,
    /// With `watch`: stop after so many iterations (at least one).
    pub iterations: Option<u64>,
    /// Seconds between iterations; below 0 counts as 0.
    pub interval: f64,
    /// Most elements per pass; 0 counts as 1.
    pub limit: usize,
    /// How long a claim holds; below 1 counts as 1.
    pub lease_seconds: i64,
    /// Identity recorded everywhere.
    pub dispatcher_id: String,
    /// Move only this.
    pub only: Option<Signal>,
    /// Say what would be done, without doing it.
    pub dry_run: bool,
    /// With `watch`: end once no task is bound any more.
    pub exit_when_unbound: bool,
    /// Read the rollouts of bound sessions: `None` means in unlimited watches that route completions.
    pub ingest: Option<bool>,
    /// How careful to be with terminals. Nothing is ever forced.
    pub guard: Guard,
}

impl Request {
    fn command_types(&self) -> Vec<CommandType> {
        // Loop continuations are neither claimed nor planned: their gates do not exist yet.
        match self.only {
            None => vec![CommandType::NotifyManager, CommandType::NudgeWorker],
            Some(Signal::Command(only)) => vec![only],
            Some(Signal::Completion) => Vec::new(),
        }
    }

    fn routes_completions(&self) -> bool {
        matches!(self.only, None | Some(Signal::Completion))
    }

    /// Whether it moves everything, for as long as it is left alone.
    fn serves_all(&self) -> bool {
        self.watch && self.iterations.is_none() && self.only.is_none() && self.ingests()
    }

    fn ingests(&self) -> bool {
        let unlimited = self.watch && self.iterations.is_none();
        !self.dry_run && self.ingest.unwrap_or(unlimited && self.routes_completions())
    }
}

/// What a dispatcher did.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "documented in the command's help")]
pub struct Report {
    pub dispatcher_id: String,
    pub dry_run: bool,
    pub iterations: u64,
    /// The newest elements, at most a thousand of a watch.
    pub processed: Vec<Element>,
    /// Number of elements in `processed`.
    pub processed_count: usize,
    /// Number of elements ever processed by this run.
    pub processed_total: u64,
    pub watch: bool,
}

/// How receivers in terminals are attended to.
enum Terminals {
    /// One after the other at the end of the pass.
    InTurn,
    /// Beside the passes, each for itself.
    Beside(push::Lane),
}

/// Stops a watching dispatcher from another thread, after the batch in hand.
#[derive(Clone, Default)]
pub struct Stop {
    requested: Arc<AtomicBool>,
    waker: Arc<Mutex<Option<Waker>>>,
}

impl Stop {
    /// Asks the dispatcher to end.
    pub fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
        if let Ok(waker) = self.waker.lock()
            && let Some(waker) = waker.as_ref()
        {
            waker.wake();
        }
    }

    fn is_requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    fn wakes(&self, waker: Waker) {
        if let Ok(mut place) = self.waker.lock() {
            *place = Some(waker);
        }
    }
}

/// Receives a line that a person should see while a watch goes on.
pub type Warn<'a> = &'a mut dyn FnMut(&str);

/// Runs a dispatcher: one pass, or a watch until its iterations are done or it is stopped.
///
/// # Errors
/// A ledger that fails in a way that waiting cannot cure. Failures of single items are elements.
pub fn run(cx: &mut Cx, request: &Request, stop: &Stop, warn: Warn<'_>) -> Result<Report> {
    if request.watch {
        return watch::run(cx, request, stop, warn);
    }
    cx.db.use_bulk_cache()?;
    let mut follower = Follower::new();
    if request.ingests() {
        while follower.pass(cx)?.more && !stop.is_requested() {}
    }
    let mut terminals = Terminals::InTurn;
    let all = Completions::All;
    let processed = pass::run(cx, request, stop, &all, follower.behind(), &mut terminals)?.elements;
    Ok(Report {
        dispatcher_id: request.dispatcher_id.clone(),
        dry_run: request.dry_run,
        iterations: 1,
        processed_count: processed.len(),
        processed_total: processed.len() as u64,
        processed,
        watch: false,
    })
}
