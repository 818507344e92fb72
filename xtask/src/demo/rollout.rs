//! What a working agent leaves in its session's file: the lines of a recorded turn of Codex, with
//! the times, ids and texts of this story.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use conveyor_model::Timestamp;
use serde_json::Value;

use crate::failure::{Context as _, Failure};

/// One turn with a command execution, recorded from Codex 0.169.
const RECORDED: &str = include_str!(
    "../../../crates/conveyor-agents/tests/fixtures/codex-0.169/rollout-2026-11-23T15-54-05-01a2091d-50bf-7d22-8ba0-ee8d63c54bf8.jsonl"
);
const RECORDED_TURN: &str = "01a2091d-5108-7113-9fdf-8d0744036a80";
const RECORDED_INSTRUCTION: &str = "hi";
const RECORDED_ANSWER: &str = "Listed the files. Next I will run the tests.";

/// The pause between two lines: a turn takes its time.
const PAUSE: Duration = Duration::from_millis(15);

/// Appends one turn, line by line.
pub(super) fn append_turn(path: &Path, turn: usize, instruction: &str, answer: &str) -> Result<(), Failure> {
    let mut file = OpenOptions::new().append(true).open(path).context(path.display())?;
    for mut line in lines_of_turn(turn, instruction, answer)? {
        line["timestamp"] = Value::String(now());
        file.write_all(format!("{line}\n").as_bytes()).context(path.display())?;
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn lines_of_turn(turn: usize, instruction: &str, answer: &str) -> Result<Vec<Value>, Failure> {
    let turn_id = format!("00000000-0000-7000-8000-{turn:012x}");
    let mut lines = Vec::new();
    for line in RECORDED.lines() {
        let mut line: Value = serde_json::from_str(line).context("reading the recorded turn")?;
        // The session has its first line already.
        if line["type"] == "session_meta" {
            continue;
        }
        replace(&mut line, &|text| match text {
            RECORDED_TURN => Some(&turn_id),
            RECORDED_INSTRUCTION => Some(instruction),
            RECORDED_ANSWER => Some(answer),
            _ => None,
        });
        lines.push(line);
    }
    Ok(lines)
}

/// Exchanges the texts for which `by` has another.
fn replace<'t>(value: &mut Value, by: &impl Fn(&str) -> Option<&'t str>) {
    match value {
        Value::String(text) => {
            if let Some(new) = by(text) {
                new.clone_into(text);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, by)),
        Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, by)),
        _ => {}
    }
}

fn now() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)).to_ms_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_begins_ends_and_speaks_of_this_story() {
        let lines = lines_of_turn(2, "Do it", "Done").unwrap();
        assert_eq!(lines.first().unwrap()["payload"]["type"], "task_started");
        let end = &lines.last().unwrap()["payload"];
        assert_eq!((&end["type"], &end["last_agent_message"]), (&"task_complete".into(), &"Done".into()));
        assert_eq!(end["turn_id"], "00000000-0000-7000-8000-000000000002");
        let all = lines.iter().map(ToString::to_string).collect::<String>();
        assert!(all.contains("Do it") && !all.contains(RECORDED_TURN) && !all.contains("session_meta"));
    }

    #[test]
    fn a_turn_is_appended_with_the_time_of_its_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "first\n").unwrap();
        append_turn(file.path(), 1, "a", "b").unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(
            text.lines().count(),
            RECORDED.lines().count(),
            "the first line stands for the recorded one"
        );
        assert!(text.starts_with("first\n") && text.ends_with("}\n") && !text.contains("\"2026-11-23T15"));
    }
}
