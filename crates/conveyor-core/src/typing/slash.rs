//! Commands to an agent that are no messages: `/compact`, which its server does itself where it can,
//! and `/clear`, after which its terminal shows another thread.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use conveyor_agents::codex::{CodexError, Event, Thread};
use conveyor_model::{Adapter, AgentState, DeliveryStage, EndpointOrigin};
use conveyor_store::audit::{self, AuditEvent};
use conveyor_store::deliveries;
use conveyor_store::endpoints::{self, NewEndpoint};
use conveyor_store::{Tx, sessions};
use serde_json::{Value, json};

use super::lock::{Insistence, Owner};
use super::nudge::Nudged;
use super::record;
use super::session::{Assessed, Live, UNPROVEN, failed, lock_pane, outcome_of};
use super::typist::{Care, Typed, Typist};
use super::verdict::{Activity, Grade, Refusal};
use super::{Delivery, Guard, Sent};
use crate::{Cx, Error, Result};

/// How long the proof of a command is waited for.
const UNTIL_PROVEN: Duration = Duration::from_secs(5);

/// How long somebody else's command in the same directory is waited for.
const UNTIL_FREE: Duration = Duration::from_secs(15);

const PAUSE: Duration = Duration::from_millis(50);

const COMPACT: &str = "/compact";
const CLEAR: &str = "/clear";

