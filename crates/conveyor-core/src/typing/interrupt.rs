//! Breaking off what an agent does: `session-interrupt` and `interrupt`.

use std::time::{Duration, Instant};

use conveyor_agents::codex::{self, Interrupted as Native};
use conveyor_model::{AgentState, Confidence};
use serde::Serialize;
use serde_json::{Value, json};

use super::agent::Agent;
use super::journal::{self, Entry};
use super::lock::{Insistence, Owner};
use super::pane::Pane;
use super::session::{Live, lock_pane};
use super::verdict::{self, Address, Evidence, Grade, Input, Program, Refusal};
use super::{Guard, NotReady, nudge};
use crate::legacy::{Config, Place};
use crate::queue::check_says_something;
use crate::{Cx, Error, Result};

/// How long a follow-up waits for the end of the turn.
const UNTIL_IDLE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);
/// Without a guard a follow-up comes after this time, whatever happens meanwhile.
const BLIND_PAUSE: Duration = Duration::from_millis(500);

/// What breaks off a turn and, unlike `C-c`, leaves an idle Codex alone.
const ESCAPE: &str = "Escape";
/// Ends a Codex that is idle.
const CTRL_C: &str = "C-c";

/// What a legacy worker is told after an interrupt.
const DEFAULT_FOLLOWUP: &str = "You were interrupted. Pause, and record in your status what was interrupted, whether \
                                you are blocked, and the next safe action.";

/// Whom to interrupt, and how.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The session or worker.
    pub name: &'a str,
    /// A key in tmux's words; `None`: whatever ends a turn and nothing else.
    pub key: Option<&'a str>,
    /// What to say once the agent is idle.
    pub followup: Option<&'a str>,
    /// Send nothing.
    pub dry_run: bool,
    /// How careful to be.
    pub guard: Guard,
}

/// What was done to a session.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "documented with the command")]
pub struct Report {
    /// What was done about commands that the agent runs behind its turns: they are left on purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background: Option<&'static str>,
    /// How many of them run, where the agent's server tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background_commands: Option<usize>,
    pub dry_run: bool,
    pub followup: Option<String>,
    /// Why the follow-up was not sent, or is not proven to have arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub followup_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub followup_sent: Option<bool>,
    /// The refusal in spite of which the key was pressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forced: Option<Refusal>,
    pub key: String,
    /// Set when the agent's server ended the turn, and no key was pressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native: Option<ByServer>,
    /// Set when no turn ran, so that nothing was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nothing_running: Option<bool>,
    pub session: String,
    pub target: String,
    pub time: String,
}

/// How an agent's server ended a turn.
#[derive(Clone, Debug, Serialize)]
pub struct ByServer {
    /// Which kind of server.
    pub adapter: &'static str,
    /// The turn.
    pub turn_id: String,
}

/// What was done to a legacy worker.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "documented with the command")]
pub struct WorkerReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background_commands: Option<usize>,
    pub dry_run: bool,
    pub followup: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub followup_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub followup_sent: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forced: Option<Refusal>,
    pub key: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native: Option<ByServer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nothing_running: Option<bool>,
    pub time: String,
}

/// A report, and what the follow-up failed with: the interrupt stands all the same.
#[derive(Debug)]
pub struct Interrupted<R> {
    /// What was done.
    pub report: R,
    /// Why the follow-up did not arrive or is not proven to have.
    pub followup_error: Option<Error>,
}

/// What was done about the running turn.
#[derive(Clone, Debug)]
enum Done {
    /// The agent's server ended it.
    Native(String),
    /// The key was pressed, perhaps in spite of this.
    Pressed(Option<Refusal>),
    /// There was none.
    Nothing,
}

/// Interrupts a registered session.
///
/// # Errors
/// An unknown session, one without a running terminal, a key that would do harm now
/// ([`Error::TargetNotReady`]); each is recorded. A blank follow-up, which is not.
pub fn session(cx: &mut Cx, request: &Request<'_>) -> Result<Interrupted<Report>> {
    let key = key_of(request);
    check_says_something("the follow-up", request.followup.unwrap_or_default())?;
    let mut live = match Live::find(cx, request.name, request.guard) {
        Ok(live) => live,
        Err(error) => return Err(record_failure(cx, request, key, error)?),
    };
    let outcome = interrupt_session(cx, request, key, &mut live);
    let error = outcome.as_ref().err();
    let mut facts = facts(request);
    if let Ok(interrupted) = &outcome {
        let report = json!(interrupted.report);
        for fact in [
            "background",
            "background_commands",
            "followup_reason",
            "followup_sent",
            "native",
            "nothing_running",
        ] {
            if let Some(value) = report.get(fact) {
                facts[fact] = value.clone();
            }
        }
        if let Some(refusal) = &interrupted.report.forced {
            facts["forced"] = true.into();
            facts["guard"] = json!(refusal);
        }
    }
    let entry = entry(request, key, Some(&live), facts, error);
    cx.db.write(|tx| journal::write(tx, &entry))?;
    outcome
}

