//! What a watch has to look for. What is due by time costs the same however much is bound, and is
//! looked for in every pass; everything else only when something was heard of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use conveyor_store::telemetry::{self, Recorded};
use conveyor_store::{Changes, Engine, Wake};

use super::Request;
use crate::ingest::Follower;
use crate::{Cx, Result};

/// Passes for the sake of files have at least this pause between them: what is written in one go is
/// read in one go.
const REST: Duration = Duration::from_millis(10);

/// Looks at everything take at most one part of so many of the time, however often others commit.
const SHARE: u32 = 10;
/// The longest that a commit waits for that.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// A server's commits may notify nobody; so often everything is looked at there.
const REFRESH: Duration = Duration::from_secs(10);

/// So long after a commit that seemed to be of no concern everything is looked at nevertheless:
/// another program may change something and record nothing of it.
const DOUBT: Duration = Duration::from_millis(4500);

/// So many events are looked through to find out what others committed.
const MOST_EVENTS: usize = 200;

/// Events of these kinds stand for changes to the queue alone.
const OF_THE_QUEUE: [&str; 2] = ["dispatch_", "delivery_"];

/// These change neither who is bound nor which rollout belongs to whom, nor end a turn.
const OF_NO_CONCERN: [&str; 6] = [
    "app_heartbeat",
    "codex_events_ingest_failed",
    "command_created",
    "manager_cycle_failed",
    "manager_cycle_started",
    "manager_cycle_succeeded",
];

/// Somebody read on in a session's rollout.
const INGESTED: &str = "codex_events_ingested";

/// Of which sessions there may be completions that are not routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Completions {
    /// Of these.
    Of(BTreeSet<String>),
    /// Of any bound session.
    All,
}

impl Completions {
    /// Of nobody.
    pub(super) fn none() -> Self {
        Self::Of(BTreeSet::new())
    }

    /// The sessions, if it is not just any.
    pub(super) fn sessions(&self) -> Option<&BTreeSet<String>> {
        match self {
            Self::Of(sessions) => Some(sessions),
            Self::All => None,
        }
    }

    /// Whether there is nobody.
    pub(super) fn is_empty(&self) -> bool {
        self.sessions().is_some_and(BTreeSet::is_empty)
    }

    /// Of these as well.
    pub(super) fn add(&mut self, more: BTreeSet<String>) {
        if let Self::Of(sessions) = self {
            sessions.extend(more);
        }
    }
}

/// What the next pass has to look for.
pub(super) struct Agenda {
    /// Something was committed, or the watch begins: who is bound, and what of it is to be routed, is
    /// not known.
    is_stale: bool,
    /// When everything may be looked at again.
    from: Instant,
    /// When everything is looked at in any case.
    refresh_at: Option<Instant>,
    is_server: bool,
    /// Up to where the record of events was there when everything was looked at.
    place: Option<i64>,
    /// Whether the next pass looks into the queue.
    is_called: bool,
    /// When files may be looked at again.
    files_from: Instant,
    /// Whose completions are to be looked for.
    pub(super) completions: Completions,
}

impl Agenda {
    /// Everything.
    pub(super) fn new(engine: Engine) -> Self {
        let now = Instant::now();
        Self {
            is_stale: true,
            from: now,
            refresh_at: None,
            is_server: engine == Engine::Postgres,
            place: None,
            is_called: true,
            files_from: now,
            completions: Completions::All,
        }
    }

    /// An iteration begins. A bounded watch takes each as if it were its first.
    pub(super) fn tick(&mut self, request: &Request) {
        self.is_called = true;
        if request.iterations.is_some() {
            self.start_over();
        }
    }

    /// What was known may be true no more.
    pub(super) fn start_over(&mut self) {
        self.is_called = true;
        self.is_stale = true;
        self.from = Instant::now();
    }

    /// Until when nothing is due but what others cause.
    pub(super) fn until(&self, next_tick: Instant, follower: &Follower) -> Instant {
        let files = follower.is_due().then_some(self.files_from);
        let everything = self.is_stale.then_some(self.from);
        [files, everything, self.refresh_at].into_iter().flatten().fold(next_tick, Instant::min)
    }

