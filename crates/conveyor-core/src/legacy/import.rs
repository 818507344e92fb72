//! Copying the files of legacy workers into the ledger, each content once.

use std::path::{Path, PathBuf};

use conveyor_model::records::Object;
use conveyor_model::text::is_blank;
use conveyor_model::{WorkerState, WorkerStatus};
use conveyor_store::audit::{self, WorkerEvent};
use conveyor_store::captures::{self, NewCapture};
use conveyor_store::imports::{self, Source};
use conveyor_store::workers::{self, NewStatus};
use conveyor_store::{StoreError, Tx};
use serde::Serialize;
use serde_json::Value;

use super::events::{self, Line};
use super::{Config, check_name, files, list, status};
use crate::{Cx, Error, Result, digest, tail};

/// What to import.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The directory whose sub-directories are workers.
    pub root: &'a Path,
    /// Only this worker.
    pub worker: Option<&'a str>,
    /// Write; otherwise only tell what would be done.
    pub apply: bool,
}

impl Request<'_> {
    /// Refuses what could not be imported from anywhere.
    ///
    /// # Errors
    /// A name from which no path may be made.
    pub fn check(&self) -> Result<()> {
        self.worker.map_or(Ok(()), check_name)
    }
}

/// What was done, or would be.
#[derive(Clone, Debug, Serialize)]
pub struct Import {
    /// Whether it was done.
    pub apply: bool,
    /// Where the workers were looked for.
    pub root: PathBuf,
    /// How many there are.
    pub worker_count: usize,
    /// Each of them.
    pub workers: Vec<WorkerImport>,
}

/// One worker's part.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerImport {
    /// How many actions.
    pub action_count: usize,
    /// The actions, in order.
    pub actions: Vec<Action>,
    /// The worker.
    pub worker: String,
}

/// One action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Action {
    /// What is done.
    pub action: &'static str,
    /// The line that it is about, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The file.
    pub source: PathBuf,
    /// The worker; left out where nothing is done for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
}

/// Copies the files of legacy workers into the ledger, one worker to a transaction.
///
/// # Errors
/// An invalid name or file, two workers with one terminal or token, or a failing ledger. The worker
/// concerned leaves nothing of itself behind; those before it stay.
pub fn import(cx: &mut Cx, request: &Request<'_>) -> Result<Import> {
    request.check()?;
    let directories = list::directories(request.root, |directory| directory.join("config.json").exists())?;
    let wanted = |directory: &String| request.worker.is_none_or(|name| name == directory);
    let mut workers = Vec::new();
    for directory in directories.into_iter().filter(wanted) {
        workers.push(import_worker(cx, request, &Worker::read(request.root, &directory)?)?);
    }
    Ok(Import { apply: request.apply, root: request.root.to_owned(), worker_count: workers.len(), workers })
}

/// The files of one worker, read before anything is written.
struct Worker {
    name: String,
    directory: String,
    path: PathBuf,
    config: (Config, Vec<u8>),
    status: Option<(Object, Vec<u8>)>,
    transcript: Option<Vec<u8>>,
    meta: Object,
    events: Vec<u8>,
}

impl Worker {
    fn read(root: &Path, directory: &str) -> Result<Self> {
        let path = root.join(directory);
        let file = |name: &str| files::read_bytes(&path.join(name));
        let object = |name: &str| {
            let bytes = file(name)?;
            bytes
                .map(|bytes| Ok::<_, Error>((files::object_in(&path.join(name), &bytes)?, bytes)))
                .transpose()
        };
        let (config, config_bytes): (Object, Vec<u8>) = object("config.json")?.unwrap_or_default();
        let config = Config::from_object(config);
        let name = config.text("name").unwrap_or(directory).to_owned();
        check_name(&name)?;
        Ok(Self {
            name,
            directory: directory.to_owned(),
            status: object("status.json")?,
            transcript: file("transcript.txt")?.filter(|bytes| !bytes.is_empty()),
            meta: object("capture-meta.json")?.unwrap_or_default().0,
            events: file("events.jsonl")?.unwrap_or_default(),
            config: (config, config_bytes),
            path,
        })
    }

    fn source(&self, file: &str, line: Option<u64>, bytes: &[u8]) -> Source {
        let digest = digest::of(bytes);
        let line = line.map(|line| format!("{line}:")).unwrap_or_default();
        Source {
            name: format!("compat:{}/{file}:{line}{digest}", self.directory),
            path: self.path.join(file).display().to_string(),
            digest,
        }
    }

    fn action(&self, action: &'static str, file: &str, line: Option<u64>) -> Action {
        Action { action, line, source: self.path.join(file), worker: Some(self.name.clone()) }
    }
}

/// Why a worker's transaction is undone.
enum Undone {
    /// Nothing was to be written.
    Shown(Vec<Action>),
    Failed(Error),
}

