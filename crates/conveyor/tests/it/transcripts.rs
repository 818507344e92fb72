//! `transcript-capture`, `transcript-show`, `transcript-prune`.

use serde_json::json;

use crate::harness::{World, on_both_engines};
use crate::panes;

/// What a capture leaves behind, row by row.
fn rows(world: &World) -> String {
    let queries = [
        "select 'capture ' || role || ' ' || tmux_session || ' ' || tmux_pane_id || ' ' || captured_at || ' ' || history_lines || ' ' || \
         content_sha256 || ' ' || byte_count || ' ' || line_count || ' ' || classifier_json || ' ' || source || ' ' || content \
         from terminal_captures",
        "select 'segment ' || role || ' ' || source_capture_id || ' ' || captured_at || ' ' || content_sha256 || ' ' || \
         segment_start_line || ' ' || segment_end_line || ' ' || byte_count || ' ' || line_count || ' ' || retention_class || ' ' || \
         segment_kind || ' ' || redacted || ' ' || created_at from transcript_segments",
        "select 'observation ' || role || ' ' || observation_type || ' ' || severity || ' ' || source_capture_id || ' ' || created_at \
         || ' ' || message || ' ' || payload_json from agent_observations",
    ];
    let rows: Vec<String> = queries.iter().flat_map(|query| world.column(query)).collect();
    rows.join("\n").replace("\n\n", "")
}

/// Task `demo` whose worker shows some lines.
fn worker_shows(world: &World, text: &str) {
    world.bind("demo");
    panes::put_into(world, "demo-worker", "codex-demo-worker");
    panes::show(world, "codex-demo-worker", text);
}

fn type_line(world: &World, text: &str) {
    let before = panes::captured(world, "codex-demo-worker");
    world.tmux.tmux([
        "respawn-pane",
        "-k",
        "-t",
        "=codex-demo-worker:",
        &format!("printf '{text}'; exec sleep 600"),
    ]);
    conveyor_testkit::wait::until(std::time::Duration::from_secs(10), "the new screen", || {
        let now = panes::captured(world, "codex-demo-worker");
        now != before && !now.trim().is_empty()
    });
}

#[test]
fn what_is_new_becomes_a_segment() {
    on_both_engines(|world| {
        worker_shows(world, "one\ntwo\nthree");
        let first = world.json(&["transcript-capture", "demo", "--role", "worker", "--lines", "0", "--json"]);
        let capture = &first["captures"][0]["capture"];
        assert_eq!((&capture["output_redacted"], &capture["history_lines"]), (&json!(true), &json!(0)));
        assert!(capture.get("output").is_none());
        insta::assert_snapshot!(
            "transcript_capture",
            world.normal(&serde_json::to_string_pretty(&first).unwrap())
        );
        insta::assert_snapshot!("transcript_capture_rows", rows(world));
        insta::assert_snapshot!("transcript_capture_telemetry", world.telemetry());
        let events = "select type || ' ' || payload_json from events where type like '%captured' order by id";
        insta::assert_snapshot!("transcript_capture_events", world.column(events).join("\n"));

        let again = world.run(&["transcript-capture", "demo", "--role", "worker", "--lines", "0"]);
        assert_eq!(again.stdout, "worker: capture 2 no new transcript segment\n");
        let strict = ["transcript-capture", "demo", "--role", "worker", "--lines", "0", "--require-segment"];
        let ran = world.run(&strict);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
        insta::assert_snapshot!("transcript_require_segment", ran.stderr);
        assert_eq!(world.scalar("select count(*) from terminal_captures"), "3", "the captures stay");

        type_line(world, "three\\nfour");
        let content = ["transcript-capture", "demo", "--role", "worker", "--lines", "0", "--include-content"];
        assert_eq!(world.run(&content).stdout, "worker: capture 4 segment 2 (reset, 50 lines)\n");
        assert!(
            world.run(&[&content[..], &["--json"]].concat()).json()["captures"][0]["capture"]["output"]
                .as_str()
                .unwrap()
                .starts_with("three\nfour\n")
        );
        let metadata = ["transcript-capture", "demo", "--role", "worker", "--mode", "metadata"];
        assert_eq!(world.run(&metadata).stdout, "worker: capture 6 segment 3 (metadata, 0 lines)\n");
    });
}

#[test]
fn one_side_that_fails_does_not_keep_the_other() {
    on_both_engines(|world| {
        worker_shows(world, "one");
        panes::put_into(world, "demo-manager", "codex-demo-manager");
        let ran = world.run(&["transcript-capture", "demo"]);
        assert_eq!(ran.code, 0);
        insta::assert_snapshot!("transcript_one_side", ran.stdout);
        let report = world.json(&["transcript-capture", "demo", "--json"]);
        assert_eq!(
            report["captures"][1],
            json!({
                "error": "Session identity verification failed for demo-manager: tmux_session_missing",
                "role": "manager",
            })
        );
        let strict = world.run(&["transcript-capture", "demo", "--mode", "metadata", "--require-segment"]);
        assert_eq!(strict.code, 2);
        assert!(strict.stderr.contains("worker, manager"), "metadata has no lines: {}", strict.stderr);
    });
}

