//! Observing a worker, broken off at each step: what a cycle took from the manager's inbox stands in
//! its report, and what it did not report is there for the next one.

use std::os::unix::process::ExitStatusExt as _;

use crate::world::World;

/// Every step, with the cycles that are there if one dies at it, and whether the inbox is taken.
const STEPS: [(&str, &[&str], bool); 4] = [
    ("cycle.looked", &[], false),
    ("cycle.begun", &["started"], false),
    ("cycle.loaded", &["started"], false),
    ("cycle.concluded", &["succeeded"], true),
];

/// Whether this suite dies at a point.
pub fn dies_at(point: &str) -> bool {
    STEPS.iter().any(|(step, _, _)| *step == point)
}

fn die_at(world: &World, point: &str, cycles: &[&str], is_taken: bool) {
    world.bind("ada");
    world.add_turn("ada", 1);
    world.run(&["dispatch", "--once", "--ingest"]).expect_ok();
    // Only the cycle itself can find this one.
    world.add_turn("ada", 2);
    let dead = world.start_with(&["cycle", "ada"], &[("CONVEYOR_FAULT", point)]).finish();
    assert_eq!(dead.status.signal(), Some(6), "{point} was never passed: {}", dead.told());
    assert_eq!(world.texts("select state from manager_cycles order by id"), cycles, "{point}");

    let taken = "select count(*) from routed_notifications where consumed_at is not null";
    assert_eq!(world.text(taken).as_deref(), Some(if is_taken { "1" } else { "0" }), "{point}");
    if is_taken {
        let reported = world.text("select status_json from manager_cycles").unwrap();
        assert!(reported.contains(r#""consumed_dispatch_notifications":1"#), "{reported}");
    }

    let next = world.run(&["cycle", "ada"]);
    next.expect_ok();
    let next: serde_json::Value = serde_json::from_str(&next.stdout).unwrap();
    assert_eq!(next["consumed_dispatch_notifications"], u8::from(!is_taken), "{point}");
    assert_eq!(
        next["ingest"]["new_events"] == 0,
        !matches!(point, "cycle.looked" | "cycle.begun"),
        "{point}"
    );
    assert_eq!(world.text(taken).as_deref(), Some("1"), "{point}");
    assert_eq!(
        world.text("select count(*) from codex_events where subtype = 'task_complete'").as_deref(),
        Some("2")
    );
}

#[test]
fn chaos_of_cycles_that_die_at_each_step() {
    for (point, cycles, is_taken) in STEPS {
        for world in World::each() {
            die_at(&world, point, cycles, is_taken);
        }
    }
}
