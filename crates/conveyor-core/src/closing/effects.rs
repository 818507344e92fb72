//! What closing a task does outside the ledger: looking at terminals and ending them.

use conveyor_agents::tmux::Tmux;
use conveyor_model::records::Task;
use conveyor_model::{Role, Roles};
use conveyor_store::{Tx, bindings, transcripts};

use super::Request;
use super::record::{self, Begun};
use crate::stopping;
use crate::transcripts::{Captured, Context, Extent, Owner, capture, find_context, is_missing};
use crate::typing::Guard;
use crate::typing::nudge::{self, Nudged};
use crate::{Cx, Error, Result};

/// What was done.
#[derive(Default)]
pub(super) struct Effects {
    /// What the terminals showed before.
    pub(super) captures: Vec<Captured>,
    /// Whose terminals were ended.
    pub(super) killed: Vec<Role>,
    /// Whether nobody could say what one of them had left in the background.
    pub(super) background_unknown: bool,
    /// What came of telling the worker.
    pub(super) told: Option<Told>,
}

/// What came of telling the worker something.
pub(super) struct Told {
    /// It is proven to have arrived; without a guard: it was typed.
    pub(super) sent: bool,
    /// Why not.
    pub(super) reason: Option<String>,
}

/// The terminals that are to be ended, the worker's first. A session without one keeps running, and
/// so does one that works for another task by now.
pub(super) fn terminals(
    tx: &mut Tx<'_>,
    request: &Request<'_>,
    tmux: &Tmux,
    task: &Task,
) -> Result<Vec<Context>> {
    let mut terminals = Vec::new();
    for role in wanted(request) {
        let Some(context) = find_context(tx, request.state_root, tmux, task, role)?
            .filter(|context| context.side.tmux_session.is_some())
        else {
            continue;
        };
        let elsewhere = matches!(context.owner, Owner::Session)
            && bindings::live_of_session(tx, &context.side.id)?.is_some_and(|live| live.task_id != task.id);
        if !elsewhere {
            terminals.push(context);
        }
    }
    Ok(terminals)
}

fn wanted(request: &Request<'_>) -> Vec<Role> {
    let is_wanted = |role: &Role| match role {
        Role::Worker => request.stop_worker,
        Role::Manager => request.stop_manager,
    };
    Roles::All.each().iter().copied().filter(is_wanted).collect()
}

/// Captures the terminals that are to be ended, if that is wanted, then ends them.
pub(super) fn carry_out(cx: &mut Cx, request: &Request<'_>, begun: &Begun) -> Result<Effects> {
    let mut effects = Effects::default();
    if request.capture {
        effects.captures = capture_before(cx, request, begun)?;
    }
    for terminal in &begun.terminals {
        if let (Some(message), Role::Worker) = (request.message, terminal.role) {
            effects.told = Some(tell(cx, request, terminal, message)?);
        }
        let ended = stopping::stop(cx, terminal, request.force)?;
        if ended.killed {
            effects.killed.push(terminal.role);
        }
        effects.background_unknown |= !ended.background_known;
    }
    Ok(effects)
}

/// Tells the worker something. That it does not take it now is no reason to go on with the task.
fn tell(cx: &mut Cx, request: &Request<'_>, terminal: &Context, message: &str) -> Result<Told> {
    if !matches!(terminal.owner, Owner::Session) {
        // What a worker of older versions does nobody knows.
        return Ok(Told { sent: false, reason: Some("unproven".into()) });
    }
    let guard = Guard { force: false, ..request.guard };
    let nudge = nudge::Request { name: &terminal.side.name, text: message, dry_run: false, guard };
    match nudge::tell(cx, &nudge) {
        Ok(Nudged { unconfirmed: Some(Error::Unconfirmed { reason, .. }), .. }) => {
            Ok(Told { sent: false, reason: Some(reason.into()) })
        }
        Ok(_) => Ok(Told { sent: true, reason: None }),
        Err(Error::TargetNotReady(refused)) => {
            Ok(Told { sent: false, reason: Some(refused.guard.reason.into()) })
        }
        Err(error @ Error::Store(_)) => Err(error),
        Err(error) => Ok(Told { sent: false, reason: Some(error.code().into()) }),
    }
}

/// What captures of terminals that are about to be ended are recorded as.
const SOURCE: &str = "finish_task_pre_stop";

/// Whether an attempt that came to grief has captured and ended this terminal: it cannot be captured
/// again, and need not be. `Some` tells whether that brought the transcript forward.
fn captured_before(cx: &mut Cx, terminal: &Context) -> Result<Option<bool>> {
    let Some(session) = &terminal.side.tmux_session else { return Ok(None) };
    let newest =
        |tx: &mut Tx<'_>| transcripts::newest_is_of(tx, &terminal.task.id, terminal.role, session, SOURCE);
    Ok(cx.db.read(newest)?)
}

fn capture_before(cx: &mut Cx, request: &Request<'_>, begun: &Begun) -> Result<Vec<Captured>> {
    let extent = Extent { lines: request.capture_lines, mode: request.capture_mode, source: SOURCE };
    let mut captures = Vec::new();
    let mut brought_before = Vec::new();
    for terminal in &begun.terminals {
        match capture(cx, request.state_root, terminal, &extent) {
            Ok(captured) => captures.push(captured),
            Err(error) if is_missing(&error) => match captured_before(cx, terminal)? {
                Some(true) => brought_before.push(terminal.role),
                Some(false) => {}
                None => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
    let brought = |role: &Role| {
        brought_before.contains(role) || captures.iter().any(|one| one.role == *role && one.has_new_lines())
    };
    let lacking: Vec<&str> =
        wanted(request).iter().filter(|role| !brought(role)).map(|role| role.as_str()).collect();
    if request.require_segment && !lacking.is_empty() {
        return Err(Error::NoSegment(lacking.join(", ")));
    }
    if !captures.is_empty() {
        cx.db.write(|tx| record::captured(tx, request, begun, &captures))?;
    }
    Ok(captures)
}
