//! Ending the terminal of a worker or session, and the turn that runs for it.

use conveyor_model::records::Session;
use conveyor_store::audit::{self, AuditEvent};
use conveyor_store::sessions;
use serde_json::{Value, json};

use super::{Subject, SubjectKind, resolve};
use crate::addressing::{Found, Terminal};
use crate::legacy::{Config, Place, check_name, record_end};
use crate::stopping::{self, Agent, Thread};
use crate::typing::{Guard, nudge};
use crate::{Cx, Error, Result};

/// Whom to stop.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The worker or session.
    pub name: &'a str,
    /// What to tell it first.
    pub message: Option<&'a str>,
    /// How careful to be with that. `force`: end it even though nobody can say what it leaves in the
    /// background.
    pub guard: Guard,
}

/// What came of it.
#[derive(Debug)]
pub struct Stopped {
    /// Whether there was a terminal to be ended.
    pub killed: bool,
    /// Whether it is known that nothing goes on in the background.
    pub background_known: bool,
    /// Why the message did not arrive, or is not proven to have.
    pub unsaid: Option<Error>,
}

/// Ends the terminal of a legacy worker or a session. A session is gone afterwards; its binding
/// stays as it is. A message that does not arrive stops nobody from stopping.
///
/// # Errors
/// A name from which no path may be made, a message that cannot be typed, a session without a
/// terminal. As refusals of the environment: an unknown name, a failing tmux, a turn that does not
/// end; then the session is not gone.
pub fn stop(place: &mut Place, request: &Request<'_>) -> Result<Stopped> {
    if let Some(text) = request.message {
        nudge::check(&words(request, text))?;
    }
    check_name(request.name).map_err(Error::operational)?;
    let subject = resolve(place, request.name).map_err(of_environment)?;
    let Subject { kind, .. } = subject;
    match kind {
        SubjectKind::Worker(config) => stop_worker(place, request, &config),
        SubjectKind::Session(session) => stop_session(place, request, &session),
    }
    .map_err(of_environment)
}

/// Whether stopping may end whoever called, as closing a task may. Of an unknown name it does not.
///
/// # Errors
/// A failing ledger.
pub fn ends_caller(place: &mut Place, name: &str, inside_agent: bool) -> Result<bool> {
    if inside_agent {
        return Ok(true);
    }
    // Whatever is wrong with the name, stopping says so.
    let Ok(Subject { terminal: Some(terminal), .. }) = resolve(place, name) else { return Ok(false) };
    Ok(stopping::is_around(&terminal))
}

/// What the machine says no to, as such.
fn of_environment(error: Error) -> Error {
    match error {
        Error::UnknownWorker(_)
        | Error::Tmux(_)
        | Error::AgentNotEnded { .. }
        | Error::TerminalNotRunning { .. }
        | Error::TerminalElsewhere { .. }
        | Error::TerminalAmbiguous { .. } => error.operational(),
        other => other,
    }
}

fn words<'a>(request: &Request<'a>, text: &'a str) -> nudge::Request<'a> {
    let guard = Guard { force: false, ..request.guard };
    nudge::Request { name: request.name, text, dry_run: false, guard }
}

fn stop_worker(place: &mut Place, request: &Request<'_>, config: &Config) -> Result<Stopped> {
    let name = request.name;
    let terminal = Terminal::of_worker(config, name, place.tmux());
    let is_running = matches!(terminal.locate()?, Found::Here(_));
    let mut unsaid = None;
    if let (true, Some(text)) = (is_running, request.message) {
        unsaid = nudge::last_words_to_worker(place, &words(request, text))?;
        let mut facts = json!({ "message": text });
        add_reason(&mut facts, unsaid.as_ref());
        place.log(name, "stop_message", facts)?;
    }
    let thread = Thread::of_worker(config);
    let force = request.guard.force;
    let agent = Agent { name, thread: thread.as_ref(), terminal: Some(&terminal), force };
    let ended = stopping::end(place.cwd(), &agent)?;
    if ended.killed {
        record_end(place.cx()?, name)?;
    }
    let mut facts = json!({ "killed_session": ended.killed });
    ended.add_to(&mut facts);
    place.log(name, "stop", facts)?;
    Ok(Stopped { killed: ended.killed, background_known: ended.background_known, unsaid })
}

fn stop_session(place: &mut Place, request: &Request<'_>, session: &Session) -> Result<Stopped> {
    let cx = place.cx()?;
    let tmux = cx.tmux.clone();
    let terminal = cx.db.read(|tx| Terminal::of_session(tx, session, &tmux))?;
    let terminal = terminal.ok_or_else(|| Error::NoTmuxSession(session.name.clone()))?;
    let facts = |more: Value| {
        let mut facts = json!({ "role": session.role, "target": terminal.name() });
        if let (Some(facts), Value::Object(more)) = (facts.as_object_mut(), more) {
            facts.extend(more);
        }
        facts
    };
    let is_running = matches!(terminal.locate()?, Found::Here(_));
    let mut unsaid = None;
    if let (true, Some(text)) = (is_running, request.message) {
        unsaid = nudge::last_words(cx, &words(request, text))?;
        let length = text.encode_utf16().count();
        let mut facts = facts(json!({ "session": session.name, "text_length": length }));
        add_reason(&mut facts, unsaid.as_ref());
        record(cx, "session_stop_message", facts)?;
    }
    record(cx, "session_stop_intent", facts(json!({ "session": session.name })))?;
    let base = cx.cwd.clone();
    let thread = cx.db.read(|tx| Thread::of(tx, session, &base))?;
    let agent = Agent {
        name: &session.name,
        thread: thread.as_ref(),
        terminal: Some(&terminal),
        force: request.guard.force,
    };
    let ended = stopping::end(&base, &agent)?;
    let killed = ended.killed;
    let mut payload = facts(json!({ "killed_session": killed, "session": session.name }));
    ended.add_to(&mut payload);
    cx.db.write(|tx| {
        sessions::set_gone_in_seconds(tx, &session.id)?;
        let payload = payload.clone();
        let event = AuditEvent { event_type: "session_stopped", task_id: None, command_id: None, payload };
        audit::record(tx, &event)?;
        tx.wake_waiters();
        Ok::<_, Error>(())
    })?;
    let mut facts = facts(json!({ "killed_session": killed, "lookup_source": "session" }));
    ended.add_to(&mut facts);
    place.log(&session.name, "stop", facts)?;
    Ok(Stopped { killed, background_known: ended.background_known, unsaid })
}

/// What keeps a message from having arrived for certain.
fn add_reason(facts: &mut Value, unsaid: Option<&Error>) {
    if let Some(error) = unsaid {
        facts["message_sent"] = false.into();
        facts["reason"] = error.to_string().into();
    }
}

fn record(cx: &mut Cx, event_type: &str, payload: Value) -> Result<()> {
    let event = AuditEvent { event_type, task_id: None, command_id: None, payload };
    cx.db.write(|tx| audit::record(tx, &event))?;
    Ok(())
}
