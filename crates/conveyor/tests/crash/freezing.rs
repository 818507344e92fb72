//! A dispatcher that stands still for longer than its lease while another one takes over, and then
//! goes on as if nothing had happened.

use std::time::{Duration, Instant};

use conveyor_testkit::wait;
use rustix::process::Signal;

use crate::length;
use crate::process::Process;
use crate::world::{Direction, World};

/// Longer than the lease of one second.
const STANDSTILL: Duration = Duration::from_millis(1500);

#[test]
fn chaos_of_a_frozen_dispatcher_on_sqlite() {
    freeze(&World::sqlite());
}

#[test]
fn chaos_of_a_frozen_dispatcher_on_postgres() {
    if let Some(world) = World::postgres() {
        freeze(&world);
    }
}

fn freeze(world: &World) {
    world.bind("ada");
    let watch = |id: &str| {
        world.start(&["dispatch", "--watch", "--lease-seconds", "1", "--dispatcher-id", id, "--json"])
    };
    let (first, second) = (watch("first"), watch("second"));
    let routed = |count: u64| {
        let what = format!("{count} routed messages");
        // On a server, what the frozen one held in the middle of a write is free after 5 s.
        wait::until(Duration::from_secs(15), &what, || {
            world.text("select count(*) from routed_notifications where command_id is not null")
                == Some(count.to_string())
        });
    };
    let rounds = length("CONVEYOR_CHAOS_ROUNDS", 2, 20);
    for round in 1..=rounds {
        // Frozen in the middle of the work, alternately.
        let frozen = if round % 2 == 1 { &first } else { &second };
        for direction in Direction::BOTH {
            world.enqueue("ada", direction, 3 * round - 2);
        }
        world.add_turn("ada", usize::try_from(round).unwrap());
        let since = Instant::now();
        // In the middle of a write on a file everybody stands still, which is no matter of leases.
        assert!(frozen.slot().signal(Signal::STOP));
        while !world.is_writable() {
            assert!(frozen.slot().signal(Signal::CONT));
            std::thread::sleep(Duration::from_millis(5));
            assert!(frozen.slot().signal(Signal::STOP));
        }
        for number in [3 * round - 1, 3 * round] {
            for direction in Direction::BOTH {
                world.enqueue("ada", direction, number);
            }
        }
        routed(6 * round);
        std::thread::sleep(STANDSTILL.saturating_sub(since.elapsed()));
        assert!(frozen.slot().signal(Signal::CONT));
    }
    wait::until(Duration::from_secs(10), "all completions", || {
        let left = world.left();
        left.unread == 0 && left.unrouted == 0
    });
    stop(first);
    stop(second);
    world.finish_work(&["ada"]);
    let verdict = world.judge();
    verdict.assert_clean();
    assert_eq!(verdict.count("routed completions"), usize::try_from(rounds).unwrap());
}

/// Ends a watching dispatcher as a person would; it must say what it did.
pub fn stop(dispatcher: Process) {
    assert!(dispatcher.slot().signal(Signal::TERM));
    let report = dispatcher.finish().json();
    assert_eq!(report["watch"], true, "{report}");
}
