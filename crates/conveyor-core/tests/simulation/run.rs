//! One seed: who makes the next step, who dies, when the clock jumps.

use std::sync::Arc;
use std::time::Duration;

use conveyor_core::dispatch::Signal;
use conveyor_model::{Clock as _, CommandType, Role};

use crate::dice::Dice;
use crate::jobs::{Job, Outcome};
use crate::judge::{Counts, Judge, Step};
use crate::ledger::{Place, SESSIONS, Source, TASKS};
use crate::model::Visit;
use crate::rollouts::{Rollouts, file_name};
use crate::sabotage::Sabotage;
use crate::stage::{Actor, Report};

/// Steps before the drain.
const STEPS: usize = 64;

/// What an actor does for a living.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Dispatcher,
    Consumer,
    Enqueuer,
    Ingester,
    Follower,
    Old,
    Operator,
}

/// The cast: how often each of them moves compared with the others, and in how many of a hundred
/// seeds they take part.
const CAST: [(Kind, usize, usize); 11] = [
    (Kind::Dispatcher, 12, 100),
    (Kind::Consumer, 7, 100),
    (Kind::Enqueuer, 7, 100),
    (Kind::Operator, 5, 100),
    (Kind::Dispatcher, 12, 80),
    (Kind::Dispatcher, 8, 30),
    (Kind::Consumer, 7, 60),
    (Kind::Enqueuer, 7, 50),
    (Kind::Ingester, 4, 50),
    (Kind::Follower, 4, 50),
    (Kind::Old, 6, 60),
];

/// An actor in its part.
struct Slot {
    kind: Kind,
    weight: usize,
    name: String,
    actor: Actor,
    visit: Visit,
    /// What it has to say again, because it died before it knew.
    retry: Option<Job>,
}

/// What an actor is made to do.
enum Move {
    Begin(Job),
    GoOn,
    Die,
}

/// A run that broke a rule.
pub struct Failure {
    pub seed: u64,
    pub violation: String,
    pub steps: Vec<String>,
}

impl Failure {
    /// All that is needed to understand and repeat it.
    pub fn story(&self) -> String {
        let steps = self.steps.join("\n");
        format!("{steps}\nseed {}: {}\nagain with CONVEYOR_SIM_SEED={}", self.seed, self.violation, self.seed)
    }
}

/// What a run did.
pub struct Done {
    pub counts: Counts,
    pub steps: Vec<String>,
    /// Whether the sabotage found its moment.
    pub sabotaged: bool,
}

/// Runs one seed.
pub fn run(source: &Source, seed: u64, sabotage: Option<&Sabotage>) -> Result<Done, Failure> {
    let place = Arc::new(source.place(seed));
    let mut run = Run::new(Arc::clone(&place), seed, sabotage);
    let outcome = run.all();
    let (counts, steps, sabotaged) =
        (std::mem::take(&mut run.judge.counts), std::mem::take(&mut run.steps), run.sabotaged);
    drop(run);
    source.clear(&place);
    match outcome {
        Ok(()) => Ok(Done { counts, steps, sabotaged }),
        Err(violation) => Err(Failure { seed, violation, steps }),
    }
}

pub struct Run<'r> {
    pub place: Arc<Place>,
    pub dice: Dice,
    pub judge: Judge,
    pub rollouts: Rollouts,
    slots: Vec<Slot>,
    steps: Vec<String>,
    /// Whether the clock may go back.
    steps_back: bool,
    /// Milliseconds that the clock went back altogether.
    pub behind: u64,
    messages: usize,
    sabotage: Option<&'r Sabotage>,
    sabotaged: bool,
}