/// Has a session's conversation replaced by a summary. Its server does that without a key being
/// pressed; where none can be asked, the command is typed under the guard. Proven is that the turn in
/// which it happens has begun.
///
/// # Errors
/// As [`super::nudge::session`]; nothing is recorded but the state that was found and, when it is
/// typed, the delivery.
pub fn compact(cx: &mut Cx, name: &str, guard: Guard) -> Result<Nudged> {
    let mut live = Live::find(cx, name, guard)?;
    let asked = live.agent.look_patiently();
    // Who says what it does is its server, so that knows the thread.
    if asked.activity.confidence == conveyor_model::Confidence::Proven {
        cx.db.write(|tx| live.record_state(tx, &asked.activity))?;
        return compact_by_server(cx, &mut live, &asked.activity, guard);
    }
    live.require_running()?;
    let mark = live.agent.mark();
    let typing = type_command(cx, &mut live, COMPACT, guard)?;
    let begun = |live: &Live| {
        let path = live.agent.sources.rollout.as_deref()?;
        record::turn_has_begun(path, mark.offset).ok()?.then_some(())
    };
    let proven = typing.entered && wait_for(|| begun(&live)).is_some();
    let reason = if proven { None } else { Some(typing.reason.unwrap_or("no_proof")) };
    finish_typing(cx, &live, typing, reason, guard)
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + UNTIL_PROVEN;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

fn compact_by_server(cx: &mut Cx, live: &mut Live, activity: &Activity, guard: Guard) -> Result<Nudged> {
    let ready = activity.state == AgentState::Idle || (guard.force && activity.state == AgentState::Error);
    if !ready {
        let detail = format!("the agent is {} ({})", activity.state, activity.source);
        let refusal = Refusal { detail, reason: activity.state.as_str(), rule: 4, verdict: Grade::Unsafe };
        return Err(live.not_ready(refusal, activity.state));
    }
    if let Some(refusal) = in_flight(cx, live)? {
        return Err(live.not_ready(refusal, activity.state));
    }
    let thread_id = live.agent.sources.thread_id.clone().unwrap_or_default();
    let started = start_compaction(live, &thread_id);
    let (turn_id, reason) = match started {
        Ok(Some(turn_id)) => (Some(turn_id), None),
        Ok(None) | Err(CodexError::Timeout { sent: true, .. } | CodexError::Lost { .. }) => {
            (None, Some("no_proof"))
        }
        Err(error) => {
            let detail = error.to_string();
            let refusal = Refusal { detail, reason: "unproven", rule: 4, verdict: Grade::Unproven };
            return Err(live.not_ready(refusal, activity.state));
        }
    };
    let target = format!("codex:{thread_id}");
    let sent = sent(cx, live, COMPACT, target, delivery(None, reason, turn_id), true);
    Ok(Nudged { sent, unconfirmed: unconfirmed(live, reason, guard) })
}

/// Asks for the compaction; gives the turn in which it happens, `None` if none was seen to begin.
fn start_compaction(live: &mut Live, thread_id: &str) -> Result<Option<String>, CodexError> {
    let client = match live.agent.client() {
        Some(Ok(client)) => client,
        Some(Err(reason)) => return Err(CodexError::NotReachable { reason }),
        None => return Err(CodexError::NotReachable { reason: "no server is asked".into() }),
    };
    // Whoever is subscribed hears of the turn.
    client.thread_resume(thread_id)?;
    while client.next_event(Duration::ZERO)?.is_some() {}
    client.thread_compact_start(thread_id)?;
    let deadline = Instant::now() + UNTIL_PROVEN;
    let mut begun = None;
    while begun.is_none() && Instant::now() < deadline {
        begun = match client.next_event(PAUSE)? {
            Some(
                Event::TurnStarted { thread_id: of, turn } | Event::TurnCompleted { thread_id: of, turn },
            ) if of == thread_id => Some(turn.id),
            _ => None,
        };
    }
    // Its terminal holds it; we need not.
    let _ = client.thread_unsubscribe(thread_id);
    Ok(begun)
}

/// Has a session begin a new conversation: `/clear` is typed under the guard, and the session becomes
/// the thread that its server announces then. That thread is named after it.
///
/// # Errors
/// As [`super::nudge::session`]. [`Error::NewThreadNotProven`] when no thread, or more than one, was
/// announced: the session is gone then, because nobody knows what its terminal shows.
pub fn clear(cx: &mut Cx, name: &str, guard: Guard) -> Result<Nudged> {
    let mut live = Live::find(cx, name, guard)?;
    live.require_running()?;
    let Some(home) = follow(&mut live) else {
        let detail = "no server can be asked which thread its terminal shows afterwards".to_owned();
        let refusal = Refusal { detail, reason: "unproven", rule: 4, verdict: Grade::Unproven };
        return Err(live.not_ready(refusal, AgentState::Unknown));
    };
    // One new thread in one directory at a time, or it could be anybody's.
    let _alone = lock(Path::new(&home.cwd), &live)?;
    let typing = type_command(cx, &mut live, CLEAR, guard)?;
    if !typing.entered {
        let reason = typing.reason;
        return finish_typing(cx, &live, typing, reason, guard);
    }
    let announced = announced(&mut live, &home);
    let [thread] = announced.as_slice() else {
        let error = not_proven(&live, announced.len());
        cx.db.write(|tx| lose(tx, &live, &typing, &announced))?;
        return Err(error);
    };
    let named = match live.agent.client() {
        Some(Ok(client)) => client
            .thread_name_set(&thread.id, name)
            .and_then(|()| client.thread_read(&thread.id))
            .ok()
            .and_then(|thread| Some((thread.id, thread.path?))),
        _ => None,
    };
    let Some((thread_id, path)) = named else {
        let error = not_proven(&live, 1);
        cx.db.write(|tx| lose(tx, &live, &typing, &announced))?;
        return Err(error);
    };
    cx.db.write(|tx| follow_thread(tx, &live, &typing, &home, (&thread_id, &path)))?;
    finish_typing(cx, &live, typing, None, guard)
}

/// A thread and where it is.
struct Home {
    codex_home: String,
    thread_id: String,
    cwd: String,
    version: String,
}

/// Makes sure that the server of a session's thread can be asked and tells of new threads.
fn follow(live: &mut Live) -> Option<Home> {
    let thread_id = live.agent.sources.thread_id.clone()?;
    let codex_home = live.agent.sources.home.as_ref()?.display().to_string();
    let client = live.agent.client()?.ok()?;
    let thread = client.thread_read(&thread_id).ok()?;
    Some(Home { codex_home, thread_id, cwd: thread.cwd, version: thread.cli_version })
}

/// Locks a directory against the same command for another session in it, in whatever ledger.
fn lock(directory: &Path, live: &Live) -> Result<File> {
    let unusable = |reason| Error::Unreadable { path: directory.to_owned(), reason };
    let file = File::open(directory).map_err(unusable)?;
    let deadline = Instant::now() + UNTIL_FREE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::Error(error)) => return Err(unusable(error)),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            Err(std::fs::TryLockError::WouldBlock) => {
                let detail = "another session in the same directory is being cleared".to_owned();
                let refusal = Refusal { detail, reason: "order", rule: 0, verdict: Grade::Unsafe };
                return Err(live.not_ready(refusal, AgentState::Unknown));
            }
        }
    }
}

