//! Rollouts: every complete line was read once, in order.

use std::collections::HashMap;

use serde_json::Value;

use super::ledger::Row;
use super::{Case, Findings};

/// A line that holds an event.
struct Line {
    offset: u64,
    record: Value,
}

pub(super) fn check(case: &Case<'_>, findings: &mut Findings) {
    let events = case.ledger.groups("codex_events", "session_id");
    let steps = steps(case);
    for session in case.ledger.rows("sessions") {
        let Some(Ok(bytes)) = session.opt("codex_session_path").map(std::fs::read) else { continue };
        let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let read = session.int("last_ingest_offset") as usize;
        let name = session.text("name");
        findings.expect(read <= complete, || {
            format!("session {name}: {read} bytes were read of {complete} complete ones")
        });
        findings.expect(!case.ingested || read == complete, || {
            format!("session {name}: only {read} of {complete} bytes were read")
        });
        let lines = lines_of(&bytes[..read.min(bytes.len())]);
        let own = events.get(session.text("id")).map_or(&[][..], Vec::as_slice);
        same(name, &lines, own, findings);
        let own_steps = steps.get(session.text("id")).map_or(&[][..], Vec::as_slice);
        chain(name, own_steps, read as i64, own.len() as i64, findings);
        findings.count("rollout lines", lines.len());
    }
}

fn lines_of(bytes: &[u8]) -> Vec<Line> {
    let mut offset = 0;
    let mut lines = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if let Ok(record) = serde_json::from_slice::<Value>(line)
            && record["type"].is_string()
            && record["payload"].is_object()
        {
            lines.push(Line { offset, record });
        }
        offset += line.len() as u64;
    }
    lines
}

fn same(session: &str, lines: &[Line], events: &[&Row], findings: &mut Findings) {
    findings.expect(lines.len() == events.len(), || {
        format!("session {session}: {} events were stored of {} lines", events.len(), lines.len())
    });
    for (line, event) in lines.iter().zip(events) {
        let kind = line.record["type"].as_str().unwrap_or_default();
        let subtype = (kind == "event_msg").then(|| line.record["payload"]["type"].as_str()).flatten();
        let fits = event.int("byte_offset") == line.offset as i64
            && event.text("type") == kind
            && event.opt("subtype") == subtype
            && event.json("payload_json") == line.record["payload"];
        if !fits {
            findings.add(format!(
                "session {session}: event {} from offset {} is not the line at offset {}",
                event.text("id"),
                event.text("byte_offset"),
                line.offset
            ));
            // Whatever follows is shifted too.
            return;
        }
    }
}

/// What one ingest says that it did.
struct Step {
    start: i64,
    end: i64,
    events: i64,
}

fn steps<'l>(case: &Case<'l>) -> HashMap<String, Vec<Step>> {
    let mut steps: HashMap<String, Vec<Step>> = HashMap::new();
    for event in case.ledger.rows("telemetry_events") {
        if event.text("event_type") != "codex_events_ingested" {
            continue;
        }
        let attributes = event.json("attributes_json");
        let number = |name: &str| attributes[name].as_i64().unwrap_or(-1);
        let step =
            Step { start: number("start_offset"), end: number("new_offset"), events: number("new_events") };
        let session = event.json("correlation_json")["session_id"].as_str().unwrap_or_default().to_owned();
        steps.entry(session).or_default().push(step);
    }
    steps
}

/// The steps of all who read one rollout form one chain without gap and without overlap.
fn chain(session: &str, steps: &[Step], read: i64, stored: i64, findings: &mut Findings) {
    let mut moves: Vec<&Step> = steps.iter().filter(|step| step.start != step.end).collect();
    moves.sort_by_key(|step| step.start);
    let mut at = 0;
    for step in &moves {
        findings.expect(step.start == at, || {
            format!(
                "session {session}: an ingest began at {} where the one before had ended at {at}",
                step.start
            )
        });
        at = step.end;
    }
    findings.expect(at == read, || {
        format!("session {session}: the ingests ended at {at}, the session's mark is {read}")
    });
    let told: i64 = steps.iter().map(|step| step.events).sum();
    findings.expect(told == stored, || {
        format!("session {session}: the ingests tell of {told} events, {stored} are stored")
    });
}
