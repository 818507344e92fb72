//! Closing a task: because its work is accepted, or because it is given up.
//!
//! The intent is committed before any effect outside the ledger and the result after it; a failure
//! in between is recorded, and the call can be repeated.

mod audits;
mod dispatcher;
mod effects;
mod gates;
mod record;

use std::path::Path;

use conveyor_model::CaptureMode;
use conveyor_model::text::is_blank;
use serde::Serialize;
use serde_json::Value;

use crate::decisions::DecisionCheck;
use crate::transcripts::Captured;
use crate::typing::Guard;
use crate::typing::message;
use crate::{Cx, Error, Result, reference, stopping};

pub(crate) use audits::epilogue_steps;
pub use audits::{AckAudit, CriteriaAudit, EpilogueAudit, EpilogueStep, OpenCriterion};
use effects::Effects;
pub use gates::Gates;
use record::Begun;

/// Why a task is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its work is accepted.
    Finish,
    /// It is given up.
    Stop,
}

impl Ending {
    fn is_finish(self) -> bool {
        self == Self::Finish
    }

    fn command_type(self) -> &'static str {
        match self {
            Self::Finish => conveyor_store::immediate::FINISH_TASK,
            Self::Stop => conveyor_store::immediate::STOP_TASK,
        }
    }
}

/// What to close, and how.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The task, by id or name.
    pub task: &'a str,
    /// Accepted, or given up.
    pub ending: Ending,
    /// Why; `None`: a fixed phrase.
    pub reason: Option<&'a str>,
    /// What to tell the worker before its terminal is ended.
    pub message: Option<&'a str>,
    /// How careful to be when telling it.
    pub guard: Guard,
    /// End the worker's terminal.
    pub stop_worker: bool,
    /// End the manager's terminal.
    pub stop_manager: bool,
    /// End the agents even though nobody can say what they leave in the background.
    pub force: bool,
    /// Capture the terminals that are to be ended.
    pub capture: bool,
    /// How many lines above the screen are captured.
    pub capture_lines: u32,
    /// How much of a capture becomes a segment.
    pub capture_mode: CaptureMode,
    /// Refuse when a terminal that is to be ended shows nothing new.
    pub require_segment: bool,
    /// What must hold first.
    pub gates: Gates,
    /// Where workers of older versions have their files.
    pub state_root: &'a Path,
}

impl Request<'_> {
    fn reason(&self) -> &str {
        self.reason.unwrap_or(match self.ending {
            Ending::Finish => "finished by operator",
            Ending::Stop => "stopped by operator",
        })
    }
}

/// What closing a task came to.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct Closed {
    pub already_done_followup: bool,
    /// `unknown` when nobody could say what an agent that was ended had left in the background.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background: Option<&'static str>,
    pub command_id: String,
    /// Whether the dispatcher that serves bound tasks only has ended, too; `None` where there is
    /// none, or other tasks are still bound. Not part of what is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispatcher_stopped: Option<Option<bool>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_ack_audit: Option<AckAudit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_audit: Option<CriteriaAudit>,
    pub final_decision_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_epilogue_audit: Option<EpilogueAudit>,
    pub final_observation_id: Option<i64>,
    pub finish: bool,
    pub killed_manager: bool,
    pub killed_worker: bool,
    pub manager_decision: DecisionCheck,
    pub manager_session: Option<String>,
    /// Why the worker was not told, or is not proven to have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_reason: Option<String>,
    /// Whether the worker was told what was to be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_sent: Option<bool>,
    pub pre_stop_transcript_captures: Vec<Captured>,
    pub reason: String,
    pub stop_manager: bool,
    pub stop_worker: bool,
    pub task: String,
    /// What of the task's contract is not fulfilled, by its stable name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmet: Option<Vec<&'static str>>,
    pub worker: Option<String>,
    pub worker_session: Option<String>,
}

/// Told what of the contract is not fulfilled, a sentence each.
pub type Warn<'a> = &'a mut dyn FnMut(&str);

/// Closes a task: its live binding ends, and so does its active run.
///
/// # Errors
/// An unknown task or one that is closed already, a message that cannot be typed: nothing is recorded
/// then. A terminal that cannot be captured or ended, or an audit that finds a gate closed: recorded,
/// and the task stays open. A gate without an audit: nothing is recorded. A failing ledger.
pub fn close(cx: &mut Cx, request: &Request<'_>, warn: Warn<'_>) -> Result<Closed> {
    check_message(request)?;
    let tmux = cx.tmux.clone();
    let dispatchers = dispatcher::look(cx)?;
    let outcome = cx.db.write(|tx| {
        let begun = match record::begin(tx, request, &tmux)? {
            Ok(begun) => begun,
            // What keeps the task open is part of the record.
            Err(refusal) => return Ok(Err(refusal)),
        };
        // Without an effect outside there is nothing that could come in between.
        let closed = match begun.has_effects(request) {
            true => None,
            false => Some(record::conclude(tx, request, &begun, &Effects::default())?),
        };
        Ok::<_, Error>(Ok((begun, closed)))
    })?;
    let (begun, closed) = outcome?;
    begun.unmet.iter().for_each(|(_, text)| warn(text));
    let mut closed = match closed {
        Some(closed) => closed,
        None => carry_out(cx, request, &begun)?,
    };
    closed.dispatcher_stopped = Some(dispatcher::wait_for_end(cx, &dispatchers)?);
    Ok(closed)
}

/// Whether closing may end whoever called: then the command that does it must outlive the caller.
/// Inside an agent it may, since a turn ends with all that works for it, agents of agents included;
/// and so it does in a terminal that is ended.
///
/// # Errors
/// An unknown task; a failing ledger.
pub fn ends_caller(cx: &mut Cx, request: &Request<'_>, inside_agent: bool) -> Result<bool> {
    let tmux = cx.tmux.clone();
    let terminals = cx.db.read(|tx| {
        let task = reference::task(tx, request.task)?;
        effects::terminals(tx, request, &tmux, &task)
    })?;
    if inside_agent {
        return Ok(!terminals.is_empty());
    }
    Ok(terminals.iter().any(stopping::is_around_us))
}

fn check_message(request: &Request<'_>) -> Result<()> {
    match request.message {
        Some(message) if is_blank(message) => {
            Err(Error::invalid("the message to the worker must not be empty"))
        }
        Some(message) => message::check_words(message),
        None => Ok(()),
    }
}

/// Does what has an effect outside the ledger, and records what came of it.
fn carry_out(cx: &mut Cx, request: &Request<'_>, begun: &Begun) -> Result<Closed> {
    let closed = effects::carry_out(cx, request, begun)
        .and_then(|effects| cx.db.write(|tx| record::conclude(tx, request, begun, &effects)));
    closed.map_err(|error| {
        let refusal = Error::NotClosed { task: begun.task.name.clone(), reason: error.to_string() };
        // The cause is what the user must hear of, also if it cannot be recorded.
        match cx.db.write(|tx| record::fail(tx, request, begun, &error)) {
            Ok(()) => refusal,
            Err(_) => error,
        }
    })
}

fn to_value(reply: &impl Serialize) -> Result<Value> {
    serde_json::to_value(reply).map_err(|error| Error::Output(error.into()))
}