#[test]
fn the_registered_pane_is_captured_whichever_is_active() {
    on_both_engines(|world| {
        worker_shows(world, "the agent");
        let pane = world.tmux.tmux(["list-panes", "-t", "=codex-demo-worker:", "-F", "#{pane_id}"]);
        world
            .sql(&format!("update sessions set tmux_pane_id = '{}' where name = 'demo-worker'", pane.trim()));
        panes::put_into(world, "demo-worker", "codex-demo-worker");
        world.tmux.tmux(["split-window", "-t", "=codex-demo-worker:", "exec sleep 600"]);
        let content = ["transcript-capture", "demo", "--role", "worker", "--include-content", "--json"];
        let report = world.json(&content);
        assert!(report["captures"][0]["capture"]["output"].as_str().unwrap().starts_with("the agent\n"));
    });
}

#[test]
fn ended_bindings_count_but_another_terminal_does_not() {
    on_both_engines(|world| {
        worker_shows(world, "one");
        world.run(&["unbind", "--task", "demo"]);
        world.json(&["transcript-capture", "demo", "--role", "worker", "--json"]);
        world.sql("update sessions set tmux_pane_id = '%99' where name = 'demo-worker'");
        world.json(&["tasks", "--create", "free", "--goal", "g"]);
        let said = [
            world.refused(&["transcript-capture", "demo", "--role", "worker"]),
            world.refused(&["transcript-capture", "demo", "--role", "manager"]),
            world.refused(&["transcript-capture", "free", "--role", "worker"]),
            world.refused(&["transcript-capture", "nope"]),
            world.refused(&["transcript-capture", "demo", "--role", "both"]),
            world.refused(&["transcript-capture", "demo", "--mode", "all"]),
            world.refused(&["transcript-capture", "demo", "--lines", "x"]),
            world.refused(&["transcript-show", "nope"]),
            world.refused(&["transcript-prune", "nope"]),
            world.refused(&["transcript-prune", "demo", "--keep-latest", "-1"]),
            world.refused(&["transcript-prune", "demo", "--limit", "1"]),
        ];
        insta::assert_snapshot!("transcript_refusals", said.join("\n"));
    });
}

/// Task `old` with a worker and a manager as older versions knew them, each in a terminal.
fn legacy(world: &World) {
    world.json(&["tasks", "--create", "old", "--goal", "g"]);
    let at = "2026-06-11T11:00:00Z";
    world.sql(&format!(
        "insert into workers (id, name, tmux_session, tmux_pane_id, identity_token, cwd, state, created_at, updated_at) \
         values ('worker-1', 'old-worker', 'codex-old-worker', '%0', 'token-1', '/srv', 'active', '{at}', '{at}'); \
         insert into managers (id, name, task_id, tmux_session, tmux_pane_id, state, codex_args_json, started_at) \
         select 'manager-1', 'old-manager', id, 'codex-old-manager', '%1', 'ready', '[]', '{at}' from tasks; \
         insert into bindings (id, task_id, worker_id, state, created_at) \
         select 'binding-1', id, 'worker-1', 'active', '{at}' from tasks"
    ));
    configure(world, "token-1");
    panes::show(world, "codex-old-worker", "work");
    panes::show(world, "codex-old-manager", "manage");
}

fn configure(world: &World, token: &str) {
    let dir = world.dir().join(".codex-workers/old-worker");
    std::fs::create_dir_all(&dir).unwrap();
    let config = json!({ "name": "old-worker", "tmux_session": "codex-old-worker", "identity_token": token });
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
}

#[test]
fn workers_and_managers_of_older_versions() {
    on_both_engines(|world| {
        legacy(world);
        let report = world.json(&["transcript-capture", "old", "--json", "--include-content"]);
        let (worker, manager) = (&report["captures"][0], &report["captures"][1]);
        assert_eq!((&worker["binding_id"], &manager["binding_id"]), (&json!("binding-1"), &json!(null)));
        assert_eq!(worker["capture"]["output"], "work", "as `capture` has it");
        assert!(manager["capture"]["output"].as_str().unwrap().starts_with("manage\n"));
        let events = "select type || ' ' || coalesce(worker_id, '-') || ' ' || coalesce(manager_id, '-') from events \
                      where type like '%captured' order by id";
        assert_eq!(
            world.column(events),
            ["worker_terminal_captured worker-1 -", "manager_terminal_captured - manager-1"]
        );
        let captures = "select role || ' ' || coalesce(worker_id, '-') || ' ' || coalesce(manager_id, '-') \
                        from terminal_captures order by id";
        assert_eq!(world.column(captures), ["worker worker-1 -", "manager - manager-1"]);
        assert_eq!(
            world.scalar("select count(*) from transcript_captures where worker_id = 'worker-1'"),
            "1"
        );
        assert_eq!(world.scalar("select last_seen_at from managers"), "2026-06-11T12:00:00Z");

        configure(world, "another");
        world.sql("update workers set tmux_pane_id = '%7'");
        world.sql("update managers set tmux_pane_id = '%7'");
        let ran = world.run(&["transcript-capture", "old"]);
        insta::assert_snapshot!("transcript_legacy_mismatches", ran.stdout);

        // Terminals that are not the recorded ones are not ended.
        world.sql("update workers set tmux_pane_id = '%0'");
        world.sql("update managers set tmux_pane_id = '%1'");
        let closed = world.json(&["stop-task", "old", "--stop-worker"]);
        assert_eq!((&closed["killed_worker"], &closed["killed_manager"]), (&json!(true), &json!(true)));
        assert_eq!(
            world.column("select state from workers union all select state from managers"),
            ["stopped"; 2]
        );
        assert_eq!(world.scalar("select state from bindings"), "ended");
    });
}

