//! The checker under test: a good ledger is judged good, and each way of spoiling it is found.

use conveyor_testkit::checker::key;

use crate::world::{Direction, World};

/// A way to spoil a ledger: what it is about, the statements, and what the checker must say.
struct Spoilt {
    what: &'static str,
    sql: &'static str,
    said: &'static str,
}

const fn spoilt(what: &'static str, sql: &'static str, said: &'static str) -> Spoilt {
    Spoilt { what, sql, said }
}

const WAYS: [Spoilt; 24] = [
    spoilt(
        "a lost message",
        "delete from command_attempts where command_id in (select id from commands where idempotency_key = 'ada/nudge_worker/2'); \
         delete from routed_notifications where command_id in (select id from commands where idempotency_key = 'ada/nudge_worker/2'); \
         delete from commands where idempotency_key = 'ada/nudge_worker/2'",
        "accepted message \"ada/nudge_worker/2\" vanished",
    ),
    spoilt(
        "a message that nobody sent",
        "update commands set idempotency_key = 'ada/nudge_worker/9', payload_json = '{\"message\":\"ada/nudge_worker/9\"}' \
         where idempotency_key = 'ada/nudge_worker/3'",
        "nobody sent \"ada/nudge_worker/9\"",
    ),
    spoilt(
        "a command that was executed but waits again",
        "update commands set state = 'pending' where idempotency_key = 'ada/nudge_worker/1'",
        "is pending with the attempts [\"succeeded\"]",
    ),
    spoilt(
        "a miscounted attempt",
        "update commands set attempts = 2 where idempotency_key = 'ada/nudge_worker/1'",
        "counts 2 attempts but made 1",
    ),
    spoilt(
        "a lapse that was none",
        "update commands set lapses = 1",
        "counts 1 lapses but 0 attempts were abandoned",
    ),
    spoilt(
        "an attempt that still runs",
        "update command_attempts set state = 'running', finished_at = null where id = 1",
        "with the attempts [\"running\"]",
    ),
    spoilt(
        "an attempt that ended before it began",
        "update command_attempts set finished_at = '2001-01-01T00:00:00Z' where id = 1",
        "attempt 1 finished before it began",
    ),
    spoilt(
        "a notification that is not there",
        "delete from routed_notifications where signal_type = 'notify_manager'",
        "succeeded with 0 notifications",
    ),
    spoilt(
        "a second notification",
        "insert into routed_notifications (task_id, binding_id, correlation_id, source_session_id, target_session_id, \
         signal_type, dedupe_key, command_id, created_at, delivered_at, delivery_mode, state, payload_json) \
         select task_id, binding_id, correlation_id, source_session_id, target_session_id, signal_type, 'x', command_id, \
         created_at, delivered_at, delivery_mode, state, payload_json from routed_notifications where id = 1",
        "succeeded with 2 notifications",
    ),
    spoilt(
        "a notification to the wrong side",
        "update routed_notifications set target_session_id = source_session_id where id = 1",
        "notification 1 went to the wrong session",
    ),
    spoilt(
        "the wrong order",
        "update routed_notifications set created_at = '2001-01-01T00:00:00Z' where id = 5",
        "by inbox order, message 3",
    ),
    spoilt(
        "an item that waits in vain",
        "update routed_notifications set consumed_at = null, consumed_by_session_id = null where id = 1",
        "notification 1 was never consumed",
    ),
    spoilt(
        "another consumption than was printed",
        "update routed_notifications set consumed_at = '2098-01-01T00:00:00Z' where id = 1",
        "item 1 was printed as consumed at",
    ),
    spoilt(
        "a completion that was not routed",
        "delete from routed_notifications where signal_type = 'worker_task_complete'",
        "of a bound worker was never routed",
    ),
    spoilt(
        "a completion that was routed twice",
        "insert into routed_notifications (task_id, binding_id, correlation_id, source_session_id, target_session_id, \
         signal_type, source_event_id, dedupe_key, created_at, delivered_at, delivery_mode, state, payload_json) \
         select task_id, binding_id, correlation_id, source_session_id, target_session_id, signal_type, source_event_id, \
         'x', created_at, delivered_at, delivery_mode, state, payload_json from routed_notifications \
         where signal_type = 'worker_task_complete'",
        "was routed 2 times",
    ),
    spoilt(
        "a line that was skipped",
        "delete from codex_events where type = 'response_item'",
        "events were stored of",
    ),
    spoilt(
        "a line that was read twice",
        "insert into codex_events (session_id, timestamp, type, subtype, payload_json, byte_offset, ingested_at) \
         select session_id, timestamp, type, subtype, payload_json, byte_offset, ingested_at from codex_events \
         where type = 'response_item'",
        "events were stored of",
    ),
    spoilt(
        "a mark that is too far",
        "update sessions set last_ingest_offset = last_ingest_offset + 1000 where name = 'ada-worker'",
        "bytes were read of",
    ),
    spoilt(
        "an ingest that told of another place",
        "update telemetry_events set attributes_json = replace(attributes_json, '\"start_offset\":0', '\"start_offset\":5') \
         where event_type = 'codex_events_ingested'",
        "where the one before had ended at 0",
    ),
    spoilt(
        "a missing search row",
        "delete from telemetry_events_fts where event_type = 'command_created'",
        "has no search row",
    ),
    spoilt(
        "a missing event",
        "delete from telemetry_events where event_type = 'dispatch_command_claimed'",
        "has 0 events dispatch_command_claimed",
    ),
    spoilt(
        "an event of what did not happen",
        "update telemetry_events set event_type = 'dispatch_command_failed' where event_type = 'dispatch_command_succeeded'",
        "dispatch_command_failed tells of attempt_id 1, which is not so",
    ),
    spoilt(
        "a consumption without its event",
        "delete from telemetry_events where event_type = 'dispatch_inbox_consumed'",
        "has 0 events dispatch_inbox_consumed",
    ),
    spoilt(
        "a session that is gone from a live binding",
        "update sessions set state = 'gone' where name = 'ada-manager'",
        "has no active manager_session_id",
    ),
];