/// The threads that may be the one that the terminal shows now. The whole time is waited: what is
/// announced first need not be ours.
fn announced(live: &mut Live, home: &Home) -> Vec<Thread> {
    let deadline = Instant::now() + UNTIL_PROVEN;
    let mut found: Vec<Thread> = Vec::new();
    let Some(Ok(client)) = live.agent.client() else { return found };
    while Instant::now() < deadline {
        let Ok(event) = client.next_event(PAUSE) else { return Vec::new() };
        if let Some(Event::ThreadStarted(thread)) = event
            && thread.cwd == home.cwd
            && thread.id != home.thread_id
            && !thread.ephemeral
            && thread.thread_source.as_deref() == Some("user")
            && !found.iter().any(|known| known.id == thread.id)
        {
            found.push(*thread);
        }
    }
    found
}

fn not_proven(live: &Live, candidates: usize) -> Error {
    let session = &live.session;
    Error::NewThreadNotProven {
        name: session.name.clone(),
        role: session.role.clone(),
        tmux_session: live.pane.session().to_owned(),
        candidates,
    }
}

/// Records that nobody knows which thread a session's terminal shows.
fn lose(tx: &mut Tx<'_>, live: &Live, typing: &Typing, announced: &[Thread]) -> Result<()> {
    settle(tx, typing, &failed("thread_not_proven"))?;
    sessions::set_gone(tx, &live.session.id)?;
    let candidates: Vec<&str> = announced.iter().map(|thread| thread.id.as_str()).collect();
    changed(tx, live, json!({ "candidates": candidates, "to": null }))?;
    tx.wake_waiters();
    Ok(())
}

/// Makes a session the thread that its terminal shows now.
fn follow_thread(
    tx: &mut Tx<'_>,
    live: &Live,
    typing: &Typing,
    home: &Home,
    (thread_id, path): (&str, &str),
) -> Result<()> {
    let proof = json!({ "kind": "thread/started", "ref": thread_id, "stage": DeliveryStage::Seen });
    let seen = deliveries::Outcome { stage: DeliveryStage::Seen, reason: None, error: None, proof };
    settle(tx, typing, &seen)?;
    sessions::set_thread(tx, &live.session.id, thread_id, path)?;
    endpoints::record(
        tx,
        &NewEndpoint {
            session_id: &live.session.id,
            adapter: Adapter::Codex,
            address: json!({ "codex_home": home.codex_home, "thread_id": thread_id }),
            incarnation: thread_id,
            origin: EndpointOrigin::Spawned,
            capabilities: json!({ "version": home.version }),
        },
    )?;
    changed(tx, live, json!({ "codex_session_path": path, "from": home.thread_id, "to": thread_id }))?;
    tx.wake_waiters();
    Ok(())
}

fn changed(tx: &mut Tx<'_>, live: &Live, mut payload: Value) -> Result<()> {
    payload["session"] = live.session.name.clone().into();
    payload["session_id"] = live.session.id.clone().into();
    if payload.get("from").is_none() {
        payload["from"] = live.agent.sources.thread_id.clone().into();
    }
    let event_type = "session_thread_changed";
    audit::record(tx, &AuditEvent { event_type, task_id: None, command_id: None, payload })?;
    Ok(())
}

/// A command that was typed.
struct Typing {
    text: &'static str,
    delivery_id: Option<String>,
    forced: Option<Refusal>,
    /// Whether Enter was pressed.
    entered: bool,
    /// Why it was not.
    reason: Option<&'static str>,
}

