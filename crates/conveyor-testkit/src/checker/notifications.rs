//! Notifications: one for each success, to the right side, in the order of the queue.

use std::collections::{BTreeMap, HashMap};

use super::ledger::Row;
use super::{Case, Findings, journal};

pub(super) fn check(case: &Case<'_>, findings: &mut Findings) {
    let of_command = case.ledger.groups("routed_notifications", "command_id");
    let bindings = case.ledger.by("bindings", "id");
    for command in case.ledger.rows("commands") {
        let id = command.text("id");
        let own = of_command.get(id).map_or(&[][..], Vec::as_slice);
        let delivered = own.iter().filter(|row| row.text("state") == "delivered").count();
        if command.text("state") == "succeeded" {
            findings.expect(own.len() == 1 && delivered == 1, || {
                format!(
                    "command {id} succeeded with {} notifications, {delivered} of them delivered",
                    own.len()
                )
            });
        } else {
            findings.expect(delivered == 0, || {
                format!(
                    "command {id} is {} but {delivered} notifications were delivered",
                    command.text("state")
                )
            });
        }
        for notification in own {
            fits_command(command, notification, &bindings, findings);
        }
    }
    let commands = case.ledger.by("commands", "id");
    let mut keys: HashMap<&str, &str> = HashMap::new();
    for row in case.ledger.rows("routed_notifications") {
        times(row, findings);
        let id = row.text("id");
        if let Some(other) = keys.insert(row.text("dedupe_key"), id) {
            findings.add(format!("notifications {other} and {id} have one dedupe key"));
        }
        if let Some(command) = row.opt("command_id") {
            findings.expect(commands.contains_key(command), || {
                format!("notification {id} belongs to command {command}, which is not there")
            });
        }
        findings.count("notifications", 1);
    }
    order(case, findings);
}

fn fits_command(command: &Row, row: &Row, bindings: &HashMap<&str, &Row>, findings: &mut Findings) {
    let id = row.text("id");
    let payload = row.json("payload_json");
    let same = row.text("signal_type") == command.text("type")
        && row.text("task_id") == command.text("task_id")
        && row.text("correlation_id") == command.text("correlation_id")
        && payload["command_id"] == *command.text("id")
        && payload["message"] == command.json("payload_json")["message"];
    findings
        .expect(same, || format!("notification {id} does not say what command {} says", command.text("id")));
    let key = format!("{}:{}:{}", row.text("binding_id"), command.text("type"), command.text("id"));
    findings.expect(row.text("dedupe_key") == key, || format!("notification {id} has a foreign dedupe key"));
    let Some(binding) = bindings.get(row.text("binding_id")) else {
        findings.add(format!("notification {id} travelled along a binding that is not there"));
        return;
    };
    let (worker, manager) = (binding.text("worker_session_id"), binding.text("manager_session_id"));
    let (source, target) =
        if command.text("type") == "nudge_worker" { (manager, worker) } else { (worker, manager) };
    let right = row.text("source_session_id") == source && row.text("target_session_id") == target;
    findings.expect(right, || format!("notification {id} went to the wrong session"));
}

fn times(row: &Row, findings: &mut Findings) {
    let (id, state) = (row.text("id"), row.text("state"));
    let (created, delivered) = (row.moment("created_at"), row.moment("delivered_at"));
    let consumed = row.moment("consumed_at");
    findings.expect(delivered.is_some() == (state == "delivered"), || {
        format!("notification {id} is {state} and was delivered at {delivered:?}")
    });
    findings.expect(delivered.is_none() || delivered >= created, || {
        format!("notification {id} was delivered before it was made")
    });
    findings.expect(consumed.is_none() || (state == "delivered" && consumed >= delivered), || {
        format!("notification {id} is {state} and was consumed before it was delivered")
    });
}

/// Within one task and one direction, notifications come in the order of enqueueing: in the order
/// of their ids as in the order in which an inbox shows them.
fn order(case: &Case<'_>, findings: &mut Findings) {
    let commands = case.ledger.by("commands", "id");
    let mut lanes: BTreeMap<(&str, &str), Vec<(&Row, u64)>> = BTreeMap::new();
    for row in case.ledger.rows("routed_notifications") {
        let Some(command) = row.opt("command_id").and_then(|id| commands.get(id)) else { continue };
        if let Some(number) = journal::number(command.text("idempotency_key")) {
            lanes.entry((row.text("task_id"), row.text("signal_type"))).or_default().push((row, number));
        }
    }
    for ((task, direction), mut lane) in lanes {
        for (by, inbox) in [("id", false), ("inbox order", true)] {
            if inbox {
                lane.sort_by_key(|(row, _)| (row.moment("created_at"), row.int("id")));
            }
            for pair in lane.windows(2) {
                findings.expect(pair[0].1 < pair[1].1, || {
                    format!(
                        "task {task}, {direction}: by {by}, message {} (notification {}) stands before message {} \
                         (notification {})",
                        pair[0].1,
                        pair[0].0.text("id"),
                        pair[1].1,
                        pair[1].0.text("id")
                    )
                });
            }
        }
    }
}
