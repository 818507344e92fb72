//! A task with worker, manager and binding in one call, without terminals and without live
//! processes: for threads of the Codex app, for demonstrations and for tests.

mod files;
mod prompts;

use std::path::Path;

use conveyor_model::records::{Session, Task};
use conveyor_model::shell::quote;
use conveyor_model::text::is_blank;
use conveyor_model::{Role, TaskState};
use conveyor_store::audit::{self, AuditEvent};
use conveyor_store::sessions::{self, Registration};
use conveyor_store::{StoreError, Tx, bindings, tasks};
use serde::Serialize;
use serde_json::json;

use crate::bindings::check_unbound;
use crate::communication::Communication;
use crate::{Cx, Error, Result, fault, reference, registration};

use files::Placed;
pub use prompts::{AppliesWhen, HeartbeatRecommendation, HeartbeatRecommendations, TeardownPolicy};

/// What names itself as the maker in the rollouts of disposable bindings.
pub(crate) const ORIGINATOR: &str = "conveyor create-disposable-binding";

/// The goal of a task that is made by the way.
const GOAL: &str = "Run a disposable Ralph loop without tmux.";

/// What is to be made.
pub struct Request<'a> {
    /// Task id or name; a task of this name is created when there is none.
    pub task: &'a str,
    /// The goal of a created task; default: a fixed sentence.
    pub goal: Option<&'a str>,
    /// The summary of a created task.
    pub summary: Option<&'a str>,
    /// The worker's side.
    pub worker: Side<'a>,
    /// The manager's side.
    pub manager: Side<'a>,
    /// The directory the sessions work in; absolute.
    pub cwd: &'a Path,
}

/// One side of the binding.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// The session's name.
    pub session: &'a str,
    /// The session's thread in the Codex app.
    pub thread_id: Option<&'a str>,
    /// That thread's title.
    pub thread_title: Option<&'a str>,
}

impl Side<'_> {
    /// The session's name as part of a file name.
    fn slug(&self) -> String {
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-');
        let mut slug = String::new();
        let mut gap = false;
        for letter in self.session.chars() {
            if allowed(letter) {
                slug.push(letter);
            } else if !gap {
                slug.push('-');
            }
            gap = !allowed(letter);
        }
        let trimmed = slug.trim_matches(['.', '-']);
        if trimmed.is_empty() { "session".to_owned() } else { trimmed.to_owned() }
    }

    fn codex_session_id(&self) -> String {
        format!("codex-{}", self.slug())
    }

    fn file_name(&self) -> String {
        format!("rollout-{}.jsonl", self.slug())
    }
}

impl Request<'_> {
    /// Checks what needs no ledger.
    ///
    /// # Errors
    /// A blank task, a blank session name, or two sessions whose rollouts would be one file.
    pub fn check(&self) -> Result<()> {
        if is_blank(self.task) {
            return Err(Error::invalid(format!("the task's name must not be blank, but is {:?}", self.task)));
        }
        registration::check_name(self.worker.session)?;
        registration::check_name(self.manager.session)?;
        if self.worker.file_name() == self.manager.file_name() {
            return Err(Error::invalid(format!(
                "worker {:?} and manager {:?} would share the rollout file {}: give them names that differ in \
                 letters or digits",
                self.worker.session,
                self.manager.session,
                self.worker.file_name()
            )));
        }
        Ok(())
    }

    fn sides(&self) -> [(Role, Side<'_>); 2] {
        [(Role::Worker, self.worker), (Role::Manager, self.manager)]
    }
}

/// The reply of [`create`].
#[derive(Debug, Serialize)]
pub struct Disposable {
    /// The new binding.
    pub binding: BindingRef,
    /// The ledger: absolute path, or URL without password.
    pub db_path: String,
    /// How the threads are kept going.
    pub heartbeat_recommendations: HeartbeatRecommendations,
    /// The manager's side.
    pub manager: SideRecord,
    /// Commands to make it again and to look into the inboxes.
    pub replay_commands: Vec<String>,
    /// Null: no loop policy is recorded.
    pub run: (),
    /// The task.
    pub task: TaskRecord,
    /// The worker's side.
    pub worker: SideRecord,
    /// The prompt to paste into the worker's thread.
    pub worker_handoff: String,
}

