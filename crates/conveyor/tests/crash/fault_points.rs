//! Named fault points: a process aborts at each step between two transactions, or between a
//! transaction and an effect; others finish the work.

use std::os::unix::process::ExitStatusExt as _;

use conveyor_testkit::checker::key;

use crate::world::{Direction, World, enqueue_arguments};
use crate::{observed, typed};

/// What the dying process was doing.
enum Dying {
    /// These arguments, after the work was queued.
    Working(&'static [&'static str]),
    /// Consuming, after the work was dispatched; whether an item is gone with it.
    Consuming(bool),
    /// Queueing a message that was committed.
    Queueing,
    /// Binding another task; whether it is bound.
    Binding(bool),
}

const DISPATCH: Dying = Dying::Working(&["dispatch", "--once", "--ingest", "--limit", "2"]);
const INGEST: Dying = Dying::Working(&["ingest", "ada-worker"]);
const WATCH: Dying = Dying::Working(&["dispatch", "--watch", "--lease-seconds", "1", "--interval", "1"]);

/// Every point, with the passage at which to die and who passes it.
const POINTS: [(&str, Dying); 21] = [
    ("dispatch.looked", DISPATCH),
    ("dispatch.recovered", DISPATCH),
    ("dispatch.before_batch", DISPATCH),
    ("dispatch.after_batch", DISPATCH),
    ("dispatch.after_batch:2", WATCH),
    ("dispatch.after_waiting", WATCH),
    ("dispatch.before_completions", WATCH),
    ("dispatch.after_completions", WATCH),
    ("dispatch.before_heartbeat", WATCH),
    ("dispatch.before_heartbeat:2", WATCH),
    ("ingest.mark_read", INGEST),
    ("ingest.batch_parsed", INGEST),
    ("ingest.batch_committed", INGEST),
    ("ingest.refreshed", WATCH),
    ("ingest.batch_committed", WATCH),
    ("inbox.found", Dying::Consuming(false)),
    ("inbox.looked", Dying::Consuming(false)),
    ("inbox.consumed", Dying::Consuming(true)),
    ("queue.enqueued", Dying::Queueing),
    ("disposable.files_placed", Dying::Binding(false)),
    ("disposable.recorded", Dying::Binding(true)),
];

/// The tests in which what starts or ends agents dies.
const WITH_CODEX: [&str; 2] = [include_str!("../codex/cut_off.rs"), include_str!("../codex/stopping.rs")];

/// A point that the program passes and that is not in the list would be a gap in the suite.
#[test]
fn every_fault_point_is_in_the_list() {
    fn points_below(directory: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                points_below(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text.split("fault::point(\"").skip(1).filter_map(|rest| rest.split('"').next());
            found.extend(names.map(str::to_owned));
        }
    }
    let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for name in ["conveyor-core/src", "conveyor/src", "conveyor-store/src", "conveyor-agents/src"] {
        points_below(&crates.join(name), &mut found);
    }
    assert!(!found.is_empty());
    for point in found {
        let is_listed = |(listed, _): &(&str, Dying)| listed.split(':').next() == Some(&point);
        // That takes a real Codex; its tests name their points themselves.
        let quoted = format!("\"{point}\"");
        let with_codex = WITH_CODEX.iter().any(|tests| tests.contains(&quoted));
        let somewhere =
            POINTS.iter().any(is_listed) || typed::dies_at(&point) || observed::dies_at(&point) || with_codex;
        assert!(somewhere, "no process dies at {point}");
    }
}

#[test]
fn chaos_of_aborts_at_every_fault_point_on_sqlite() {
    for (point, dying) in &POINTS {
        die_at(&World::sqlite(), point, dying);
    }
}

#[test]
fn chaos_of_aborts_at_every_fault_point_on_postgres() {
    for (point, dying) in &POINTS {
        let Some(world) = World::postgres() else { return };
        die_at(&world, point, dying);
    }
}