fn key_of<'a>(request: &Request<'a>) -> &'a str {
    // Without a guard it is as it was.
    request.key.unwrap_or(if request.guard.strict { ESCAPE } else { CTRL_C })
}

fn facts(request: &Request<'_>) -> Value {
    json!({ "followup_length": request.followup.map(|text| text.encode_utf16().count()) })
}

fn entry<'a>(
    request: &Request<'a>,
    key: &'a str,
    live: Option<&'a Live>,
    facts: Value,
    error: Option<&'a Error>,
) -> Entry<'a> {
    Entry {
        event: "session_interrupted",
        telemetry: Some("session_interrupt"),
        session: live.map(|live| &live.session),
        name: request.name,
        dry_run: request.dry_run,
        key: Some(key),
        facts,
        error,
    }
}

fn record_failure(cx: &mut Cx, request: &Request<'_>, key: &str, error: Error) -> Result<Error> {
    if !matches!(error, Error::Store(_)) {
        let session = cx.db.read(|tx| conveyor_store::sessions::by_name(tx, request.name))?;
        let mut entry = entry(request, key, None, facts(request), Some(&error));
        entry.session = session.as_ref();
        cx.db.write(|tx| journal::write(tx, &entry))?;
    }
    Ok(error)
}

fn interrupt_session(
    cx: &mut Cx,
    request: &Request<'_>,
    key: &str,
    live: &mut Live,
) -> Result<Interrupted<Report>> {
    let mut report = Report {
        background: None,
        background_commands: None,
        dry_run: request.dry_run,
        followup: request.followup.map(ToOwned::to_owned),
        followup_reason: None,
        followup_sent: None,
        forced: None,
        key: key.to_owned(),
        native: None,
        nothing_running: None,
        session: live.session.name.clone(),
        target: live.pane.name(),
        time: cx.now().to_ms_text(),
    };
    if request.dry_run {
        return Ok(Interrupted { report, followup_error: None });
    }
    live.require_running()?;
    let done = end_turn(&live.pane, &mut live.agent, request, key)?;
    (report.background, report.background_commands) = (Some(LEFT), left_behind(&mut live.agent));
    (report.native, report.nothing_running, report.forced) = told(done);
    let Some(text) = request.followup else { return Ok(Interrupted { report, followup_error: None }) };
    let followup = nudge::Request { name: request.name, text, dry_run: false, guard: request.guard };
    wait_before_followup(&mut live.agent, request.guard);
    let error = match nudge::send_to(cx, &followup, live) {
        Ok(nudged) => nudged.unconfirmed,
        Err(error) => Some(error),
    };
    report.followup_sent = Some(error.is_none());
    report.followup_reason = error.as_ref().map(ToString::to_string);
    Ok(Interrupted { report, followup_error: error })
}

fn told(done: Done) -> (Option<ByServer>, Option<bool>, Option<Refusal>) {
    match done {
        Done::Native(turn_id) => (Some(ByServer { adapter: "codex", turn_id }), None, None),
        Done::Nothing => (None, Some(true), None),
        Done::Pressed(forced) => (None, None, forced),
    }
}

/// Interrupts a legacy worker; without `followup` it is told the usual.
///
/// # Errors
/// No such worker, no running terminal, a key that would do harm now.
pub fn worker(
    place: &mut Place,
    request: &Request<'_>,
    no_followup: bool,
) -> Result<Interrupted<WorkerReport>> {
    check_says_something("the follow-up", request.followup.unwrap_or_default())?;
    if Config::of(place.root(), request.name)?.is_none() {
        return Err(Error::NoWorker(request.name.to_owned()));
    }
    let key = key_of(request);
    let followup = (!no_followup).then(|| request.followup.unwrap_or(DEFAULT_FOLLOWUP));
    let (pane, mut agent) = nudge::worker(place, request.name, request.guard);
    pane.require(request.name)?;
    let mut report = WorkerReport {
        background: None,
        background_commands: None,
        dry_run: request.dry_run,
        followup: followup.map(ToOwned::to_owned),
        followup_reason: None,
        followup_sent: None,
        forced: None,
        key: key.to_owned(),
        name: request.name.to_owned(),
        native: None,
        nothing_running: None,
        time: place.now().to_ms_text(),
    };
    if request.dry_run {
        return Ok(Interrupted { report, followup_error: None });
    }
    let done = end_turn(&pane, &mut agent, request, key)?;
    (report.background, report.background_commands) = (Some(LEFT), left_behind(&mut agent));
    (report.native, report.nothing_running, report.forced) = told(done);
    let mut followup_error = None;
    if let Some(text) = followup {
        let followup = nudge::Request { name: request.name, text, dry_run: false, guard: request.guard };
        wait_before_followup(&mut agent, request.guard);
        followup_error = nudge::tell_worker(&pane, &mut agent, &followup).unwrap_or_else(Some);
        report.followup_sent = Some(followup_error.is_none());
        report.followup_reason = followup_error.as_ref().map(ToString::to_string);
    }
    place.log(request.name, "interrupt", json!(report))?;
    Ok(Interrupted { report, followup_error })
}

