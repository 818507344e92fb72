//! Completions of workers: each routed once, to the manager, oldest first.

use std::collections::HashMap;

use super::{Case, Findings};

const SIGNAL: &str = "worker_task_complete";

pub(super) fn check(case: &Case<'_>, findings: &mut Findings) {
    let events = case.ledger.by("codex_events", "id");
    let mut routed: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut newest: HashMap<&str, i64> = HashMap::new();
    for row in case.ledger.rows("routed_notifications") {
        let id = row.text("id");
        let is_completion = row.text("signal_type") == SIGNAL;
        let Some(event_id) = row.opt("source_event_id") else {
            findings.expect(!is_completion, || format!("completion {id} has no source event"));
            continue;
        };
        routed.entry(event_id).or_default().push(id);
        let Some(event) = events.get(event_id) else {
            findings.add(format!("notification {id} refers to event {event_id}, which is not there"));
            continue;
        };
        let fits = is_completion
            && event.text("subtype") == "task_complete"
            && event.text("session_id") == row.text("source_session_id");
        findings.expect(fits, || {
            format!("notification {id} refers to event {event_id}, which is no such completion")
        });
        let receipt = &row.json("payload_json")["worker_receipt"];
        findings.expect(receipt["turn_id"] == event.json("payload_json")["turn_id"], || {
            format!("notification {id} has the receipt of another turn than event {event_id}")
        });
        let order = row.int("source_event_id");
        let last = newest.insert(row.text("source_session_id"), order);
        findings.expect(last.is_none_or(|last| last < order), || {
            format!("notification {id}: event {event_id} was routed after the newer event {last:?}")
        });
    }
    for (event, notifications) in &routed {
        findings.expect(notifications.len() == 1, || {
            format!("event {event} was routed {} times: {notifications:?}", notifications.len())
        });
    }
    findings.count("routed completions", routed.len());
    every_completion(case, &routed, findings);
}

fn every_completion(case: &Case<'_>, routed: &HashMap<&str, Vec<&str>>, findings: &mut Findings) {
    if !case.drained {
        return;
    }
    let bindings = case.ledger.groups("bindings", "worker_session_id");
    for event in case.ledger.rows("codex_events") {
        if event.text("subtype") == "task_complete" && bindings.contains_key(event.text("session_id")) {
            findings.expect(routed.contains_key(event.text("id")), || {
                format!("completion event {} of a bound worker was never routed", event.text("id"))
            });
        }
    }
}
