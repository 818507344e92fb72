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
    /// The offer of a newer version of the agent.
    UpdatePrompt,
    /// The question whether hooks may run.
    HooksPrompt,
    /// The offer of another model.
    ModelPrompt,
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
            Self::UpdatePrompt => "update_prompt",
            Self::HooksPrompt => "hooks_prompt",
            Self::ModelPrompt => "model_prompt",
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
            Self::UpdatePrompt => {
                "The terminal offers a newer version; Escape goes on without it, Enter would install it."
            }
            Self::HooksPrompt => "The terminal asks whether hooks may run.",
            Self::ModelPrompt => "The terminal offers another model.",
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
            Self::UpdatePrompt => "inspect_or_escape",
            Self::ApprovalPrompt => "inspect_or_approve",
            Self::HooksPrompt | Self::ModelPrompt | Self::QuestionPrompt => "inspect_or_answer",
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
    let silent = activity.status_age_seconds.map(|age| age >= activity.busy_wait_seconds);
    let running = running(screen);
    if silent != Some(false) && running.as_ref().is_some_and(Running::starts_servers) {
        return Some(Pattern::McpStartup.into());
    }
    let stuck = silent == Some(true) && activity.recent_events < PROGRESS;
    (stuck && running.is_some_and(|running| running.is_interruptible()))
        .then(|| Pattern::LongRunningInterruptible.into())
}

/// The row that tells of running work, in lower case; without a composer, the whole screen.
pub(super) struct Running(String);

impl Running {
    /// A turn that runs.
    pub(super) fn is_interruptible(&self) -> bool {
        self.0.contains("esc to interrupt")
    }

    fn starts_servers(&self) -> bool {
        self.0.contains("starting mcp servers")
    }
}

/// What the screen tells of running work. Above a composer only its status row does, with a sign in
/// the first column and the time in brackets; anything else is what was said.
pub(super) fn running(screen: &str) -> Option<Running> {
    let texts = Screen::parse(screen).texts();
    let Some(prompt) = composer::standing(&texts) else { return Some(Running(screen.to_lowercase())) };
    let is_over = |text: &String| {
        let text = text.trim_start();
        text.starts_with("Worked for ") || text.starts_with("■ ")
    };
    let last = texts[..prompt].iter().rev().take(STATUS_ROWS).take_while(|text| !is_over(text));
    let mut rows = last.map(|text| text.trim_end().to_lowercase());
    rows.find(|row| row.starts_with(|sign: char| !sign.is_alphanumeric() && sign != ' ') && times(row))
        .map(Running)
}

/// How far above the composer the status row may be: messages that wait stand between.
const STATUS_ROWS: usize = 24;

/// Whether a row has a time and the way to interrupt in brackets: "(3s • esc to interrupt)".
fn times(row: &str) -> bool {
    let bracket =
        row.find(" • esc to interrupt)").and_then(|end| Some(&row[row[..end].rfind('(')? + 1..end]));
    bracket.is_some_and(|time| {
        time.starts_with(|letter: char| letter.is_ascii_digit())
            && time.ends_with('s')
            && time.chars().all(|letter| letter.is_ascii_digit() || "hms ".contains(letter))
    })
}

/// The dialog that a visible screen shows. A menu is one by its form; words are one only where no
/// composer stands at the end of the screen.
pub(super) fn dialog(screen: &str) -> Option<Pattern> {
    let texts = Screen::parse(screen).texts();
    if composer::standing(&texts).is_some() {
        return None;
    }
    let rows: Vec<&str> = texts.iter().map(String::as_str).collect();
    if let Some(menu) = menu::find(&rows) {
        return Some(of_menu(&menu));
    }
    let lower = screen.to_lowercase();
    named(&lower)
        .or_else(|| asks_for_approval(&rows).then_some(Pattern::ApprovalPrompt))
        .or_else(|| lower.contains("press enter to confirm").then_some(Pattern::EnterToConfirm))
}

/// A menu that waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What it is about.
    pub pattern: Pattern,
    /// The first row of its text.
    pub text: String,
    /// What can be answered.
    pub choices: Vec<String>,
}

/// The menu that stands at the end of a visible screen in the place of a composer.
#[must_use]
pub fn question(screen: &str) -> Option<Question> {
    let texts = Screen::parse(screen).texts();
    if composer::standing(&texts).is_some() {
        return None;
    }
    let rows: Vec<&str> = texts.iter().map(String::as_str).collect();
    let menu = menu::find(&rows)?;
    let text = menu.question.last().map_or_else(String::new, |row| row.trim().to_owned());
    let choices = menu.choices.iter().map(|choice| choice.trim().to_owned()).collect();
    Some(Question { pattern: of_menu(&menu), text, choices })
}

/// What a menu is about, from its choices and the question above it, the nearest row first.
fn of_menu(menu: &Menu<'_>) -> Pattern {
    let choices: Vec<String> = menu.choices.iter().map(|choice| choice.to_lowercase()).collect();
    let begins =
        |words: &[&str]| choices.iter().any(|choice| words.iter().any(|word| choice.starts_with(word)));
    const OFFERS: [(&str, Pattern); 3] = [
        ("update now", Pattern::UpdatePrompt),
        ("review hooks", Pattern::HooksPrompt),
        ("try new model", Pattern::ModelPrompt),
    ];
    if let Some((_, pattern)) = OFFERS.into_iter().find(|(choice, _)| begins(&[choice])) {
        return pattern;
    }
    let asks_for_consent = |row: &str| CONSENT.iter().any(|words| row.contains(words));
    for row in menu.question.iter().map(|row| row.to_lowercase()) {
        if let Some(pattern) = named(&row) {
            return pattern;
        }
        if asks_for_consent(&row) {
            break;
        }
    }
    if (begins(&["yes"]) && begins(&["no"])) || begins(&["allow", "approve"]) {
        Pattern::ApprovalPrompt
    } else if choices.iter().any(|choice| choice.contains("interrupt")) {
        Pattern::InterruptMenu
    } else {
        Pattern::QuestionPrompt
    }
}

/// How questions begin that ask for consent to what an agent does.
const CONSENT: [&str; 2] = ["would you like to", "do you want to"];

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
