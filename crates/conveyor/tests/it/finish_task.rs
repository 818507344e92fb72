//! `finish-task`, `stop-task`.

use conveyor_testkit::fake_codex::{FakeCodex, Mode};
use serde_json::json;

use crate::harness::{World, on_both_engines, on_sqlite};
use crate::panes;

/// Task `demo`, bound, with an active run.
fn running(world: &World) {
    world.bind("demo");
    world.sql(
        "insert into runs (id, task_id, name, status, started_at, metadata_json) \
         values ('run-1', 'task-demo', 'r', 'active', '2026-06-11T11:00:00Z', '{}')",
    );
}

/// What closing changes, row by row.
fn rows(world: &World) -> String {
    let queries = [
        "select 'command ' || type || ' ' || state || ' ' || coalesce(task_id, '-') || ' ' || max_attempts || ' ' || attempts \
         || ' ' || coalesce(error, '-') || ' ' || payload_json || ' ' || result_json from commands",
        "select 'decision ' || decision || ' ' || reason || ' ' || created_at || ' ' || payload_json from manager_decisions",
        "select 'observation ' || role || ' ' || observation_type || ' ' || severity || ' ' || coalesce(command_id, '-') || ' ' \
         || created_at || ' ' || message || ' ' || payload_json from agent_observations",
        "select 'binding ' || state || ' ' || coalesce(ended_at, '-') from bindings",
        "select 'run ' || status || ' ' || coalesce(ended_at, '-') from runs",
        "select 'task ' || state || ' ' || updated_at from tasks",
    ];
    let rows: Vec<String> = queries.iter().flat_map(|query| world.column(query)).collect();
    world.normal(&rows.join("\n"))
}

fn events(world: &World) -> String {
    let rows = world.column(
        "select type || ' ' || coalesce(command_id, '-') || ' ' || payload_json from events order by id",
    );
    world.normal(&rows.join("\n"))
}

