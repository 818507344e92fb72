use std::fmt;
use std::time::{Duration, Instant};

use super::client::{Client, Methods};
use super::error::{CodexError, Refusal};
use super::protocol::Status;
use super::turns::{Interrupted, interrupt, wait_for_end};

/// What a command of an agent has in its environment: the thread that started it.
pub const THREAD_VARIABLE: &str = "CODEX_THREAD_ID";

/// The methods without which nobody can say that nothing goes on in a thread.
const NEEDED: [&str; 5] = [LIST_QUEUED, DELETE_QUEUED, "turn/interrupt", LIST_COMMANDS, END_COMMANDS];
const LIST_QUEUED: &str = "thread/queue/list";
const DELETE_QUEUED: &str = "thread/queue/delete";
const LIST_COMMANDS: &str = "thread/backgroundTerminals/list";
const END_COMMANDS: &str = "thread/backgroundTerminals/clean";
const SET_GOAL: &str = "thread/goal/set";

/// How often is looked whether everything has ended.
const PAUSE: Duration = Duration::from_millis(20);

/// What goes on in a thread and in those that work for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ongoing {
    /// Messages that would start turns.
    pub queued: usize,
    /// Threads with a running turn.
    pub turns: Vec<String>,
    /// Commands, in a turn or behind its back.
    pub commands: Vec<String>,
}

impl Ongoing {
    /// Whether nothing does.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Ongoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.turns.is_empty() {
            parts.push(format!("a turn of thread {}", self.turns.join(", ")));
        }
        if self.queued > 0 {
            parts.push(format!("{} queued message(s)", self.queued));
        }
        for command in &self.commands {
            parts.push(format!("the command {command:?}"));
        }
        f.write_str(&parts.join(", "))
    }
}

/// Which methods a server lacks to end the work of a thread and to see that it has ended.
#[must_use]
pub fn lacking_to_end(methods: &Methods) -> Vec<&'static str> {
    methods.lacking(&NEEDED)
}

/// The thread, and the loaded ones that were started to work for it: agents of an agent.
///
/// # Errors
/// As every request.
pub fn workers_of(client: &mut Client, thread_id: &str) -> Result<Vec<String>, CodexError> {
    let mut parents = Vec::new();
    for id in client.thread_loaded_list()? {
        if let Some(thread) = known(client.thread_read(&id))?
            && let Some(parent) = thread.parent_thread_id
        {
            parents.push((id, parent));
        }
    }
    let mut family = vec![thread_id.to_owned()];
    let mut next = 0;
    while let Some(member) = family.get(next).cloned() {
        let children = parents.iter().filter(|(_, parent)| *parent == member).map(|(id, _)| id.clone());
        let children: Vec<_> = children.filter(|id| !family.contains(id)).collect();
        family.extend(children);
        next += 1;
    }
    Ok(family)
}

/// Ends what goes on in a thread and in those that work for it: first what is queued, which would
/// start as the turn ends, and the goal that would start another; then the turns, with the requests
/// that are open in them; then the commands, which outlive turns. Looks until nothing is left, and
/// gives what is left when the time is over. What the server has no methods for is passed over.
///
/// # Errors
/// As every request.
pub fn end_work(
    client: &mut Client,
    thread_id: &str,
    methods: &Methods,
    limit: Duration,
) -> Result<Ongoing, CodexError> {
    let deadline = Instant::now() + limit;
    let has = |method: &'static str| methods.lacking(&[method]).is_empty();
    loop {
        let family = workers_of(client, thread_id)?;
        for id in &family {
            if has(DELETE_QUEUED) {
                delete_queued(client, id)?;
            }
            if has(SET_GOAL) {
                pause_goal(client, id)?;
            }
        }
        let mut ending = Vec::new();
        for id in &family {
            match known(interrupt(client, id, None))? {
                Some(Interrupted::Interrupted { turn_id } | Interrupted::Mismatch { turn_id }) => {
                    ending.push((id, turn_id));
                }
                Some(Interrupted::NothingRunning) | None => {}
            }
        }
        for (id, turn_id) in ending {
            let left = deadline.saturating_duration_since(Instant::now());
            wait_for_end(client, id, &turn_id, left)?;
        }
        if has(END_COMMANDS) {
            for id in &family {
                known(client.background_terminals_clean(id))?;
            }
        }
        let left = ongoing(client, &family, methods)?;
        if left.is_nothing() || Instant::now() >= deadline {
            return Ok(left);
        }
        std::thread::sleep(PAUSE);
    }
}

fn ongoing(client: &mut Client, family: &[String], methods: &Methods) -> Result<Ongoing, CodexError> {
    let has = |method: &'static str| methods.lacking(&[method]).is_empty();
    let mut ongoing = Ongoing::default();
    for id in family {
        if has(LIST_COMMANDS) {
            let running = known(client.background_terminals(id))?.unwrap_or_default();
            ongoing.commands.extend(running.into_iter().map(|terminal| terminal.command));
        }
        if has(LIST_QUEUED) {
            ongoing.queued += known(client.queue(id))?.unwrap_or_default().len();
        }
        // Last, so that it is never older than the rest.
        let thread = known(client.thread_read(id))?;
        if thread.is_some_and(|thread| matches!(thread.status, Status::Active { .. })) {
            ongoing.turns.push(id.clone());
        }
    }
    Ok(ongoing)
}

fn delete_queued(client: &mut Client, thread_id: &str) -> Result<(), CodexError> {
    for queued in known(client.queue(thread_id))?.unwrap_or_default() {
        // One that is not there any more has been started: its turn is ended next.
        known(client.queue_delete(thread_id, &queued.id))?;
    }
    Ok(())
}

fn pause_goal(client: &mut Client, thread_id: &str) -> Result<(), CodexError> {
    let goal = known(client.goal(thread_id))?.flatten();
    if goal.is_some_and(|goal| goal.status == "active") {
        known(client.goal_pause(thread_id))?;
    }
    Ok(())
}

/// `None` of a thread that the server does not have, does not hold, that another process has, or that
/// has no record yet: nothing of it runs here.
fn known<T>(answer: Result<T, CodexError>) -> Result<Option<T>, CodexError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(CodexError::NotFound { .. }) => Ok(None),
        Err(error) if matches!(error.refusal(), Some(Refusal::Fresh | Refusal::OwnedElsewhere)) => Ok(None),
        Err(error) => Err(error),
    }
}
