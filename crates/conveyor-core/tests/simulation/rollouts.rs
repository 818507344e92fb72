//! What the sessions write: lines of which the test knows what must become of each.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use conveyor_model::Clock as _;
use conveyor_testkit::ManualClock;

use crate::dice::Dice;
use crate::ledger::SESSIONS;

/// The name of a session's file of this generation.
pub fn file_name(session: &str, generation: usize) -> String {
    format!("{session}-{generation}.jsonl")
}

fn first_line(file: &str) -> String {
    format!(
        "{{\"timestamp\":\"2026-01-01T11:59:00.000Z\",\"type\":\"session_meta\",\"payload\":{{\"id\":\"codex-{file}\",\
         \"cwd\":\"/srv\"}}}}\n"
    )
}

/// Makes the directory and the first file of each session.
pub fn create_first(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    for session in SESSIONS {
        let file = file_name(session, 0);
        std::fs::write(dir.join(&file), first_line(&file)).unwrap();
    }
}

/// One line of a file.
#[derive(Clone, Debug)]
pub struct Line {
    pub start: u64,
    pub end: u64,
    /// The payload as the ledger must store it; `None` for a line that is no event.
    pub payload: Option<String>,
}

/// The files as they were written.
pub struct Rollouts {
    dir: PathBuf,
    files: BTreeMap<String, File>,
    written: usize,
}

#[derive(Default)]
struct File {
    lines: Vec<Line>,
    /// The rest of a line of which the beginning is in the file, and what it will be.
    rest: Option<(String, Option<String>)>,
    size: u64,
}

impl Rollouts {
    /// The first file of each session.
    pub fn new(dir: &Path) -> Self {
        let mut rollouts = Self { dir: dir.to_owned(), files: BTreeMap::new(), written: 0 };
        for session in SESSIONS {
            rollouts.note_first_line(&file_name(session, 0));
        }
        rollouts
    }

    fn note_first_line(&mut self, file: &str) {
        let end = first_line(file).len() as u64;
        let payload = Some(format!("{{\"cwd\":\"/srv\",\"id\":\"codex-{file}\"}}"));
        let line = Line { start: 0, end, payload };
        self.files.insert(file.to_owned(), File { lines: vec![line], rest: None, size: end });
    }

    /// Makes the next file of a session unless it is there; gives its name.
    pub fn create(&mut self, session: &str, generation: usize) -> String {
        let file = file_name(session, generation);
        if !self.files.contains_key(&file) {
            std::fs::write(self.dir.join(&file), first_line(&file)).unwrap();
            self.note_first_line(&file);
        }
        file
    }

    /// Adds to a file: the end of a turn, another event, garbage, or half a line; says what.
    pub fn write(&mut self, file: &str, dice: &mut Dice, clock: &ManualClock) -> String {
        let place = self.files.get_mut(file).expect("a file of this name");
        let (text, payload) = match place.rest.take() {
            Some(rest) => rest,
            None => {
                self.written += 1;
                line(dice, self.written, &clock.now().to_ms_text())
            }
        };
        let is_half = text.len() > 20 && dice.percent(20);
        let now = if is_half { &text[..text.len() / 2] } else { &text[..] };
        let mut target = std::fs::OpenOptions::new().append(true).open(self.dir.join(file)).unwrap();
        target.write_all(now.as_bytes()).unwrap();
        let start = place.lines.last().map_or(0, |line| line.end);
        place.size += now.len() as u64;
        if is_half {
            place.rest = Some((text[now.len()..].to_owned(), payload.clone()));
        } else {
            place.lines.push(Line { start, end: place.size, payload: payload.clone() });
        }
        format!(
            "{file} {} {}",
            if is_half { "half of" } else { "+" },
            payload.as_deref().unwrap_or("garbage")
        )
    }

    /// The complete lines of a file.
    pub fn lines(&self, file: &str) -> &[Line] {
        self.files.get(file).map_or(&[], |file| &file.lines)
    }

    /// The files of a session.
    pub fn files_of<'r>(&'r self, session: &'r str) -> impl Iterator<Item = &'r str> {
        let own = move |file: &&String| file.split('-').next() == Some(session);
        self.files.keys().filter(own).map(String::as_str)
    }
}

fn line(dice: &mut Dice, number: usize, now: &str) -> (String, Option<String>) {
    match dice.weighted(&[70, 20, 10]) {
        0 => (
            format!(
                "{{\"timestamp\":\"{now}\",\"type\":\"event_msg\",\"payload\":{{\"type\":\"task_complete\",\
                 \"turn_id\":\"t{number}\"}}}}\n"
            ),
            Some(format!("{{\"turn_id\":\"t{number}\",\"type\":\"task_complete\"}}")),
        ),
        // Without a time of its own.
        1 => (
            format!(
                "{{\"type\":\"event_msg\",\"payload\":{{\"type\":\"agent_message\",\"message\":\"x{number}\"}}}}\n"
            ),
            Some(format!("{{\"message\":\"x{number}\",\"type\":\"agent_message\"}}")),
        ),
        _ => (format!("garbage {number}\n"), None),
    }
}
