//! `ingest`.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::harness::{World, on_both_engines, on_sqlite};
use crate::rollouts::{append, expected, message, meta, recorded, register, session_with, stored};

fn totals(world: &World, session: &str) -> (u64, u64, u64) {
    let reply = world.json(&["ingest", session]);
    let number = |key: &str| reply[key].as_u64().unwrap();
    (number("new_events"), number("skipped_lines"), number("new_offset"))
}

/// The stored events, one a line.
fn rows(world: &World) -> String {
    let query = "select id || ' ' || session_id || ' ' || byte_offset || ' ' || type || ' ' || \
                 coalesce(subtype, '-') || ' ' || timestamp || ' ' || ingested_at || ' ' || payload_json \
                 from codex_events order by id";
    world.column(query).join("\n")
}

fn size(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}

#[test]
fn recorded_rollouts_are_stored_line_by_line() {
    on_both_engines(|world| {
        for (number, path) in recorded().iter().enumerate() {
            let name = format!("w{number}");
            register(world, &name, Some(path));
            let events = expected(&std::fs::read(path).unwrap());
            assert_eq!(totals(world, &name), (events.len() as u64, 0, size(path)), "{}", path.display());
            assert_eq!(stored(world, &name), events);
            assert_eq!(totals(world, &name), (0, 0, size(path)), "nothing is new the second time");
        }
    });
}

