//! The record: every change has its event, every event has its twin in the search table.

use std::collections::{BTreeMap, HashMap};

use super::ledger::Row;
use super::{Case, Findings};

pub(super) fn check(case: &Case<'_>, findings: &mut Findings) {
    twins(case, findings);
    let mut record = Record::of(case);
    let all = |table: &str, keep: &dyn Fn(&Row) -> bool| -> Vec<String> {
        case.ledger.rows(table).iter().filter(|row| keep(row)).map(|row| row.text("id").to_owned()).collect()
    };
    let attempts = |state: &'static str| all("command_attempts", &move |row| row.text("state") == state);
    record.once("command_created", "command_id", &all("commands", &|_| true), findings);
    record.once("dispatch_command_claimed", "attempt_id", &all("command_attempts", &|_| true), findings);
    let succeeded = attempts("succeeded");
    record.once("dispatch_command_attempted", "attempt_id", &succeeded, findings);
    record.once("dispatch_command_succeeded", "attempt_id", &succeeded, findings);
    record.once("dispatch_command_failed", "attempt_id", &attempts("failed"), findings);
    record.once("dispatch_command_blocked", "attempt_id", &attempts("blocked"), findings);
    record.once("dispatch_command_abandoned", "attempt_id", &attempts("abandoned"), findings);
    let delivered = all("routed_notifications", &|row| row.text("state") == "delivered");
    record.once("dispatch_signal_pull_required", "routed_notification_id", &delivered, findings);
    let consumed = all("routed_notifications", &|row| row.opt("consumed_at").is_some());
    record.once("dispatch_inbox_consumed", "notification_id", &consumed, findings);
    let found: Vec<String> = case
        .ledger
        .rows("routed_notifications")
        .iter()
        .filter(|row| row.text("state") != "suppressed")
        .filter_map(|row| row.opt("source_event_id").map(str::to_owned))
        .collect();
    record.once("dispatch_signal_detected", "source_event_id", &found, findings);
    bindings(case, findings);
    findings.count("telemetry events", case.ledger.rows("telemetry_events").len());
}

/// Telemetry and search rows are in step.
fn twins(case: &Case<'_>, findings: &mut Findings) {
    let mut search: HashMap<&str, &Row> = HashMap::new();
    for row in case.ledger.rows("telemetry_events_fts") {
        if search.insert(row.text("event_id"), row).is_some() {
            findings.add(format!("telemetry event {} has two search rows", row.text("event_id")));
        }
    }
    for event in case.ledger.rows("telemetry_events") {
        let id = event.text("id");
        match search.remove(id) {
            None => findings.add(format!("telemetry event {id} has no search row")),
            Some(twin) => {
                let same = twin.text("event_type") == event.text("event_type")
                    && twin.text("summary") == event.text("summary")
                    && twin.text("attributes") == event.text("attributes_json")
                    && twin.text("task_id") == event.text("task_id");
                findings
                    .expect(same, || format!("the search row of telemetry event {id} says something else"));
            }
        }
    }
    for id in search.keys() {
        findings.add(format!("search row {id} belongs to no telemetry event"));
    }
}

/// Events by type, and for each the values of its correlation.
struct Record<'l> {
    events: HashMap<&'l str, Vec<serde_json::Value>>,
}

impl<'l> Record<'l> {
    fn of(case: &Case<'l>) -> Self {
        let mut events: HashMap<&str, Vec<serde_json::Value>> = HashMap::new();
        for event in case.ledger.rows("telemetry_events") {
            events.entry(event.text("event_type")).or_default().push(event.json("correlation_json"));
        }
        Self { events }
    }

    /// Each of `expected` has exactly one event of this type, and there are no others.
    fn once(&mut self, event_type: &str, key: &str, expected: &[String], findings: &mut Findings) {
        let mut times: BTreeMap<String, usize> = expected.iter().map(|id| (id.clone(), 0)).collect();
        for correlation in self.events.get(event_type).map_or(&[][..], Vec::as_slice) {
            let value = &correlation[key];
            let id = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match times.get_mut(&id) {
                Some(times) => *times += 1,
                None => findings.add(format!("{event_type} tells of {key} {id}, which is not so")),
            }
        }
        for (id, times) in times {
            findings.expect(times == 1, || format!("{key} {id} has {times} events {event_type}"));
        }
    }
}

/// A binding is there whole or not at all.
fn bindings(case: &Case<'_>, findings: &mut Findings) {
    let sessions = case.ledger.by("sessions", "id");
    let mut live: HashMap<&str, &str> = HashMap::new();
    for binding in case.ledger.rows("bindings") {
        let id = binding.text("id");
        if !["active", "ending"].contains(&binding.text("state")) {
            continue;
        }
        for end in ["task_id", "worker_session_id", "manager_session_id"] {
            if let Some(other) = live.insert(binding.text(end), id) {
                findings.add(format!(
                    "bindings {other} and {id} are both live for {} {}",
                    end,
                    binding.text(end)
                ));
            }
        }
        for side in ["worker_session_id", "manager_session_id"] {
            let session = sessions.get(binding.text(side));
            findings.expect(session.is_some_and(|session| session.text("state") == "active"), || {
                format!("binding {id} has no active {side}")
            });
        }
    }
    let told: Vec<String> = case
        .ledger
        .rows("events")
        .iter()
        .filter(|event| event.text("type") == "disposable_binding_created")
        .map(|event| event.json("payload_json")["binding_id"].as_str().unwrap_or_default().to_owned())
        .collect();
    for binding in case.ledger.rows("bindings") {
        let times = told.iter().filter(|id| *id == binding.text("id")).count();
        findings.expect(times == 1, || {
            format!("binding {} has {times} events disposable_binding_created", binding.text("id"))
        });
    }
    findings.count("bindings", case.ledger.rows("bindings").len());
}
