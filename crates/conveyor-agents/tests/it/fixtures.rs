//! What is read from real rollouts (today's layout) and from hand-written ones (the old layout).

use conveyor_agents::rollout::{self, TurnEvent, turn_event};
use conveyor_model::json;
use serde_json::Value;

use crate::{Numbers, SeenEvent, read, read_bytes, read_one, real_rollouts};

const OLD_LAYOUT: &str = r#"{"timestamp":"2026-01-01T10:00:00.000Z","type":"session_meta","payload":{"id":"s1","cwd":"/srv/demo","timestamp":"2026-01-01T10:00:00.000Z","originator":"codex_cli_rs","cli_version":"0.42.0"}}
{"timestamp":"2026-01-01T10:00:01.000Z","type":"turn_context","payload":{"cwd":"/srv/demo","model":"m"}}
{"timestamp":"2026-01-01T10:00:02.000Z","type":"event_msg","payload":{"type":"user_message","message":"please\nbegin","kind":"plain"}}
{"timestamp":"2026-01-01T10:00:03.000Z","type":"event_msg","payload":{"type":"agent_message","message":"done"}}
{"timestamp":"2026-01-01T10:00:04.000Z","type":"event_msg","payload":{"type":"task_complete","last_agent_message":"done"}}
"#;

/// The stored form by the plain way: a tree, normalised and printed.
fn by_tree(line: &str) -> SeenEvent {
    let record: Value = serde_json::from_str(line).expect("JSON");
    let event_type = record["type"].as_str().expect("a type").to_owned();
    let mut payload = record["payload"].clone();
    if !payload.is_object() {
        payload = serde_json::json!({});
    }
    json::normalise_numbers(&mut payload);
    SeenEvent {
        timestamp: record["timestamp"].as_str().filter(|text| !text.is_empty()).map(str::to_owned),
        subtype: payload["type"].as_str().filter(|_| event_type == "event_msg").map(str::to_owned),
        event_type,
        payload_json: json::compact(&payload),
    }
}

#[test]
fn real_rollouts_are_read_like_trees() {
    for path in real_rollouts() {
        let text = std::fs::read_to_string(&path).expect("text");
        let (seen, position) = read(&path);
        assert_eq!(position, text.len() as u64);
        assert_eq!(seen.len(), text.lines().count());
        for (line, seen) in text.lines().zip(&seen) {
            assert_eq!(seen.event(), &by_tree(line));
            let start = usize::try_from(seen.offset).expect("small");
            assert!(text[start..].starts_with(line));
            assert_eq!(seen.end, seen.offset + line.len() as u64 + 1);
        }
        assert_eq!(seen[0].event().event_type, "session_meta");
        assert_eq!(seen[0].event().subtype, None);
    }
}

#[test]
fn turns_are_followed_in_both_layouts() {
    let turns = |seen: &[crate::Seen]| -> Vec<TurnEvent> {
        let each = seen.iter().map(crate::Seen::event);
        each.filter_map(|event| turn_event(&event.event_type, event.subtype.as_deref())).collect()
    };
    let (old, _) = read_bytes(OLD_LAYOUT.as_bytes());
    assert_eq!(turns(&old), [TurnEvent::Started, TurnEvent::Completed]);
    assert_eq!(
        old[2].event().payload_json,
        r#"{"kind":"plain","message":"please\nbegin","type":"user_message"}"#
    );
    assert_eq!(old[3].event().subtype.as_deref(), Some("agent_message"));

    use TurnEvent::{Aborted, Completed, Started};
    let today = &real_rollouts()[4];
    let expected =
        [Started, Completed, Started, Completed, Started, Aborted, Started, Aborted, Started, Completed];
    assert_eq!(turns(&read(today).0), expected);
}

