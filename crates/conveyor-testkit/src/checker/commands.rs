//! Commands and attempts: none lost, none invented, each in one honest state.

use std::collections::HashMap;

use super::ledger::Row;
use super::{Case, Findings};

/// After so many lapses a command may fail without having been executed.
const MOST_LAPSES: i64 = 5;

/// What dispatchers execute; other commands are records of what a process did by itself.
const DISPATCHED: [&str; 3] = ["notify_manager", "nudge_worker", "continue_iteration"];

fn dispatched<'l>(case: &Case<'l>) -> impl Iterator<Item = &'l Row> {
    case.ledger.rows("commands").iter().filter(|row| DISPATCHED.contains(&row.text("type")))
}

pub(super) fn check(case: &Case<'_>, findings: &mut Findings) {
    let attempts = case.ledger.groups("command_attempts", "command_id");
    for command in dispatched(case) {
        let own = attempts.get(command.text("id")).map_or(&[][..], Vec::as_slice);
        state(case, command, own, findings);
        for attempt in own {
            attempt_times(command, attempt, findings);
        }
        findings.count("commands", 1);
        findings.count("attempts", own.len());
    }
    acceptance(case, findings);
}

/// Every accepted message is there once; nothing is there that nobody sent.
fn acceptance(case: &Case<'_>, findings: &mut Findings) {
    let mut by_message: HashMap<String, Vec<&Row>> = HashMap::new();
    for command in dispatched(case) {
        let message = command.json("payload_json")["message"].as_str().unwrap_or_default().to_owned();
        findings.expect(command.text("idempotency_key") == message, || {
            format!("command {} carries {message:?} under another key", command.text("id"))
        });
        by_message.entry(message).or_default().push(command);
    }
    for (message, commands) in &by_message {
        findings.expect(commands.len() == 1, || format!("{} commands carry {message:?}", commands.len()));
        findings.expect(case.journal.tried.contains(message), || {
            format!("nobody sent {message:?}, but command {} carries it", commands[0].text("id"))
        });
    }
    for (key, id) in &case.journal.accepted {
        match (by_message.get(key), id) {
            (None, _) => findings.add(format!("accepted message {key:?} vanished")),
            (Some(found), Some(id)) => findings.expect(found[0].text("id") == id, || {
                format!("message {key:?} was accepted as {id} but is {}", found[0].text("id"))
            }),
            (Some(_), None) => {}
        }
    }
    findings.count("accepted messages", case.journal.accepted.len());
}

fn state(case: &Case<'_>, command: &Row, attempts: &[&Row], findings: &mut Findings) {
    let id = command.text("id");
    let state = command.text("state");
    let of = |state: &str| attempts.iter().filter(|attempt| attempt.text("state") == state).count();
    let (running, succeeded, abandoned) = (of("running"), of("succeeded"), of("abandoned"));
    let counted = attempts.len() - abandoned;
    findings.expect(command.int("attempts") == counted as i64, || {
        format!("command {id} counts {} attempts but made {counted}", command.int("attempts"))
    });
    findings.expect(command.int("lapses") == abandoned as i64, || {
        format!(
            "command {id} counts {} lapses but {abandoned} attempts were abandoned",
            command.int("lapses")
        )
    });
    let finished = succeeded + of("failed") + of("blocked");
    let fits = match state {
        "pending" => running == 0 && finished == 0,
        "attempted" => running == 1 && finished == 0,
        "succeeded" | "blocked" => running == 0 && finished == 1 && of(state) == 1,
        "failed" => {
            let given_up = finished == 0 && command.int("lapses") >= MOST_LAPSES;
            running == 0 && (given_up || (finished == 1 && of("failed") == 1))
        }
        _ => false,
    };
    findings.expect(fits, || {
        let states: Vec<&str> = attempts.iter().map(|attempt| attempt.text("state")).collect();
        format!("command {id} is {state} with the attempts {states:?}")
    });
    findings.expect((state == "failed" || state == "blocked") == command.opt("error").is_some(), || {
        format!("command {id} is {state} with the error {:?}", command.opt("error"))
    });
    let terminal = ["succeeded", "failed", "blocked"].contains(&state);
    findings.expect(terminal || !case.drained, || format!("command {id} is still {state} after the drain"));
    findings.expect(command.moment("updated_at") >= command.moment("created_at"), || {
        format!("command {id} was updated before it was created")
    });
    findings.count("succeeded commands", usize::from(state == "succeeded"));
    findings.count("lapses", abandoned);
}

fn attempt_times(command: &Row, attempt: &Row, findings: &mut Findings) {
    let id = attempt.text("id");
    let (started, finished) = (attempt.moment("started_at"), attempt.moment("finished_at"));
    findings.expect(finished.is_some() == (attempt.text("state") != "running"), || {
        format!("attempt {id} is {} and finished at {finished:?}", attempt.text("state"))
    });
    findings.expect(finished.is_none() || finished >= started, || {
        format!("attempt {id} finished before it began")
    });
    findings.expect(started >= command.moment("created_at"), || {
        format!("attempt {id} began before its command was created")
    });
    findings.expect(attempt.opt("correlation_id") == command.opt("correlation_id"), || {
        format!("attempt {id} has another correlation id than its command")
    });
    let untouched = attempt.int("side_effect_started") == 0 && attempt.int("side_effect_completed") == 0;
    findings.expect(untouched || attempt.text("state") != "succeeded", || {
        format!("attempt {id} delivered by pull but claims an outside effect")
    });
}
