//! Random SIGKILL: the whole workload, and somebody who kills.

use std::time::{Duration, Instant};

use crate::workload::{Plan, Workload};
use crate::world::World;
use crate::{Dice, length};

const TASKS: &[&str] = &["ada", "bob"];

fn plan() -> Plan {
    Plan { tasks: TASKS, dispatchers: 3, consumers: 2, pause: Duration::from_millis(60) }
}

/// Kills `kills` processes at random moments; `midway` is called once after each `every` kills.
fn storm(world: &World, kills: usize, every: usize, mut midway: impl FnMut()) {
    let mut dice = Dice::seeded(&format!("random kills on {}", world.name()));
    for task in TASKS {
        world.bind(task);
    }
    let begun = Instant::now();
    let mut killer = dice.fork();
    let mut killed = std::collections::BTreeMap::<String, usize>::new();
    Workload::run(world, plan(), &mut dice, |workload| {
        for kill in 1..=kills {
            // A kill that hits nobody is none.
            let kind = loop {
                std::thread::sleep(Duration::from_millis(20 + killer.below(130) as u64));
                if let Some(kind) = workload.kill_one(&mut killer) {
                    break kind;
                }
            };
            *killed.entry(kind).or_default() += 1;
            if kill % every == 0 {
                midway();
            }
        }
    });
    let verdict = world.judge();
    eprintln!(
        "random kills on {}: {kills} kills {killed:?} in {:.1} s: {}",
        world.name(),
        begun.elapsed().as_secs_f64(),
        verdict.summary()
    );
    verdict.assert_clean();
    // A storm in which nothing happened proves nothing.
    assert!(verdict.count("consumed items") > kills / 2, "{}", verdict.summary());
    assert!(verdict.count("routed completions") > 0, "{}", verdict.summary());
    assert_eq!(verdict.count("commands"), verdict.count("succeeded commands"), "{}", verdict.summary());
}

#[test]
fn chaos_of_random_kills_on_sqlite() {
    storm(&World::sqlite(), length("CONVEYOR_CHAOS_KILLS", 60, 1000), usize::MAX, || {});
}

#[test]
fn chaos_of_random_kills_and_server_restarts_on_postgres() {
    let Some((server, world)) = World::postgres_of_its_own() else { return };
    let kills = length("CONVEYOR_CHAOS_KILLS", 25, 300);
    storm(&world, kills, 20, || {
        world.note_outage();
        server.stop_immediate();
        std::thread::sleep(Duration::from_millis(300));
        server.start();
        world.note_outage();
    });
}
