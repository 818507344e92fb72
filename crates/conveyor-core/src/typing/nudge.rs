//! Sending a text to a terminal: `session-nudge` and `nudge`.

use std::path::Path;

use conveyor_model::DeliveryStage;
use conveyor_model::records::Object;
use conveyor_store::deliveries;
use serde_json::{Value, json};

use super::agent::{Agent, Sources};
use super::journal::{self, Entry};
use super::lock::{Insistence, Owner};
use super::pane::Pane;
use super::session::{Assessed, Live, assess_patiently, failed, lock_pane, outcome_of};
use super::typist::{Care, Typed, Typist};
use super::verdict::Refusal;
use super::{Delivery, Guard, NotReady, Sent, message};
use crate::addressing::Terminal;
use crate::legacy::{Config, Place};
use crate::queue::check_says_something;
use crate::terminal::{self, SubjectKind};
use crate::{Cx, Error, Result};

/// A text for a session.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The session or worker.
    pub name: &'a str,
    /// The text; empty means Enter alone.
    pub text: &'a str,
    /// Send nothing.
    pub dry_run: bool,
    /// How careful to be.
    pub guard: Guard,
}

/// What came of it.
#[derive(Debug)]
pub struct Nudged {
    /// The result.
    pub sent: Sent,
    /// Set when the text was typed and its arrival not proven.
    pub unconfirmed: Option<Error>,
}

/// What `nudge` did.
#[derive(Debug)]
pub enum Reached {
    /// A legacy worker; the inner value as in [`Nudged::unconfirmed`].
    Worker(Option<Error>),
    /// A registered session.
    Session(Box<Nudged>),
}

/// Sends a text to a registered session's terminal.
///
/// # Errors
/// An unknown session, one without a running terminal, a text that cannot be typed, a terminal
/// that does not take a message now ([`Error::TargetNotReady`]); each is recorded.
pub fn session(cx: &mut Cx, request: &Request<'_>) -> Result<Nudged> {
    check(request)?;
    send(cx, request, Some("session_nudge"))
}

/// Sends a text to a legacy worker, or to the session of that name.
///
/// # Errors
/// As [`session`]; when there is neither, one error that says so.
pub fn by_name(place: &mut Place, request: &Request<'_>) -> Result<Reached> {
    check(request)?;
    match terminal::resolve(place, request.name) {
        Ok(subject) if matches!(subject.kind, SubjectKind::Worker(_)) => {
            return to_worker(place, request).map(Reached::Worker);
        }
        Ok(_) | Err(Error::UnknownWorker(_)) => {}
        Err(error) => return Err(error),
    }
    let sent = send(place.cx()?, request, None);
    sent.map(|nudged| Reached::Session(Box::new(nudged))).map_err(|error| match error {
        Error::TargetNotReady(_) | Error::Unconfirmed { .. } | Error::Store(_) => error,
        error => Error::NobodyToNudge { name: request.name.to_owned(), reason: error.to_string() },
    })
}

/// Sends a text to a registered session on behalf of a command that records itself what came of it.
///
/// # Errors
/// As [`session`].
pub(crate) fn tell(cx: &mut Cx, request: &Request<'_>) -> Result<Nudged> {
    check(request)?;
    let mut live = Live::find(cx, request.name, request.guard)?;
    send_to(cx, request, &mut live)
}

/// Refuses a text that cannot be typed, before anything is done.
///
/// # Errors
/// A text that is blank but not empty or that is no message, or nothing but Enter without force.
pub(crate) fn check(request: &Request<'_>) -> Result<()> {
    let Guard { strict, force, .. } = request.guard;
    check_says_something("the text", request.text)?;
    if !strict || request.dry_run {
        return Ok(());
    }
    if request.text.is_empty() && !force {
        return Err(Error::invalid(
            "an empty text would press Enter alone, which may confirm whatever the terminal asks: give --force if \
             that is meant",
        ));
    }
    message::check_words(request.text)
}