/// The new binding.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct BindingRef {
    pub id: String,
}

/// The task of the binding.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct TaskRecord {
    /// Whether it was made by this call.
    pub created: bool,
    pub id: String,
    pub name: String,
    pub state: TaskState,
}

/// One side of the binding.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct SideRecord {
    pub codex_app_thread_id: Option<String>,
    pub codex_app_thread_title: Option<String>,
    /// How it is reached, with the poll command for the task.
    pub communication: Communication,
    pub id: String,
    pub name: String,
    /// The file that stands for the session's rollout.
    pub rollout_path: Option<String>,
    /// Always null.
    pub tmux_session: Option<String>,
}

impl SideRecord {
    fn new(session: Session, task: &str, ledger: &str) -> Self {
        let communication = Communication::of(&session, ledger).for_task(&session, task, ledger);
        Self {
            codex_app_thread_id: session.codex_app_thread_id,
            codex_app_thread_title: session.codex_app_thread_title,
            communication,
            id: session.id,
            name: session.name,
            rollout_path: session.codex_session_path,
            tmux_session: session.tmux_session,
        }
    }
}

/// Makes (or takes) the task, writes two rollout files into `directory` (absolute), registers both
/// sessions and binds them. A call that fails leaves nothing behind: old files are put back.
///
/// # Errors
/// What [`Request::check`] refuses; a task or session in a live binding; a name of the other role;
/// a file that cannot be written; a failing ledger.
pub fn create(cx: &mut Cx, request: &Request<'_>, directory: &Path) -> Result<Disposable> {
    request.check()?;
    let (cwd, shown_directory) = (utf8(request.cwd)?, utf8(directory)?);
    let paths = [&request.worker, &request.manager].map(|side| directory.join(side.file_name()));
    let rollouts = [utf8(&paths[0])?, utf8(&paths[1])?];
    // A look first, so that files are touched only when the binding is likely to succeed.
    cx.db.read(|tx| check_free(tx, request))?;
    let contents = request.sides().map(|(_, side)| (side.file_name(), rollout_line(&side, cwd)));
    let placed = Placed::place(directory, &contents)?;
    fault::point("disposable.files_placed");
    let parent_pid = cx.parent_pid;
    let made = match cx.db.write(|tx| record(tx, request, parent_pid, cwd, rollouts)) {
        // Over a connection that broke the commit may have come to pass: files without a binding do
        // no harm, a binding without its files would.
        Err(error @ Error::Store(StoreError::Unreachable { .. })) => {
            placed.keep();
            return Err(error);
        }
        outcome => outcome?,
    };
    fault::point("disposable.recorded");
    placed.keep();
    Ok(reply(request, made, &cx.ledger(), shown_directory))
}

/// The single line of a rollout that stands for a session without a process.
fn rollout_line(side: &Side<'_>, cwd: &str) -> String {
    let line = json!({
        "payload": {
            "cwd": cwd,
            "id": side.codex_session_id(),
            "originator": ORIGINATOR,
        },
        "type": "session_meta",
    });
    format!("{line}\n")
}

/// Refuses a task or a name that cannot be bound.
fn check_free(tx: &mut Tx<'_>, request: &Request<'_>) -> Result<()> {
    let mut known = Vec::new();
    for (role, side) in request.sides() {
        if let Some(session) = sessions::by_name(tx, side.session)? {
            if session.role != role.as_str() {
                return Err(registration::role_taken(side.session, role));
            }
            known.push(session);
        }
    }
    let known: Vec<&Session> = known.iter().collect();
    let task = tasks::find(tx, request.task)?;
    check_unbound(tx, task.as_ref(), &known)
}

/// Everything that was written.
struct Made {
    task: Task,
    /// What commands call the task.
    task_name: String,
    created: bool,
    worker: Session,
    manager: Session,
    binding_id: String,
}

