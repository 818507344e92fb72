//! `discover`, `search`.

use serde_json::{Value, json};

use crate::harness::{World, on_both_engines};

/// Bound task `t` beside a free task and, if wanted, free sessions.
fn filled(world: &World, free_sessions: bool) {
    world.bind("t");
    world.advance(1000);
    world.json(&["tasks", "--create", "Login page", "--goal", "It's GRÜN"]);
    if free_sessions {
        world.sql(
            "insert into sessions (id, name, role, identity_token, tmux_session, pid, cwd, registered_at, state) \
             values ('session-fw', 'free w', 'worker', 'token-fw', 'codex-f', 2, '/grün', '2026-06-11T12:00:01Z', 'active'), \
             ('session-fm', 'free m', 'manager', 'token-fm', null, 3, '/grün', '2026-06-11T12:00:02Z', 'active')",
        );
    }
}

fn names(found: &Value, list: &str, field: &str) -> Vec<String> {
    found[list].as_array().unwrap().iter().map(|one| one[field].as_str().unwrap().to_owned()).collect()
}

#[test]
fn everything_at_once() {
    on_both_engines(|world| {
        let empty = world.run(&["discover"]);
        insta::assert_snapshot!("discover_empty", world.normal(&empty.stdout));
        filled(world, true);
        let before = world.dump();
        let found = world.run(&["discover", "--json"]);
        insta::assert_snapshot!("discover_all", world.normal(&found.stdout));
        assert_eq!(world.run(&["search", "  "]).stdout, found.stdout, "blank means no query");
        assert_eq!(world.dump(), before, "discover wrote something");
    });
}

#[test]
fn a_query_is_part_of_a_field_in_any_case() {
    on_both_engines(|world| {
        filled(world, true);
        let found = world.json(&["discover", " grün "]);
        assert_eq!(found["query"], "grün");
        assert_eq!(names(&found, "tasks", "name"), ["Login page"]);
        assert_eq!(names(&found, "sessions", "name"), ["free w", "free m"]);
        assert_eq!(found["bindings"], json!([]));
        assert_eq!(found["suggestions"][0]["kind"], "bind");

        let found = world.json(&["discover", "T-WORK"]);
        assert_eq!(names(&found, "tasks", "name"), [""; 0]);
        assert_eq!(names(&found, "sessions", "name"), ["t-worker"]);
        assert_eq!(names(&found, "bindings", "worker_name"), ["t-worker"]);
        assert_eq!(names(&found, "suggestions", "kind"), ["register-manager"]);
        assert_eq!(names(&world.json(&["discover", "codex-f"]), "sessions", "name"), ["free w"]);
        assert_eq!(names(&world.json(&["discover", "%"]), "tasks", "name"), [""; 0], "no pattern");
    });
}

#[test]
fn suggestions_never_lead_into_a_refusal() {
    on_both_engines(|world| {
        filled(world, false);
        let found = world.json(&["discover"]);
        assert_eq!(found["suggestions"], json!([]), "both sessions are bound elsewhere");
        world.run(&["unbind", "--task", "t"]);
        let found = world.json(&["discover"]);
        assert_eq!(names(&found, "suggestions", "kind"), ["bind"]);
        assert_eq!(found["suggestions"][0]["task"], "t");
        world.sql("update sessions set state = 'gone'");
        let found = world.json(&["discover"]);
        insta::assert_snapshot!(
            "discover_register",
            serde_json::to_string_pretty(&found["suggestions"]).unwrap()
        );
    });
}

#[test]
fn telemetry_is_searched_by_words_or_by_type() {
    on_both_engines(|world| {
        filled(world, false);
        for key in ["one", "two"] {
            world.json(&["enqueue-nudge-worker", "t", "--message", "m", "--idempotency-key", key, "--json"]);
            world.advance(1000);
        }
        let found = |query: &str, limit: &str| {
            world.json(&["discover", query, "--limit", limit])["telemetry"].clone()
        };
        assert_eq!(found("created nudge", "10").as_array().unwrap().len(), 2);
        assert_eq!(found("created two", "10")[0]["attributes"]["idempotency_key"], "two");
        let by_type = found("command_created", "1");
        assert_eq!(by_type.as_array().unwrap().len(), 1);
        assert_eq!(by_type[0]["timestamp"], "2026-06-11T12:00:01.000Z", "oldest first");
        assert_eq!(found("created OR nothing", "10"), json!([]), "words are literal");
    });
}

#[test]
fn limits_and_closed_things() {
    on_both_engines(|world| {
        filled(world, true);
        let found = world.json(&["discover", "--limit", "0"]);
        for list in ["tasks", "sessions", "bindings", "telemetry"] {
            assert_eq!(found[list], json!([]), "{list}");
        }
        assert_eq!(names(&found, "suggestions", "kind"), ["bind"], "advice looks past the limit");
        assert_eq!(names(&world.json(&["discover", "--limit", "1"]), "tasks", "name"), ["t"]);
        world.sql("update tasks set state = 'done' where name = 't'");
        world.sql("update sessions set state = 'gone' where name = 'free w'");
        assert_eq!(names(&world.json(&["discover"]), "tasks", "name"), ["Login page"]);
        let all = world.json(&["discover", "--all"]);
        assert_eq!(names(&all, "tasks", "name"), ["t", "Login page"]);
        assert!(names(&all, "sessions", "name").contains(&"free w".to_owned()));
        let said = [
            world.refused(&["discover", "a", "b"]),
            world.refused(&["search", "--limit", "-1"]),
            world.refused(&["discover", "--task", "x"]),
        ];
        insta::assert_snapshot!("discover_refusals", said.join("\n"));
    });
}

#[test]
fn a_suggested_command_means_the_task_it_names() {
    on_both_engines(|world| {
        filled(world, true);
        world.advance(1000);
        world.json(&["tasks", "--create", "Login page", "--goal", "newer"]);
        let older = world.scalar("select id from tasks where goal = 'It''s GRÜN'");
        let command = world.json(&["discover", "grün"])["suggestions"][0]["command"].to_string();
        assert!(command.contains(&format!("--task '{older}'")), "{command}");
    });
}
