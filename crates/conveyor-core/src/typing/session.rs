//! A registered session whose terminal is to be typed into: what is needed for that, and the record
//! of what came of it.

use std::path::Path;
use std::time::{Duration, Instant};

use conveyor_agents::screen::Composer;
use conveyor_agents::tmux::{PaneFacts, PaneKey};
use conveyor_model::records::Session;
use conveyor_model::{Adapter, AgentState, DeliveryPurpose, DeliveryStage};
use conveyor_store::deliveries::{self, InFlight, NewDelivery, Outcome};
use conveyor_store::session_states::{self, Found as FoundState};
use conveyor_store::{Tx, sessions};
use serde_json::{Value, json};

use super::agent::{Agent, Found, Mark, Sources};
use super::lock::{self, Insistence, Owner, PaneLock};
use super::pane::Pane;
use super::record::normalised;
use super::typist::{Typed, check_lines};
use super::verdict::{self, Activity, Evidence, Grade, Refusal};
use super::{Guard, NotReady};
use crate::addressing::Terminal;
use crate::{Cx, Error, Result, digest};

/// A session with its terminal and the sources about its agent.
pub(crate) struct Live {
    pub(crate) session: Session,
    pub(crate) pane: Pane,
    pub(crate) agent: Agent,
}

/// A look at a terminal: what it told, and what speaks against typing.
pub(crate) struct Assessed {
    pub(crate) facts: PaneFacts,
    pub(crate) evidence: Evidence,
    pub(crate) refusal: Option<Refusal>,
}

impl Live {
    /// The session of this name.
    pub(crate) fn find(cx: &mut Cx, name: &str, guard: Guard) -> Result<Self> {
        let (base, tmux) = (cx.cwd.clone(), cx.tmux.clone());
        let (session, terminal, sources) = cx.db.read(|tx| {
            let session =
                sessions::by_name(tx, name)?.ok_or_else(|| Error::UnknownSession(name.to_owned()))?;
            let terminal = Terminal::of_session(tx, &session, &tmux)?;
            let sources = Sources::of(tx, &session, &base)?;
            Ok::<_, Error>((session, terminal, sources))
        })?;
        let terminal = terminal.ok_or_else(|| Error::NoTerminalOfSession(name.to_owned()))?;
        Ok(Self { session, pane: Pane::of(terminal), agent: sources.ask(guard.native) })
    }

    /// The session of this id; `None` when there is none, or it has no terminal.
    pub(crate) fn of_id(cx: &mut Cx, id: &str, guard: Guard) -> Result<Option<Self>> {
        let (base, tmux) = (cx.cwd.clone(), cx.tmux.clone());
        let found = cx.db.read(|tx| {
            let Some(session) = sessions::by_id(tx, id)? else { return Ok::<_, Error>(None) };
            let Some(terminal) = Terminal::of_session(tx, &session, &tmux)? else { return Ok(None) };
            let sources = Sources::of(tx, &session, &base)?;
            Ok(Some((session, terminal, sources)))
        })?;
        Ok(found.map(|(session, terminal, sources)| Self {
            session,
            pane: Pane::of(terminal),
            agent: sources.ask(guard.native),
        }))
    }

    /// Makes sure that its terminal is there.
    pub(crate) fn require_running(&self) -> Result<()> {
        self.pane.require(&self.session.name)
    }

    /// What stands where messages are typed, as far as one look tells.
    pub(crate) fn composer(&self) -> Composer {
        self.pane.look().map_or(Composer::Unknown, |look| super::pane::composer(&look))
    }

    /// The same for somebody who waits for the answer: a screen that is being drawn is looked at again.
    pub(crate) fn assess_patiently(&mut self, text: &str) -> Result<Assessed> {
        assess_patiently(&self.pane, &mut self.agent, text)
    }

    /// Looks at everything that a verdict needs.
    pub(crate) fn assess(&mut self, text: &str) -> Result<Assessed> {
        assess(&self.pane, &mut self.agent, text)
    }

    /// What is recorded about the agent's state.
    pub(crate) fn record_state(&self, tx: &mut Tx<'_>, activity: &Activity) -> Result<()> {
        self.agent.record_address(tx, &self.session.id)?;
        let found = FoundState {
            session_id: &self.session.id,
            state: activity.state,
            confidence: activity.confidence,
            adapter: Adapter::Codex,
            incarnation: self.agent.sources.thread_id.as_deref(),
            winner: &activity.source,
            detail: json!({ "quiet": activity.quiet }),
        };
        Ok(session_states::record(tx, &found)?)
    }