/// Ends the running turn: through the agent's server where there is one, else by key.
fn end_turn(pane: &Pane, agent: &mut Agent, request: &Request<'_>, key: &str) -> Result<Done> {
    if !request.guard.strict {
        press(pane, agent, request, key)?;
        return Ok(Done::Pressed(None));
    }
    if key == ESCAPE
        && let Some(done) = by_server(agent)
    {
        return Ok(done);
    }
    let asked = agent.look();
    let (_, evidence) = pane.examine(asked)?;
    let refusal = match decide(key, &evidence) {
        Decision::Nothing => return Ok(Done::Nothing),
        Decision::Press => None,
        Decision::Refuse(refusal) => Some(refusal),
    };
    if let Some(refusal) = &refusal
        && !request.guard.force
    {
        let state = evidence.activity.state.as_str();
        let object = NotReady::new(refusal.clone(), request.name, state, pane.name());
        return Err(Error::TargetNotReady(Box::new(object)));
    }
    press(pane, agent, request, key)?;
    Ok(Done::Pressed(refusal))
}

/// Presses the key, but not in between what is being typed there.
fn press(pane: &Pane, agent: &mut Agent, request: &Request<'_>, key: &str) -> Result<()> {
    let facts = pane.tmux().pane(&pane.target())?;
    let forced = request.guard.force || !request.guard.strict;
    let insistence = if forced { Insistence::FORCED } else { Insistence::KEY };
    let refusal = match lock_pane(pane, agent, &facts, Owner::of_keys("interrupt"), insistence)? {
        Ok(mut lock) => {
            if lock.press(&[key])? {
                return Ok(());
            }
            let detail = "the key was not pressed: another message is being typed there by now";
            refusal(0, Grade::Unsafe, "order", detail)
        }
        Err(refusal) => refusal,
    };
    let object = NotReady::new(refusal, request.name, AgentState::Unknown.as_str(), pane.name());
    Err(Error::TargetNotReady(Box::new(object)))
}

/// Ends the turn through the agent's server; `None` when that cannot be told or done.
fn by_server(agent: &mut Agent) -> Option<Done> {
    let activity = agent.look().activity;
    // What another process runs, the server knows nothing of.
    if activity.confidence != Confidence::Proven || activity.state == AgentState::NotLoaded {
        return None;
    }
    let thread_id = agent.sources.thread_id.clone()?;
    match codex::interrupt(agent.client()?.ok()?, &thread_id, None) {
        Ok(Native::Interrupted { turn_id }) => Some(Done::Native(turn_id)),
        Ok(Native::NothingRunning) => Some(Done::Nothing),
        // To interrupt twice does no harm.
        Ok(Native::Mismatch { .. }) | Err(_) => None,
    }
}

/// What is reported of commands that run behind an agent's turns: an interrupt changes the agent's mind
/// and leaves what it has set going.
const LEFT: &str = "left";

/// How many commands an agent runs behind its turns; `None` when nobody can tell.
fn left_behind(agent: &mut Agent) -> Option<usize> {
    let thread_id = agent.sources.thread_id.clone()?;
    Some(agent.client()?.ok()?.background_terminals(&thread_id).ok()?.len())
}

/// What to do about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    Press,
    Nothing,
    Refuse(Refusal),
}

/// An emergency brake is not stopped by ignorance, only by the knowledge that it would do harm.
fn decide(key: &str, evidence: &Evidence) -> Decision {
    if !matches!(key, ESCAPE | CTRL_C) {
        return verdict::judge(evidence).map_or(Decision::Press, Decision::Refuse);
    }
    if let Some(refusal) = harm(evidence) {
        return Decision::Refuse(refusal);
    }
    let state = evidence.activity.state;
    match (key, state) {
        (_, AgentState::Busy) | (ESCAPE, AgentState::Unknown | AgentState::NotLoaded) => Decision::Press,
        (ESCAPE, _) => Decision::Nothing,
        (_, AgentState::Unknown | AgentState::NotLoaded) => {
            let detail = "whether a turn runs is not known, and C-c ends a Codex that is idle; use Escape";
            Decision::Refuse(refusal(4, Grade::Unproven, "unproven", detail))
        }
        (_, state) => {
            let detail = format!("no turn runs (state {state}), and C-c would end the agent itself");
            Decision::Refuse(refusal(4, Grade::Unsafe, state.as_str(), &detail))
        }
    }
}

