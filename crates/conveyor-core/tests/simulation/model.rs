//! What the test itself knows: which messages wait in which queue, what is in which inbox, and so
//! who must get what next.

use std::collections::{BTreeMap, BTreeSet};

use crate::jobs::{Job, Outcome};

/// Messages of one task in one direction, which keep their order.
type Lane = (String, String);

/// A message that was accepted and neither delivered nor given up.
#[derive(Clone, Debug)]
struct Queued {
    command: String,
    place: i64,
    /// How often the clock had gone back when it was accepted.
    epoch: u32,
}

/// A message in an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub created_at: String,
    pub id: i64,
    pub message: String,
    /// Where it was in the queue, unless it is a completion or came late through a lapse.
    pub queued: Option<(String, String, i64)>,
}

#[derive(Default)]
pub struct Model {
    lanes: BTreeMap<Lane, Vec<Queued>>,
    /// By session id, in order.
    inboxes: BTreeMap<String, Vec<Item>>,
    /// Commands that a claim of the old program took out of their order.
    late: BTreeSet<String>,
    epoch: u32,
    /// The last message of each lane that each session got.
    consumed: BTreeMap<(String, Lane), i64>,
}

impl Model {
    /// The clock was set back: times no longer tell the order of what comes after.
    pub fn clock_went_back(&mut self) {
        self.epoch += 1;
    }

    pub fn accepted(&mut self, command: &str, task: &str, kind: &str, place: i64) {
        let queued = Queued { command: command.to_owned(), place, epoch: self.epoch };
        self.lanes.entry((task.to_owned(), kind.to_owned())).or_default().push(queued);
    }

    /// An old claim took a command out of its order: it comes when that claim has lapsed.
    pub fn claimed(&mut self, command: &str) {
        self.late.insert(command.to_owned());
    }

    /// A command failed: nobody will get its message.
    pub fn failed(&mut self, command: &str) {
        for lane in self.lanes.values_mut() {
            lane.retain(|queued| queued.command != command);
        }
    }

    /// A command's message was delivered: it must have been the next one of its lane. `None` in
    /// place of the order when it had lost its place.
    pub fn delivered(
        &mut self,
        command: &str,
        strictly: bool,
    ) -> Result<Option<(String, String, i64)>, String> {
        for ((task, kind), lane) in &mut self.lanes {
            let Some(at) = lane.iter().position(|queued| queued.command == command) else { continue };
            let queued = lane.remove(at);
            // What an old claim has begun stands where that claim put it.
            let kept = strictly && !self.late.contains(command);
            let overtaken = lane[..at]
                .iter()
                .find(|earlier| earlier.epoch == queued.epoch && !self.late.contains(&earlier.command));
            if let Some(earlier) = overtaken.filter(|_| kept) {
                return Err(format!("{command} was delivered before {} of the same lane", earlier.command));
            }
            return Ok(kept.then(|| (task.clone(), kind.clone(), queued.place)));
        }
        Err(format!("{command} was delivered but was in no queue"))
    }

    /// Something came into an inbox.
    pub fn put(&mut self, session: &str, item: Item) {
        let inbox = self.inboxes.entry(session.to_owned()).or_default();
        inbox.push(item);
        inbox.sort_by(|a, b| (&a.created_at, a.id).cmp(&(&b.created_at, b.id)));
    }

    pub fn inbox(&self, session: &str) -> &[Item] {
        self.inboxes.get(session).map_or(&[], Vec::as_slice)
    }

    /// Somebody consumed a message of a session: it must have been the next.
    pub fn consumed(&mut self, session: &str, id: i64) -> Result<Item, String> {
        let inbox = self.inboxes.entry(session.to_owned()).or_default();
        match inbox.first() {
            Some(first) if first.id == id => {}
            first => {
                return Err(format!("notification {id} of {session} was consumed, but {first:?} was next"));
            }
        }
        let item = inbox.remove(0);
        if let (Some((task, kind, place)), 0) = (&item.queued, self.epoch) {
            let lane = (session.to_owned(), (task.clone(), kind.clone()));
            let last = self.consumed.insert(lane, *place);
            if last.is_some_and(|last| last > *place) {
                return Err(format!(
                    "notification {id} of {session} was consumed after a later one of its lane"
                ));
            }
        }
        Ok(item)
    }

    fn is_empty(&self, session: &str) -> bool {
        self.inbox(session).is_empty()
    }

    /// The messages that nobody has consumed.
    pub fn unconsumed(&self) -> usize {
        self.inboxes.values().map(Vec::len).sum()
    }

    /// The commands that still wait.
    pub fn waiting(&self) -> impl Iterator<Item = &str> {
        self.lanes.values().flatten().map(|queued| queued.command.as_str())
    }
}

/// A visit to an inbox, as far as it has come.
#[derive(Default)]
pub struct Visit {
    /// The sessions whose inboxes were empty when it may have looked.
    empty: BTreeSet<String>,
    /// What it took, from whom, and what was left then.
    took: Option<(String, Item, Vec<i64>)>,
}

impl Visit {
    /// Before each of its transactions.
    pub fn looks(&mut self, model: &Model, sessions: impl Iterator<Item = String>) {
        self.empty.extend(sessions.filter(|session| model.is_empty(session)));
    }

    /// It consumed this.
    pub fn takes(&mut self, model: &Model, session: &str, item: Item) {
        let rest = model.inbox(session).iter().map(|item| item.id).collect();
        self.took = Some((session.to_owned(), item, rest));
    }

    /// Compares what the visitor was told with what happened in the ledger.
    pub fn check(&self, model: &Model, job: &Job, outcome: &Outcome) -> Result<(), String> {
        let Outcome::Inbox { session, consumed, rest } = outcome else { return Ok(()) };
        let limit = match job {
            Job::Consume { limit, .. } => (*limit).max(1) as usize,
            _ => 50,
        };
        let mut expected: Vec<i64> = match (&self.took, consumed) {
            (Some((from, item, left)), Some((id, message))) => {
                if from != session || item.id != *id || item.message != *message {
                    return Err(format!(
                        "a visitor of {session} was given {consumed:?}, but took {item:?} of {from}"
                    ));
                }
                left.clone()
            }
            (None, None) => {
                if job.consumes() && !self.empty.contains(session) {
                    return Err(format!("a visitor of {session} got nothing, but the inbox was never empty"));
                }
                model.inbox(session).iter().map(|item| item.id).collect()
            }
            (took, given) => {
                return Err(format!("a visitor of {session} took {took:?}, but was given {given:?}"));
            }
        };
        expected.truncate(limit);
        if expected != *rest {
            return Err(format!(
                "a visitor of {session} saw {rest:?} in the inbox, but {expected:?} was there"
            ));
        }
        Ok(())
    }
}