/// Sends a last text to a session that is about to be ended. Gives what is to be said when it did
/// not arrive: that a message is refused or unproven is no reason to let an agent go on.
///
/// # Errors
/// A session without a running terminal, a failing tmux or ledger.
pub(crate) fn last_words(cx: &mut Cx, request: &Request<'_>) -> Result<Option<Error>> {
    let mut live = Live::find(cx, request.name, request.guard)?;
    undelivered(send_to(cx, request, &mut live).map(|nudged| nudged.unconfirmed))
}

/// As [`last_words`], for a legacy worker.
///
/// # Errors
/// A terminal that does not run, a failing tmux.
pub(crate) fn last_words_to_worker(place: &mut Place, request: &Request<'_>) -> Result<Option<Error>> {
    let (pane, mut agent) = worker(place, request.name, request.guard);
    pane.require(request.name)?;
    undelivered(tell_worker(&pane, &mut agent, request))
}

fn undelivered(told: Result<Option<Error>>) -> Result<Option<Error>> {
    match told {
        Err(refused @ (Error::TargetNotReady(_) | Error::Unconfirmed { .. })) => Ok(Some(refused)),
        other => other,
    }
}

/// Sends, and records what came of it.
fn send(cx: &mut Cx, request: &Request<'_>, telemetry: Option<&str>) -> Result<Nudged> {
    let mut live = match Live::find(cx, request.name, request.guard) {
        Ok(live) => live,
        Err(error) => return Err(record_failure(cx, request, telemetry, error)?),
    };
    let outcome = send_to(cx, request, &mut live);
    let (error, forced, delivery) = match &outcome {
        Ok(nudged) => {
            (nudged.unconfirmed.as_ref(), nudged.sent.forced.as_ref(), nudged.sent.delivery.as_ref())
        }
        Err(error) => (Some(error), None, None),
    };
    // A success without telemetry is still an event; failures of `nudge` are no facts about a session.
    let refused = matches!(error, Some(Error::TargetNotReady(_) | Error::Unconfirmed { .. }));
    if telemetry.is_some() || error.is_none() || refused {
        let mut facts = facts(request);
        if let Some(refusal) = forced {
            facts["forced"] = true.into();
            facts["guard"] = json!(refusal);
        }
        if let Some(delivery) = delivery {
            facts["delivery_id"] = json!(delivery.delivery_id);
            facts["stage"] = delivery.stage.into();
        }
        let entry = entry(request, telemetry, Some(&live), facts, error);
        cx.db.write(|tx| journal::write(tx, &entry))?;
    }
    outcome
}

fn facts(request: &Request<'_>) -> Value {
    json!({ "text_length": request.text.encode_utf16().count() })
}

fn entry<'a>(
    request: &Request<'a>,
    telemetry: Option<&'a str>,
    live: Option<&'a Live>,
    facts: Value,
    error: Option<&'a Error>,
) -> Entry<'a> {
    Entry {
        event: "session_nudged",
        telemetry,
        session: live.map(|live| &live.session),
        name: request.name,
        dry_run: request.dry_run,
        key: None,
        facts,
        error,
    }
}

/// Records a failure before anything about the session was known; gives it back.
fn record_failure(
    cx: &mut Cx,
    request: &Request<'_>,
    telemetry: Option<&str>,
    error: Error,
) -> Result<Error> {
    if telemetry.is_some() && !matches!(error, Error::Store(_)) {
        let session = cx.db.read(|tx| conveyor_store::sessions::by_name(tx, request.name))?;
        let mut entry = entry(request, telemetry, None, facts(request), Some(&error));
        entry.session = session.as_ref();
        cx.db.write(|tx| journal::write(tx, &entry))?;
    }
    Ok(error)
}

pub(super) fn send_to(cx: &mut Cx, request: &Request<'_>, live: &mut Live) -> Result<Nudged> {
    let mut sent = Sent {
        delivery: None,
        dry_run: request.dry_run,
        forced: None,
        session: live.session.name.clone(),
        side_effect_completed: false,
        side_effect_started: false,
        target: live.pane.name(),
        text: request.text.to_owned(),
        time: cx.now().to_ms_text(),
    };
    if request.dry_run {
        return Ok(Nudged { sent, unconfirmed: None });
    }
    live.require_running()?;
    if request.guard.strict {
        message::check(request.text, Path::new(&live.session.cwd))?;
        let typed = guarded(cx, request, live, &mut sent)?;
        sent.side_effect_completed = typed;
    } else {
        type_blindly(&live.pane, &mut live.agent, request)?;
        sent.side_effect_completed = true;
    }
    sent.side_effect_started = true;
    let reason = sent.delivery.as_ref().and_then(|delivery| delivery.reason);
    let unconfirmed = reason
        .filter(|_| !request.guard.force)
        .map(|reason| Error::Unconfirmed { name: request.name.to_owned(), reason });
    Ok(Nudged { sent, unconfirmed })
}

