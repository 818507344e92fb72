//! From evidence to a verdict: whether a terminal takes typed text as a new message. Pure; every
//! proof that is missing is a refusal.

use std::time::Duration;

use conveyor_agents::codex::Version;
use conveyor_agents::screen::{Composer, Pattern};
use conveyor_model::{AgentState, Confidence};
use serde::Serialize;

/// For so long a rollout must not have grown before idleness follows from it.
pub const QUIET: Duration = Duration::from_secs(2);

/// For so long nobody must have pressed a key in a terminal that shows the pane.
pub const HANDS_OFF: Duration = Duration::from_secs(3);

/// Everything that is known about a terminal at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Whether the pane is the one that is meant.
    pub address: Address,
    /// What hinders keys from reaching the program.
    pub input: Input,
    /// Who gets the keys.
    pub program: Program,
    /// The version of the program that runs in the pane.
    pub version: Option<Version>,
    /// What the agent does.
    pub activity: Activity,
    /// What stands where messages are typed.
    pub composer: Composer,
    /// A dialog that the screen shows.
    pub dialog: Option<Pattern>,
    /// How long ago a person pressed a key in it; `None` when nobody looks at it.
    pub last_key: Option<Duration>,
}

/// Whether a pane is the one that is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// It is.
    Exact,
    /// The window has several panes, and none is named.
    Ambiguous,
    /// The pane is not where the session is.
    Elsewhere,
    /// Another process runs in it than the one that was recorded.
    Replaced,
}

/// What hinders keys from reaching the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Nothing.
    Plain,
    /// The program has ended.
    Dead,
    /// tmux itself takes the keys: copy mode and the like.
    Mode,
    /// Input is switched off.
    Off,
    /// Keys go to other panes, too.
    Synchronized,
}

/// Who gets the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// An agent whose composer can be recognised.
    Agent(&'static str),
    /// A shell: it would execute the text.
    Shell(String),
    /// Something else.
    Other(String),
    /// It could not be found out.
    Unknown,
}

/// What the agent does, from a structured source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Its state.
    pub state: AgentState,
    /// How certain that is.
    pub confidence: Confidence,
    /// Whether the agent has written nothing for [`QUIET`].
    pub quiet: bool,
    /// Where that comes from or why it is not known, for people.
    pub source: String,
}

/// Why nothing may be typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// For people.
    pub detail: String,
    /// A word for machines.
    pub reason: &'static str,
    /// The rule that is broken.
    pub rule: u8,
    /// Whether it is broken or only not proven to be kept.
    pub verdict: Grade,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// A rule is broken.
    Unsafe,
    /// A rule cannot be established.
    Unproven,
}

impl Grade {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsafe => "unsafe",
            Self::Unproven => "unproven",
        }
    }
}

/// A rule: `None` when it is kept.
type Rule = fn(&Evidence) -> Option<Refusal>;

/// All are required. What is positively broken is told first, then what is not proven.
const RULES: [Rule; 7] = [address, input, program, activity, version, composer, hands_off];

/// Whether the text may be typed; `None` means that every rule is kept.
#[must_use]
pub fn judge(evidence: &Evidence) -> Option<Refusal> {
    let broken: Vec<Refusal> = RULES.iter().filter_map(|rule| rule(evidence)).collect();
    let worst = broken.iter().position(|refusal| refusal.verdict == Grade::Unsafe).unwrap_or(0);
    broken.into_iter().nth(worst)
}

/// What is to be checked again right before Enter: that keys reach the program and that no turn
/// has begun meanwhile.
#[must_use]
pub fn judge_again(evidence: &Evidence) -> Option<Refusal> {
    [input as Rule, activity]
        .iter()
        .find_map(|rule| rule(evidence))
        .or_else(|| (evidence.composer == Composer::Dialog).then(|| dialog_is_open(evidence.dialog)))
}

/// Whether only the screen is in the way, and may be drawn just now: the agent is idle and has the
/// keys, and what stands in the place of its composer is not recognised yet.
#[must_use]
pub fn may_settle(evidence: &Evidence) -> bool {
    let others = RULES.iter().filter_map(|rule| rule(evidence)).all(|refusal| refusal.rule == 5);
    others && evidence.composer == Composer::Unknown && evidence.dialog.is_none()
}

fn refusal(rule: u8, verdict: Grade, reason: &'static str, detail: impl Into<String>) -> Option<Refusal> {
    Some(Refusal { detail: detail.into(), reason, rule, verdict })
}

fn address(evidence: &Evidence) -> Option<Refusal> {
    match evidence.address {
        Address::Exact => None,
        Address::Ambiguous => {
            let detail = "the window has several panes, and which one is meant is not recorded";
            refusal(1, Grade::Unproven, "unproven", detail)
        }
        Address::Elsewhere => {
            refusal(1, Grade::Unsafe, "replaced", "the recorded pane is not in the session's window")
        }
        Address::Replaced => {
            refusal(1, Grade::Unsafe, "replaced", "another process runs in the pane than the recorded one")
        }
    }
}