/// The harm that any key would do.
fn harm(evidence: &Evidence) -> Option<Refusal> {
    let waits = matches!(evidence.activity.state, AgentState::WaitingApproval | AgentState::WaitingInput);
    if waits || evidence.dialog.is_some() {
        let detail = "a dialog is open, and the key would answer it; answer it in its terminal";
        return Some(refusal(5, Grade::Unsafe, "dialog", detail));
    }
    if matches!(evidence.composer, conveyor_agents::screen::Composer::Draft { .. }) {
        let detail = "there is text in the composer that the key would destroy";
        return Some(refusal(5, Grade::Unsafe, "draft", detail));
    }
    let elsewhere = matches!(evidence.address, Address::Elsewhere | Address::Replaced);
    let broken = elsewhere || evidence.input != Input::Plain || matches!(evidence.program, Program::Shell(_));
    broken.then(|| verdict::judge(evidence)).flatten()
}

fn refusal(rule: u8, verdict: Grade, reason: &'static str, detail: &str) -> Refusal {
    Refusal { detail: detail.to_owned(), reason, rule, verdict }
}

/// A follow-up is a message to an idle agent.
fn wait_before_followup(agent: &mut Agent, guard: Guard) {
    if !guard.strict {
        std::thread::sleep(BLIND_PAUSE);
        return;
    }
    let deadline = Instant::now() + UNTIL_IDLE;
    while Instant::now() < deadline {
        let activity = agent.look().activity;
        let idle = activity.state == AgentState::Idle && activity.confidence != Confidence::None;
        if idle && (activity.quiet || activity.confidence == Confidence::Proven) {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use conveyor_agents::screen::{Composer, Pattern};

    use super::super::verdict::Activity;
    use super::*;

    fn evidence(state: AgentState) -> Evidence {
        Evidence {
            address: Address::Exact,
            input: Input::Plain,
            program: Program::Agent("codex"),
            version: conveyor_agents::codex::Version::parse("0.169.0"),
            activity: Activity {
                state,
                confidence: Confidence::Inferred,
                quiet: true,
                source: "test".into(),
            },
            composer: Composer::Empty,
            dialog: None,
            last_key: None,
        }
    }

    #[track_caller]
    fn refused(key: &str, evidence: &Evidence, reason: &str) {
        match decide(key, evidence) {
            Decision::Refuse(refusal) => assert_eq!(refusal.reason, reason),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn escape_ends_turns_and_leaves_idle_agents_alone() {
        use AgentState::{Busy, Error, Idle, NotLoaded, Unknown, UsageLimited};
        for state in [Busy, Unknown, NotLoaded] {
            assert_eq!(decide(ESCAPE, &evidence(state)), Decision::Press, "{state}");
        }
        for state in [Idle, Error, UsageLimited] {
            assert_eq!(decide(ESCAPE, &evidence(state)), Decision::Nothing, "{state}");
        }
    }

    #[test]
    fn ctrl_c_is_pressed_only_while_a_turn_runs() {
        for &state in AgentState::ALL {
            let decision = decide(CTRL_C, &evidence(state));
            assert_eq!(decision == Decision::Press, state == AgentState::Busy, "{state}");
            assert_ne!(decision, Decision::Nothing);
        }
    }

    #[test]
    fn no_key_answers_a_dialog_or_destroys_a_draft() {
        for key in [ESCAPE, CTRL_C] {
            for state in [AgentState::WaitingApproval, AgentState::WaitingInput] {
                refused(key, &evidence(state), "dialog");
            }
            let dialog = Some(Pattern::ApprovalPrompt);
            refused(key, &Evidence { dialog, ..evidence(AgentState::Busy) }, "dialog");
            let composer = Composer::Draft { text: "half".into() };
            refused(key, &Evidence { composer, ..evidence(AgentState::Busy) }, "draft");
        }
    }

    #[test]
    fn other_keys_are_messages_like_any_other() {
        assert_eq!(decide("Enter", &evidence(AgentState::Idle)), Decision::Press);
        refused("Enter", &evidence(AgentState::Busy), "busy");
        refused("y", &Evidence { composer: Composer::Unknown, ..evidence(AgentState::Idle) }, "unproven");
    }

    #[test]
    fn keys_go_nowhere_else() {
        let gone = Evidence { input: Input::Dead, ..evidence(AgentState::Busy) };
        refused(ESCAPE, &gone, "gone");
        let shell = Evidence { program: Program::Shell("bash".into()), ..evidence(AgentState::Unknown) };
        refused(CTRL_C, &shell, "shell");
    }
}