    /// Who types into its terminal now, or has typed there and does not know what became of it, from
    /// whatever ledger.
    pub(crate) fn holder(&mut self, ledger: &str, facts: &PaneFacts) -> Result<Option<Refusal>> {
        let Self { pane, agent, .. } = self;
        Ok(lock::holder(pane.tmux(), facts, ledger, &mut |since| has_moved_on(agent, since))?)
    }

    /// The refusal as an error.
    pub(crate) fn not_ready(&self, refusal: Refusal, state: AgentState) -> Error {
        let object = NotReady::new(refusal, &self.session.name, state.as_str(), self.pane.name());
        Error::TargetNotReady(Box::new(object))
    }

    /// Finds out what became of an earlier message to this session whose fate is open, so that it
    /// blocks nobody any longer than it must. Gives what still stands in the way.
    pub(crate) fn clear_the_way(
        &mut self,
        cx: &mut Cx,
        facts: &PaneFacts,
        composer: &Composer,
        force: bool,
    ) -> Result<Option<Refusal>> {
        let ledger = cx.ledger();
        // Whatever the names under which this terminal was sent something.
        for earlier in cx.db.read(|tx| self.in_flight(tx, facts))? {
            // A dispatcher's message is settled with its command, by a dispatcher.
            if earlier.is_awaited || !(earlier.lapsed || earlier.stage == DeliveryStage::Unknown) {
                return Ok(Some(in_the_way(&earlier)));
            }
            let outcome = match self.find_again(cx, Some(facts), &earlier)? {
                Found::Seen { turn_id, via } => seen(turn_id.as_deref(), via),
                // Neither in the agent's record nor in the composer: it is nowhere.
                Found::Absent if *composer == Composer::Empty => failed("proven_absent"),
                _ if force => failed("superseded"),
                _ => return Ok(Some(in_the_way(&earlier))),
            };
            if cx.db.write(|tx| deliveries::settle(tx, &earlier.id, earlier.stage, &outcome))? {
                lock::settled(self.pane.tmux(), facts, &earlier.id)?;
            }
        }
        // Another ledger cannot be asked.
        Ok(self.holder(&ledger, facts)?.filter(|_| !force))
    }

    /// The messages to this terminal, under whatever name, whose fate is open.
    pub(crate) fn in_flight(&self, tx: &mut Tx<'_>, facts: &PaneFacts) -> Result<Vec<InFlight>> {
        Ok(deliveries::in_flight_on(tx, &self.session.id, &incarnation(facts))?)
    }

    /// Looks for a typed message of which only the digest is known, in a turn that proves no other one,
    /// and claims it.
    pub(crate) fn find_again(
        &mut self,
        cx: &mut Cx,
        facts: Option<&PaneFacts>,
        earlier: &InFlight,
    ) -> Result<Found> {
        let mut taken = cx.db.read(|tx| deliveries::proofs_of_others(tx, earlier))?;
        let pane = facts.map(PaneKey::from);
        if let Some(pane) = &pane {
            taken.extend(lock::claimed(self.pane.tmux(), pane, &earlier.id));
        }
        let found = find_again(&mut self.agent, earlier, &taken);
        if let (Some(pane), Found::Seen { turn_id: Some(turn), .. }) = (&pane, &found)
            && !lock::claim(self.pane.tmux(), pane, turn, &earlier.id)
        {
            return Ok(Found::Unclear);
        }
        Ok(found)
    }

    /// Records that a text is being typed, before its first byte. `None`: another is in flight.
    pub(crate) fn begin(
        &self,
        tx: &mut Tx<'_>,
        text: &str,
        mark: Mark,
        facts: &PaneFacts,
        lease_by: &str,
    ) -> Result<Option<String>> {
        if !self.in_flight(tx, facts)?.is_empty() {
            return Ok(None);
        }
        let new = NewDelivery {
            session_id: &self.session.id,
            task_id: None,
            notification_id: None,
            command_id: None,
            attempt_id: None,
            purpose: DeliveryPurpose::Nudge,
            incarnation: &incarnation(facts),
            body_sha256: &digest::of(text.as_bytes()),
            body_bytes: text.len(),
            external: self.facts_for_look_up(text, mark),
            lease_by,
        };
        Ok(deliveries::begin_typing(tx, &new)?)
    }

    /// What somebody needs who is to find out later whether a text arrived.
    pub(crate) fn facts_for_look_up(&self, text: &str, mark: Mark) -> Value {
        json!({
            "rollout": self.agent.sources.rollout,
            "rollout_offset": mark.offset,
            "since_ms": mark.at_ms,
            "text_sha256": digest::of(normalised(text).as_bytes()),
        })
    }
}

