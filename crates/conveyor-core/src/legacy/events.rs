use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};

use conveyor_model::records::Object;
use serde_json::Value;

use super::Place;
use crate::{Error, Result, Sink, terminal};

/// Which events of a worker's log to show.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// The worker or session.
    pub name: &'a str,
    /// Only events of exactly this type.
    pub event_type: Option<&'a str>,
    /// Only the last so many of them; 0: all.
    pub limit: usize,
}

/// Hands the wanted events of a worker's log to `sink`, in the order of the file. Gives the number
/// of lines in the whole file that are no JSON objects; they are passed over.
///
/// # Errors
/// An unknown name, a log that cannot be read, or a failing `sink`.
pub fn each_event(place: &mut Place, selection: &Selection<'_>, sink: Sink<'_, Object>) -> Result<u64> {
    terminal::resolve(place, selection.name)?;
    let path = place.root().join(selection.name).join("events.jsonl");
    let unreadable = |reason| Error::Unreadable { path: path.clone(), reason };
    let mut lines = match File::open(&path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(unreadable(error)),
    };
    let mut last = VecDeque::new();
    let (mut malformed, mut line) = (0, Vec::new());
    while lines.read_until(b'\n', &mut line).map_err(unreadable)? > 0 {
        match parse(&line) {
            Line::Blank => {}
            Line::Malformed => malformed += 1,
            Line::Event(event) => {
                if selection.event_type.is_none_or(|wanted| type_of(&event) == Some(wanted)) {
                    if selection.limit == 0 {
                        sink(event)?;
                    } else {
                        if last.len() == selection.limit {
                            last.pop_front();
                        }
                        last.push_back(event);
                    }
                }
            }
        }
        line.clear();
    }
    for event in last {
        sink(event)?;
    }
    Ok(malformed)
}

/// A line of a log.
pub(super) enum Line {
    Blank,
    Malformed,
    Event(Object),
}

pub(super) fn parse(line: &[u8]) -> Line {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Line::Blank;
    }
    serde_json::from_slice(line).map_or(Line::Malformed, Line::Event)
}

pub(super) fn type_of(event: &Object) -> Option<&str> {
    event.get("type").and_then(Value::as_str)
}