fn record(
    tx: &mut Tx<'_>,
    request: &Request<'_>,
    parent_pid: i64,
    cwd: &str,
    rollouts: [&str; 2],
) -> Result<Made> {
    let known = tasks::find(tx, request.task)?;
    let created = known.is_none();
    let task = match known {
        Some(task) => task,
        None => crate::tasks::insert(tx, request.task, request.goal.unwrap_or(GOAL), request.summary)?,
    };
    bindings::hold(tx, &task.id, &[])?;
    let register = |tx: &mut Tx<'_>, role: Role, side: &Side<'_>, rollout: &str| {
        registration::upsert(
            tx,
            &Registration {
                name: side.session,
                role,
                codex_session_path: rollout,
                codex_session_id: &side.codex_session_id(),
                pid: Some(parent_pid),
                cwd,
                tmux_session: None,
                codex_app_thread_id: side.thread_id,
                codex_app_thread_title: side.thread_title,
            },
        )
    };
    // Registering holds the sessions' rows, so what is checked next stays true.
    let worker = register(tx, Role::Worker, &request.worker, rollouts[0])?;
    let manager = register(tx, Role::Manager, &request.manager, rollouts[1])?;
    check_unbound(tx, Some(&task), &[&worker, &manager])?;
    tasks::set_state(tx, &task.id, TaskState::Managed)?;
    let binding_id = bindings::insert(tx, &task.id, &worker.id, &manager.id)?;
    let payload =
        json!({ "binding_id": binding_id, "manager": manager.name, "run": null, "worker": worker.name });
    audit::record(
        tx,
        &AuditEvent {
            event_type: "disposable_binding_created",
            task_id: Some(&task.id),
            command_id: None,
            payload,
        },
    )?;
    tx.wake_waiters();
    let task_name = reference::name_of_task(tx, &task)?;
    Ok(Made { task, task_name, created, worker, manager, binding_id })
}

fn reply(request: &Request<'_>, made: Made, ledger: &str, directory: &str) -> Disposable {
    let name = &made.task_name;
    let worker = SideRecord::new(made.worker, name, ledger);
    let manager = SideRecord::new(made.manager, name, ledger);
    let poll = worker.communication.poll_command.as_deref().unwrap_or_default();
    Disposable {
        binding: BindingRef { id: made.binding_id },
        db_path: ledger.to_owned(),
        heartbeat_recommendations: prompts::heartbeats(name, ledger),
        replay_commands: replay_commands(request, name, ledger, directory),
        run: (),
        worker_handoff: prompts::worker_handoff(name, poll),
        task: TaskRecord {
            created: made.created,
            id: made.task.id,
            name: made.task.name,
            state: TaskState::Managed,
        },
        manager,
        worker,
    }
}

/// The call itself, and a look into each inbox.
fn replay_commands(request: &Request<'_>, task: &str, ledger: &str, directory: &str) -> Vec<String> {
    let (task, ledger) = (quote(task), quote(ledger));
    let call = format!(
        "conveyor create-disposable-binding {task} --worker {} --manager {} --session-dir {} --json --path {ledger}",
        quote(request.worker.session),
        quote(request.manager.session),
        quote(directory)
    );
    let inbox = |role: Role| format!("conveyor {role}-inbox {task} --wait --path {ledger} --json");
    vec![call, inbox(Role::Worker), inbox(Role::Manager)]
}

/// A path as the ledger can store it.
fn utf8(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::invalid(format!("the path {path:?} is not valid UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slug(session: &str) -> String {
        Side { session, thread_id: None, thread_title: None }.slug()
    }

    #[test]
    fn names_become_file_names() {
        assert_eq!(slug("demo-worker"), "demo-worker");
        assert_eq!(slug("my task / worker"), "my-task-worker");
        assert_eq!(slug("../..secret"), "secret");
        assert_eq!(slug("a.b_C-1"), "a.b_C-1");
        assert_eq!(slug("größe"), "gr-e");
        assert_eq!(slug("日本"), "session");
        assert_eq!(slug("a - b"), "a---b");
    }
}