/// Types under the guard. Gives whether Enter was pressed.
fn guarded(cx: &mut Cx, request: &Request<'_>, live: &mut Live, sent: &mut Sent) -> Result<bool> {
    let Guard { force, .. } = request.guard;
    let Assessed { facts, evidence, refusal } = live.assess_patiently(request.text)?;
    let state = evidence.activity.state;
    cx.db.write(|tx| live.record_state(tx, &evidence.activity))?;
    let in_the_way = live.clear_the_way(cx, &facts, &evidence.composer, force)?;
    let refusal = refusal.or(in_the_way);
    if let Some(refusal) = &refusal
        && !force
    {
        return Err(live.not_ready(refusal.clone(), state));
    }
    let mark = live.agent.mark();
    let lease_by = format!("session-nudge-{}", std::process::id());
    let delivery_id = cx.db.write(|tx| live.begin(tx, request.text, mark, &facts, &lease_by))?;
    if delivery_id.is_none() && !force {
        return Err(live.not_ready(raced(), state));
    }
    let care = if refusal.is_some() { Care::Forced } else { Care::Guarded };
    let owner = match &delivery_id {
        Some(id) => Owner::of(&cx.ledger(), id),
        None => Owner::of_keys("forced"),
    };
    let typed = {
        let Live { pane, agent, .. } = &mut *live;
        match lock_pane(pane, agent, &facts, owner, insistence(force)) {
            // Whoever types in spite of a message in flight holds no row that could be lost.
            Ok(Ok(lock)) => {
                let typist = Typist::of_message(pane, lock, request.text);
                typist.type_and_prove(agent, mark, care, &mut || match &delivery_id {
                    Some(id) => cx.db.write(|tx| deliveries::renew(tx, id, &lease_by)).unwrap_or(false),
                    None => true,
                })
            }
            Ok(Err(refusal)) => Ok(Typed::NotNow(refusal)),
            Err(error) => Err(error),
        }
    };
    if let Some(id) = &delivery_id {
        let outcome = typed.as_ref().map_or_else(|_| failed("not_sent"), outcome_of);
        cx.db.write(|tx| deliveries::settle(tx, id, DeliveryStage::Sending, &outcome))?;
    }
    let typed = match typed? {
        Typed::NotNow(refusal) => return Err(live.not_ready(refusal, state)),
        Typed::NoMessage { detail } => return Err(Error::invalid(detail)),
        typed => typed,
    };
    sent.forced = refusal;
    sent.delivery = Some(delivery(delivery_id, &typed));
    Ok(has_entered(&typed))
}

fn insistence(force: bool) -> Insistence {
    if force { Insistence::FORCED } else { Insistence::NONE }
}

/// Types a text as 0.1.10 did, without any proof; but not in between what another types.
fn type_blindly(pane: &Pane, agent: &mut Agent, request: &Request<'_>) -> Result<()> {
    let facts = pane.tmux().pane(&pane.target())?;
    match lock_pane(pane, agent, &facts, Owner::of_keys("blind"), Insistence::FORCED)? {
        Ok(lock) => Typist::of_text(pane, lock, request.text).type_blindly(),
        Err(refusal) => Err(not_ready(request.name, pane, refusal, "unknown")),
    }
}

fn not_ready(name: &str, pane: &Pane, refusal: Refusal, state: &str) -> Error {
    Error::TargetNotReady(Box::new(NotReady::new(refusal, name, state, pane.name())))
}

fn has_entered(typed: &Typed) -> bool {
    !matches!(typed, Typed::Unconfirmed { reason: "paste_not_visible" | "state_changed" | "lease_lost" })
}

