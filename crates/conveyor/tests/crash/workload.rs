//! The workload of the random kills: dispatchers, consumers, ingesters and enqueuers over several
//! tasks, each a loop that starts a real process, hears it out, and writes down what it saw.

use std::io::Write as _;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use conveyor_testkit::checker::key;
use rustix::process::Signal;

use crate::Dice;
use crate::process::Ran;
use crate::world::{Direction, World, enqueue_arguments, turn};

/// How many of each, over which tasks.
pub struct Plan {
    pub tasks: &'static [&'static str],
    pub dispatchers: usize,
    /// Consumers for each inbox.
    pub consumers: usize,
    /// The pause between two messages of one enqueuer.
    pub pause: Duration,
}

const WORKING: u8 = 0;
const DRAINING: u8 = 1;
const OVER: u8 = 2;

/// A running workload.
pub struct Workload<'w> {
    world: &'w World,
    plan: Plan,
    phase: AtomicU8,
    actors: AtomicUsize,
}

/// Ends the workload even when the test that runs it panics: its threads must not outlive it.
struct End<'s>(&'s AtomicU8);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(OVER, Ordering::SeqCst);
    }
}

impl<'w> Workload<'w> {
    /// Runs a workload while `disturb` disturbs it, then lets it come to rest and ends it.
    pub fn run(world: &'w World, plan: Plan, dice: &mut Dice, disturb: impl FnOnce(&Self)) {
        let workload = Self { world, plan, phase: AtomicU8::new(WORKING), actors: AtomicUsize::new(0) };
        std::thread::scope(|scope| {
            let workload = &workload;
            let end = End(&workload.phase);
            for (at, task) in workload.plan.tasks.iter().enumerate() {
                for direction in Direction::BOTH {
                    scope.spawn(move || workload.actor(|| workload.enqueue(task, direction)));
                    for _ in 0..workload.plan.consumers {
                        scope.spawn(move || workload.actor(|| workload.consume(task, direction)));
                    }
                }
                let mut dice = dice.fork();
                scope.spawn(move || workload.actor(|| workload.append(task, &mut dice)));
                // The other rollouts are read by the dispatchers alone.
                if at == 0 {
                    scope.spawn(move || workload.actor(|| workload.ingest(task)));
                    scope.spawn(move || workload.actor(|| workload.beat(task)));
                }
            }
            for number in 0..workload.plan.dispatchers {
                scope.spawn(move || workload.actor(|| workload.dispatch(number)));
            }
            disturb(workload);
            workload.come_to_rest();
            drop(end);
            // A watching dispatcher ends when it is told so; one that is just starting is told again.
            while workload.actors.load(Ordering::SeqCst) > 0 {
                world.signal_all("dispatch", Signal::TERM);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    }

    fn actor(&self, act: impl FnOnce()) {
        struct Counted<'c>(&'c AtomicUsize);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.actors.fetch_add(1, Ordering::SeqCst);
        let _counted = Counted(&self.actors);
        act();
    }

    fn is(&self, phase: u8) -> bool {
        self.phase.load(Ordering::SeqCst) == phase
    }

    /// No new work; what there is must be done by those who are there.
    fn come_to_rest(&self) {
        self.phase.store(DRAINING, Ordering::SeqCst);
        let limit = Instant::now() + Duration::from_secs(60);
        let mut quiet = 0;
        // Twice in a row, because an enqueuer may be finishing its last message.
        while quiet < 2 {
            let left = self.world.left();
            quiet = if left.is_nothing() { quiet + 1 } else { 0 };
            assert!(Instant::now() < limit, "the work does not come to its end: {left:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Kills a living process by SIGKILL: first a command is chosen, then one of its processes, so
    /// that the few long-lived ones are hit as often as the many short ones. `None`: nobody lives.
    pub fn kill_one(&self, dice: &mut Dice) -> Option<String> {
        let living = self.world.living();
        let mut kinds: Vec<&str> = living.iter().map(|slot| slot.kind.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let kind = *kinds.get(dice.below(kinds.len()))?;
        let of_kind: Vec<_> = living.iter().filter(|slot| slot.kind == kind).collect();
        of_kind[dice.below(of_kind.len())].signal(Signal::KILL).then(|| kind.to_owned())
    }

    /// Notes a process that ended otherwise than it should have, unless it was killed or the
    /// server was down meanwhile.
    fn expect_ok(&self, ran: &Ran, since: usize) -> bool {
        let excused = ran.forced || self.world.was_out_since(since);
        if !ran.ok() && !excused {
            self.world.journal.failed(&ran.told());
        }
        ran.ok()
    }

    fn enqueue(&self, task: &str, direction: Direction) {
        let mut number = 0;
        while self.is(WORKING) {
            number += 1;
            let key = key(task, direction.signal(), number);
            self.world.journal.trying(&key);
            while !self.try_enqueue(task, direction, &key) && !self.is(OVER) {}
            std::thread::sleep(self.plan.pause);
        }
    }

    /// Tries to queue a message; `true` when it is queued, by this try or an earlier one.
    fn try_enqueue(&self, task: &str, direction: Direction, key: &str) -> bool {
        let since = self.world.outage_mark();
        let ran = self.world.run(&enqueue_arguments(task, direction, key));
        if ran.ok() {
            let queued = ran.json();
            self.world.journal.accepted(key, queued["command_id"].as_str().unwrap());
            return true;
        }
        if ran.status.code() == Some(2) && ran.stderr.contains("is taken") {
            self.world.journal.taken(key);
            return true;
        }
        self.expect_ok(&ran, since);
        // A server that is down is not asked in a tight loop.
        std::thread::sleep(Duration::from_millis(20));
        !ran.forced && !self.world.was_out_since(since)
    }

    fn consume(&self, task: &str, direction: Direction) {
        let arguments =
            [direction.inbox(), task, "--consume-next", "--wait", "--timeout", "1", "--limit", "1", "--json"];
        while !self.is(OVER) {
            let since = self.world.outage_mark();
            let ran = self.world.run(&arguments);
            self.expect_ok(&ran, since);
            match ran.parsed() {
                Some(visit) if !visit["consumed"].is_null() => self.world.journal.printed(&visit["consumed"]),
                Some(_) => {}
                None => self.world.journal.silenced(),
            }
        }
    }

    fn dispatch(&self, number: usize) {
        let id = format!("dispatcher-{number}");
        let arguments = [
            "dispatch",
            "--watch",
            "--lease-seconds",
            "1",
            "--interval",
            "1",
            "--dispatcher-id",
            &id,
            "--json",
        ];
        while !self.is(OVER) {
            let since = self.world.outage_mark();
            let ran = self.world.run(&arguments);
            // Started while the server was down, it says so and ends; one that was running already
            // would have said first that it waits.
            if self.world.was_out_since(since)
                && ran.stderr.lines().count() == 1
                && ran.stderr.starts_with("cannot reach")
            {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
            // It was told to end, perhaps before it could listen.
            let told =
                self.is(OVER) && std::os::unix::process::ExitStatusExt::signal(&ran.status) == Some(15);
            if !ran.forced && !told && (!ran.ok() || ran.parsed().is_none() || !self.is(OVER)) {
                self.world.journal.failed(&ran.told());
            }
        }
    }

    /// Reads the rollout of one task's worker beside the dispatchers, who do it too.
    fn ingest(&self, task: &str) {
        let session = format!("{task}-worker");
        while !self.is(OVER) {
            let since = self.world.outage_mark();
            let ran = self.world.run(&["ingest", &session]);
            self.expect_ok(&ran, since);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn beat(&self, task: &str) {
        while !self.is(OVER) {
            let since = self.world.outage_mark();
            let ran = self.world.run(&["app-heartbeat", task, "--role", "worker", "--json"]);
            self.expect_ok(&ran, since);
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Writes a rollout in pieces that end anywhere.
    fn append(&self, task: &str, dice: &mut Dice) {
        let path = self.world.rollout(task);
        let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        let mut number = 0;
        while self.is(WORKING) {
            number += 1;
            let lines = turn(task, number);
            let mut rest = lines.as_slice();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(1 + dice.below(rest.len()));
                file.write_all(piece).unwrap();
                rest = after;
                std::thread::sleep(Duration::from_millis(1 + dice.below(40) as u64));
            }
        }
    }
}
