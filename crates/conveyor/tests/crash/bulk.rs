//! Long rollouts, which are read beside writing and stored in bulk: whatever dies on the way, in
//! the end each line is there once, as if it had been inserted by itself.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use conveyor_model::json;
use rustix::process::Signal;
use serde_json::Value;

use crate::process::Ran;
use crate::world::{Direction, World};

/// A line as long as lines may be, and one that is too long.
const LONGEST: usize = 8 * 1024 * 1024;

/// Columns that are the same whoever stores an event.
const COLUMNS: &str = "timestamp || '|' || type || '|' || coalesce(subtype, '-') || '|' || byte_offset || '|' || \
                       coalesce(ingested_by, '-') || '|' || payload_json";

struct Expected {
    offset: u64,
    timestamp: String,
    event_type: String,
    subtype: Option<String>,
    payload: String,
}

/// Lines of all kinds, about so many bytes, and half a long line.
fn varied(size: usize) -> Vec<u8> {
    let real: Vec<Vec<u8>> = recorded();
    let mut bytes = Vec::new();
    let mut round = 0_u64;
    while bytes.len() < size {
        round += 1;
        real.iter().for_each(|line| bytes.extend_from_slice(line));
        let odd = [
            format!(r#"{{"type":"event_msg","timestamp":"2026-01-01T10:00:00Z","payload":{{"type":"odd","n":{round}.0,"z":[1e3,-0,0.1],"a":"\u00e9\/\u0001"}}}}"#),
            format!(r#"{{ "payload" : {{"b":1,"a":{{"d":[],"c":{{}}}},"a":{round}}} , "type":"response_item","timestamp":"2026-01-01T10:00:00Z"}}"#),
            r#"{"timestamp":"2026-01-01T10:00:00Z","type":"event_msg","payload":{"type":"nul","k":"a\u0000b"}}"#.to_owned(),
            r#"{"timestamp":"2026-01-01T10:00:00Z","type":"tiny"}"#.to_owned(),
            "no JSON".to_owned(),
            "[]".to_owned(),
            String::new(),
        ];
        bytes.extend_from_slice(odd.join("\n").as_bytes());
        bytes.extend_from_slice(b"\n\xff\xfe\n");
        if round == 3 {
            // One that is just short enough, another one right after it, and one that is not.
            for length in [LONGEST, LONGEST / 2, LONGEST + 1] {
                bytes.extend_from_slice(&long(length));
            }
        }
    }
    // Long enough that the reader cannot know at once that it is not complete.
    bytes.extend_from_slice(br#"{"type":"event_msg","payload":{"half":""#);
    bytes.resize(bytes.len() + 2 * 1024 * 1024, b'x');
    bytes
}

fn long(length: usize) -> Vec<u8> {
    let head = br#"{"timestamp":"2026-01-01T10:00:00Z","type":"event_msg","payload":{"z":"#;
    let tail = br#"","type":"long"}}"#;
    let mut line = head.to_vec();
    line.push(b'"');
    line.resize(length - tail.len(), b'x');
    line.extend_from_slice(tail);
    line.push(b'\n');
    line
}

fn recorded() -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conveyor-agents/tests/fixtures/codex-0.169");
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    paths.sort();
    let texts = paths.iter().map(|path| std::fs::read(path).unwrap());
    let lines: Vec<Vec<u8>> = texts
        .flat_map(|text| text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>())
        .filter(|line| line.ends_with(b"\n"))
        .collect();
    assert!(!lines.is_empty());
    lines
}

/// What must be stored, by the plainest reading there is.
fn expected(bytes: &[u8]) -> Vec<Expected> {
    let mut offset = 0;
    let mut events = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        if line.len() <= LONGEST + 1
            && let Ok(record) = serde_json::from_slice::<Value>(line)
            && let Some(event_type) = record["type"].as_str()
        {
            let mut payload = Value::Object(record["payload"].as_object().cloned().unwrap_or_default());
            json::normalise_numbers(&mut payload);
            events.push(Expected {
                offset,
                timestamp: record["timestamp"].as_str().unwrap().to_owned(),
                event_type: event_type.to_owned(),
                subtype: record["payload"]["type"]
                    .as_str()
                    .filter(|_| event_type == "event_msg")
                    .map(str::to_owned),
                payload: json::compact(&payload).replace("\\u0000", "\u{fffd}"),
            });
        }
        offset += line.len() as u64;
    }
    events
}

/// Inserts the events of the reference, one by one, for another session of the same ledger.
fn insert_reference(world: &World, events: &[Expected]) {
    let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let statements = events.iter().map(|event| {
        format!(
            "insert into codex_events (session_id, timestamp, type, subtype, payload_json, byte_offset, ingested_at) \
             values ((select id from sessions where name = 'ada-manager'), {}, {}, {}, {}, {}, 'then');",
            text(&event.timestamp),
            text(&event.event_type),
            event.subtype.as_deref().map_or("null".to_owned(), text),
            text(&event.payload),
            event.offset,
        )
    });
    world.sql(&format!("begin; {} commit", statements.collect::<String>()));
}

/// The columns of a session's events in the order of their ids; of long texts the beginning and the length.
fn columns(world: &World, session: &str) -> Vec<String> {
    let columns = world.texts(&format!(
        "select {COLUMNS} from codex_events where session_id = (select id from sessions where name = '{session}') \
         order by id"
    ));
    columns
        .into_iter()
        .map(|mut text| {
            let (length, digest) = (text.len(), digest(&text));
            text.truncate(text.floor_char_boundary(200));
            format!("{length} {digest:x} {text}")
        })
        .collect()
}

/// FNV-1a: enough to tell texts apart that nobody chose.
fn digest(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn whole_world(world: &World, size: usize) -> (Vec<u8>, Vec<Expected>) {
    world.bind("ada");
    let bytes = varied(size);
    let mut file = std::fs::File::create(world.rollout("ada")).unwrap();
    file.write_all(&bytes).unwrap();
    let events = expected(&bytes);
    (bytes, events)
}

/// What is stored reaches exactly as far as the mark, at each moment.
fn assert_prefix(world: &World, events: &[Expected]) -> usize {
    let read = "select coalesce(last_ingest_offset, 0) from sessions where name = 'ada-worker'";
    let read: u64 = world.text(read).unwrap().parse().unwrap();
    let before = events.iter().take_while(|event| event.offset < read).count();
    let count = "select count(*) from codex_events where session_id = \
                 (select id from sessions where name = 'ada-worker')";
    assert_eq!(world.text(count).unwrap(), before.to_string(), "stored up to {read}");
    if world.is_sqlite() {
        assert_eq!(world.texts("select integrity_check from pragma_integrity_check"), ["ok"]);
        assert!(world.texts("select \"table\" from pragma_foreign_key_check").is_empty());
    }
    before
}

fn ingest_dying_at(world: &World, point: &str) {
    use std::os::unix::process::ExitStatusExt as _;
    let dead = world.start_with(&["ingest", "ada-worker"], &[("CONVEYOR_FAULT", point)]).finish();
    assert_eq!(dead.status.signal(), Some(6), "{point} was never passed: {}", dead.told());
}

fn assert_whole(world: &World, bytes: &[u8], events: &[Expected]) {
    assert_eq!(assert_prefix(world, events), events.len());
    let end = bytes.iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    let read = "select last_ingest_offset from sessions where name = 'ada-worker'";
    assert_eq!(world.text(read).unwrap(), end.to_string());
    let steps = world.texts(
        "select attributes_json from telemetry_events where event_type = 'codex_events_ingested' order by timestamp, id",
    );
    let steps: Vec<Value> = steps.iter().map(|step| serde_json::from_str(step).unwrap()).collect();
    let sum = |name: &str| steps.iter().map(|step| step[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("new_events"), events.len() as u64);
    let mut moves: Vec<(u64, u64)> = steps
        .iter()
        .map(|step| (step["start_offset"].as_u64().unwrap(), step["new_offset"].as_u64().unwrap()))
        .filter(|(start, end)| start != end)
        .collect();
    moves.sort_unstable();
    assert!(moves.windows(2).all(|pair| pair[0].1 == pair[1].0), "{moves:?}");
    assert_eq!((moves[0].0, moves[moves.len() - 1].1), (0, end as u64));
    let twins = "select count(*) from telemetry_events e join telemetry_events_fts f on f.event_id = e.id \
                 where e.event_type = 'codex_events_ingested'";
    assert_eq!(world.text(twins).unwrap(), steps.len().to_string());
}

#[test]
fn chaos_of_a_long_rollout_whose_reader_dies_on_the_way() {
    for world in World::each() {
        let (bytes, events) = whole_world(&world, 24 * 1024 * 1024);
        let mut stored = 0;
        for point in ["ingest.batch_parsed:1", "ingest.batch_committed:2", "ingest.batch_parsed:2"] {
            ingest_dying_at(&world, point);
            let now = assert_prefix(&world, &events);
            assert!(now >= stored && now < events.len());
            stored = now;
        }
        assert!(stored > 0);
        world.run(&["ingest", "ada-worker"]).expect_ok();
        assert_whole(&world, &bytes, &events);
        insert_reference(&world, &events);
        let (ours, reference) = (columns(&world, "ada-worker"), columns(&world, "ada-manager"));
        assert_eq!(ours.len(), reference.len());
        for (own, other) in ours.iter().zip(&reference) {
            assert_eq!(own, other);
        }
        assert_eq!(world.run(&["ingest", "ada-worker"]).json()["new_events"], 0);
    }
}

#[test]
fn chaos_of_two_who_read_a_long_rollout_while_others_write() {
    for world in World::each() {
        let (bytes, events) = whole_world(&world, 40 * 1024 * 1024);
        let readers = || (0..2).map(|_| world.start(&["ingest", "ada-worker"])).collect::<Vec<_>>();
        let first = readers();
        // They are killed as soon as there is something to lose.
        let begun = "select count(*) from sessions where last_ingest_offset > 0";
        conveyor_testkit::wait::until(Duration::from_secs(120), "a first batch", || {
            world.text(begun).as_deref() == Some("1")
        });
        world.signal_all("ingest", Signal::KILL);
        first.into_iter().for_each(|process| drop(process.finish()));
        assert_prefix(&world, &events);
        let second = readers();
        for number in 1..=5 {
            world.enqueue("ada", Direction::ToWorker, number);
        }
        let new: u64 = second
            .into_iter()
            .map(|process| process.finish())
            .map(|ran: Ran| ran.json()["new_events"].as_u64().unwrap())
            .sum();
        assert!(new <= events.len() as u64);
        assert_whole(&world, &bytes, &events);
    }
}