/// Looks at everything that a verdict needs, and judges.
pub(crate) fn assess(pane: &Pane, agent: &mut Agent, text: &str) -> Result<Assessed> {
    let (facts, evidence) = pane.examine(agent.look_patiently())?;
    let refusal = verdict::judge(&evidence).or_else(|| check_lines(text, &facts));
    Ok(Assessed { facts, evidence, refusal })
}

/// How long a screen may take to be drawn: after a turn has ended, and longest after a compaction.
const DRAWN: Duration = Duration::from_secs(2);

/// As [`assess`], again while an idle agent's composer is all that is not certain yet.
pub(crate) fn assess_patiently(pane: &Pane, agent: &mut Agent, text: &str) -> Result<Assessed> {
    let deadline = Instant::now() + DRAWN;
    loop {
        let assessed = assess(pane, agent, text)?;
        if Instant::now() >= deadline || !verdict::may_settle(&assessed.evidence) {
            return Ok(assessed);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn in_the_way(earlier: &InFlight) -> Refusal {
    let detail = if earlier.stage == DeliveryStage::Sending && !earlier.lapsed {
        format!("another message is being typed just now (delivery {})", earlier.id)
    } else {
        format!("what became of an earlier message is not known (delivery {})", earlier.id)
    };
    // No rule about the terminal, but the lock on it.
    Refusal { detail, reason: "order", rule: 0, verdict: Grade::Unsafe }
}

/// Which pane and process a message is meant for, as it is recorded.
pub(crate) fn incarnation(facts: &PaneFacts) -> String {
    format!("{}:{}", facts.id, facts.pid)
}

/// Locks a pane for a text; `Err` inside says who else types there.
pub(crate) fn lock_pane<'p>(
    pane: &'p Pane,
    agent: &mut Agent,
    facts: &PaneFacts,
    owner: Owner,
    insistence: Insistence,
) -> Result<std::result::Result<PaneLock<'p>, Refusal>> {
    Ok(PaneLock::take(pane.tmux(), facts, owner, insistence, &mut |since| has_moved_on(agent, since))?)
}

/// Whether the agent has begun a turn since a moment: then no text from before waits any more.
fn has_moved_on(agent: &mut Agent, since_ms: i64) -> bool {
    matches!(agent.find(Mark { at_ms: since_ms, offset: 0 }, &|_| true, &[]), Found::Seen { .. })
}

fn find_again(agent: &mut Agent, earlier: &InFlight, taken: &[String]) -> Found {
    let number = |key: &str| earlier.external.get(key).and_then(Value::as_i64);
    let wanted = earlier.external.get("text_sha256").and_then(Value::as_str);
    let (Some(at_ms), Some(offset), Some(wanted)) = (number("since_ms"), number("rollout_offset"), wanted)
    else {
        return Found::Unclear;
    };
    // Registered anew with another record, which tells nothing about the old one.
    let known = earlier.external.get("rollout").and_then(Value::as_str).map(Path::new);
    if known.is_some() && known != agent.sources.rollout.as_deref() {
        return Found::Unclear;
    }
    let mark = Mark { at_ms, offset: u64::try_from(offset).unwrap_or(0) };
    agent.find(mark, &|text| digest::of(text.as_bytes()) == wanted, taken)
}

/// The outcome of a message that is in the agent's own record.
pub(crate) fn seen(turn_id: Option<&str>, via: &'static str) -> Outcome<'static> {
    let proof = json!({ "kind": via, "ref": turn_id, "stage": DeliveryStage::Seen });
    Outcome { stage: DeliveryStage::Seen, reason: None, error: None, proof }
}

/// The outcome of a message that did not arrive.
pub(crate) fn failed(reason: &'static str) -> Outcome<'static> {
    Outcome { stage: DeliveryStage::Failed, reason: Some(reason), error: None, proof: Value::Null }
}

/// What is told of a text that may stand in the composer.
pub(crate) const UNPROVEN: &str =
    "the text was typed, but no turn that begins with it was seen; it may still stand in the composer";

/// The outcome of typing.
pub(crate) fn outcome_of(typed: &Typed) -> Outcome<'static> {
    match typed {
        Typed::NotNow(_) => failed("not_sent"),
        Typed::NoMessage { .. } => failed("no_message"),
        Typed::Seen { turn_id, via } => seen(turn_id.as_deref(), via),
        Typed::Unconfirmed { reason } => Outcome {
            stage: DeliveryStage::Unknown,
            reason: Some(reason),
            error: Some(UNPROVEN),
            proof: Value::Null,
        },
    }
}
