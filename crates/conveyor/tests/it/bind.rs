//! `bind`, `unbind`.

use crate::harness::{World, on_both_engines};

/// Tasks `a` and `b`, workers `w1`, `w2`, managers `m1`, `m2`.
fn unbound(world: &World) {
    let rollout = world.dir().join("r.jsonl");
    std::fs::write(&rollout, crate::rollouts::meta("codex")).unwrap();
    for task in ["a", "b"] {
        world.json(&["tasks", "--create", task, "--goal", "g"]);
    }
    for (command, name) in [
        ("register-worker", "w1"),
        ("register-worker", "w2"),
        ("register-manager", "m1"),
        ("register-manager", "m2"),
    ] {
        world.json(&[command, "--name", name, "--pid", "1", "--codex-session", rollout.to_str().unwrap()]);
    }
}

fn bind<'a>(task: &'a str, worker: &'a str, manager: &'a str) -> [&'a str; 7] {
    ["bind", "--task", task, "--worker", worker, "--manager", manager]
}

#[test]
fn bind_and_unbind() {
    on_both_engines(|world| {
        unbound(world);
        insta::assert_snapshot!("bind", world.run(&bind("a", "w1", "m1")).stdout);
        assert_eq!(world.scalar("select state from tasks where name = 'a'"), "candidate", "the task stays");
        world.advance(1000);
        let ran = world.run(&["unbind", "--task", "a"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "{\"task\": \"a\", \"state\": \"ended\"}\n"));
        assert_eq!(world.scalar("select state || ended_at from bindings"), "ended2026-06-11T12:00:01.000Z");
        let events = world.column(
            "select type || ' ' || task_id || ' ' || payload_json from events where type like 'binding%' order by id",
        );
        insta::assert_snapshot!("bind_events", events.join("\n"));
        world.json(&bind("b", "w1", "m1"));
    });
}

#[test]
fn a_task_is_meant_by_its_id_as_well() {
    on_both_engines(|world| {
        unbound(world);
        let id = world.scalar("select id from tasks where name = 'b'");
        assert_eq!(world.json(&bind(&id, "w1", "m1"))["task"], *id, "as given");
        let ended = world.run(&["unbind", "--task", &id]).stdout;
        assert_eq!(ended, format!("{{\"task\": \"{id}\", \"state\": \"ended\"}}\n"));
    });
}

#[test]
fn the_rules_in_their_order() {
    on_both_engines(|world| {
        unbound(world);
        world.json(&["deregister", "w2"]);
        let first = [
            world.refused(&bind("nope", "?", "?")),
            world.refused(&bind("a", "?", "?")),
            world.refused(&bind("a", "m1", "?")),
            world.refused(&bind("a", "w1", "?")),
            world.refused(&bind("a", "w1", "w1")),
            world.refused(&bind("a", "w2", "m1")),
        ];
        world.json(&bind("a", "w1", "m1"));
        world.sql("update sessions set state = 'active' where name = 'w2'");
        let then = [
            world.refused(&bind("a", "w2", "m2")),
            world.refused(&bind("b", "w1", "m1")),
            world.refused(&bind("b", "w2", "m1")),
        ];
        insta::assert_snapshot!("bind_refusals", [&first[..], &then[..]].concat().join("\n"));
    });
}

#[test]
fn of_parallel_binders_one_wins_and_the_others_are_told_the_binding() {
    on_both_engines(|world| {
        unbound(world);
        let ran: Vec<_> = std::thread::scope(|scope| {
            let running: Vec<_> = ["a", "b", "a", "b"]
                .into_iter()
                .map(|task| scope.spawn(move || world.run(&bind(task, "w1", "m1"))))
                .collect();
            running.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(ran.iter().filter(|one| one.code == 0).count(), 1);
        let binding = world.scalar("select id from bindings");
        for refused in ran.iter().filter(|one| one.code != 0) {
            assert!(refused.stderr.contains(&binding), "{}", refused.stderr);
        }
    });
}

#[test]
fn incomplete_or_pointless_calls() {
    on_both_engines(|world| {
        unbound(world);
        let said = [
            world.refused(&["bind"]),
            world.refused(&["bind", "--task", "a", "--worker", "w1"]),
            world.refused(&["bind", "a", "--task", "a", "--worker", "w1", "--manager", "m1"]),
            world.refused(&["unbind"]),
            world.refused(&["unbind", "--task", "nope"]),
            world.refused(&["unbind", "--task", "a"]),
            world.refused(&["unbind", "--task", "a", "--worker", "w1"]),
        ];
        insta::assert_snapshot!("bind_incomplete", said.join("\n"));
    });
}