#[test]
fn payloads_are_stored_in_the_ledgers_form() {
    let cases = [
        (r#"{"b":1,"a":{"d":2,"c":3}}"#, r#"{"a":{"c":3,"d":2},"b":1}"#),
        (r#" { "a" : [ 1 , 2.0 , -0.0 , 1e2 , 0.5 ] } "#, r#"{"a":[1,2,0,100,0.5]}"#),
        (
            r#"{"a":18446744073709551615,"b":-9223372036854775808}"#,
            r#"{"a":18446744073709551615,"b":-9223372036854775808}"#,
        ),
        (
            r#"{"a":"é\u00E9\ud83d\ude00 \/ \" \\ \n\u000a\u001B\u0008\f\u007f\u0022\\"}"#,
            "{\"a\":\"éé😀 / \\\" \\\\ \\n\\n\\u001b\\b\\f\u{7f}\\\"\\\\\"}",
        ),
        // Written as it is, because it is so already; quotes at every place in a block.
        (
            r#"{"a":"\" \\ \n\f and a text that is longer than a block \"\\\""}"#,
            r#"{"a":"\" \\ \n\f and a text that is longer than a block \"\\\""}"#,
        ),
        (
            r#"{"a":"\ud83d","b":"\ud83d\u0041","c":"\ude00\ud83d"}"#,
            "{\"a\":\"\u{fffd}\",\"b\":\"\u{fffd}A\",\"c\":\"\u{fffd}\u{fffd}\"}",
        ),
        (
            r#"{"a":"x\u0000y","\u0000":1,"c":"\\u0000"}"#,
            "{\"a\":\"x\u{fffd}y\",\"c\":\"\\\\u0000\",\"\u{fffd}\":1}",
        ),
        (r#"{"a":1,"b":2,"a":3,"b":4,"a":5}"#, r#"{"a":5,"b":4}"#),
        (
            r#"{"z":null,"y":true,"x":false,"w":[],"v":{},"u":[{},[[]],""]}"#,
            r#"{"u":[{},[[]],""],"v":{},"w":[],"x":false,"y":true,"z":null}"#,
        ),
        (
            r#"{"a":"\ud83d","b":"\ud83d\u0041","c":"\ude00\ud83d"}"#,
            "{\"a\":\"\u{fffd}\",\"b\":\"\u{fffd}A\",\"c\":\"\u{fffd}\u{fffd}\"}",
        ),
        ("{}", "{}"),
        ("null", "{}"),
        ("5", "{}"),
        (r#""text""#, "{}"),
        (r#"[{"type":"x"}]"#, "{}"),
    ];
    for (payload, expected) in cases {
        let event = read_one(&format!(r#"{{"type":"event_msg","payload":{payload}}}"#));
        assert_eq!(event.payload_json, expected, "{payload}");
        assert_eq!((event.subtype, event.timestamp), (None, None));
    }
    assert_eq!(read_one(r#"{"type":"event_msg"}"#).payload_json, "{}");
}

#[test]
fn fields_have_their_rules() {
    let event = read_one(r#"{"payload":{"type":"a"},"type":"event_msg","timestamp":"t"}"#);
    assert_eq!((event.subtype.as_deref(), event.timestamp.as_deref()), (Some("a"), Some("t")));
    // A subtype belongs to event_msg only and is the payload's own string.
    assert_eq!(read_one(r#"{"type":"response_item","payload":{"type":"a"}}"#).subtype, None);
    assert_eq!(read_one(r#"{"type":"event_msg","payload":{"type":7}}"#).subtype, None);
    assert_eq!(read_one(r#"{"type":"event_msg","payload":{"a":{"type":"b"}}}"#).subtype, None);
    assert_eq!(
        read_one(r#"{"type":"event_msg","payload":{"type":"\u0061\"","x":{"type":"b"}}}"#).subtype.as_deref(),
        Some("a\"")
    );
    // A time that is no text, or empty, is none.
    for timestamp in ["\"\"", "7", "null", "{\"a\":[1]}", "[\"t\"]"] {
        assert_eq!(read_one(&format!(r#"{{"type":"t","timestamp":{timestamp}}}"#)).timestamp, None);
    }
    // Of equal keys the last one counts.
    let event =
        read_one(r#"{"type":"a","payload":{"b":1},"type":"event_msg","payload":{"type":"c"},"payload":[]}"#);
    assert_eq!(
        (event.event_type.as_str(), event.subtype, event.payload_json.as_str()),
        ("event_msg", None, "{}")
    );
    assert_eq!(read_one(r#"{"\u0074ype":"\u0074\u0000"}"#).event_type, "t\u{fffd}");
}

/// A random value of limited depth, as text with random white space and escapes.
fn random_json(numbers: &mut Numbers, depth: usize, text: &mut String) {
    const SCALARS: [&str; 12] = [
        "null",
        "true",
        "0",
        "-7",
        "3.0",
        "2.50",
        "1e3",
        "1E-3",
        "123456789012345678901",
        "\"\"",
        "\"a\\u00e9\\n\"",
        "\"é\"",
    ];
    const KEYS: [&str; 7] = ["a", "b", "type", "\\u0061", "é", "long key", "\\\"q"];
    match if depth == 0 { 0 } else { numbers.below(4) } {
        3 => {
            let escapes = ["\\n", "\\\\", "\\\"", "\\u001b", "\\/", "é", "x"];
            let pieces = (0..numbers.below(20))
                .map(|_| "y".repeat(numbers.below(40)) + escapes[numbers.below(escapes.len())]);
            let string: String = pieces.collect();
            text.push_str(&format!("\"{string}\""));
        }
        0 => text.push_str(SCALARS[numbers.below(SCALARS.len())]),
        1 => {
            text.push('[');
            for index in 0..numbers.below(4) {
                text.push_str(if index > 0 { " , " } else { "" });
                random_json(numbers, depth - 1, text);
            }
            text.push(']');
        }
        _ => {
            text.push('{');
            for index in 0..numbers.below(8) {
                text.push_str(if index > 0 { "," } else { " " });
                text.push_str(&format!("\"{}\" :", KEYS[numbers.below(KEYS.len())]));
                random_json(numbers, depth - 1, text);
            }
            text.push('}');
        }
    }
}

#[test]
fn any_payload_is_read_like_a_tree() {
    let mut numbers = Numbers(0x5eed);
    for _ in 0..3000 {
        let mut line = String::from(r#"{"type":"event_msg","payload":"#);
        random_json(&mut numbers, 5, &mut line);
        line.push('}');
        assert_eq!(read_one(&line), by_tree(&line), "{line}");
    }
}

#[test]
fn an_identity_follows_the_contents() {
    let directory = tempfile::tempdir().expect("a directory");
    let (original, copy) = (directory.path().join("a.jsonl"), directory.path().join("b.jsonl"));
    std::fs::copy(&real_rollouts()[0], &original).expect("a copy");
    std::fs::copy(&original, &copy).expect("a copy");
    let identity = |path| rollout::open(path).expect("open").identity().expect("an identity");
    let known = identity(&original);
    assert_eq!(known.digest.as_deref().map(str::len), Some(64));
    assert_eq!(identity(&original).relation_to(&known), rollout::Relation::Same);
    assert_eq!(identity(&copy).relation_to(&known), rollout::Relation::Moved);
    std::fs::copy(&real_rollouts()[1], &original).expect("a copy");
    assert_eq!(identity(&original).relation_to(&known), rollout::Relation::Replaced);
}