impl<'r> Run<'r> {
    fn new(place: Arc<Place>, seed: u64, sabotage: Option<&'r Sabotage>) -> Self {
        let mut dice = Dice::new(seed);
        let cast = CAST.iter().filter(|(.., chance)| dice.percent(*chance));
        let slots = cast.enumerate().map(|(n, (kind, weight, _))| Slot {
            kind: *kind,
            weight: *weight,
            name: format!("{kind:?}-{n}"),
            actor: Actor::new(&place),
            visit: Visit::default(),
            retry: None,
        });
        Self {
            slots: slots.collect(),
            dice,
            judge: Judge::new(place.raw()),
            rollouts: Rollouts::new(&place.dir),
            place,
            steps: Vec::new(),
            steps_back: seed % 4 == 3,
            behind: 0,
            messages: 0,
            sabotage,
            sabotaged: false,
        }
    }

    fn all(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            self.step()?;
        }
        self.drain()
    }

    fn step(&mut self) -> Result<(), String> {
        let pause = self.dice.pick(&[0, 0, 1, 7, 150]);
        self.place.clock.advance(Duration::from_millis(pause));
        match self.dice.weighted(&[7, 9, 84]) {
            0 => self.jump(),
            1 => self.write_rollout(),
            _ => {
                let weights: Vec<usize> = self.slots.iter().map(|slot| slot.weight).collect();
                let slot = self.dice.weighted(&weights);
                let how = match &self.slots[slot].actor.busy {
                    // Old processes die more often, or their rarer deaths would hardly be seen.
                    Some((job, _)) if self.dice.percent(if job.is_old() { 35 } else { 12 }) => Move::Die,
                    Some(_) => Move::GoOn,
                    None => match self.job(slot) {
                        Some(job) => Move::Begin(job),
                        None => return Ok(()),
                    },
                };
                return self.make(slot, how);
            }
        }
        Ok(())
    }

    fn jump(&mut self) {
        let back = if self.steps_back { 4 } else { 0 };
        let millis = match self.dice.weighted(&[4, 4, 2, back]) {
            0 => self.dice.below(3_000),
            1 => self.dice.below(70_000),
            2 => 400_000,
            _ => {
                let millis = self.dice.below(90_000) as i64;
                let now = self.place.clock.now();
                self.place.clock.set(now.plus_millis(-millis));
                self.behind += millis.unsigned_abs();
                self.judge.model.clock_went_back();
                self.judge.count("clock went back");
                self.steps.push(format!("the clock goes back to {}", self.place.clock.now()));
                return;
            }
        };
        self.advance(millis as u64);
    }

    pub fn advance(&mut self, millis: u64) {
        self.place.clock.advance(Duration::from_millis(millis));
        self.steps.push(format!("the clock jumps to {}", self.place.clock.now()));
    }

    fn write_rollout(&mut self) {
        let session = self.dice.pick(&SESSIONS);
        let file = self.file_of(session);
        let written = self.rollouts.write(&file, &mut self.dice, &self.place.clock);
        self.steps.push(format!("{session} writes {written}"));
    }

    /// The file that a session is registered with.
    fn file_of(&self, session: &str) -> String {
        let id = self.judge.seen.session_id(session);
        self.judge.seen.sessions[id].file.clone()
    }

    /// What an idle actor does next.
    fn job(&mut self, slot: usize) -> Option<Job> {
        if let Some(retry) = self.slots[slot].retry.clone() {
            return Some(retry);
        }
        let dice = &mut self.dice;
        Some(match self.slots[slot].kind {
            Kind::Dispatcher => {
                let id = self.slots[slot].name.clone();
                let only = match dice.below(10) {
                    0 => Some(Signal::Command(CommandType::NotifyManager)),
                    1 => Some(Signal::Command(CommandType::NudgeWorker)),
                    2 => Some(Signal::Completion),
                    _ => None,
                };
                let (limit, lease) = (dice.pick(&[0, 1, 1, 2, 3, 100]), dice.pick(&[0, 1, 5, 60]));
                let (ingest, dry_run) = (dice.percent(35), dice.percent(4));
                Job::Dispatch { id, limit, lease, only, ingest, dry_run }
            }
            Kind::Consumer => match dice.below(10) {
                0 => Job::Peek { session: dice.pick(&SESSIONS).into() },
                1 | 2 => {
                    let role = dice.pick(&[Role::Worker, Role::Manager]);
                    Job::ConsumeSide { task: dice.pick(&TASKS).into(), role }
                }
                _ => {
                    // Mostly somebody who has something to consume.
                    let seen = &self.judge.seen;
                    let waits = |name: &&str| !self.judge.model.inbox(seen.session_id(name)).is_empty();
                    let waiting: Vec<&str> = SESSIONS.into_iter().filter(waits).collect();
                    let any = waiting.is_empty() || dice.percent(20);
                    let session = if any { dice.pick(&SESSIONS) } else { dice.pick(&waiting) };
                    Job::Consume { session: session.into(), limit: dice.pick(&[0, 1, 2, 50]) }
                }
            },
            Kind::Enqueuer => {
                self.messages += 1;
                Job::Enqueue {
                    task: dice.pick(&TASKS).into(),
                    kind: dice.pick(&[CommandType::NotifyManager, CommandType::NudgeWorker]),
                    key: format!("message {}", self.messages),
                }
            }
            Kind::Ingester => Job::Ingest { session: dice.pick(&SESSIONS).into() },
            Kind::Follower => Job::Follow,
            Kind::Old if dice.percent(if self.judge.typed_completion_waits() { 20 } else { 75 }) => {
                Job::OldCommand { lease: dice.pick(&[1, 5, 60]) }
            }
            Kind::Old => Job::OldCompletion { lease: dice.pick(&[1, 5, 60]) },
            Kind::Operator => return self.operation(),
        })
    }

    fn operation(&mut self) -> Option<Job> {
        let session = self.dice.pick(&SESSIONS).to_owned();
        let task = self.dice.pick(&TASKS).to_owned();
        let tmux = {
            let seen = &self.judge.seen;
            seen.sessions[seen.session_id(&session)].tmux
        };
        // A task without a binding gets one soon: messages to nobody are only refused.
        let binds = if self.judge.seen.live.len() < TASKS.len() { 16 } else { 1 };
        Some(match self.dice.weighted(&[3, binds, 8, 2, 2, 1]) {
            0 => Job::Unbind { task },
            1 => {
                let (worker, manager) = (self.dice.below(3), self.dice.below(3));
                Job::Bind { task, worker: format!("w{worker}"), manager: format!("m{manager}") }
            }
            2 => Job::Register { file: self.file_of(&session), session, tmux: !tmux },
            3 => Job::Register { file: self.file_of(&session), session, tmux },
            4 => {
                let next =
                    (0..).find(|n| !self.rollouts.files_of(&session).any(|f| f == file_name(&session, *n)));
                let file = self.rollouts.create(&session, next?);
                Job::Register { session, file, tmux }
            }
            _ => Job::Deregister { session },
        })
    }

    /// Has an actor make its next step and looks at what came of it.
    fn make(&mut self, slot: usize, how: Move) -> Result<(), String> {
        let job = match (&how, &self.slots[slot].actor.busy) {
            (Move::Begin(job), _) => job.clone(),
            (_, Some((job, _))) => job.clone(),
            (_, None) => return Ok(()),
        };
        let sessions: Vec<String> = self.judge.seen.sessions.keys().cloned().collect();
        let Slot { actor, visit, name, .. } = &mut self.slots[slot];
        let at = actor.busy.as_ref().map_or(String::new(), |(_, point)| point.clone());
        let died = matches!(how, Move::Die);
        if let Move::Begin(_) = how {
            *visit = Visit::default();
        }
        visit.looks(&self.judge.model, sessions.into_iter());
        let report = match &how {
            Move::Begin(job) => actor.begin(job),
            Move::GoOn => actor.go_on(),
            Move::Die => actor.die(),
        };
        self.steps.push(match &report {
            Report::At(point) if at.is_empty() => format!("{name} {job:?}, up to {point}"),
            Report::At(point) => format!("{name} from {at} to {point}"),
            Report::Done(outcome) if at.is_empty() => format!("{name} {job:?}: {outcome:?}"),
            Report::Done(outcome) => format!("{name} from {at}: {outcome:?}"),
            Report::Died => format!("{name} dies at {at}"),
        });
        let step = Step { job: &job, died, now: self.place.clock.now(), rollouts: &self.rollouts };
        if let Some(sabotage) = self.sabotage.filter(|_| !self.sabotaged && !died) {
            self.sabotaged = sabotage.apply(&mut self.place.raw(), &self.judge.seen, &step);
            if self.sabotaged {
                self.steps.push("sabotage".into());
            }
        }
        let visit = &mut self.slots[slot].visit;
        self.judge.step(&step, visit)?;
        self.concluded(slot, &job, report, &at)
    }

    /// What an actor was told must be true.
    fn concluded(&mut self, slot: usize, job: &Job, report: Report, at: &str) -> Result<(), String> {
        match report {
            Report::At(point) => self.judge.count(&format!("passed {point}")),
            Report::Died => {
                self.judge.count(&format!("died at {at}"));
                if matches!(job, Job::Enqueue { .. }) {
                    self.slots[slot].retry = Some(job.clone());
                }
            }
            Report::Done(Err(error)) => return Err(format!("{job:?} failed: {error}")),
            Report::Done(Ok(outcome)) => {
                self.told(slot, job, &outcome)?;
                self.slots[slot].retry = None;
            }
        }
        Ok(())
    }

    fn told(&mut self, slot: usize, job: &Job, outcome: &Outcome) -> Result<(), String> {
        let Slot { visit, retry, .. } = &self.slots[slot];
        match (job, outcome) {
            (Job::Enqueue { key, .. }, Outcome::Accepted(id)) => {
                let command = self.judge.seen.commands.get(id);
                if command.is_none_or(|command| command.message != *key) || retry.is_some() {
                    return Err(format!("{key} was accepted as {id}, which is {command:?}"));
                }
            }
            (Job::Enqueue { key, .. }, Outcome::KeyTaken) => {
                let is_queued = self.judge.seen.commands.values().any(|command| command.message == *key);
                return match (retry, is_queued) {
                    (Some(_), true) => Ok(()),
                    _ => Err(format!("{key} is said to be queued")),
                };
            }
            (Job::Enqueue { .. } | Job::Dispatch { .. } | Job::Follow, Outcome::Refused(reason)) => {
                return Err(format!("{job:?} was refused: {reason}"));
            }
            (_, Outcome::Refused(_)) => self.judge.count("refused to somebody"),
            (_, Outcome::Inbox { .. }) => visit.check(&self.judge.model, job, outcome)?,
            _ => {}
        }
        Ok(())
    }

    /// Has an actor of some kind do a job to its end.
    fn complete(&mut self, kind: Kind, job: Job) -> Result<(), String> {
        let slot = self.slots.iter().position(|slot| slot.kind == kind).unwrap_or(0);
        self.make(slot, Move::Begin(job))?;
        while self.slots[slot].actor.busy.is_some() {
            self.make(slot, Move::GoOn)?;
        }
        Ok(())
    }

    pub fn operate(&mut self, job: Job) -> Result<(), String> {
        self.complete(Kind::Operator, job)
    }

    pub fn dispatch(&mut self, job: Job) -> Result<(), String> {
        self.complete(Kind::Dispatcher, job)
    }

    pub fn consume(&mut self, job: Job) -> Result<(), String> {
        self.complete(Kind::Consumer, job)
    }

    /// Everybody who is at work ends it, one way or the other.
    pub fn conclude(&mut self) -> Result<(), String> {
        for slot in 0..self.slots.len() {
            let dies = self.dice.percent(50);
            while self.slots[slot].actor.busy.is_some() {
                self.make(slot, if dies { Move::Die } else { Move::GoOn })?;
            }
            if let Some(retry) = self.slots[slot].retry.clone() {
                self.make(slot, Move::Begin(retry))?;
                while self.slots[slot].actor.busy.is_some() {
                    self.make(slot, Move::GoOn)?;
                }
            }
        }
        Ok(())
    }
}
