//! What a rollout tells without the ledger: the step that the agent is at, and what it was told.

use std::path::Path;

use conveyor_agents::rollout::{self, Content, Event, Probe, RolloutError, TurnEvent, turn_event};
use conveyor_model::Timestamp;
use serde_json::Value;

/// How much of the end of a rollout is read at first; eight times as much each further time.
const WINDOW: u64 = 256 * 1024;

/// The end of a rollout.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    /// The file at that moment.
    pub(crate) probe: Probe,
    /// Where its last complete line ends.
    pub(crate) end: u64,
    /// The newest step of a turn.
    pub(crate) step: Option<TurnEvent>,
}

impl Tail {
    /// Whether its last line is complete: an agent in the middle of writing is not idle.
    pub(crate) fn is_whole(&self) -> bool {
        self.end >= self.probe.size
    }
}

/// Reads the end of a rollout, as far back as the newest step of a turn.
pub(crate) fn tail(path: &Path) -> Result<Tail, RolloutError> {
    let file = rollout::open(path)?;
    let size = file.size();
    let mut window = WINDOW;
    loop {
        let start = size.saturating_sub(window);
        let mut reader = file.reader(start)?;
        if start > 0 {
            // It begins in the middle of a line.
            reader.next_line()?;
        }
        let mut step = None;
        while let Some(line) = reader.next_line()? {
            if let Content::Event(event) = line.content {
                step = turn_event(event.event_type, event.subtype).or(step);
            }
        }
        if step.is_some() || start == 0 {
            return Ok(Tail { probe: file.probe(), end: reader.position(), step });
        }
        window = window.saturating_mul(8);
    }
}

/// A user's message in a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The text.
    pub(crate) text: String,
    /// The turn, where it is named.
    pub(crate) turn_id: Option<String>,
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: Option<i64>,
}

/// The first message after `offset`, which must be the start of a line, that `wanted` accepts.
pub(crate) fn find_told(
    path: &Path,
    offset: u64,
    wanted: impl Fn(&Told) -> bool,
) -> Result<Option<Told>, RolloutError> {
    let file = rollout::open(path)?;
    let mut reader = file.reader(offset.min(file.size()))?;
    while let Some(line) = reader.next_line()? {
        if let Content::Event(event) = line.content
            && let Some(told) = told(&event).filter(&wanted)
        {
            return Ok(Some(told));
        }
    }
    Ok(None)
}

/// Whether a turn has begun after `offset`, which must be the start of a line.
pub(crate) fn turn_has_begun(path: &Path, offset: u64) -> Result<bool, RolloutError> {
    let file = rollout::open(path)?;
    let mut reader = file.reader(offset.min(file.size()))?;
    while let Some(line) = reader.next_line()? {
        if let Content::Event(event) = line.content
            && turn_event(event.event_type, event.subtype) == Some(TurnEvent::Started)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The user's message in an event, in the old layout or today's.
fn told(event: &Event<'_>) -> Option<Told> {
    if !matches!(event.subtype, Some("user_message" | "item_completed")) {
        return None;
    }
    let payload: Value = serde_json::from_str(event.payload_json).ok()?;
    let text = match event.subtype {
        Some("user_message") => payload.get("message")?.as_str()?.to_owned(),
        _ => {
            let item = payload
                .get("item")
                .filter(|item| item.get("type").is_some_and(|kind| kind == "UserMessage"))?;
            let parts = item.get("content")?.as_array()?.iter();
            parts.filter_map(|part| part.get("text")?.as_str()).collect::<Vec<_>>().join("")
        }
    };
    Some(Told {
        text,
        turn_id: payload.get("turn_id").and_then(Value::as_str).map(ToOwned::to_owned),
        at_ms: event.timestamp.and_then(Timestamp::parse).map(|at| at.as_millis()),
    })
}

/// A text with its white space made equal: agents and terminals change it.
pub(crate) fn normalised(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: &[String]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines.concat()).unwrap();
        file
    }

    fn line(kind: &str, more: &str) -> String {
        format!(
            "{{\"timestamp\":\"2026-11-23T15:32:23.500Z\",\"type\":\"event_msg\",\"payload\":{{\"type\":\"{kind}\"{more}}}}}\n"
        )
    }

    #[test]
    fn the_newest_step_is_found_from_the_end() {
        let long = line("token_count", &format!(",\"x\":\"{}\"", "y".repeat(WINDOW as usize)));
        let cases = [
            (vec![], None),
            (vec![line("token_count", "")], None),
            (vec![line("task_started", "")], Some(TurnEvent::Started)),
            (vec![line("task_started", ""), line("task_complete", "")], Some(TurnEvent::Completed)),
            (vec![line("task_complete", ""), line("user_message", "")], Some(TurnEvent::Started)),
            (vec![line("task_started", ""), line("turn_aborted", ""), long], Some(TurnEvent::Aborted)),
        ];
        for (lines, step) in cases {
            let file = file(&lines);
            let tail = tail(file.path()).unwrap();
            assert_eq!(tail.step, step);
            assert!(tail.is_whole());
        }
    }

    #[test]
    fn a_half_written_line_shows_an_agent_at_work() {
        let half = file(&[line("task_complete", ""), "{\"type\":".into()]);
        let tail = tail(half.path()).unwrap();
        assert_eq!((tail.step, tail.is_whole()), (Some(TurnEvent::Completed), false));
    }

    #[test]
    fn messages_are_found_in_both_layouts() {
        let old = line("user_message", ",\"message\":\"go on\"");
        let new = line(
            "item_completed",
            ",\"turn_id\":\"t\",\"item\":{\"type\":\"UserMessage\",\"content\":[{\"type\":\"text\",\"text\":\"go  on\"}]}",
        );
        let other = line(
            "item_completed",
            ",\"item\":{\"type\":\"AgentMessage\",\"content\":[{\"text\":\"go on\"}]}",
        );
        let is_it = |told: &Told| normalised(&told.text) == "go on";
        for (layout, turn) in [(old, None), (new, Some("t".to_owned()))] {
            let file = file(&[other.clone(), layout]);
            let found = find_told(file.path(), other.len() as u64, is_it).unwrap().unwrap();
            assert_eq!((found.turn_id, found.at_ms), (turn, Some(1_795_447_943_500)));
        }
        let file = file(std::slice::from_ref(&other));
        assert_eq!(find_told(file.path(), 0, is_it).unwrap(), None);
    }
}
