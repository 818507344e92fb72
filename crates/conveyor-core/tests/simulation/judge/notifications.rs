//! Notifications: from whom, to whom, in which order, taken out by whom.

use conveyor_model::Timestamp;

use super::{Change, Judge, ensure};
use crate::jobs::Job;
use crate::model::{Item, Visit};
use crate::snapshot::{Event, Notification};

const COMPLETION: &str = "worker_task_complete";

pub(super) fn check(judge: &mut Judge, change: &Change<'_>, visit: &mut Visit) -> Result<(), String> {
    let (before, after) = (change.before, change.after);
    let mut consumed = Vec::new();
    for (id, earlier) in &before.notifications {
        let Some(now) = after.notifications.get(id) else {
            return Err(format!("notification {id} vanished"));
        };
        if earlier == now {
            continue;
        }
        changed(*id, earlier, now)?;
        if now.consumed_at.is_some() && earlier.consumed_at.is_none() {
            consumed.push((*id, now));
        }
        if now.is_delivered() && !earlier.is_delivered() {
            delivered(judge, change, *id, now)?;
        } else if now.state == "suppressed" {
            ensure!(
                matches!(change.step.job, Job::Unbind { .. })
                    && earlier.command.is_none()
                    && !earlier.started,
                "notification {id} was suppressed by {:?}",
                change.step.job
            );
            judge.count("suppressed with its binding");
        } else if now.state == "failed" {
            ensure!(earlier.started, "notification {id} failed though nothing had been typed");
            judge.count("completion left half done");
        } else if now.consumed_at == earlier.consumed_at {
            ensure!(change.step.job.routes(), "notification {id} was changed by {:?}", change.step.job);
        }
    }
    for (id, now) in &after.notifications {
        if before.notifications.contains_key(id) {
            continue;
        }
        made(judge, change, *id, now)?;
        if now.is_delivered() {
            delivered(judge, change, *id, now)?;
        }
    }
    take(judge, change, visit, &consumed)
}

fn changed(id: i64, earlier: &Notification, now: &Notification) -> Result<(), String> {
    ensure!(
        earlier.fixed() == now.fixed() && earlier.event == now.event && earlier.command == now.command,
        "notification {id} became another one: {earlier:?}, {now:?}"
    );
    let moved = (earlier.state.as_str(), now.state.as_str());
    ensure!(
        earlier.state == now.state || matches!(moved, ("pending", "delivered" | "failed" | "suppressed")),
        "notification {id} went from {} to {}",
        moved.0,
        moved.1
    );
    ensure!(
        earlier.consumed_at.is_none()
            || (&earlier.consumed_at, &earlier.consumed_by) == (&now.consumed_at, &now.consumed_by),
        "notification {id} was consumed before, by {:?}: {now:?}",
        earlier.consumed_by
    );
    Ok(())
}

fn made(judge: &mut Judge, change: &Change<'_>, id: i64, now: &Notification) -> Result<(), String> {
    let job = change.step.job;
    ensure!(job.routes(), "notification {id} was made by {job:?}");
    ensure!(now.consumed_at.is_none(), "notification {id} was consumed as it was made");
    let twin = |(other, row): (&i64, &Notification)| *other != id && row.dedupe_key == now.dedupe_key;
    ensure!(!change.after.notifications.iter().any(twin), "notification {id} has a key that is taken");
    let Some(binding) = change.before.live.get(&now.task) else {
        return Err(format!("notification {id} is of a task that is not bound"));
    };
    let (source, target) = match now.signal.as_str() {
        "notify_manager" | COMPLETION => (&binding.worker, &binding.manager),
        _ => (&binding.manager, &binding.worker),
    };
    ensure!(
        (&now.binding, &now.source, &now.target) == (&binding.id, source, target),
        "notification {id} goes the wrong way: {now:?}"
    );
    match (&now.command, now.event) {
        (Some(command), None) => of_command(change, id, now, command),
        (None, Some(event)) => of_event(judge, change, id, now, event),
        _ => Err(format!("notification {id} is of nothing: {now:?}")),
    }
}

