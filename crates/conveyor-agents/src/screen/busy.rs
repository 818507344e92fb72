use serde::{Serialize, Serializer};

use super::cells::Screen;
use super::composer;
use super::menu::{self, Menu};

/// What keeps an agent from going on by itself, or looks as if it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Its tool servers are starting.
    McpStartup,
    /// A choice between models, because limits are near.
    RateLimitPrompt,
    /// Something wants the Enter key.
    EnterToConfirm,
    /// The question whether the directory may be trusted.
    TrustPrompt,
    /// The question whether to make a plan.
    PlanPrompt,
    /// A command or change that needs a person's consent.
    ApprovalPrompt,
    /// A choice about interrupting what runs.
    InterruptMenu,
    /// A question with choices.
    QuestionPrompt,
    /// Work that could be interrupted and has not reported for long.
    LongRunningInterruptible,
}

impl Pattern {
    /// The printed form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::McpStartup => "mcp_startup",
            Self::RateLimitPrompt => "rate_limit_prompt",
            Self::EnterToConfirm => "enter_to_confirm",
            Self::TrustPrompt => "trust_prompt",
            Self::PlanPrompt => "plan_prompt",
            Self::ApprovalPrompt => "approval_prompt",
            Self::InterruptMenu => "interrupt_menu",
            Self::QuestionPrompt => "question_prompt",
            Self::LongRunningInterruptible => "long_running_interruptible",
        }
    }

    /// What the terminal shows, in one sentence.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::McpStartup => "The terminal shows that MCP servers are starting.",
            Self::RateLimitPrompt => "The terminal asks what to do about rate limits that are near.",
            Self::EnterToConfirm => "The terminal waits for Enter to confirm something.",
            Self::TrustPrompt => "The terminal asks whether this directory can be trusted.",
            Self::PlanPrompt => "The terminal asks whether to make a plan.",
            Self::ApprovalPrompt => "The terminal asks for approval of a command or a change.",
            Self::InterruptMenu => "The terminal shows a menu about interrupting the work.",
            Self::QuestionPrompt => "The terminal shows a question with choices.",
            Self::LongRunningInterruptible => {
                "The terminal shows work that can be interrupted, and nothing was reported for long."
            }
        }
    }

    /// What somebody should do; never to confirm blindly.
    #[must_use]
    pub fn recommended_action(self) -> &'static str {
        match self {
            Self::McpStartup
            | Self::RateLimitPrompt
            | Self::InterruptMenu
            | Self::LongRunningInterruptible => "inspect_or_interrupt",
            Self::EnterToConfirm | Self::PlanPrompt => "inspect_or_confirm",
            Self::TrustPrompt => "inspect_or_accept_trust",
            Self::ApprovalPrompt => "inspect_or_approve",
            Self::QuestionPrompt => "inspect_or_answer",
        }
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A recognised pattern, as it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BusyWait {
    /// What was recognised.
    pub pattern: Pattern,
    /// What the terminal shows, in one sentence.
    pub reason: &'static str,
    /// What somebody should do.
    pub recommended_action: &'static str,
}

impl From<Pattern> for BusyWait {
    fn from(pattern: Pattern) -> Self {
        Self { pattern, reason: pattern.reason(), recommended_action: pattern.recommended_action() }
    }
}

/// What is known beside the screen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Activity {
    /// Seconds since the agent last reported; `None`: unknown.
    pub status_age_seconds: Option<i64>,
    /// From which age on silence is remarkable.
    pub busy_wait_seconds: i64,
    /// Events that came in recently.
    pub recent_events: usize,
}

/// So many recent events show that running work makes progress.
const PROGRESS: usize = 10;