    /// Takes up why a wait ended; `true` when there is something to look for.
    pub(super) fn learn(
        &mut self,
        cx: &mut Cx,
        wake: Wake,
        changes: &mut Changes,
        follower: &mut Follower,
    ) -> Result<bool> {
        let now = Instant::now();
        match wake {
            Wake::Changed => self.hear(cx)?,
            Wake::Files => follower.notice(changes.files()),
            Wake::Looked | Wake::Nudged | Wake::TimedOut => {}
        }
        if self.refresh_at.is_some_and(|at| at <= now) {
            self.start_over();
        }
        Ok(self.is_called || self.is_everything() || (follower.is_due() && now >= self.files_from))
    }

    /// Finds out what somebody else committed.
    fn hear(&mut self, cx: &mut Cx) -> Result<()> {
        self.is_called = true;
        let recorded = match self.place {
            Some(place) if !self.is_stale => {
                cx.db.read(|tx| telemetry::recorded_since(tx, place, MOST_EVENTS))?
            }
            _ => Vec::new(),
        };
        match completed_at_most(&recorded) {
            Some(sessions) => {
                self.completions.add(sessions);
                self.place = recorded.last().map(|event| event.place);
                self.refresh_at.get_or_insert(Instant::now() + DOUBT);
            }
            None => self.is_stale = true,
        }
        Ok(())
    }

    /// Everything is about to be looked at.
    pub(super) fn begin_everything(&mut self, cx: &mut Cx) -> Result<()> {
        self.place = cx.db.read(telemetry::end_of_record)?;
        self.completions = Completions::All;
        Ok(())
    }

    /// Whether the next pass takes up the bound sessions anew.
    pub(super) fn is_everything(&self) -> bool {
        self.is_stale && Instant::now() >= self.from
    }

    /// New events of rollouts are in the ledger, with completions of these sessions.
    pub(super) fn read(&mut self, new_events: u64, completed: BTreeSet<String>) {
        // What waits for a terminal may go after the end of a turn.
        self.is_called |= new_events > 0;
        self.completions.add(completed);
    }

    /// There may be more messages than a pass takes.
    pub(super) fn call(&mut self) {
        self.is_called = true;
    }

    /// Whether the next pass looks for messages and completions at all.
    pub(super) fn has_calls(&self) -> bool {
        self.is_called || !self.completions.is_empty()
    }

    /// A pass is over that began at this moment: one that looked at everything, or not; and one that
    /// left completions unrouted, or not.
    pub(super) fn passed(&mut self, begun: Instant, everything: bool, is_unfinished: bool) {
        let now = Instant::now();
        self.files_from = now + REST;
        self.is_called = false;
        if !is_unfinished {
            self.completions = Completions::none();
        }
        if everything {
            self.is_stale = false;
            self.from = now + ((now - begun) * SHARE).min(LONGEST_WAIT);
            self.refresh_at = self.is_server.then(|| now + REFRESH);
        }
    }
}

