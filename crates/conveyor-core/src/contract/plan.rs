//! Turning a worker's written answer into suggestions for criteria.

use conveyor_model::text::is_blank;
use conveyor_model::{CriterionSource, CriterionStatus};
use serde::Serialize;

use crate::{Cx, Result, reference};

/// What a worker's answer suggests.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct Plan {
    pub suggestions: Vec<Suggestion>,
    pub task: String,
    pub warnings: Vec<&'static str>,
}

/// A criterion that could be added.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct Suggestion {
    pub command: Vec<String>,
    pub criterion: String,
    pub rationale: Option<&'static str>,
    pub source: CriterionSource,
    pub status: CriterionStatus,
}

const FOLLOW_UP: &str = "Follow-up after this QA slice.";
const NO_HEADINGS: &str = "no must-have/current-task or follow-up/deferred headings were found: ask the worker to \
                           separate them";
const NO_ITEMS: &str = "headings were found, but no list items below them";

/// Reads a worker's answer for a task. Nothing is written.
///
/// # Errors
/// An unknown task; a failing ledger.
pub fn plan(cx: &mut Cx, task: &str, answer: &str) -> Result<Plan> {
    let ledger = cx.ledger();
    let (task, name) = cx.db.read(|tx| {
        let task = reference::task(tx, task)?;
        let name = reference::name_of_task(tx, &task)?;
        Ok::<_, crate::Error>((task, name))
    })?;
    let read = Answer::read(answer);
    let warnings = match (read.heading_seen, read.items.is_empty()) {
        (false, _) => vec![NO_HEADINGS],
        (true, true) => vec![NO_ITEMS],
        (true, false) => Vec::new(),
    };
    let suggestions =
        read.items.into_iter().map(|(status, text)| Suggestion::new(&name, status, text, &ledger)).collect();
    Ok(Plan { suggestions, task: task.name, warnings })
}

impl Suggestion {
    fn new(task: &str, status: CriterionStatus, criterion: String, ledger: &str) -> Self {
        let source = CriterionSource::WorkerProposed;
        let rationale = (status == CriterionStatus::Deferred).then_some(FOLLOW_UP);
        let mut command = vec!["conveyor", "criteria", task, "--add"];
        // Two dashes at its beginning would be taken for the next option.
        let joined = criterion.starts_with("--").then(|| format!("--criterion={criterion}"));
        match &joined {
            Some(joined) => command.push(joined),
            None => command.extend(["--criterion", &criterion]),
        }
        command.extend(["--source", source.as_str(), "--status", status.as_str()]);
        if let Some(rationale) = rationale {
            command.extend(["--rationale", rationale]);
        }
        command.extend(["--path", ledger]);
        let command = command.into_iter().map(ToOwned::to_owned).collect();
        Self { command, criterion, rationale, source, status }
    }
}

/// A worker's answer, read line by line.
#[derive(Default)]
struct Answer {
    items: Vec<(CriterionStatus, String)>,
    heading_seen: bool,
    section: Option<CriterionStatus>,
    active: Option<(CriterionStatus, String)>,
}

impl Answer {
    fn read(text: &str) -> Self {
        let mut answer = Self::default();
        for line in text.split('\n') {
            answer.line(line.strip_suffix('\r').unwrap_or(line));
        }
        answer.close();
        answer
    }

    fn line(&mut self, line: &str) {
        if is_blank(line) {
            return self.close();
        }
        if let (Some(section), Some(item)) = (self.section, list_item(line)) {
            self.close();
            self.active = Some((section, item.trim_end().to_owned()));
            return;
        }
        if let Some((_, text)) = self.active.as_mut().filter(|_| line.starts_with(char::is_whitespace)) {
            text.push(' ');
            text.push_str(line.trim());
            return;
        }
        self.close();
        if let Some(section) = heading(line) {
            self.section = Some(section);
            self.heading_seen = true;
        }
    }

    fn close(&mut self) {
        let Some((section, text)) = self.active.take() else { return };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = unwrapped(&text);
        if !is_blank(text) && !says_nothing(text) {
            self.items.push((section, text.to_owned()));
        }
    }
}