impl From<StoreError> for Undone {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

fn import_worker(cx: &mut Cx, request: &Request<'_>, worker: &Worker) -> Result<WorkerImport> {
    // What would be done is found out by doing it and undoing it again: so the report is the same.
    let outcome = cx.db.write(|tx| {
        let actions = copy(tx, worker)?;
        if request.apply { Ok(actions) } else { Err(Undone::Shown(actions)) }
    });
    let actions = match outcome {
        Ok(actions) | Err(Undone::Shown(actions)) => actions,
        Err(Undone::Failed(error)) => return Err(status::taken(error, &worker.name)),
    };
    Ok(WorkerImport { action_count: actions.len(), actions, worker: worker.name.clone() })
}

fn copy(tx: &mut Tx<'_>, worker: &Worker) -> Result<Vec<Action>, StoreError> {
    let mut actions = Vec::new();
    let worker_id = copy_config(tx, worker, &mut actions)?;
    copy_status(tx, worker, &worker_id, &mut actions)?;
    copy_transcript(tx, worker, &worker_id, &mut actions)?;
    copy_events(tx, worker, &worker_id, &mut actions)?;
    Ok(actions)
}

/// Brings the worker's row up to date, unless that was done with the same file; gives its id.
fn copy_config(tx: &mut Tx<'_>, worker: &Worker, actions: &mut Vec<Action>) -> Result<String, StoreError> {
    let (config, bytes) = &worker.config;
    let is_new = imports::mark(tx, &worker.source("config.json", None, bytes))?;
    if is_new {
        actions.push(worker.action("upsert_worker", "config.json", None));
    } else if let Some(id) = workers::id_of(tx, &worker.name)? {
        return Ok(id);
    }
    let state = config.text("state").and_then(WorkerState::from_text).unwrap_or(WorkerState::Candidate);
    let tmux_session = config.tmux_session(&worker.name);
    workers::upsert(tx, &config.facts(&worker.name, &tmux_session, state))
}

fn copy_status(
    tx: &mut Tx<'_>,
    worker: &Worker,
    worker_id: &str,
    actions: &mut Vec<Action>,
) -> Result<(), StoreError> {
    let Some((object, bytes)) = &worker.status else { return Ok(()) };
    if !imports::mark(tx, &worker.source("status.json", None, bytes))? {
        return Ok(());
    }
    actions.push(worker.action("insert_status", "status.json", None));
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    let now = tx.now()?.to_s_text();
    let status = NewStatus {
        worker_id,
        state: text("state").and_then(WorkerStatus::from_text).unwrap_or(WorkerStatus::Unknown),
        current_task: text("current_task"),
        next_action: text("next_action"),
        blocker: text("blocker"),
        created_at: text("last_update").unwrap_or(&now),
    };
    if workers::has_status(tx, &status)? { Ok(()) } else { workers::insert_status(tx, &status) }
}

fn copy_transcript(
    tx: &mut Tx<'_>,
    worker: &Worker,
    worker_id: &str,
    actions: &mut Vec<Action>,
) -> Result<(), StoreError> {
    let Some(bytes) = &worker.transcript else { return Ok(()) };
    let source = worker.source("transcript.txt", None, bytes);
    if !imports::mark(tx, &source)? {
        return Ok(());
    }
    actions.push(worker.action("insert_transcript_capture", "transcript.txt", None));
    let text = String::from_utf8_lossy(bytes);
    let meta = |key: &str| worker.meta.get(key).and_then(Value::as_str);
    let now = tx.now()?.to_s_text();
    let captured_at = meta("captured_at").or(meta("changed_at")).unwrap_or(&now);
    if captures::exists(tx, worker_id, &source.digest, captured_at)? {
        return Ok(());
    }
    let filled = text.lines().filter(|line| !is_blank(line)).count().max(1);
    let filled = i64::try_from(filled).unwrap_or(i64::MAX);
    let new = NewCapture {
        worker_id,
        sha256: &source.digest,
        text: &text,
        line_count: i64::try_from(tail::line_count(&text)).unwrap_or(i64::MAX),
        changed: true,
        captured_at,
        changed_at: meta("changed_at").unwrap_or(captured_at),
        history_lines: worker.meta.get("history_lines").and_then(Value::as_i64).unwrap_or(filled),
    };
    captures::insert(tx, &new)
}

fn copy_events(
    tx: &mut Tx<'_>,
    worker: &Worker,
    worker_id: &str,
    actions: &mut Vec<Action>,
) -> Result<(), StoreError> {
    for (number, line) in (1..).zip(worker.events.split(|byte| *byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let event = match events::parse(line) {
            Line::Blank => continue,
            Line::Malformed => {
                let skipped = worker.action("skip_invalid_event", "events.jsonl", Some(number));
                actions.push(Action { worker: None, ..skipped });
                continue;
            }
            Line::Event(event) => event,
        };
        let source = worker.source("events.jsonl", Some(number), line);
        if imports::mark(tx, &source)? {
            actions.push(worker.action("insert_event", "events.jsonl", Some(number)));
            copy_event(tx, event, worker_id, source.path)?;
        }
    }
    Ok(())
}

fn copy_event(tx: &mut Tx<'_>, event: Object, worker_id: &str, path: String) -> Result<(), StoreError> {
    let text = |key: &str| event.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
    let now = tx.now()?.to_ms_text();
    let created_at = text("time").or_else(|| text("created_at")).unwrap_or(now);
    let event_type = format!("compat_{}", events::type_of(&event).unwrap_or("event"));
    let mut payload = event;
    payload.remove("time");
    payload.remove("type");
    payload.insert("source_path".into(), path.into());
    let event = WorkerEvent {
        created_at: &created_at,
        actor: "compat",
        worker_id,
        event_type: &event_type,
        payload: payload.into(),
    };
    audit::record_of_worker(tx, &event)
}