/// A ledger after honest work: three messages in each direction and one completed turn.
fn good(world: &World) {
    world.bind("ada");
    for number in 1..=3 {
        for direction in Direction::BOTH {
            world.enqueue("ada", direction, number);
        }
    }
    world.add_turn("ada", 1);
    world.finish_work(&["ada"]);
}

#[test]
fn every_way_of_spoiling_a_ledger_is_found() {
    let world = World::sqlite();
    good(&world);
    world.judge().assert_clean();
    let whole = world.file().with_extension("whole");
    world.sql("pragma wal_checkpoint(truncate)");
    std::fs::copy(world.file(), &whole).unwrap();
    for way in &WAYS {
        std::fs::copy(&whole, world.file()).unwrap();
        world.sql(way.sql);
        expect(&world, way);
    }
}

#[test]
fn the_checker_sees_the_same_on_postgres() {
    for way in WAYS.iter().filter(|way| !way.sql.starts_with("delete from codex")).step_by(5) {
        let Some(world) = World::postgres() else { return };
        good(&world);
        world.judge().assert_clean();
        world.sql(way.sql);
        expect(&world, way);
    }
}

#[track_caller]
fn expect(world: &World, way: &Spoilt) {
    let verdict = world.judge();
    let found = verdict.violations.iter().any(|line| line.contains(way.said));
    assert!(found, "{} was not found; what was said: {:#?}", way.what, verdict.violations);
}

#[test]
fn what_the_journal_alone_knows_is_found() {
    let world = World::sqlite();
    good(&world);
    let said = |what: &str| {
        let verdict = world.judge();
        let found = verdict.violations.iter().any(|line| line.contains(what));
        assert!(found, "{what:?} was not said, but {:#?}", verdict.violations);
    };
    let lost = key("ada", "nudge_worker", 4);
    world.journal.trying(&lost);
    world.journal.accepted(&lost, "command-lost");
    said("accepted message \"ada/nudge_worker/4\" vanished");
    world.journal.printed(&serde_json::json!({ "id": 4711 }));
    said("item 4711 was printed as consumed but is not in the ledger");
    world.journal.failed("conveyor tasks: exit 1");
    said("a process failed: conveyor tasks: exit 1");
    // One more is consumed than anybody printed.
    world.enqueue("ada", Direction::ToWorker, 5);
    world.run(&["dispatch"]).expect_ok();
    world.run(&["worker-inbox", "ada", "--consume-next"]).expect_ok();
    said("1 items were consumed and never printed, but only 0 consumers died");
    world.enqueue("ada", Direction::ToWorker, 6);
    said("is still pending after the drain");
}

#[test]
fn a_damaged_file_is_found() {
    let world = World::sqlite();
    good(&world);
    world.sql("pragma wal_checkpoint(truncate); delete from tasks");
    let verdict = world.judge();
    let said = |what: &str| verdict.violations.iter().any(|line| line.contains(what));
    assert!(
        said("foreign_key_check: a row of commands refers to a missing row of tasks"),
        "{:?}",
        verdict.violations
    );
    // An index that should hold every row holds the rows of a partial one.
    world.sql(
        "pragma writable_schema = on; update sqlite_master set sql = substr(sql, 1, instr(sql, 'where') - 1) \
         where name = 'conveyor_commands_ready'",
    );
    let verdict = world.judge();
    let found =
        verdict.violations.iter().any(|line| line.contains("integrity_check: wrong # of entries in index"));
    assert!(found, "{:?}", verdict.violations);
}
