//! The runs.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use conveyor_core::{bindings, dispatch, queue};
use conveyor_model::CommandType;

use crate::jobs::{Job, Outcome, one_pass};
use crate::judge::Counts;
use crate::ledger::Source;
use crate::model::{Item, Model, Visit};
use crate::old;
use crate::run::{Failure, run};
use crate::sabotage;

/// How many tests share the seeds, so that they run side by side.
const PARTS: u64 = 4;

/// What happened in the parts that are done, and how many those are.
static TOGETHER: Mutex<(u64, Counts)> = Mutex::new((0, Counts::new()));

fn add(all: &mut Counts, counts: Counts) {
    for (what, count) in counts {
        *all.entry(what).or_default() += count;
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Runs these seeds; the first that breaks a rule ends the test with its story.
fn run_all(source: &Source, seeds: impl Iterator<Item = u64>) -> Counts {
    let mut all = Counts::new();
    let (started, mut ran) = (Instant::now(), 0);
    for seed in seeds {
        match run(source, seed, None) {
            Ok(done) => {
                ran += 1;
                *all.entry("steps".into()).or_default() += done.steps.len() as u64;
                add(&mut all, done.counts);
            }
            Err(failure) => panic!("{}", failure.story()),
        }
    }
    eprintln!("{ran} seeds in {:.1} s: {all:?}", started.elapsed().as_secs_f64());
    all
}

/// Runs a part of the seeds on SQLite, or the one seed that was asked for.
fn sqlite_part(part: u64) {
    let source = Source::sqlite();
    match number("CONVEYOR_SIM_SEED") {
        Some(seed) if seed % PARTS == part => {
            let done = run(&source, seed, None).unwrap_or_else(|failure| panic!("{}", failure.story()));
            eprintln!("{}\nseed {seed} breaks no rule", done.steps.join("\n"));
        }
        Some(_) => {}
        None => {
            let seeds = number("CONVEYOR_SIM_SEEDS").unwrap_or(1000);
            let counts = run_all(&source, (0..seeds).filter(|seed| seed % PARTS == part));
            let (parts, all) = &mut *TOGETHER.lock().unwrap();
            add(all, counts);
            *parts += 1;
            if *parts == PARTS && seeds >= 1000 {
                everything_happened(all);
            }
        }
    }
}

#[test]
fn nothing_is_lost_and_nothing_comes_twice_on_sqlite_1() {
    sqlite_part(0);
}

#[test]
fn nothing_is_lost_and_nothing_comes_twice_on_sqlite_2() {
    sqlite_part(1);
}

#[test]
fn nothing_is_lost_and_nothing_comes_twice_on_sqlite_3() {
    sqlite_part(2);
}

/// The part in which the clock also goes back.
#[test]
fn nothing_is_lost_and_nothing_comes_twice_on_sqlite_4() {
    sqlite_part(3);
}

#[test]
fn nothing_is_lost_and_nothing_comes_twice_on_postgres() {
    let Some(source) = Source::postgres() else { return };
    match number("CONVEYOR_SIM_SEED") {
        Some(seed) => drop(run_all(&source, seed..=seed)),
        None => {
            drop(run_all(&source, 0..number("CONVEYOR_SIM_SEEDS").map_or(30, |seeds| seeds.div_ceil(30))))
        }
    }
}

/// A simulation in which nothing happens proves nothing.
fn everything_happened(counts: &Counts) {
    let expected = [
        "accepted",
        "claimed by the old program",
        "completion delivered",
        "completion left half done",
        "completion parked",
        "consumed",
        "delivered",
        "delivered by the old program",
        "event stored",
        "lapsed",
        "left half done",
        "old history suppressed",
        "parked",
        "refused",
        "refused to somebody",
        "released",
    ];
    for what in expected {
        assert!(counts.contains_key(what), "it never happened: {what}");
    }
    let points = [
        "dispatch.looked",
        "dispatch.recovered",
        "dispatch.before_batch",
        "dispatch.after_batch",
        "dispatch.after_waiting",
        "dispatch.before_completions",
        "dispatch.after_completions",
        "push.looked",
        "inbox.found",
        "inbox.looked",
        "inbox.consumed",
        "ingest.mark_read",
        "ingest.refreshed",
        "ingest.batch_parsed",
        "ingest.batch_committed",
        "queue.enqueued",
        "old.claimed",
        "old.inserted",
        "old.delivered",
        "old.typing",
        "old.detected",
        "old.typing_completion",
    ];
    for point in points {
        assert!(counts.contains_key(&format!("died at {point}")), "nobody died at {point}");
    }
}

#[test]
fn a_seed_is_the_same_story_every_time() {
    let source = Source::sqlite();
    for seed in [1_000_001, 1_000_003] {
        let tell = || match run(&source, seed, None) {
            Ok(done) => done.steps,
            Err(failure) => panic!("{}", failure.story()),
        };
        assert_eq!(tell(), tell());
    }
}

#[test]
fn every_fault_is_found() {
    let source = Source::sqlite();
    for sabotage in sabotage::ALL {
        let mut found = 0;
        // Each fault finds its moment in some seeds only.
        for seed in 2_000_000..2_000_040 {
            match run(&source, seed, Some(sabotage)) {
                Err(Failure { steps, .. }) if steps.iter().any(|step| step == "sabotage") => found += 1,
                Err(failure) => panic!("{}", failure.story()),
                Ok(done) => {
                    assert!(!done.sabotaged, "{} in seed {seed}:\n{}", sabotage.name, done.steps.join("\n"));
                }
            }
            if found == 3 {
                break;
            }
        }
        assert!(found > 0, "it never happened: {}", sabotage.name);
    }
}

/// What seed 159 found: the old program delivers and dies, the task is unbound, the claim lapses.
fn a_message_delivered_before_its_claim_lapsed_is_not_refused(source: &Source) {
    let place = source.place(0);
    let mut cx = place.open();
    let request = queue::EnqueueRequest {
        command_type: CommandType::NudgeWorker,
        task: "a",
        message: "hi",
        correlation_id: None,
        idempotency_key: None,
        required_permission: None,
    };
    queue::enqueue(&mut cx, &request).unwrap();
    let mut dies_late = |point: &str| {
        if point == "old.delivered" {
            resume_unwind(Box::new(()));
        }
    };
    let died = catch_unwind(AssertUnwindSafe(|| {
        old::command(&mut place.raw(), &place.clock, 1, &mut dies_late);
    }));
    assert!(died.is_err());
    bindings::unbind(&mut cx, "a").unwrap();
    place.clock.advance(Duration::from_secs(5));
    let request = one_pass("new", 10, false);
    dispatch::run(&mut cx, &request, &dispatch::Stop::default(), &mut |_| {}).unwrap();
    let mut raw = place.raw();
    let state = raw.cell("select state || ' after ' || lapses from commands where type = 'nudge_worker'");
    assert_eq!(state.as_deref(), Some("succeeded after 1"));
    let delivered = raw.cell("select count(*) from routed_notifications where state = 'delivered'");
    assert_eq!(delivered.as_deref(), Some("1"));
}

#[test]
fn a_message_delivered_before_its_claim_lapsed_is_not_refused_on_either_engine() {
    for source in [Some(Source::sqlite()), Source::postgres()].into_iter().flatten() {
        a_message_delivered_before_its_claim_lapsed_is_not_refused(&source);
    }
}

fn item(id: i64, created_at: &str, place: i64) -> Item {
    let queued = Some(("a".to_owned(), "nudge_worker".to_owned(), place));
    Item { created_at: created_at.into(), id, message: format!("message {place}"), queued }
}

#[test]
fn the_model_knows_who_overtook_whom() {
    let mut model = Model::default();
    for (place, command) in ["c1", "c2", "c3", "c4"].into_iter().enumerate() {
        model.accepted(command, "a", "nudge_worker", place as i64);
    }
    model.accepted("other lane", "a", "notify_manager", 9);
    assert!(model.delivered("other lane", true).is_ok());
    model.claimed("c1");
    assert!(model.delivered("c2", true).is_ok(), "c1 is late");
    assert!(model.delivered("c4", true).unwrap_err().contains("c4 was delivered before c3"));
    assert!(model.delivered("c3", true).is_ok());
    assert_eq!(model.delivered("c1", true), Ok(None), "it has lost its place");
    assert!(model.delivered("c1", true).unwrap_err().contains("in no queue"));
}

#[test]
fn the_model_knows_what_is_next_in_an_inbox() {
    let mut model = Model::default();
    model.put("w", item(2, "2026-01-01T12:00:00.002Z", 2));
    model.put("w", item(1, "2026-01-01T12:00:00.001Z", 1));
    assert!(model.consumed("w", 2).unwrap_err().contains("was next"));
    assert!(model.consumed("w", 1).is_ok());
    assert!(model.consumed("w", 1).unwrap_err().contains("was next"), "once only");
    // In the inbox's order, but sent before what was consumed.
    model.put("w", item(0, "2026-01-01T12:00:00.000Z", 0));
    assert!(model.consumed("w", 0).unwrap_err().contains("after a later one"));
}

#[test]
fn a_visitor_must_be_told_what_happened() {
    let mut model = Model::default();
    model.put("w", item(1, "2026-01-01T12:00:00.001Z", 1));
    model.put("w", item(2, "2026-01-01T12:00:00.002Z", 2));
    let job = Job::Consume { session: "w0".into(), limit: 5 };
    let told = |consumed: Option<(i64, &str)>, rest: &[i64]| Outcome::Inbox {
        session: "w".into(),
        consumed: consumed.map(|(id, message)| (id, message.to_owned())),
        rest: rest.to_vec(),
    };
    let mut visit = Visit::default();
    visit.looks(&model, ["w".to_owned()].into_iter());
    assert!(visit.check(&model, &job, &told(None, &[1, 2])).is_err(), "nothing, though it was never empty");
    let taken = model.consumed("w", 1).unwrap();
    visit.takes(&model, "w", taken);
    assert!(visit.check(&model, &job, &told(None, &[2])).is_err(), "consumed and not shown");
    assert!(visit.check(&model, &job, &told(Some((2, "message 2")), &[2])).is_err(), "another one");
    assert!(visit.check(&model, &job, &told(Some((1, "message 1")), &[])).is_err(), "another rest");
    assert_eq!(visit.check(&model, &job, &told(Some((1, "message 1")), &[2])), Ok(()));
}