/// What a visible screen shows that keeps its agent from going on. Dialogs count at once; start-up
/// and running work only once nothing was reported for the given time.
#[must_use]
pub fn busy_wait(screen: &str, activity: &Activity) -> Option<BusyWait> {
    if let Some(dialog) = dialog(screen) {
        return Some(dialog.into());
    }
    let lower = screen.to_lowercase();
    let silent = activity.status_age_seconds.map(|age| age >= activity.busy_wait_seconds);
    if silent != Some(false) && lower.contains("starting mcp servers") {
        return Some(Pattern::McpStartup.into());
    }
    let stuck = silent == Some(true) && activity.recent_events < PROGRESS;
    (stuck && is_running(&lower)).then(|| Pattern::LongRunningInterruptible.into())
}

/// Whether the screen (in lower case) shows a turn that runs.
pub(super) fn is_running(lower: &str) -> bool {
    lower.contains("esc to interrupt")
}

/// The dialog that a visible screen shows, whatever else it shows.
pub(super) fn dialog(screen: &str) -> Option<Pattern> {
    let rows: Vec<&str> = screen.lines().collect();
    if let Some(menu) = menu::find(&rows) {
        return Some(of_menu(&menu));
    }
    let lower = screen.to_lowercase();
    named(&lower)
        .or_else(|| (asks_for_approval(&rows) && !has_composer(&rows)).then_some(Pattern::ApprovalPrompt))
        .or_else(|| lower.contains("press enter to confirm").then_some(Pattern::EnterToConfirm))
}

/// Whether the screen ends with the composer of Codex. A dialog takes its place, so that words above
/// it are what an agent or a tip says: "Use /status to see the current model, approvals, …".
fn has_composer(rows: &[&str]) -> bool {
    composer::row_in(&Screen::parse(&rows.join("\n")).texts()).is_some()
}

/// What a menu is about, from the question above it and from its choices.
fn of_menu(menu: &Menu<'_>) -> Pattern {
    let question = menu.rows.join("\n").to_lowercase();
    if let Some(pattern) = named(&question) {
        return pattern;
    }
    let begins = |words: &[&str]| {
        let lower = menu.choices.iter().map(|choice| choice.to_lowercase());
        lower.clone().any(|choice| words.iter().any(|word| choice.starts_with(word)))
    };
    if (begins(&["yes"]) && begins(&["no"])) || begins(&["allow", "approve"]) {
        Pattern::ApprovalPrompt
    } else if menu.choices.iter().any(|choice| choice.to_lowercase().contains("interrupt")) {
        Pattern::InterruptMenu
    } else {
        Pattern::QuestionPrompt
    }
}

/// Dialogs that are known by their words.
fn named(lower: &str) -> Option<Pattern> {
    const KNOWN: [(&str, Pattern); 4] = [
        ("do you trust the contents of this directory", Pattern::TrustPrompt),
        ("trust this folder?", Pattern::TrustPrompt),
        ("approaching rate limits", Pattern::RateLimitPrompt),
        ("create a plan?", Pattern::PlanPrompt),
    ];
    KNOWN.into_iter().find(|(words, _)| lower.contains(words)).map(|(_, pattern)| pattern)
}

/// Rows in which the words of a request for approval are looked for.
const APPROVAL_ROWS: usize = 12;

/// Whether the last rows speak of an approval that is to be given. Our own reports about such
/// screens, printed on a screen, do not count.
fn asks_for_approval(rows: &[&str]) -> bool {
    const OURS: [&str; 3] = ["approval_prompt", "inspect_or_approve", "notable_pane_pattern"];
    const DECISION: [&str; 6] =
        ["allow", "deny", "permission", "requires approval", "needs approval", "approve command"];
    let last: Vec<String> = rows
        .iter()
        .rev()
        .filter(|row| !row.trim().is_empty())
        .take(APPROVAL_ROWS)
        .map(|row| row.trim().to_lowercase())
        .filter(|row| !OURS.iter().any(|word| row.contains(word)))
        .collect();
    let says = |words: &[&str]| last.iter().any(|row| words.iter().any(|word| row.contains(word)));
    says(&["approval", "approve"]) && says(&DECISION)
}
