//! `sessions`, `deregister`.

use crate::harness::{World, on_both_engines};

/// Two bound sessions of task `t`, a legacy row and one that is gone.
fn four_sessions(world: &World) {
    world.bind("t");
    world.sql(
        "insert into sessions (id, name, role, identity_token, cwd, registered_at, state) \
         values ('session-old', 'old', 'worker', 'token-old', '', '2026-06-11T12:00:01Z', 'active'); \
         insert into sessions (id, name, role, identity_token, tmux_session, pid, cwd, registered_at, state) \
         values ('session-gone', 'gone one', 'manager', 'token-gone', 'codex-g', 5, '', '2026-06-11T12:00:02Z', 'gone')",
    );
}

#[test]
fn the_list_says_how_each_session_is_reached() {
    on_both_engines(|world| {
        assert_eq!(world.run(&["sessions"]).stdout, "[]\n");
        four_sessions(world);
        let all = world.run(&["sessions", "--state", "all", "--redact-identity-token", "--json"]);
        insta::assert_snapshot!("sessions_all", world.normal(&all.stdout));
    });
}

#[test]
fn filters_combine() {
    on_both_engines(|world| {
        four_sessions(world);
        let names = |filter: &[&str]| -> Vec<String> {
            let listed = world.json(&[&["sessions"], filter].concat());
            listed.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&[]), ["t-worker", "t-manager"]);
        assert_eq!(names(&["--state", "active"]), ["t-worker", "t-manager"]);
        assert_eq!(names(&["--state", "active", "--include-legacy"]), ["t-worker", "t-manager"]);
        assert_eq!(names(&["--include-legacy"]), ["t-worker", "t-manager", "old"]);
        assert_eq!(names(&["--state", "gone"]), ["gone one"]);
        assert_eq!(names(&["--state", "all", "--role", "manager"]), ["t-manager", "gone one"]);
        assert_eq!(names(&["--name", "t-worker", "--name", "gone one", "--name", "?"]), ["t-worker"]);
        assert_eq!(names(&["--role", "worker", "--name", "t-manager"]), [""; 0]);
        assert_eq!(world.json(&["sessions"])[0]["identity_token"], "token-t-w");
        let refused = [
            world.refused(&["sessions", "t"]),
            world.refused(&["sessions", "--role", "boss"]),
            world.refused(&["sessions", "--state", "paused"]),
        ];
        insta::assert_snapshot!("sessions_refusals", refused.join("\n"));
    });
}

/// What the ledger holds of immediate commands and of what was said about them.
fn record(world: &World) -> String {
    let commands = world.column(
        "select id || ' ' || type || ' ' || state || ' key=' || idempotency_key || ' task=' || coalesce(task_id, '-') \
         || ' ' || payload_json || ' ' || coalesce(result_json, '-') || ' ' || coalesce(error, '-') || ' attempts=' \
         || attempts || '/' || max_attempts from commands order by rowid",
    );
    let events = world.column(
        "select type || ' task=' || coalesce(task_id, '-') || ' command=' || coalesce(command_id, '-') || ' ' \
         || payload_json from events order by id",
    );
    [commands.join("\n"), events.join("\n"), world.telemetry()].join("\n\n")
}

#[test]
fn deregistering_is_a_recorded_command() {
    on_both_engines(|world| {
        world.bind("t");
        world.run(&["unbind", "--task", "t"]);
        world.advance(1000);
        let ran = world.run(&["deregister", "t-worker", "--json"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "{\"name\": \"t-worker\", \"state\": \"gone\"}\n"));
        let row = "select state || last_heartbeat_at from sessions where name = 't-worker'";
        assert_eq!(world.scalar(row), "gone2026-06-11T12:00:01.000Z");
        insta::assert_snapshot!("deregister_record", record(world));
    });
}

#[test]
fn the_refusal_of_a_bound_session_is_recorded_too() {
    on_both_engines(|world| {
        world.bind("t");
        let ran = world.run(&["deregister", "t-manager"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
        insta::assert_snapshot!("deregister_bound", world.normal(&ran.stderr));
        assert_eq!(world.scalar("select state from sessions where name = 't-manager'"), "active");
        insta::assert_snapshot!("deregister_bound_record", record(world));
        insta::assert_snapshot!("deregister_unknown", world.refused(&["deregister", "nobody"]));
        insta::assert_snapshot!("deregister_nothing", world.refused(&["deregister"]));
    });
}