/// The sessions of which completions may have been read, if these events stand for nothing else that is
/// of concern here. A commit without any event may stand for anything.
fn completed_at_most(recorded: &[Recorded]) -> Option<BTreeSet<String>> {
    if recorded.is_empty() || recorded.len() == MOST_EVENTS {
        return None;
    }
    let mut sessions = BTreeSet::new();
    for Recorded { event_type, session_id, .. } in recorded {
        if event_type == INGESTED {
            sessions.insert(session_id.clone()?);
        } else if !OF_NO_CONCERN.contains(&event_type.as_str())
            && !OF_THE_QUEUE.iter().any(|kind| event_type.starts_with(kind))
        {
            return None;
        }
    }
    Some(sessions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::typing::Guard;

    fn request(iterations: Option<u64>) -> Request {
        Request {
            watch: true,
            iterations,
            interval: 2.0,
            limit: 10,
            lease_seconds: 60,
            dispatcher_id: "d".into(),
            only: None,
            dry_run: false,
            exit_when_unbound: false,
            ingest: None,
            guard: Guard::default(),
        }
    }

    /// An agenda of a watch that has looked at everything just now.
    fn looked(engine: Engine) -> Agenda {
        let mut agenda = Agenda::new(engine);
        assert!(agenda.is_everything() && agenda.has_calls());
        agenda.passed(Instant::now(), true, false);
        assert!(!agenda.is_everything() && !agenda.has_calls());
        agenda
    }

    #[test]
    fn an_idle_tick_asks_for_what_is_due_by_time_only() {
        let mut agenda = looked(Engine::Sqlite);
        agenda.tick(&request(None));
        assert!(agenda.has_calls());
        assert!(!agenda.is_everything());
        assert_eq!(agenda.completions, Completions::none());
        agenda.passed(Instant::now(), false, false);
        assert!(!agenda.has_calls());
        agenda.tick(&request(Some(3)));
        assert!(agenda.is_everything(), "in a bounded watch each iteration stands for itself");
    }

    #[test]
    fn nothing_is_waited_for_but_the_tick_and_on_a_server_the_refresh() {
        let (follower, tick) = (Follower::new(), Instant::now() + Duration::from_secs(3600));
        assert_eq!(looked(Engine::Sqlite).until(tick, &follower), tick);
        assert!(looked(Engine::Postgres).until(tick, &follower) <= Instant::now() + REFRESH);
    }

    #[test]
    fn completions_are_looked_for_until_they_are_routed() {
        let mut agenda = looked(Engine::Sqlite);
        let ada = BTreeSet::from(["ada".to_owned()]);
        agenda.read(1, ada.clone());
        assert_eq!(agenda.completions, Completions::Of(ada.clone()));
        agenda.passed(Instant::now(), false, true);
        assert_eq!(agenda.completions, Completions::Of(ada), "another dispatcher holds the task");
        assert!(agenda.has_calls());
        agenda.passed(Instant::now(), false, false);
        assert!(!agenda.has_calls());
        agenda.read(0, BTreeSet::new());
        assert!(!agenda.has_calls(), "nothing new was read");
    }

    #[test]
    fn events_tell_what_was_committed() {
        let event = |event_type: &str, session: Option<&str>| Recorded {
            place: 1,
            event_type: event_type.into(),
            session_id: session.map(str::to_owned),
        };
        let beat = || event("app_heartbeat", None);
        assert_eq!(completed_at_most(&[]), None, "no event at all");
        assert_eq!(
            completed_at_most(&[beat(), event("dispatch_inbox_consumed", None)]),
            Some(BTreeSet::new())
        );
        let read = event(INGESTED, Some("ada"));
        assert_eq!(completed_at_most(&[read, beat()]), Some(BTreeSet::from(["ada".into()])));
        assert_eq!(completed_at_most(&[event(INGESTED, None)]), None);
        for unknown in ["binding_created", "session_registered", "task_finished", "from_the_future"] {
            assert_eq!(completed_at_most(&[beat(), event(unknown, Some("ada"))]), None, "{unknown}");
        }
        assert_eq!(completed_at_most(&vec![beat(); MOST_EVENTS]), None, "and perhaps more");
    }

    #[test]
    fn what_others_commit_all_the_time_takes_a_part_of_it() {
        let (follower, tick) = (Follower::new(), Instant::now() + Duration::from_secs(3600));
        let mut agenda = looked(Engine::Sqlite);
        agenda.is_stale = true;
        let begun = Instant::now().checked_sub(Duration::from_millis(20)).unwrap();
        agenda.passed(begun, true, false);
        agenda.is_stale = true;
        assert!(!agenda.is_everything());
        let until = agenda.until(tick, &follower);
        assert!(until > Instant::now() && until <= Instant::now() + LONGEST_WAIT);
        agenda.start_over();
        assert!(agenda.is_everything(), "not after an outage");
    }
}
