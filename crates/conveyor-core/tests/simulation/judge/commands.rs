//! Commands and attempts.

use conveyor_model::Timestamp;

use super::{Change, Judge, ensure};
use crate::jobs::Job;
use crate::old;
use crate::snapshot::{Command, Snapshot};

/// After so many lapses a command may fail.
const MOST_LAPSES: i64 = 5;

pub(super) fn check(judge: &mut Judge, change: &Change<'_>) -> Result<(), String> {
    let (before, after) = (change.before, change.after);
    attempts(change)?;
    for id in before.commands.keys() {
        ensure!(after.commands.contains_key(id), "accepted command {id} vanished");
    }
    for (id, command) in &after.commands {
        match before.commands.get(id) {
            None => accepted(judge, change, id, command)?,
            Some(earlier) if earlier == command => {}
            Some(earlier) => changed(judge, change, id, earlier, command)?,
        }
        adds_up(after, id, command)?;
    }
    Ok(())
}

fn accepted(judge: &mut Judge, change: &Change<'_>, id: &str, command: &Command) -> Result<(), String> {
    let Job::Enqueue { task, kind, key } = change.step.job else {
        return Err(format!("command {id} came from nowhere"));
    };
    let others = change.before.commands.values().any(|other| other.message == *key);
    ensure!(!others, "message {key} was accepted twice, now as {id}");
    ensure!(
        command.message == *key
            && command.kind == kind.as_str()
            && command.state == "pending"
            && judge.tasks.get(task) == Some(&command.task),
        "command {id} is not what was sent: {command:?}"
    );
    ensure!(command.attempts == 0 && command.lapses == 0, "command {id} begins with attempts");
    judge.model.accepted(id, &command.task, &command.kind, command.place);
    judge.count("accepted");
    Ok(())
}

fn changed(
    judge: &mut Judge,
    change: &Change<'_>,
    id: &str,
    earlier: &Command,
    command: &Command,
) -> Result<(), String> {
    let job = change.step.job;
    let fixed =
        |c: &Command| (c.place, c.task.clone(), c.kind.clone(), c.message.clone(), c.created_at.clone());
    ensure!(fixed(earlier) == fixed(command), "command {id} became another one");
    if released(change, earlier, command) {
        judge.count("released");
        return Ok(());
    }
    ensure!(job.routes(), "command {id} was changed by {job:?}");
    let target = change.before.target(&command.task, &command.kind);
    let typed_at = target.is_some_and(|(_, session)| session.tmux);
    match (earlier.state.as_str(), command.state.as_str(), job.is_old()) {
        ("pending", "pending", false) => {
            ensure!(typed_at, "command {id} was put off, but its receiver is no terminal");
            judge.count("parked");
        }
        ("pending", "attempted", true) => {
            judge.model.claimed(id);
            judge.count("claimed by the old program");
        }
        ("pending", "succeeded", false) => {}
        ("pending", "failed", false) => {
            ensure!(target.is_none(), "command {id} was refused, but its task is bound: {:?}", command.error);
            judge.model.failed(id);
            judge.count("refused");
        }
        ("attempted", "pending", false) => {
            lapsed(change, id, earlier)?;
            ensure!(!had_begun(change.before, id), "command {id} goes on though its effect had begun");
            ensure!(command.lapses == earlier.lapses + 1, "the lapse of command {id} was not counted");
            judge.count("lapsed");
        }
        ("attempted", "failed", false) => {
            lapsed(change, id, earlier)?;
            let given_up = command.lapses == MOST_LAPSES;
            ensure!(had_begun(change.before, id) || given_up, "command {id} failed though it could go on");
            judge.model.failed(id);
            judge.count(if given_up { "given up after lapses" } else { "left half done" });
        }
        ("attempted", "succeeded", true) => judge.count("delivered by the old program"),
        ("attempted", "failed", true) => judge.model.failed(id),
        (from, to, _) => return Err(format!("command {id} went from {from} to {to} through {job:?}")),
    }
    Ok(())
}

/// What was put off may be due at once: its receiver's turn has ended, it is reached otherwise, or
/// nobody is bound any more.
fn released(change: &Change<'_>, earlier: &Command, command: &Command) -> bool {
    let due = command.available_at.as_deref().and_then(Timestamp::parse);
    let job = change.step.job;
    (earlier.state.as_str(), command.state.as_str()) == ("pending", "pending")
        && (job.ingests() || job.routes() || matches!(job, Job::Unbind { .. }))
        && earlier.available_at.is_some()
        && due.is_some_and(|due| due <= change.step.now)
}

