//! Rollouts as Codex writes them, rollouts as no one should write them, and real processes.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail like tests")]

mod abuse;
mod chunks;
mod dialogs;
mod fixtures;
mod keys;
mod processes;
mod screen;
mod session_meta;
mod tmux;

use std::path::{Path, PathBuf};

use conveyor_agents::rollout::{self, Content, Reader, Skip};

/// A line with everything owned: offset, end, and the event or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    offset: u64,
    end: u64,
    content: Result<SeenEvent, Skip>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SeenEvent {
    timestamp: Option<String>,
    event_type: String,
    subtype: Option<String>,
    payload_json: String,
}

impl Seen {
    fn event(&self) -> &SeenEvent {
        self.content.as_ref().expect("an event")
    }
}

/// Everything that is in a reader, and where it stopped.
fn drain<R: std::io::Read + std::io::Seek>(reader: &mut Reader<R>) -> (Vec<Seen>, u64) {
    let mut seen = Vec::new();
    while let Some(line) = reader.next_line().expect("readable") {
        let content = match line.content {
            Content::Skipped(skip) => Err(skip),
            Content::Event(event) => Ok(SeenEvent {
                timestamp: event.timestamp.map(str::to_owned),
                event_type: event.event_type.to_owned(),
                subtype: event.subtype.map(str::to_owned),
                payload_json: event.payload_json.to_owned(),
            }),
        };
        seen.push(Seen { offset: line.offset, end: line.end, content });
    }
    (seen, reader.position())
}

fn read(path: &Path) -> (Vec<Seen>, u64) {
    drain(&mut rollout::open(path).expect("a rollout").reader(0).expect("a reader"))
}

fn read_bytes(bytes: &[u8]) -> (Vec<Seen>, u64) {
    drain(&mut Reader::new(std::io::Cursor::new(bytes), Path::new("memory"), 0).expect("a reader"))
}

/// The only event in one line of JSON.
fn read_one(line: &str) -> SeenEvent {
    let (seen, _) = read_bytes(format!("{line}\n").as_bytes());
    assert_eq!(seen.len(), 1, "{line}");
    seen[0].event().clone()
}

/// The rollouts that a real Codex wrote, by name.
fn real_rollouts() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/codex-0.169");
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .expect("fixtures")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    assert_eq!(paths.len(), 6);
    paths
}

/// Repeatable numbers for tests that try many cases (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("small")
    }
}