#[test]
fn finishing() {
    on_both_engines(|world| {
        running(world);
        world.advance(500);
        let ran = world.run(&["finish-task", "demo", "--reason", "all ok"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        insta::assert_snapshot!("finish_task", world.normal(&ran.stdout));
        insta::assert_snapshot!("finish_task_rows", rows(world));
        insta::assert_snapshot!("finish_task_events", events(world));
        insta::assert_snapshot!("finish_task_telemetry", world.telemetry());
        assert_eq!(world.scalar("select count(*) from sessions where state = 'active'"), "2");
        insta::assert_snapshot!("finish_task_again", world.refused(&["finish-task", "demo"]));
    });
}

#[test]
fn giving_up() {
    on_both_engines(|world| {
        running(world);
        let ran = world.run(&["stop-task", "demo"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        insta::assert_snapshot!("stop_task", world.normal(&ran.stdout));
        insta::assert_snapshot!("stop_task_rows", rows(world));
        insta::assert_snapshot!("stop_task_events", events(world));
        insta::assert_snapshot!("stop_task_telemetry", world.telemetry());
    });
}

#[test]
fn a_task_that_was_never_bound() {
    on_both_engines(|world| {
        world.json(&["tasks", "--create", "free", "--goal", "g"]);
        let closed = world.json(&["finish-task", "free"]);
        assert_eq!((&closed["worker"], &closed["reason"]), (&json!(null), &json!("finished by operator")));
        assert_eq!(closed["dispatcher_stopped"], json!(null));
        assert_eq!(world.scalar("select state from tasks"), "done");
    });
}

#[test]
fn what_the_contract_leaves_open_is_said() {
    on_both_engines(|world| {
        running(world);
        let at = "2026-06-11T11:00:00Z";
        world.sql(&format!(
            "insert into manager_configs (task_id, supervision_mode, guidelines_json, acceptance_criteria_json, \
             reference_paths_json, permissions_json, epilogues_json, require_acks, created_at, updated_at) values \
             ('task-demo', 'guided', '[]', '[]', '[]', '{{}}', '[\"run-tools\", \"draft-pr\"]', 1, '{at}', '{at}'); \
             insert into acceptance_criteria (task_id, criterion, status, source, evidence_json, created_at, updated_at) \
             values ('task-demo', 'tests pass', 'accepted', 'user_requested', '{{}}', '{at}', '{at}'); \
             insert into epilogue_runs (task_id, step_name, state, started_at) \
             values ('task-demo', 'draft-pr', 'failed', '{at}'), ('task-demo', 'draft-pr', 'succeeded', '{at}')"
        ));
        let ran = world.run(&["finish-task", "demo"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        insta::assert_snapshot!("finish_unmet_stderr", ran.stderr);
        let closed = ran.json();
        assert_eq!(closed["unmet"], json!(["criteria_audit", "acks", "epilogue"]));
        let audits =
            json!([closed["final_audit"], closed["final_ack_audit"], closed["final_epilogue_audit"]]);
        insta::assert_json_snapshot!("finish_unmet_audits", audits);
    });
}

#[test]
fn terminals_are_ended_after_a_last_look() {
    on_both_engines(|world| {
        running(world);
        for side in ["worker", "manager"] {
            panes::put_into(world, &format!("demo-{side}"), &format!("codex-demo-{side}"));
            panes::show(world, &format!("codex-demo-{side}"), &format!("the {side}"));
        }
        panes::show(world, "codex-demo-worker-2", "a name that begins alike");
        let closed = world.json(&[
            "finish-task",
            "demo",
            "--stop-worker",
            "--stop-manager",
            "--capture-transcript-before-stop",
            "--require-transcript-segment",
        ]);
        assert_eq!((&closed["killed_worker"], &closed["killed_manager"]), (&json!(true), &json!(true)));
        let captures = closed["pre_stop_transcript_captures"].as_array().unwrap();
        let roles: Vec<_> = captures.iter().map(|one| &one["role"]).collect();
        assert_eq!(roles, ["worker", "manager"]);
        assert!(captures[0]["capture"]["output"].as_str().unwrap().contains("the worker"));
        let told = "select attributes_json from telemetry_events where event_type = 'command_succeeded'";
        assert!(!world.scalar(told).contains("the worker"), "telemetry has sizes only");
        for (side, there) in [("worker", false), ("manager", false), ("worker-2", true)] {
            assert_eq!(panes::is_there(world, &format!("codex-demo-{side}")), there, "{side}");
        }
        assert_eq!(world.scalar("select count(*) from sessions where state = 'gone'"), "2");
        let types = "select type from events order by id";
        assert_eq!(
            world.column(types),
            [
                "finish_task_intent",
                "finish_task_criteria_audit",
                "worker_terminal_captured",
                "manager_terminal_captured",
                "finish_task_pre_stop_transcript_captured",
                "finish_task_succeeded",
            ]
        );
    });
}

#[test]
fn a_terminal_that_is_gone_already_is_no_failure() {
    on_both_engines(|world| {
        running(world);
        panes::put_into(world, "demo-manager", "codex-demo-manager");
        let closed = world.json(&["stop-task", "demo", "--stop-worker"]);
        assert_eq!((&closed["killed_worker"], &closed["killed_manager"]), (&json!(false), &json!(false)));
        let states = "select name || ' ' || state from sessions order by name";
        assert_eq!(world.column(states), ["demo-manager gone", "demo-worker active"]);
    });
}

#[test]
fn a_failure_is_recorded_and_the_call_can_be_repeated() {
    on_both_engines(|world| {
        running(world);
        panes::put_into(world, "demo-worker", "codex-demo-worker");
        panes::show(world, "codex-demo-worker", "x");
        world.sql("update sessions set tmux_pane_id = '%99' where name = 'demo-worker'");
        let finish = ["finish-task", "demo", "--stop-worker", "--capture-transcript-before-stop"];
        let ran = world.run(&finish);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
        insta::assert_snapshot!("finish_failed", ran.stderr);
        insta::assert_snapshot!("finish_failed_rows", rows(world));
        insta::assert_snapshot!("finish_failed_events", events(world));
        assert!(panes::is_there(world, "codex-demo-worker"), "nothing is ended");
        assert_eq!(world.scalar("select state from tasks"), "managed");
        world.sql("update sessions set tmux_pane_id = null where name = 'demo-worker'");
        assert_eq!(world.json(&finish)["killed_worker"], true);
    });
}

/// Gives the manager a rollout below a home of Codex, and a terminal.
fn in_home(world: &World) -> std::path::PathBuf {
    let home = world.dir().join("home");
    let rollout = home.join("sessions/2026/06/11/rollout-x.jsonl");
    world.sql(&format!(
        "update sessions set codex_session_path = '{}' where name = 'demo-manager'",
        rollout.display()
    ));
    panes::put_into(world, "demo-manager", "codex-demo-manager");
    panes::show(world, "codex-demo-manager", "x");
    let control = home.join("app-server-control");
    std::fs::create_dir_all(&control).unwrap();
    control.join("app-server-control.sock")
}

#[test]
fn a_server_that_was_killed_keeps_no_turn() {
    on_both_engines(|world| {
        running(world);
        // What is left of it is a socket at which nobody listens.
        drop(std::os::unix::net::UnixListener::bind(in_home(world)).unwrap());
        assert_eq!(world.json(&["stop-task", "demo"])["killed_manager"], true);
    });
}

#[test]
fn a_turn_that_cannot_be_ended_leaves_its_terminal_and_the_task() {
    on_sqlite(|world| {
        running(world);
        let server = std::os::unix::net::UnixListener::bind(in_home(world)).unwrap();
        let ran = world.run(&["stop-task", "demo"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
        insta::assert_snapshot!("stop_frozen", ran.stderr);
        assert!(panes::is_there(world, "codex-demo-manager"));
        assert_eq!(world.scalar("select state from tasks"), "managed");
        assert_eq!(world.scalar("select state from bindings"), "active");
        assert_eq!(world.scalar("select state from sessions where name = 'demo-manager'"), "active");
        drop(server);
        assert_eq!(world.json(&["stop-task", "demo"])["killed_manager"], true);
    });
}

#[test]
fn what_an_attempt_that_failed_half_way_has_done_is_not_asked_for_again() {
    on_sqlite(|world| {
        running(world);
        panes::put_into(world, "demo-worker", "codex-demo-worker");
        panes::show(world, "codex-demo-worker", "the worker's last words");
        let server = std::os::unix::net::UnixListener::bind(in_home(world)).unwrap();
        let finish = [
            "finish-task",
            "demo",
            "--stop-worker",
            "--stop-manager",
            "--capture-transcript-before-stop",
            "--require-transcript-segment",
        ];
        assert_eq!(world.run(&finish).code, 1);
        assert!(!panes::is_there(world, "codex-demo-worker") && panes::is_there(world, "codex-demo-manager"));
        drop(server);
        // One that was killed before it could record its end.
        world.sql("update commands set state = 'attempted', result_json = null, error = null");
        // The manager shows something new since.
        world.tmux.tmux(["respawn-pane", "-k", "-t", "=codex-demo-manager:", "echo more; exec sleep 600"]);
        conveyor_testkit::wait::until(std::time::Duration::from_secs(10), "the pane", || {
            world.tmux.tmux(["capture-pane", "-p", "-t", "=codex-demo-manager:"]).contains("more")
        });
        let closed = world.json(&finish);
        assert_eq!((&closed["killed_worker"], &closed["killed_manager"]), (&json!(false), &json!(true)));
        assert_eq!(closed["pre_stop_transcript_captures"][0]["role"], "manager");
        assert_eq!(
            world.column(
                "select state || ' ' || coalesce(error, '-') from commands order by created_at, rowid"
            ),
            [
                "failed the process that carried it out has not recorded an end; the task was closed since",
                "succeeded -",
            ]
        );
        assert_eq!(world.json(&["db-doctor", "--live"])["live_reconcile"]["ok"], true);
    });
    on_sqlite(|world| {
        running(world);
        // Nobody has captured what is not there.
        panes::put_into(world, "demo-worker", "codex-demo-worker");
        let ran = world.run(&["finish-task", "demo", "--stop-worker", "--capture-transcript-before-stop"]);
        assert!(ran.code == 1 && ran.stderr.contains("tmux_session_missing"), "{}", ran.stderr);
    });
}

#[test]
fn a_session_that_works_for_another_task_is_left_alone() {
    on_both_engines(|world| {
        running(world);
        panes::put_into(world, "demo-worker", "codex-demo-worker");
        panes::show(world, "codex-demo-worker", "x");
        world.run(&["unbind", "--task", "demo"]);
        world.json(&["tasks", "--create", "next", "--goal", "g"]);
        world.json(&["bind", "--task", "next", "--worker", "demo-worker", "--manager", "demo-manager"]);
        assert_eq!(world.json(&["finish-task", "demo", "--stop-worker"])["killed_worker"], false);
        assert!(panes::is_there(world, "codex-demo-worker"));
        assert_eq!(world.scalar("select state from sessions where name = 'demo-worker'"), "active");
    });
}

#[test]
fn the_dispatcher_of_the_last_binding_is_waited_for() {
    on_both_engines(|world| {
        running(world);
        let beat = |id: &str, exits: bool| {
            world.sql(&format!(
                "insert into telemetry_events (id, timestamp, actor, event_type, severity, summary, correlation_json, \
                 attributes_json) values ('{id}', '2026-06-11T11:59:55Z', 'dispatch', 'dispatch_watch_heartbeat', 'info', \
                 's', '{{\"dispatcher_id\":\"{id}\",\"incarnation\":{{\"host\":\"h\",\"pid\":1,\"start\":\"s\"}}}}', \
                 '{{\"dry_run\":false,\"exit_when_unbound\":{exits}}}')"
            ));
        };
        beat("always", false);
        beat("pair", true);
        world.sql(
            "insert into telemetry_events (id, timestamp, actor, event_type, severity, summary, correlation_json, \
             attributes_json) values ('end', '2026-06-11T12:00:00.000Z', 'dispatch', 'dispatch_watch_ended', 'info', 's', \
             '{\"dispatcher_id\":\"pair\",\"incarnation\":{\"host\":\"h\",\"pid\":1,\"start\":\"s\"}}', '{}')",
        );
        assert_eq!(world.json(&["finish-task", "demo"])["dispatcher_stopped"], json!(null), "it has ended");
        world.bind("other");
        world.sql("delete from telemetry_events where id = 'end'");
        world.bind("third");
        assert_eq!(world.json(&["finish-task", "other"])["dispatcher_stopped"], json!(null), "one is bound");
        assert_eq!(world.json(&["finish-task", "third"])["dispatcher_stopped"], false);
    });
}

#[test]
fn a_dispatcher_ends_with_the_last_binding() {
    on_both_engines(|world| {
        running(world);
        std::thread::scope(|scope| {
            let watch = ["dispatch", "--watch", "--exit-when-unbound", "--dispatcher-id", "pair", "--json"];
            let dispatcher = scope.spawn(move || world.run(&watch));
            let beats = "select count(*) from telemetry_events where event_type = 'dispatch_watch_heartbeat'";
            conveyor_testkit::wait::until(std::time::Duration::from_secs(10), "a life sign", || {
                world.scalar(beats) != "0"
            });
            assert_eq!(world.json(&["finish-task", "demo"])["dispatcher_stopped"], true);
            assert_eq!(dispatcher.join().unwrap().json()["watch"], true);
        });
    });
}

#[test]
fn of_two_that_close_a_task_one_is_refused() {
    on_both_engines(|world| {
        running(world);
        let mut codes: Vec<u8> = std::thread::scope(|scope| {
            let runs: Vec<_> =
                (0..4).map(|_| scope.spawn(|| world.run(&["finish-task", "demo"]).code)).collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        codes.sort_unstable();
        assert_eq!(codes, [0, 2, 2, 2]);
        assert_eq!(world.scalar("select count(*) from commands"), "1");
    });
}

/// The worker in a terminal with a fake Codex.
fn seated(world: &World) -> FakeCodex<'_> {
    running(world);
    let fake = FakeCodex::start(&world.tmux, "codex-demo-worker", world.dir());
    panes::put_into(world, "demo-worker", "codex-demo-worker");
    world.sql(&format!(
        "update sessions set codex_session_path = '{}' where name = 'demo-worker'",
        fake.rollout().display()
    ));
    fake
}

#[test]
fn the_worker_is_told_before_its_terminal_is_ended() {
    on_both_engines(|world| {
        let fake = seated(world);
        let closed = world.json(&["finish-task", "demo", "--stop-worker", "--message", "Thank you."]);
        assert_eq!((&closed["message_sent"], &closed["killed_worker"]), (&json!(true), &json!(true)));
        assert_eq!(closed.get("message_reason"), None);
        assert_eq!(fake.told(), ["Thank you."]);
        let payload = world.scalar("select payload_json from commands");
        assert!(payload.contains("\"message\":\"Thank you.\""), "{payload}");
    });
}

#[test]
fn a_worker_that_takes_no_message_is_ended_all_the_same() {
    on_sqlite(|world| {
        let fake = seated(world);
        fake.behave(Mode::Busy);
        let closed = world.json(&["stop-task", "demo", "--stop-worker", "--message", "Stop."]);
        assert_eq!(
            (&closed["message_sent"], &closed["message_reason"], &closed["killed_worker"]),
            (&json!(false), &json!("busy"), &json!(true))
        );
        assert!(fake.told().is_empty());
    });
    on_sqlite(|world| {
        let fake = seated(world);
        let closed = world.json(&["finish-task", "demo", "--message", "Thank you."]);
        assert_eq!(
            (&closed["message_sent"], &closed["message_reason"]),
            (&json!(false), &json!("worker_not_stopped"))
        );
        assert!(fake.told().is_empty());
    });
    on_sqlite(|world| {
        let fake = seated(world);
        fake.behave(Mode::Deaf);
        let closed = world.json(&["finish-task", "demo", "--stop-worker", "--message", "Thank you."]);
        assert_eq!(
            (&closed["message_sent"], &closed["message_reason"]),
            (&json!(false), &json!("not_submitted"))
        );
    });
}

/// Closes the task from inside a terminal that ends with it, as an agent does in its own turn.
fn closed_from_inside(world: &World, arguments: &[&str]) {
    running(world);
    // What the agent runs, and what is left to show whether it lived to see the end.
    let survived = world.dir().join("survived");
    let command = format!(
        "sleep 1; CODEX_THREAD_ID=codex-demo-m '{}' {} --path '{}' > '{}'; touch '{}'; exec sleep 600",
        env!("CARGO_BIN_EXE_conveyor"),
        arguments.join(" "),
        world.ledger(),
        world.dir().join("said").display(),
        survived.display()
    );
    world.tmux.tmux(["new-session", "-d", "-s", "codex-demo-manager", &command]);
    // A server stays, whatever ends.
    world.tmux.tmux(["new-session", "-d", "-s", "other", "exec sleep 600"]);
    panes::put_into(world, "demo-manager", "codex-demo-manager");
    conveyor_testkit::wait::until(std::time::Duration::from_secs(20), "the end of the task", || {
        world.scalar("select state from tasks") == "done"
    });
    assert!(!panes::is_there(world, "codex-demo-manager") && panes::is_there(world, "other"));
    assert!(!survived.exists(), "whoever called it is gone");
    assert_eq!(world.scalar("select state from commands"), "succeeded");
    assert_eq!(world.scalar("select state from bindings"), "ended");
    assert_eq!(world.scalar("select state from sessions where name = 'demo-manager'"), "gone");
    assert_eq!(world.scalar("select count(*) from events where type like '%_succeeded'"), "1");
}

#[test]
fn a_manager_can_close_its_task_from_its_own_turn() {
    on_both_engines(|world| closed_from_inside(world, &["finish-task", "demo", "--stop-manager"]));
    on_sqlite(|world| closed_from_inside(world, &["stop-task", "demo"]));
}

#[test]
fn the_work_of_a_copy_is_relayed_to_a_caller_that_lives() {
    on_sqlite(|world| {
        running(world);
        panes::show(world, "codex-demo-manager", "x");
        panes::put_into(world, "demo-manager", "codex-demo-manager");
        let run = |task: &str| {
            std::process::Command::new(env!("CARGO_BIN_EXE_conveyor"))
                .args(["stop-task", task, "--path", &world.ledger()])
                .env("CODEX_THREAD_ID", "codex-demo-m")
                .env("TMUX_TMPDIR", world.tmux.dir())
                .env_remove("TMUX")
                .output()
                .unwrap()
        };
        let said = run("demo");
        assert_eq!(said.status.code(), Some(0), "{}", String::from_utf8_lossy(&said.stderr));
        let closed: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
        assert_eq!(closed["killed_manager"], true);
        let again = run("demo");
        assert_eq!((again.status.code(), again.stdout.len()), (Some(2), 0));
        assert!(String::from_utf8_lossy(&again.stderr).contains("already done"));
    });
}

#[test]
fn refusals() {
    on_both_engines(|world| {
        running(world);
        let said = [
            world.refused(&["finish-task"]),
            world.refused(&["finish-task", "nope"]),
            world.refused(&["finish-task", "demo", "--message", " "]),
            world.refused(&["stop-task", "demo", "--message", "a\u{1b}b"]),
            world.refused(&["stop-task", "demo", "--require-acks"]),
            world.refused(&["finish-task", "demo", "--decision-id", "x"]),
            world.refused(&["finish-task", "demo", "--require-transcript-segment"]),
            world.refused(&["finish-task", "demo", "--capture-transcript-lines", "x"]),
            world.refused(&["stop-task", "demo", "--stop-manager"]),
            world.refused(&["stop-task", "demo", "--capture-transcript-before-stop"]),
            world.refused(&["stop-task", "nope"]),
            world.refused(&["dispatch", "--once", "--exit-when-unbound"]),
        ];
        insta::assert_snapshot!("finish_refusals", said.join("\n"));
    });
}
