//! A PostgreSQL server that goes away and comes back under those who wait and those who dispatch.

use std::time::Duration;

use conveyor_testkit::wait;

use crate::freezing::stop;
use crate::world::{Direction, World};

#[test]
fn chaos_of_server_restarts_while_waiting_and_dispatching() {
    let Some((server, world)) = World::postgres_of_its_own() else { return };
    world.bind("ada");
    let dispatcher = world.start(&["dispatch", "--watch", "--interval", "1", "--json"]);
    let wait = |inbox: &str| {
        world.start(&[
            inbox,
            "ada",
            "--consume-next",
            "--wait",
            "--timeout",
            "60",
            "--interval",
            "1",
            "--json",
        ])
    };
    let consumers = [wait("worker-inbox"), wait("manager-inbox")];
    let is_watching = || {
        let beats = "select count(*) from telemetry_events where event_type = 'dispatch_watch_heartbeat'";
        world.text(beats).is_some_and(|count| count != "0")
    };
    wait::until(Duration::from_secs(10), "the dispatcher's first heartbeat", is_watching);
    let listening = || {
        let sessions = "select count(*) from pg_stat_activity where application_name = 'conveyor'";
        world.text(sessions).as_deref() == Some("3")
    };
    wait::until(Duration::from_secs(10), "three waiting processes", listening);
    server.stop_immediate();
    let refused = world.run(&["tasks"]).refusal();
    assert!(refused.contains("cannot reach the database server"), "{refused}");
    server.start();
    wait::until(Duration::from_secs(20), "three waiting processes again", listening);
    // Both waited through the outage and get what came after it.
    for direction in Direction::BOTH {
        world.enqueue("ada", direction, 1);
    }
    for consumer in consumers {
        let ran = consumer.finish();
        assert_eq!(ran.stderr.lines().count(), 1, "one line for one outage: {:?}", ran.stderr);
        let visit = ran.json();
        assert!(!visit["consumed"].is_null(), "{visit}");
        world.journal.printed(&visit["consumed"]);
    }
    // Again, with messages in the queue when the server goes away.
    for number in 2..=9 {
        for direction in Direction::BOTH {
            world.enqueue("ada", direction, number);
        }
    }
    world.add_turn("ada", 1);
    server.stop_immediate();
    server.start();
    wait::until(Duration::from_secs(20), "everything routed", || {
        let left = world.left();
        left.queued == 0 && left.unread == 0 && left.unrouted == 0
    });
    stop(dispatcher);
    world.finish_work(&["ada"]);
    let verdict = world.judge();
    verdict.assert_clean();
    assert_eq!(verdict.count("consumed items"), 2 * 9 + 1, "{}", verdict.summary());
}