fn input(evidence: &Evidence) -> Option<Refusal> {
    let (reason, detail) = match evidence.input {
        Input::Plain => return None,
        Input::Dead => ("gone", "the program in the pane has ended"),
        Input::Mode => ("pane_in_mode", "the pane is in copy mode or another mode of tmux"),
        Input::Off => ("input_off", "input to the pane is switched off"),
        Input::Synchronized => ("synchronized", "what is typed would go to all panes of the window"),
    };
    refusal(2, Grade::Unsafe, reason, detail)
}

fn program(evidence: &Evidence) -> Option<Refusal> {
    match &evidence.program {
        Program::Agent(_) => None,
        Program::Shell(name) => {
            let detail = format!("{name} is in the foreground and would execute the text");
            refusal(3, Grade::Unsafe, "shell", detail)
        }
        Program::Other(name) => {
            refusal(3, Grade::Unproven, "unproven", format!("{name} is no program whose screen is known"))
        }
        Program::Unknown => {
            refusal(3, Grade::Unproven, "unproven", "which program has the terminal is not known")
        }
    }
}

/// The seventh rule of the specification: the recogniser must know the screens of the version. Those
/// that came after the last tests are trusted only as far as their server vouches for them.
fn version(evidence: &Evidence) -> Option<Refusal> {
    let Program::Agent(name) = evidence.program else { return None };
    let detail = match evidence.version {
        None => format!("which version of {name} runs in the pane cannot be found out"),
        Some(version) if !version.is_accepted() => {
            format!("the screen of {name} {version} is not known; {} or newer is", Version::FIRST_ACCEPTED)
        }
        Some(version) if version.is_untested() && evidence.activity.confidence != Confidence::Proven => {
            format!(
                "{name} {version} is newer than {}, the newest that was tested, and no server proves that it is idle",
                Version::tested().1
            )
        }
        Some(_) => return None,
    };
    refusal(7, Grade::Unproven, "unproven", detail)
}

fn activity(evidence: &Evidence) -> Option<Refusal> {
    let Activity { state, confidence, quiet, source } = &evidence.activity;
    let told = || format!("the agent is {state} ({source})");
    match (state, confidence) {
        (AgentState::Unknown, _) | (_, Confidence::None) => refusal(
            4,
            Grade::Unproven,
            "unproven",
            format!("whether the agent is idle is not known: {source}"),
        ),
        (AgentState::Idle, Confidence::Proven) => None,
        (AgentState::Idle, Confidence::Inferred) if *quiet => None,
        (AgentState::Idle, Confidence::Inferred) => {
            let detail = "the agent has written something within the last 2 s";
            refusal(4, Grade::Unproven, "busy", detail)
        }
        // Files do not tell what a turn waits for; the screen does.
        (AgentState::Busy, Confidence::Inferred) if evidence.dialog.is_some() => {
            refusal(4, Grade::Unsafe, waits_for(evidence.dialog), told())
        }
        (state, _) => refusal(4, Grade::Unsafe, state.as_str(), told()),
    }
}

fn waits_for(dialog: Option<Pattern>) -> &'static str {
    match dialog {
        Some(Pattern::ApprovalPrompt | Pattern::TrustPrompt) => AgentState::WaitingApproval.as_str(),
        Some(_) => AgentState::WaitingInput.as_str(),
        None => AgentState::Busy.as_str(),
    }
}

fn composer(evidence: &Evidence) -> Option<Refusal> {
    match &evidence.composer {
        Composer::Empty => evidence.dialog.map(|dialog| dialog_is_open(Some(dialog))),
        Composer::Draft { .. } => {
            refusal(5, Grade::Unsafe, "draft", "there is text in the composer that somebody has not sent yet")
        }
        Composer::Dialog => Some(dialog_is_open(evidence.dialog)),
        Composer::Unknown => {
            refusal(5, Grade::Unproven, "unproven", "an empty composer cannot be recognised with certainty")
        }
    }
}

fn dialog_is_open(dialog: Option<Pattern>) -> Refusal {
    let what = dialog.map_or("a menu or another dialog is open", Pattern::reason);
    let detail = format!("Enter would be an answer: {what}");
    Refusal { detail, reason: "dialog", rule: 5, verdict: Grade::Unsafe }
}

fn hands_off(evidence: &Evidence) -> Option<Refusal> {
    let recent = evidence.last_key.is_some_and(|ago| ago < HANDS_OFF);
    if !recent {
        return None;
    }
    refusal(6, Grade::Unsafe, "human_active", "somebody pressed a key in the terminal within the last 3 s")
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