/// A claim ends for others only when its time is over.
fn lapsed(change: &Change<'_>, id: &str, earlier: &Command) -> Result<(), String> {
    let until = earlier.claim_expires_at.as_deref().and_then(Timestamp::parse);
    ensure!(
        until.is_some_and(|until| until <= change.step.now),
        "the claim of command {id} holds until {until:?} but was ended at {}",
        change.step.now
    );
    Ok(())
}

fn had_begun(snapshot: &Snapshot, command: &str) -> bool {
    snapshot.attempts_of(command).any(|(_, attempt)| attempt.state == "running" && attempt.started)
}

fn attempts(change: &Change<'_>) -> Result<(), String> {
    for (id, earlier) in &change.before.attempts {
        let now = change.after.attempts.get(id);
        let Some(now) = now else { return Err(format!("attempt {id} vanished")) };
        ensure!(earlier == now || earlier.state == "running", "attempt {id} changed after its end: {now:?}");
        ensure!(
            earlier.command == now.command && earlier.dispatcher == now.dispatcher,
            "attempt {id} became another one"
        );
    }
    for (id, attempt) in &change.after.attempts {
        ensure!((attempt.state == "running") == attempt.finished_at.is_none(), "attempt {id} is {attempt:?}");
        if change.before.attempts.contains_key(id) {
            continue;
        }
        let Some(command) = change.before.commands.get(&attempt.command) else {
            return Err(format!("attempt {id} is of a command that nobody had sent"));
        };
        if attempt.dispatcher == old::ID {
            ensure!(matches!(change.step.job, Job::OldCommand { .. }), "attempt {id} has a foreign name");
            continue;
        }
        let Job::Dispatch { id: dispatcher, .. } = change.step.job else {
            return Err(format!("attempt {id} was made by {:?}", change.step.job));
        };
        ensure!(*dispatcher == attempt.dispatcher, "attempt {id} has a foreign name");
        ensure!(attempt.state != "running", "attempt {id} was left running");
        let target = change.before.target(&command.task, &command.kind);
        let typed_at = target.is_some_and(|(_, session)| session.tmux);
        // What an earlier claim has delivered before it lapsed only needs an end.
        let arrived = change.before.notifications_of(&attempt.command).any(|(_, row)| row.is_delivered());
        ensure!(
            arrived || !typed_at,
            "command {} was claimed though its receiver is a terminal",
            attempt.command
        );
    }
    Ok(())
}

/// What a command says of itself fits its attempts and its notifications.
fn adds_up(after: &Snapshot, id: &str, command: &Command) -> Result<(), String> {
    let count =
        |state: &str| after.attempts_of(id).filter(|(_, attempt)| attempt.state == state).count() as i64;
    let all = after.attempts_of(id).count() as i64;
    let (running, succeeded, abandoned) = (count("running"), count("succeeded"), count("abandoned"));
    ensure!(
        command.attempts == all - abandoned,
        "command {id} counts {} attempts of {all}, {abandoned} abandoned",
        command.attempts
    );
    ensure!(
        command.lapses == abandoned,
        "command {id} counts {} lapses, but {abandoned} attempts were abandoned",
        command.lapses
    );
    let delivered = after.notifications_of(id).filter(|(_, row)| row.is_delivered()).count();
    ensure!(delivered <= 1, "the message of command {id} was delivered {delivered} times");
    let failed = count("failed");
    let (fits, may_be_delivered) = match command.state.as_str() {
        "pending" => (running == 0 && succeeded == 0 && failed == 0, true),
        "attempted" => (running == 1 && succeeded == 0 && failed == 0, true),
        "succeeded" => (running == 0 && succeeded == 1 && failed == 0 && delivered == 1, true),
        "failed" => (running == 0 && succeeded == 0 && (failed == 1 || command.lapses >= MOST_LAPSES), false),
        _ => (false, false),
    };
    ensure!(
        fits,
        "command {id} is {} with {running} attempts running, {succeeded} succeeded, {failed} failed, and {delivered} \
         deliveries",
        command.state
    );
    ensure!(may_be_delivered || delivered == 0, "command {id} failed, but its message was delivered");
    let broken = command.state == "failed";
    ensure!(
        broken == command.error.is_some(),
        "command {id} is {} with error {:?}",
        command.state,
        command.error
    );
    Ok(())
}