fn die_at(world: &World, point: &str, dying: &Dying) {
    world.bind("ada");
    for number in 1..=2 {
        for direction in Direction::BOTH {
            world.enqueue("ada", direction, number);
        }
    }
    world.add_turn("ada", 1);
    world.add_turn("ada", 2);
    lapsed_claim(world);
    let mut tasks = vec!["ada"];
    match dying {
        Dying::Working(arguments) => abort(world, point, arguments),
        Dying::Consuming(_) => {
            world.run(&["dispatch", "--once"]).expect_ok();
            abort(world, point, &["worker-inbox", "ada", "--consume-next", "--json"]);
            world.journal.silenced();
        }
        Dying::Queueing => {
            let key = key("ada", "nudge_worker", 3);
            let arguments = enqueue_arguments("ada", Direction::ToWorker, &key);
            world.journal.trying(&key);
            abort(world, point, &arguments);
            let again = world.run(&arguments).refusal();
            assert!(again.contains("is taken"), "{again}");
            world.journal.taken(&key);
        }
        Dying::Binding(is_bound) => {
            abort(world, point, &["create-disposable-binding", "bob"]);
            let bindings = world.text("select count(*) from bindings").unwrap();
            assert_eq!(bindings, if *is_bound { "2" } else { "1" }, "{point}");
            if !is_bound {
                world.bind("bob");
            }
            world.enqueue("bob", Direction::ToWorker, 1);
            tasks.push("bob");
        }
    }
    world.finish_work(&tasks);
    let verdict = world.judge();
    verdict.assert_clean();
    assert_eq!(verdict.count("lapses"), 1, "{point}: {}", verdict.summary());
    assert_eq!(verdict.count("routed completions"), 2, "{point}: {}", verdict.summary());
    let unprinted = verdict.count("items consumed by a consumer that died before printing");
    assert_eq!(unprinted, usize::from(matches!(dying, Dying::Consuming(true))), "{point}");
}

/// Runs a command that must die at the point.
fn abort(world: &World, point: &str, arguments: &[&str]) {
    let ran = world.start_with(arguments, &[("CONVEYOR_FAULT", point)]).finish();
    assert_eq!(ran.status.signal(), Some(6), "{point} was never passed on {}: {}", world.name(), ran.told());
}

/// Gives the first queued message a claim whose dispatcher has died, as a dispatcher leaves it that
/// delivers by push.
fn lapsed_claim(world: &World) {
    let id = world
        .text("select id from commands where type = 'nudge_worker' order by created_at limit 1")
        .unwrap();
    let at = world.text(&format!("select created_at from commands where id = '{id}'")).unwrap();
    let second = format!("{}Z", &at[..19]);
    let search_text = if world.is_sqlite() { ("", "") } else { (", search_text", ", ''") };
    world.sql(&format!(
        "update commands set state = 'attempted', attempts = 1, claimed_by = 'gone', claimed_at = '{at}', \
         claim_expires_at = '{second}' where id = '{id}'; \
         insert into command_attempts (command_id, correlation_id, dispatcher_id, started_at, state) \
         select id, correlation_id, 'gone', '{at}', 'running' from commands where id = '{id}'; \
         insert into telemetry_events (id, task_id, timestamp, actor, event_type, severity, summary, \
         correlation_json, attributes_json) select 'telemetry-gone', task_id, '{at}', 'dispatch', \
         'dispatch_command_claimed', 'info', 'Claimed.', '{{\"attempt_id\":1}}', '{{}}' \
         from commands where id = '{id}'; \
         insert into telemetry_events_fts (event_id, task_id, actor, event_type, summary, attributes{}) \
         select 'telemetry-gone', task_id, 'dispatch', 'dispatch_command_claimed', 'Claimed.', '{{}}'{} \
         from commands where id = '{id}'",
        search_text.0, search_text.1
    ));
}