#[test]
fn reply_rows_and_record() {
    on_both_engines(|world| {
        world.bind("demo");
        let path = world.dir().join("demo-worker.jsonl");
        append(&path, meta("s-1") + &message("hello") + "not json\n" + r#"{"type":"half"#);
        insta::assert_snapshot!("ingest_reply", world.run(&["ingest", "demo-worker"]).stdout);
        world.advance(1500);
        world.run(&["ingest", "demo-worker"]);
        let sessions =
            "select last_ingest_offset || ' ' || last_heartbeat_at from sessions where name = 'demo-worker'";
        assert_eq!(world.scalar(sessions), format!("{} 2026-06-11T12:00:01.500Z", size(&path) - 13));
        insta::assert_snapshot!("ingest_rows", rows(world));
        insta::assert_snapshot!("ingest_telemetry", world.telemetry());
        let meta = path.metadata().unwrap();
        let identity = format!("{} {}", meta.dev(), meta.ino());
        let known = "select rollout_device || ' ' || rollout_inode from sessions where name = 'demo-worker'";
        assert_eq!(world.scalar(known), identity);
    });
}

#[test]
fn the_old_layout_and_odd_records() {
    on_both_engines(|world| {
        let lines = [
            meta("s"),
            message("line one\\nline two"),
            r#"{"timestamp":"2026-01-01T10:00:03.000Z","type":"event_msg","payload":{"type":"task_complete","last_agent_message":"done","n":5.0}}"#.to_owned() + "\n",
            r#"{"type":"response_item","payload":"text","timestamp":""}"#.to_owned() + "\r\n",
            r#"{"type":"event_msg","payload":{"type":7,"k":"a\u0000b"}}"#.to_owned() + "\n",
        ];
        session_with(world, &lines);
        assert_eq!(totals(world, "w").0, 5);
        insta::assert_snapshot!("ingest_old_layout", rows(world));
    });
}

#[test]
fn what_is_no_record_is_skipped_and_counted() {
    on_both_engines(|world| {
        let path = session_with(world, &[meta("s")]);
        for line in
            [&b"\n"[..], b"{\n", b"[]\n", b"{\"type\":1}\n", b"{\"type\":\"a\",\"x\":\"\xff\"}\n", b"\0\n"]
        {
            append(&path, line);
        }
        append(&path, message("after"));
        assert_eq!(totals(world, "w"), (2, 6, size(&path)));
        append(&path, "nonsense\n");
        assert_eq!(totals(world, "w"), (0, 1, size(&path)), "skipped lines are passed for good");
    });
}

#[test]
fn a_line_is_taken_once_it_is_complete() {
    on_both_engines(|world| {
        let path = world.dir().join("w.jsonl");
        append(&path, "");
        register(world, "w", Some(&path));
        assert_eq!(totals(world, "w"), (0, 0, 0));
        let (first, second) = (meta("s"), message("hello"));
        append(&path, &first[..20]);
        assert_eq!(totals(world, "w"), (0, 0, 0));
        assert_eq!(world.scalar("select last_ingest_offset from sessions"), "null");
        append(&path, first[20..].to_owned() + &second[..second.len() - 1]);
        assert_eq!(totals(world, "w"), (1, 0, first.len() as u64));
        append(&path, "\n");
        assert_eq!(totals(world, "w"), (1, 0, size(&path)));
        assert_eq!(stored(world, "w"), expected(&std::fs::read(&path).unwrap()));
    });
}

#[test]
fn any_way_of_growing_gives_the_same_events() {
    on_both_engines(|world| {
        let text: Vec<u8> = recorded().iter().flat_map(|path| std::fs::read(path).unwrap()).collect();
        // A fixed generator, so that a failure repeats itself.
        let mut seed = 20_260_611_u64;
        for round in 0..3 {
            let path = world.dir().join(format!("{round}.jsonl"));
            append(&path, "");
            register(world, &format!("w{round}"), Some(&path));
            let mut written = 0;
            while written < text.len() {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let end = text.len().min(written + (seed >> 33) as usize % 12_000);
                append(&path, &text[written..end]);
                written = end;
                totals(world, &format!("w{round}"));
            }
            assert_eq!(stored(world, &format!("w{round}")), expected(&text), "round {round}");
        }
    });
}

#[test]
fn another_file_under_the_same_name_is_not_read() {
    on_both_engines(|world| {
        let path = session_with(world, &[meta("old"), message("one")]);
        totals(world, "w");
        std::fs::rename(&path, world.dir().join("w.jsonl.1")).unwrap();
        append(&path, meta("new") + &message("two") + &message("three"));
        insta::assert_snapshot!("ingest_replaced", world.normal(&world.refused(&["ingest", "w"])));
        register(world, "w", Some(&path));
        assert_eq!(totals(world, "w"), (3, 0, size(&path)));
        assert_eq!(stored(world, "w").len(), 5, "the history of the old file stays");
    });
}

#[test]
fn other_contents_in_the_same_file_are_not_read() {
    on_both_engines(|world| {
        let path = session_with(world, &[meta("old"), message("one")]);
        totals(world, "w");
        std::fs::write(&path, meta("new") + &message("two") + &message("three")).unwrap();
        assert!(world.refused(&["ingest", "w"]).contains("was replaced"));
    });
}

#[test]
fn a_file_that_became_shorter_is_not_read() {
    on_both_engines(|world| {
        let path = session_with(world, &[meta("s"), message("one")]);
        totals(world, "w");
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(40).unwrap();
        insta::assert_snapshot!("ingest_shrank", world.normal(&world.refused(&["ingest", "w"])));
    });
}

#[test]
fn a_moved_file_is_read_on() {
    on_both_engines(|world| {
        let path = session_with(world, &[meta("s"), message("one")]);
        totals(world, "w");
        let copy = world.dir().join("copy.jsonl");
        std::fs::copy(&path, &copy).unwrap();
        append(&copy, message("two"));
        std::fs::rename(&copy, &path).unwrap();
        assert_eq!(totals(world, "w"), (1, 0, size(&path)));
        let inode = path.metadata().unwrap().ino().to_string();
        assert_eq!(world.scalar("select rollout_inode from sessions"), inode);
    });
}

#[test]
fn an_offset_left_by_another_program_is_taken_over() {
    on_both_engines(|world| {
        let path = session_with(world, &[meta("s"), message("one")]);
        world.sql(&format!("update sessions set last_ingest_offset = {}", meta("s").len()));
        assert_eq!(totals(world, "w"), (1, 0, size(&path)));
        assert_ne!(world.scalar("select rollout_digest from sessions"), "null");
        world.sql(
            "update sessions set rollout_inode = null, rollout_device = null, last_ingest_offset = 999999",
        );
        assert!(world.refused(&["ingest", "w"]).contains("shrank"));
    });
}

#[test]
fn registering_again_does_not_duplicate_history() {
    on_both_engines(|world| {
        let path = session_with(
            world,
            &[meta("s"), message("one"), r#"{"type":"no_time","payload":{}}"#.to_owned() + "\n"],
        );
        assert_eq!(totals(world, "w").0, 3);
        // As another program writes the same payload.
        world.sql(
            r#"update codex_events set payload_json = '{ "message": "\u006fne", "type": "user_message" }' where subtype = 'user_message'"#,
        );
        append(&path, message("two"));
        register(world, "w", Some(&path));
        world.advance(60_000);
        assert_eq!(totals(world, "w"), (1, 0, size(&path)), "only what is new counts");
        assert_eq!(stored(world, "w").len(), 4);
    });
}

/// A line whose numbers a build that read them carelessly stored otherwise.
fn measured() -> String {
    r#"{"timestamp":"2026-06-11T11:00:00.000Z","type":"event_msg","payload":{"type":"task_complete","turn_id":"t","seconds":31.245270191439438,"tokens":9007199254740993,"bytes":18446744073709551615,"rate":[0.1,{"x":-1.0000000000000002e-10}]}}"#
        .to_owned()
        + "\n"
}

#[test]
fn numbers_keep_their_last_digit() {
    on_both_engines(|world| {
        session_with(world, &[meta("s"), measured()]);
        assert_eq!(totals(world, "w").0, 2);
        let payload = world.scalar("select payload_json from codex_events where subtype = 'task_complete'");
        for number in
            ["31.245270191439438", "9007199254740993", "18446744073709551615", "-1.0000000000000002e-10"]
        {
            assert!(payload.contains(number), "{payload}");
            assert!(world.run(&["tail", "w", "--json"]).stdout.contains(number), "{number}");
        }
    });
}

#[test]
fn an_event_stored_with_another_last_digit_is_not_told_again() {
    on_both_engines(|world| {
        world.bind("demo");
        let path = world.dir().join("demo-worker.jsonl");
        append(&path, meta("s") + &measured());
        assert_eq!(world.json(&["ingest", "demo-worker"])["new_events"], 2);
        let routed = "select count(*) from routed_notifications";
        world.json(&["dispatch", "--once", "--json"]);
        assert_eq!(world.scalar(routed), "1");
        world.sql(
            r#"update codex_events set payload_json = replace(replace(payload_json, '31.245270191439438', '31.24527019143944'), '0.1,', '0.10000000000000002,')"#,
        );
        register(world, "demo-worker", Some(&path));
        assert_eq!(world.json(&["ingest", "demo-worker"])["new_events"], 0);
        world.json(&["dispatch", "--once", "--ingest", "--json"]);
        assert_eq!(world.scalar(routed), "1");
        // What differs in more is another event.
        world.sql("update codex_events set payload_json = replace(payload_json, '9007199254740993', '9007199254740992')");
        register(world, "demo-worker", Some(&path));
        assert_eq!(world.json(&["ingest", "demo-worker"])["new_events"], 1);
    });
}

#[test]
fn a_line_too_long_to_be_held_is_skipped() {
    on_both_engines(|world| {
        let path = session_with(world, &[meta("s")]);
        append(&path, r#"{"type":"event_msg","payload":{"type":"x","text":""#);
        let block = vec![b'x'; 1024 * 1024];
        for _ in 0..64 {
            append(&path, &block);
        }
        append(&path, "\"}}\n".to_owned() + &message("after"));
        assert_eq!(totals(world, "w"), (2, 1, size(&path)));
    });
}

#[test]
fn large_files_come_in_batches_of_one_transaction_each() {
    on_both_engines(|world| {
        let path = large(world, 9);
        let lines = std::fs::read_to_string(&path).unwrap().lines().count() as u64;
        assert_eq!(totals(world, "w"), (lines, 0, size(&path)));
        let ingested = "from telemetry_events where event_type = 'codex_events_ingested'";
        assert_eq!(world.scalar(&format!("select count(*) {ingested}")), "3");
        assert_eq!(world.scalar("select count(*) from codex_events"), lines.to_string());
    });
}

/// A rollout of so many MiB, and the session `w` that has it.
fn large(world: &World, mebibytes: usize) -> std::path::PathBuf {
    let line = message(&"x".repeat(8 * 1024));
    let lines = mebibytes * 1024 * 1024 / line.len();
    session_with(world, &[meta("s"), line.repeat(lines)])
}

#[test]
fn two_ingesters_at_once_store_every_line_once() {
    on_both_engines(|world| {
        let path = large(world, 13);
        let begin = std::sync::Barrier::new(3);
        let new_events: u64 = std::thread::scope(|scope| {
            let ingesters: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        begin.wait();
                        totals(world, "w").0
                    })
                })
                .collect();
            ingesters.into_iter().map(|ingester| ingester.join().unwrap()).sum()
        });
        let events = expected(&std::fs::read(&path).unwrap());
        assert_eq!(new_events, events.len() as u64);
        assert_eq!(
            world.scalar("select count(distinct byte_offset) from codex_events"),
            events.len().to_string()
        );
        assert_eq!(world.scalar("select count(*) from codex_events"), events.len().to_string());
        assert_eq!(world.scalar("select last_ingest_offset from sessions"), size(&path).to_string());
    });
}