/// The text of a list item; `None` for what is none.
fn list_item(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let after = match line.strip_prefix(['-', '*', '+']) {
        Some(after) => after,
        None => match check_box(line) {
            Some(after) => return text_after(after),
            None => {
                let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                line[digits..].strip_prefix(['.', ')']).filter(|_| digits > 0)?
            }
        },
    };
    let text = text_after(after)?;
    // A check box directly after a bullet belongs to the marker.
    Some(check_box(text).and_then(text_after).unwrap_or(text))
}

fn check_box(text: &str) -> Option<&str> {
    ["[ ]", "[x]", "[X]"].iter().find_map(|mark| text.strip_prefix(mark))
}

/// What follows a marker, from which white space must separate it.
fn text_after(rest: &str) -> Option<&str> {
    let text = rest.trim_start();
    (text.len() < rest.len() && !text.is_empty()).then_some(text)
}

/// The section that a line opens, if it has a word for one. Deferred wins over accepted.
fn heading(line: &str) -> Option<CriterionStatus> {
    let title = line.trim().trim_start_matches('#').trim();
    let title = title.strip_suffix(':').unwrap_or(title).to_lowercase();
    let has = |phrases: &[&str]| phrases.iter().any(|phrase| contains(&title, phrase));
    if has(&["follow-up", "follow-ups", "follow up", "follow ups", "followup", "followups", "deferred"]) {
        return Some(CriterionStatus::Deferred);
    }
    let accepted = [
        "must-have",
        "must-haves",
        "must have",
        "must haves",
        "musthave",
        "musthaves",
        "current-task",
        "current task",
        "currenttask",
        "accepted",
    ];
    has(&accepted).then_some(CriterionStatus::Accepted)
}

/// Whether a phrase stands in a text as whole words.
fn contains(text: &str, phrase: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(phrase).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + phrase.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// A text without the one pair of backticks that encloses it.
fn unwrapped(text: &str) -> &str {
    let inner = text.strip_prefix('`').and_then(|text| text.strip_suffix('`'));
    inner.filter(|inner| !inner.contains('`')).map_or(text, str::trim)
}

/// Whether an item only says that there is none.
fn says_nothing(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text).to_lowercase();
    matches!(
        text.as_str(),
        "" | "n/a"
            | "na"
            | "none"
            | "nothing"
            | "no follow-up"
            | "no follow-ups"
            | "no follow up"
            | "no follow ups"
            | "no followup"
            | "no followups"
            | "no deferred"
            | "no deferred criteria"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use CriterionStatus::{Accepted, Deferred};

    fn read(text: &str) -> Vec<(CriterionStatus, String)> {
        Answer::read(text).items
    }

    fn item(status: CriterionStatus, text: &str) -> (CriterionStatus, String) {
        (status, text.to_owned())
    }

    #[test]
    fn lists_under_headings_become_items() {
        let text = "- before any heading\r\n## Must-have:\r\n- [ ] tests\r\n  pass  twice\r\n1) `cargo test`\r\n\r\n* x\n\
                    Follow ups\n+ docs\n[x] none.\n- n/a\n-no item\n2. later\n";
        let items = [
            item(Accepted, "tests pass twice"),
            item(Accepted, "cargo test"),
            item(Accepted, "x"),
            item(Deferred, "docs"),
            item(Deferred, "later"),
        ];
        assert_eq!(read(text), items);
    }

    #[test]
    fn any_line_with_the_word_is_a_heading_and_deferred_wins() {
        assert_eq!(
            read("these are accepted today\n- a\nmust haves and follow-ups\n- b"),
            [item(Accepted, "a"), item(Deferred, "b"),]
        );
        assert_eq!(read("unaccepted\n- a"), []);
        assert!(!Answer::read("the followupper").heading_seen);
        assert!(Answer::read("Current task").heading_seen);
        // A line that is not indented ends the item, the section stays.
        assert_eq!(read("accepted\n- a\nprose\n- b"), [item(Accepted, "a"), item(Accepted, "b")]);
    }

    #[test]
    fn one_pair_of_backticks_is_taken_off() {
        assert_eq!(
            read("accepted\n- `a` and `b`\n- ``\n- ` c `"),
            [item(Accepted, "`a` and `b`"), item(Accepted, "c"),]
        );
    }

    #[test]
    fn letters_of_several_bytes_are_no_trouble() {
        assert_eq!(read("Accepted – äöü\n- ü\u{2028}é\n1ü. x"), [item(Accepted, "ü é")]);
    }
}