fn raced() -> Refusal {
    let detail = "another message is being typed just now".to_owned();
    Refusal { detail, reason: "order", rule: 0, verdict: super::verdict::Grade::Unsafe }
}

/// What is told of a delivery.
pub(crate) fn delivery(delivery_id: Option<String>, typed: &Typed) -> Delivery {
    match typed {
        Typed::Seen { turn_id, .. } => Delivery {
            delivery_id,
            reason: None,
            stage: DeliveryStage::Seen.as_str(),
            turn_id: turn_id.clone(),
        },
        Typed::Unconfirmed { reason } => Delivery {
            delivery_id,
            reason: Some(reason),
            stage: DeliveryStage::Unknown.as_str(),
            turn_id: None,
        },
        Typed::NotNow(_) | Typed::NoMessage { .. } => Delivery {
            delivery_id,
            reason: Some("not_sent"),
            stage: DeliveryStage::Failed.as_str(),
            turn_id: None,
        },
    }
}

/// The terminal of a legacy worker, and what is known of its agent: as much as a session says that
/// is registered for the same terminal.
pub(super) fn worker(place: &mut Place, name: &str, guard: Guard) -> (Pane, Agent) {
    let config = Config::of(place.root(), name).ok().flatten();
    let config = config.unwrap_or_else(|| Config::from_object(Object::new()));
    let terminal = Terminal::of_worker(&config, name, place.tmux());
    let base = place.root().to_owned();
    let sources = place.look(|tx| {
        let session = conveyor_store::sessions::by_name(tx, name)?;
        match session.filter(|session| session.tmux() == Some(terminal.session.as_str())) {
            Some(session) => Sources::of(tx, &session, &base).map(Some),
            None => Ok(None),
        }
    });
    let agent = sources.flatten().unwrap_or_else(Sources::none).ask(guard.native);
    (Pane::of(terminal), agent)
}

fn to_worker(place: &mut Place, request: &Request<'_>) -> Result<Option<Error>> {
    let (pane, mut agent) = worker(place, request.name, request.guard);
    if request.dry_run {
        return Ok(None);
    }
    pane.require(request.name)?;
    let unconfirmed = tell_worker(&pane, &mut agent, request)?;
    place.log(request.name, "nudge", json!({ "message": request.text }))?;
    Ok(unconfirmed)
}

/// Types a text into a legacy worker's terminal; gives what is to be said when it is not proven to
/// have arrived.
pub(super) fn tell_worker(pane: &Pane, agent: &mut Agent, request: &Request<'_>) -> Result<Option<Error>> {
    Ok(match type_to_worker(pane, agent, request)? {
        Some(Typed::Unconfirmed { reason }) if !request.guard.force => {
            Some(Error::Unconfirmed { name: request.name.to_owned(), reason })
        }
        _ => None,
    })
}

/// Types a text into a legacy worker's terminal; `None` when no proof was asked for.
fn type_to_worker(pane: &Pane, agent: &mut Agent, request: &Request<'_>) -> Result<Option<Typed>> {
    if !request.guard.strict {
        type_blindly(pane, agent, request)?;
        return Ok(None);
    }
    let force = request.guard.force;
    let Assessed { facts, evidence, refusal } = assess_patiently(pane, agent, request.text)?;
    let state = evidence.activity.state.as_str();
    let care = match refusal {
        None => Care::Guarded,
        Some(_) if force => Care::Forced,
        Some(refusal) => return Err(not_ready(request.name, pane, refusal, state)),
    };
    let mark = agent.mark();
    let lock = match lock_pane(pane, agent, &facts, Owner::of_keys("worker"), insistence(force))? {
        Ok(lock) => lock,
        Err(refusal) => return Err(not_ready(request.name, pane, refusal, state)),
    };
    match Typist::of_message(pane, lock, request.text).type_and_prove(agent, mark, care, &mut || true)? {
        Typed::NotNow(refusal) => Err(not_ready(request.name, pane, refusal, state)),
        Typed::NoMessage { detail } => Err(Error::invalid(detail)),
        typed => Ok(Some(typed)),
    }
}