#[test]
fn refusals() {
    on_both_engines(|world| {
        let path = session_with(world, &[meta("s")]);
        let said = |session: &str| world.normal(&world.refused(&["ingest", session]));
        insta::assert_snapshot!("ingest_unknown", said("nobody"));
        register(world, "pathless", None);
        insta::assert_snapshot!("ingest_pathless", said("pathless"));
        register(world, "missing", Some(&world.dir().join("nothing.jsonl")));
        insta::assert_snapshot!("ingest_missing", said("missing"));
        register(world, "directory", Some(world.dir()));
        insta::assert_snapshot!("ingest_directory", said("directory"));
        let fifo = world.dir().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        register(world, "fifo", Some(&fifo));
        insta::assert_snapshot!("ingest_fifo", said("fifo"));
        register(world, "gone", Some(&path));
        world.sql("update sessions set state = 'gone' where name = 'gone'");
        insta::assert_snapshot!("ingest_gone", said("gone"));
        insta::assert_snapshot!("ingest_no_session", world.refused(&["ingest"]));
        insta::assert_snapshot!("ingest_surplus", world.refused(&["ingest", "w", "x"]));
    });
}

#[test]
fn a_relative_rollout_is_found_from_the_current_directory() {
    on_sqlite(|world| {
        session_with(world, &[meta("s")]);
        world.sql("update sessions set codex_session_path = 'w.jsonl'");
        assert_eq!(totals(world, "w").0, 1);
    });
}
