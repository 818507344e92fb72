//! What the workload saw from outside, written down as it happened: one JSON object a line.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::{Value, json};

/// The text and idempotency key of the `number`th message of a task in one direction.
#[must_use]
pub fn key(task: &str, direction: &str, number: u64) -> String {
    format!("{task}/{direction}/{number}")
}

/// The number in a key; `None` when the text is no key.
pub(super) fn number(key: &str) -> Option<u64> {
    key.rsplit_once('/')?.1.parse().ok()
}

/// The journal of a running workload. Any thread may write to it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

impl Journal {
    /// A new journal.
    ///
    /// # Panics
    /// When the file cannot be created.
    #[must_use]
    pub fn create(path: PathBuf) -> Self {
        let file = Mutex::new(File::create(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())));
        Self { path, file }
    }

    /// The journal's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A message is about to be queued for the first time.
    pub fn trying(&self, key: &str) {
        self.note(&json!({ "trying": key }));
    }

    /// The message was accepted with exit code 0, as this command.
    pub fn accepted(&self, key: &str, command_id: &str) {
        self.note(&json!({ "accepted": key, "command_id": command_id }));
    }

    /// The message turned out to be queued already, by a try that was killed.
    pub fn taken(&self, key: &str) {
        self.note(&json!({ "taken": key }));
    }

    /// A consumer printed this item as consumed.
    pub fn printed(&self, item: &Value) {
        self.note(&json!({ "printed": item }));
    }

    /// A consumer ended by force or by an outage, and printed nothing that could be read: it may
    /// have consumed one item.
    pub fn silenced(&self) {
        self.note(&json!({ "silenced": true }));
    }

    /// A process ended otherwise than it should have.
    pub fn failed(&self, what: &str) {
        self.note(&json!({ "failed": what }));
    }

    fn note(&self, entry: &Value) {
        let mut file = self.file.lock().unwrap();
        file.write_all(format!("{entry}\n").as_bytes()).unwrap();
    }
}

/// What a journal says.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Keys of messages that were tried.
    pub(super) tried: HashSet<String>,
    /// Keys of accepted messages, with the command's id where it was told.
    pub(super) accepted: HashMap<String, Option<String>>,
    /// Items that consumers printed, in the order of the journal.
    pub(super) printed: Vec<Value>,
    /// Consumers that may have consumed an item without printing it.
    pub(super) silenced: usize,
    /// Processes that failed.
    pub(super) failures: Vec<String>,
}

pub(super) fn read(path: &Path) -> Seen {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut seen = Seen::default();
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let text = |name: &str| entry[name].as_str().map(str::to_owned);
        if let Some(key) = text("trying") {
            seen.tried.insert(key);
        } else if let Some(key) = text("accepted") {
            seen.accepted.insert(key, text("command_id"));
        } else if let Some(key) = text("taken") {
            seen.accepted.entry(key).or_default();
        } else if let Some(what) = text("failed") {
            seen.failures.push(what);
        } else if entry.get("silenced").is_some() {
            seen.silenced += 1;
        } else {
            seen.printed.push(entry["printed"].clone());
        }
    }
    seen
}