/// Task `demo` with four segments of the worker, the last without text, and one of the manager.
fn segments(world: &World) {
    world.bind("demo");
    let at = "2026-06-11T11:59:07Z";
    for (number, role) in ["worker", "worker", "manager", "worker", "worker"].iter().enumerate() {
        let number = number + 1;
        let (text, kind) = if number == 5 {
            ("null".to_owned(), "metadata")
        } else {
            (format!("'text {number}\nb'"), "reset")
        };
        world.sql(&format!(
            "insert into terminal_captures (task_id, role, tmux_session, captured_at, history_lines, content_sha256, \
             byte_count, line_count, classifier_json, source) \
             values ('task-demo', '{role}', 't', '{at}', 200, 'x', 1, 1, '{{}}', 's'); \
             insert into transcript_segments (task_id, role, source_capture_id, captured_at, content_sha256, segment_text, \
             byte_count, line_count, retention_class, segment_kind, redacted, created_at) \
             values ('task-demo', '{role}', {number}, '{at}', 'x', {text}, 8, 2, 'hot', '{kind}', 0, '{at}')"
        ));
    }
}

#[test]
fn showing() {
    on_both_engines(|world| {
        segments(world);
        let before = world.dump();
        insta::assert_snapshot!("transcript_show", world.run(&["transcript-show", "demo"]).stdout);
        let content = ["transcript-show", "demo", "--include-content"];
        insta::assert_snapshot!("transcript_show_content", world.run(&content).stdout);
        let json = ["transcript-show", "demo", "--json", "--role", "worker", "--limit", "2"];
        insta::assert_snapshot!("transcript_show_json", world.run(&json).stdout);
        let json = [&content[..], &["--json", "--limit", "2"]].concat();
        insta::assert_snapshot!("transcript_show_json_content", world.run(&json).stdout);
        let ids = |options: &[&str]| -> Vec<i64> {
            let shown = world.json(&[&["transcript-show", "demo", "--json"], options].concat());
            shown["segments"].as_array().unwrap().iter().map(|one| one["id"].as_i64().unwrap()).collect()
        };
        assert_eq!(ids(&["--limit", "0"]), [1, 2, 3, 4, 5]);
        assert_eq!(ids(&["--limit", "3"]), [3, 4, 5]);
        assert_eq!(ids(&["--role", "worker", "--limit", "3"]), [2, 4, 5]);
        assert_eq!(ids(&["--role", "manager"]), [3]);
        assert_eq!(world.dump(), before);
        world.json(&["tasks", "--create", "free", "--goal", "g"]);
        assert_eq!(world.run(&["transcript-show", "free"]).stdout, "");
    });
}

#[test]
fn pruning() {
    on_both_engines(|world| {
        segments(world);
        let before = world.dump();
        let prune = |options: &[&str]| world.json(&[&["transcript-prune", "demo"], options].concat());
        let counts = |dry_run: bool, keep: i64, pruned: i64, would: i64| json!({ "dry_run": dry_run, "keep_latest": keep, "pruned_count": pruned, "would_prune_count": would });
        assert_eq!(prune(&["--keep-latest", "1", "--dry-run"]), counts(true, 1, 0, 2));
        assert_eq!(prune(&[]), counts(false, 20, 0, 0));
        assert_eq!(world.dump(), before);
        assert_eq!(prune(&["--keep-latest", "1"]), counts(false, 1, 2, 2));
        let kept = "select role || id from transcript_segments where segment_text is not null order by id";
        assert_eq!(world.column(kept), ["manager3", "worker4"]);
        let changed = "select count(*) from transcript_segments where retention_class = 'cold' \
                       and segment_kind = 'metadata' and byte_count = 8 and id in (1, 2)";
        assert_eq!(world.scalar(changed), "2");
        let event =
            "select task_id || ' ' || payload_json from events where type = 'transcript_segments_pruned'";
        assert_eq!(world.column(event), [r#"task-demo {"keep_latest":1,"segment_ids":[2,1]}"#]);
        assert_eq!(prune(&["--keep-latest", "0"]), counts(false, 0, 2, 2));
    });
}
