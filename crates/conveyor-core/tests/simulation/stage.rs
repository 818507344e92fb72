//! The actors: each a thread that moves only when it is told to, from one point between two
//! transactions to the next.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use conveyor_core::fault;

use crate::jobs::{Job, Outcome, Process};
use crate::ledger::Place;

/// What the scheduler tells an actor.
enum Order {
    /// Begin this job; the actor is idle.
    Begin(Box<Job>),
    /// Go on from the point at which the actor stands.
    Go,
    /// Die there.
    Die,
}

/// What an actor says after each order.
#[derive(Debug)]
pub enum Report {
    /// It stands at this point.
    At(String),
    /// Its job is done, or failed in a way that no job may.
    Done(Result<Outcome, String>),
    /// It died.
    Died,
}

/// The death of an actor, as it unwinds.
struct Killed;

/// What connects an actor with the scheduler.
pub struct Line {
    orders: Receiver<Order>,
    reports: Sender<Report>,
}

impl Line {
    /// Stops at a point until the scheduler says how it goes on.
    pub fn pause(&self, point: &str) {
        let told = self.reports.send(Report::At(point.to_owned()));
        match told.ok().and_then(|()| self.orders.recv().ok()) {
            Some(Order::Go) => {}
            _ => resume_unwind(Box::new(Killed)),
        }
    }
}

/// One actor as the scheduler sees it.
pub struct Actor {
    orders: Option<Sender<Order>>,
    reports: Receiver<Report>,
    thread: Option<JoinHandle<()>>,
    /// The job in hand and the point at which the actor stands.
    pub busy: Option<(Job, String)>,
}

impl Actor {
    /// An idle actor; its process starts with its first job.
    pub fn new(place: &Arc<Place>) -> Self {
        let (orders, incoming) = channel();
        let (outgoing, reports) = channel();
        let place = Arc::clone(place);
        let thread = std::thread::spawn(move || live(place, Line { orders: incoming, reports: outgoing }));
        Self { orders: Some(orders), reports, thread: Some(thread), busy: None }
    }

    /// Has an idle actor begin a job, up to its first point.
    pub fn begin(&mut self, job: &Job) -> Report {
        assert!(self.busy.is_none(), "the actor is busy");
        let report = self.order(Order::Begin(Box::new(job.clone())));
        self.note(job.clone(), report)
    }

    /// Lets a busy actor go on to its next point.
    pub fn go_on(&mut self) -> Report {
        let (job, _) = self.busy.take().expect("a busy actor");
        let report = self.order(Order::Go);
        self.note(job, report)
    }

    /// Kills a busy actor at the point at which it stands.
    pub fn die(&mut self) -> Report {
        let (job, _) = self.busy.take().expect("a busy actor");
        let report = self.order(Order::Die);
        self.note(job, report)
    }

    fn order(&mut self, order: Order) -> Report {
        let orders = self.orders.as_ref().expect("a living thread");
        orders.send(order).expect("a living thread");
        self.reports.recv().expect("a living thread")
    }

    fn note(&mut self, job: Job, report: Report) -> Report {
        if let Report::At(point) = &report {
            self.busy = Some((job, point.clone()));
        }
        report
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // Nobody will give orders any more: a busy thread dies where it stands, an idle one ends.
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn live(place: Arc<Place>, line: Line) {
    let line = Rc::new(line);
    let hooked = Rc::clone(&line);
    fault::on_point(move |point| hooked.pause(point));
    let mut process = Process::new(Arc::clone(&place), Rc::clone(&line));
    while let Ok(Order::Begin(job)) = line.orders.recv() {
        let done = catch_unwind(AssertUnwindSafe(|| process.perform(&job)));
        let report = match done {
            Ok(outcome) => Report::Done(outcome),
            Err(payload) => {
                // Its connections and all it knew are gone with the process.
                process = Process::new(Arc::clone(&place), Rc::clone(&line));
                if payload.is::<Killed>() {
                    Report::Died
                } else {
                    Report::Done(Err(format!("panicked: {}", text_of(payload.as_ref()))))
                }
            }
        };
        if line.reports.send(report).is_err() {
            return;
        }
    }
}

fn text_of(payload: &dyn Any) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "no text",
    }
}
