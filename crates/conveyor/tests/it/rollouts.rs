//! What the tests of ingesting share: rollouts to read and sessions that have them.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::World;

/// The first line of a rollout of the session `id`.
pub fn meta(id: &str) -> String {
    format!(
        r#"{{"timestamp":"2026-01-01T10:00:00.000Z","type":"session_meta","payload":{{"id":"{id}","cwd":"/srv/demo"}}}}"#
    ) + "\n"
}

/// An old-layout message of the user.
pub fn message(text: &str) -> String {
    format!(
        r#"{{"timestamp":"2026-01-01T10:00:02.000Z","type":"event_msg","payload":{{"type":"user_message","message":"{text}"}}}}"#
    ) + "\n"
}

/// Adds to the end of a file, which is created when missing.
pub fn append(path: &Path, text: impl AsRef<[u8]>) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_ref()).unwrap();
}

/// The recorded rollouts of a real Codex.
pub fn recorded() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conveyor-agents/tests/fixtures/codex-0.169");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

/// Registers a worker session, or registers it anew.
pub fn register(world: &World, name: &str, rollout: Option<&Path>) {
    world.run(&["tasks"]);
    let path = rollout.map_or("null".to_owned(), |path| format!("'{}'", path.display()));
    world.sql(&format!(
        "insert into sessions (id, name, role, identity_token, codex_session_path, pid, cwd, registered_at, state) \
         values ('session-{name}', '{name}', 'worker', 'token-{name}', {path}, 1, '', '2026-06-11T11:00:00Z', 'active') \
         on conflict (name) do update set codex_session_path = excluded.codex_session_path, state = 'active', \
         last_ingest_offset = null"
    ));
}

/// A rollout `w.jsonl` with these lines, and the session `w` that has it.
pub fn session_with(world: &World, lines: &[String]) -> PathBuf {
    let path = world.dir().join("w.jsonl");
    append(&path, lines.concat());
    register(world, "w", Some(&path));
    path
}

/// All stored events of a session in the order in which they were stored, without their ids.
pub fn stored(world: &World, session: &str) -> Vec<Value> {
    let newest_first = world.json(&["tail", session, "--limit", "1000000", "--include-content"]);
    let mut events = newest_first.as_array().unwrap().clone();
    events.reverse();
    for event in &mut events {
        event.as_object_mut().unwrap().remove("id").unwrap();
    }
    events
}

/// What must be stored of a rollout: every line that is a record, by an independent reading.
pub fn expected(text: &[u8]) -> Vec<Value> {
    let mut events = Vec::new();
    let mut offset = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        if let Ok(record) = serde_json::from_slice::<Value>(line) {
            let payload = record["payload"].as_object().cloned().unwrap_or_default();
            let message = record["type"] == "event_msg";
            events.push(json!({
                "byte_offset": offset,
                "timestamp": record["timestamp"],
                "type": record["type"],
                "subtype": if message { payload["type"].clone() } else { Value::Null },
                "payload": payload,
            }));
        }
        offset += line.len();
    }
    events
}