fn of_command(change: &Change<'_>, id: i64, now: &Notification, command: &str) -> Result<(), String> {
    let Some(queued) = change.before.commands.get(command) else {
        return Err(format!("notification {id} is of a command that nobody had sent"));
    };
    ensure!(
        (&queued.task, &queued.kind, &queued.message) == (&now.task, &now.signal, &now.message),
        "notification {id} does not say what its command says"
    );
    ensure!(change.step.job.is_old() || now.is_delivered(), "notification {id} is {}", now.state);
    Ok(())
}

fn of_event(
    judge: &mut Judge,
    change: &Change<'_>,
    id: i64,
    now: &Notification,
    event: i64,
) -> Result<(), String> {
    let before = change.before;
    let again =
        change.after.notifications.iter().any(|(other, row)| *other != id && row.event == Some(event));
    ensure!(!again, "completion {event} was routed twice, now as {id}");
    let Some(row) = before.events.get(&event).filter(|row| row.is_completion && row.session == now.source)
    else {
        return Err(format!("notification {id} is of event {event}, which is no such completion"));
    };
    // An older completion that has no notification after the step, or a younger one.
    let skipped = before.events.iter().find(|(older, other)| {
        let routed = change.after.notifications.iter().find(|(_, row)| row.event == Some(**older));
        **older < event
            && other.is_completion
            && other.session == row.session
            && routed.is_none_or(|(place, _)| *place > id)
    });
    ensure!(skipped.is_none(), "completion {event} was routed before {skipped:?}");
    let is_typed_at = before.sessions.get(&now.target).is_some_and(|session| session.tmux);
    let fits = match now.state.as_str() {
        "delivered" => !is_typed_at,
        "pending" => is_typed_at || change.step.job.is_old(),
        "suppressed" => {
            judge.count("old history suppressed");
            let at = |text: &str| Timestamp::parse(text);
            let bound = before.live.get(&now.task).and_then(|binding| at(&binding.created_at));
            let is_history =
                |event: &Event| event.is_completion && event.by_dispatcher && at(&event.timestamp) < bound;
            let newer = |(other, event_row): (&i64, &Event)| {
                *other > event && event_row.session == row.session && is_history(event_row)
            };
            is_history(row) && before.events.iter().any(newer)
        }
        _ => false,
    };
    ensure!(fits, "completion {event} became {now:?}");
    if now.state == "pending" && is_typed_at {
        judge.count("completion parked");
    }
    Ok(())
}

/// A notification came into an inbox.
fn delivered(judge: &mut Judge, change: &Change<'_>, id: i64, now: &Notification) -> Result<(), String> {
    let is_old = change.step.job.is_old();
    let is_typed_at = change.before.sessions.get(&now.target).is_some_and(|session| session.tmux);
    ensure!(is_old || !is_typed_at, "notification {id} was put into the inbox of a terminal");
    ensure!(is_old || !now.started, "notification {id} was delivered though its typing had begun");
    let queued = match &now.command {
        Some(command) => judge.model.delivered(command, !is_old)?,
        None => None,
    };
    judge.count(if now.command.is_some() { "delivered" } else { "completion delivered" });
    let item = Item { created_at: now.created_at.clone(), id, message: now.message.clone(), queued };
    judge.model.put(&now.target, item);
    Ok(())
}

fn take(
    judge: &mut Judge,
    change: &Change<'_>,
    visit: &mut Visit,
    consumed: &[(i64, &Notification)],
) -> Result<(), String> {
    ensure!(consumed.len() <= 1, "{} notifications were consumed at once", consumed.len());
    for (id, now) in consumed {
        ensure!(change.step.job.consumes(), "notification {id} was consumed by {:?}", change.step.job);
        ensure!(
            now.is_delivered() && now.consumed_by.as_ref() == Some(&now.target),
            "notification {id} was consumed by {:?}: {now:?}",
            now.consumed_by
        );
        let item = judge.model.consumed(&now.target, *id)?;
        visit.takes(&judge.model, &now.target, item);
        judge.count("consumed");
    }
    let sessions = change.after.sessions.keys();
    for session in sessions {
        let known: Vec<i64> = judge.model.inbox(session).iter().map(|item| item.id).collect();
        let found = change.after.inbox(session);
        ensure!(known == found, "the inbox of {session} should hold {known:?}, but holds {found:?}");
    }
    Ok(())
}