/// Types a command under the guard.
fn type_command(cx: &mut Cx, live: &mut Live, text: &'static str, guard: Guard) -> Result<Typing> {
    let Assessed { facts, evidence, refusal } = live.assess_patiently(text)?;
    let state = evidence.activity.state;
    cx.db.write(|tx| live.record_state(tx, &evidence.activity))?;
    let in_the_way = live.clear_the_way(cx, &facts, &evidence.composer, guard.force)?;
    let refusal = refusal.or(in_the_way).filter(|_| guard.strict);
    if let Some(refusal) = refusal.as_ref().filter(|_| !guard.force) {
        return Err(live.not_ready(refusal.clone(), state));
    }
    let mark = live.agent.mark();
    let lease_by = format!("slash-{}", std::process::id());
    let delivery_id = cx.db.write(|tx| live.begin(tx, text, mark, &facts, &lease_by))?;
    if delivery_id.is_none() && !guard.force {
        return Err(live.not_ready(in_flight(cx, live)?.unwrap_or_else(raced), state));
    }
    let care = if refusal.is_some() || !guard.strict { Care::Forced } else { Care::Guarded };
    let owner = match &delivery_id {
        Some(id) => Owner::of(&cx.ledger(), id),
        None => Owner::of_keys("command"),
    };
    let insistence = if guard.force || !guard.strict { Insistence::FORCED } else { Insistence::NONE };
    let typed = {
        let Live { pane, agent, .. } = &mut *live;
        let mut keep = || match &delivery_id {
            Some(id) => cx.db.write(|tx| deliveries::renew(tx, id, &lease_by)).unwrap_or(false),
            None => true,
        };
        match lock_pane(pane, agent, &facts, owner, insistence) {
            Ok(Ok(lock)) => Typist::of_text(pane, lock, text).type_command(agent, care, &mut keep),
            Ok(Err(refusal)) => Ok(Some(Typed::NotNow(refusal))),
            Err(error) => Err(error),
        }
    };
    let (outcome, error) = match typed {
        Ok(None) => {
            return Ok(Typing { text, delivery_id, forced: refusal, entered: true, reason: None });
        }
        Ok(Some(Typed::Unconfirmed { reason })) => {
            return Ok(Typing { text, delivery_id, forced: refusal, entered: false, reason: Some(reason) });
        }
        Ok(Some(typed)) => (outcome_of(&typed), not_typed(live, typed, state)),
        Err(error) => (failed("not_sent"), error),
    };
    if let Some(id) = &delivery_id {
        cx.db.write(|tx| deliveries::settle(tx, id, DeliveryStage::Sending, &outcome))?;
    }
    Err(error)
}

fn not_typed(live: &Live, typed: Typed, state: AgentState) -> Error {
    match typed {
        Typed::NotNow(refusal) => live.not_ready(refusal, state),
        Typed::NoMessage { detail } => Error::invalid(detail),
        Typed::Seen { .. } | Typed::Unconfirmed { .. } => live.not_ready(raced(), state),
    }
}

fn in_flight(cx: &mut Cx, live: &Live) -> Result<Option<Refusal>> {
    let open = cx.db.read(|tx| deliveries::in_flight_to(tx, &live.session.id))?;
    Ok(open.map(|_| raced()))
}

fn raced() -> Refusal {
    let detail = "another message to it is not settled yet".to_owned();
    Refusal { detail, reason: "order", rule: 0, verdict: Grade::Unsafe }
}

fn settle(tx: &mut Tx<'_>, typing: &Typing, outcome: &deliveries::Outcome<'_>) -> Result<()> {
    if let Some(id) = &typing.delivery_id {
        deliveries::settle(tx, id, DeliveryStage::Sending, outcome)?;
    }
    Ok(())
}

/// Settles what is not settled yet and says what came of it.
fn finish_typing(
    cx: &mut Cx,
    live: &Live,
    typing: Typing,
    reason: Option<&'static str>,
    guard: Guard,
) -> Result<Nudged> {
    let outcome = match reason {
        None => deliveries::Outcome {
            stage: DeliveryStage::Seen,
            reason: None,
            error: None,
            proof: json!({ "kind": "turn", "stage": DeliveryStage::Seen }),
        },
        Some(reason) => deliveries::Outcome {
            stage: DeliveryStage::Unknown,
            reason: Some(reason),
            error: Some(UNPROVEN),
            proof: Value::Null,
        },
    };
    cx.db.write(|tx| settle(tx, &typing, &outcome))?;
    let Typing { text, delivery_id, forced, entered, .. } = typing;
    let delivery = delivery(delivery_id, reason, None);
    let mut sent = sent(cx, live, text, live.pane.name(), delivery, entered);
    sent.forced = forced;
    Ok(Nudged { sent, unconfirmed: unconfirmed(live, reason, guard) })
}

fn delivery(delivery_id: Option<String>, reason: Option<&'static str>, turn_id: Option<String>) -> Delivery {
    let stage = if reason.is_none() { DeliveryStage::Seen } else { DeliveryStage::Unknown };
    Delivery { delivery_id, reason, stage: stage.as_str(), turn_id }
}

fn sent(cx: &Cx, live: &Live, text: &str, target: String, delivery: Delivery, completed: bool) -> Sent {
    Sent {
        delivery: Some(delivery),
        dry_run: false,
        forced: None,
        session: live.session.name.clone(),
        side_effect_completed: completed,
        side_effect_started: true,
        target,
        text: text.to_owned(),
        time: cx.now().to_ms_text(),
    }
}

fn unconfirmed(live: &Live, reason: Option<&'static str>, guard: Guard) -> Option<Error> {
    let name = live.session.name.clone();
    reason.filter(|_| !guard.force).map(|reason| Error::Unconfirmed { name, reason })
}
