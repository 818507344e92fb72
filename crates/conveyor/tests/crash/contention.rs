//! Ten processes on one ledger: none may fail, every count must be exact.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use conveyor_testkit::checker::key;
use rustix::process::Signal;

use crate::world::{Direction, World, enqueue_arguments};
use crate::{Dice, length};

const TASKS: [&str; 5] = ["ada", "bob", "cyd", "dan", "eve"];

#[test]
fn chaos_of_ten_processes_on_one_file() {
    crowd(&World::sqlite());
}

#[test]
fn chaos_of_ten_processes_on_one_server() {
    if let Some(world) = World::postgres() {
        crowd(&world);
    }
}

/// Ten at a time: each queues into a lane of its own, beats, consumes from anywhere, dispatches.
fn crowd(world: &World) {
    let mut dice = Dice::seeded(&format!("contention on {}", world.name()));
    for task in TASKS {
        world.bind(task);
    }
    let limit = Duration::from_secs(length("CONVEYOR_CHAOS_SECONDS", 4, 60));
    let begun = Instant::now();
    let (beats, runs) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for task in TASKS {
            for direction in Direction::BOTH {
                let mut dice = dice.fork();
                let (beats, runs) = (&beats, &runs);
                scope.spawn(move || {
                    let mut number = 0;
                    while begun.elapsed() < limit {
                        runs.fetch_add(1, Ordering::SeqCst);
                        match dice.below(5) {
                            0 | 1 => {
                                number += 1;
                                let key = key(task, direction.signal(), number);
                                world.journal.trying(&key);
                                let queued = world.run(&enqueue_arguments(task, direction, &key)).json();
                                world.journal.accepted(&key, queued["command_id"].as_str().unwrap());
                            }
                            2 => {
                                world
                                    .run(&["app-heartbeat", task, "--role", "manager", "--json"])
                                    .expect_ok();
                                beats.fetch_add(1, Ordering::SeqCst);
                            }
                            3 => {
                                let (task, inbox) =
                                    (TASKS[dice.below(5)], Direction::BOTH[dice.below(2)].inbox());
                                let visit = world.run(&[inbox, task, "--consume-next", "--json"]).json();
                                if !visit["consumed"].is_null() {
                                    world.journal.printed(&visit["consumed"]);
                                }
                            }
                            _ => world.run(&["dispatch", "--once", "--json"]).expect_ok(),
                        }
                    }
                });
            }
        }
    });
    world.finish_work(&TASKS);
    let verdict = world.judge();
    eprintln!("contention on {}: {} runs: {}", world.name(), runs.into_inner(), verdict.summary());
    verdict.assert_clean();
    assert_eq!(verdict.count("accepted messages"), verdict.count("consumed items"));
    let counted = world.text("select count(*) from telemetry_events where event_type = 'app_heartbeat'");
    assert_eq!(counted, Some(beats.into_inner().to_string()));
}

#[test]
fn chaos_of_first_use_by_ten_processes() {
    for _ in 0..length("CONVEYOR_CHAOS_ROUNDS", 3, 30) {
        for world in World::each() {
            first_use(&world);
        }
    }
}

fn first_use(world: &World) {
    let barrier = Barrier::new(10);
    std::thread::scope(|scope| {
        for number in 0..10 {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                match number % 2 {
                    0 => world.run(&["tasks", "--create", &format!("t{number}"), "--goal", "g"]).expect_ok(),
                    _ => world
                        .run(&["dispatch", "--watch", "--watch-iterations", "1", "--interval", "0"])
                        .expect_ok(),
                }
            });
        }
    });
    let beats = "select count(*) from telemetry_events where event_type = 'dispatch_watch_heartbeat'";
    assert_eq!(world.text("select count(*) from tasks").as_deref(), Some("5"));
    assert_eq!(world.text(beats).as_deref(), Some("5"));
    world.run(&["db-doctor", "--json"]).expect_ok();
    world.judge_empty();
}

/// Whoever dies while the ledger is being made leaves one that the next can use.
#[test]
fn chaos_of_kills_during_first_use() {
    let mut dice = Dice::seeded("kills during first use");
    for _ in 0..length("CONVEYOR_CHAOS_ROUNDS", 8, 100) {
        for world in World::each() {
            let dying = world.start(&["tasks", "--create", "lost", "--goal", "g"]);
            std::thread::sleep(Duration::from_micros(dice.below(25_000) as u64));
            dying.slot().signal(Signal::KILL);
            dying.finish();
            world.run(&["tasks", "--create", "kept", "--goal", "g"]).expect_ok();
            world.run(&["db-doctor", "--json"]).expect_ok();
            world.judge_empty();
        }
    }
}
