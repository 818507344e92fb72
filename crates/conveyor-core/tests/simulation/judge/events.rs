//! What sessions wrote: each line once, and how far everything has come.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, Judge, ensure};
use crate::jobs::Job;
use crate::snapshot::{Event, Session, Snapshot};

pub(super) fn check(judge: &mut Judge, change: &Change<'_>) -> Result<(), String> {
    let (before, after) = (change.before, change.after);
    if before.events != after.events {
        stored(judge, change)?;
    }
    for (id, earlier) in &before.sessions {
        let Some(session) = after.sessions.get(id) else { return Err(format!("session {id} vanished")) };
        ensure!(session.routed >= earlier.routed, "the routed mark of {} went back", session.name);
        if earlier != session {
            mark(change, id, earlier, session)?;
        }
    }
    routed_marks(after)
}

fn stored(judge: &mut Judge, change: &Change<'_>) -> Result<(), String> {
    let (before, after) = (change.before, change.after);
    for (id, event) in &before.events {
        ensure!(after.events.get(id) == Some(event), "event {id} is not what it was");
    }
    let mut payloads = BTreeSet::new();
    for (id, event) in &after.events {
        ensure!(payloads.insert(&event.payload), "event {id} was stored twice: {}", event.payload);
        if before.events.contains_key(id) {
            continue;
        }
        ensure!(change.step.job.ingests(), "event {id} was stored by {:?}", change.step.job);
        let by_dispatcher = matches!(change.step.job, Job::Dispatch { .. } | Job::Follow);
        ensure!(event.by_dispatcher == by_dispatcher, "event {id} has another reader: {event:?}");
        ensure!(was_written(change, event), "event {id} was never written so: {event:?}");
        judge.count("event stored");
    }
    Ok(())
}

fn was_written(change: &Change<'_>, event: &Event) -> bool {
    let Some(session) = change.after.sessions.get(&event.session) else { return false };
    let rollouts = change.step.rollouts;
    rollouts.files_of(&session.name).any(|file| {
        let lines = rollouts.lines(file).iter();
        lines
            .into_iter()
            .any(|line| line.start == event.offset && line.payload.as_ref() == Some(&event.payload))
    })
}

/// A session's mark moved: everything before it is stored.
fn mark(change: &Change<'_>, id: &str, earlier: &Session, session: &Session) -> Result<(), String> {
    let registered = matches!(change.step.job, Job::Register { .. } | Job::Deregister { .. });
    if registered {
        return Ok(());
    }
    ensure!(
        (&earlier.file, earlier.tmux, &earlier.state) == (&session.file, session.tmux, &session.state),
        "session {} was changed by {:?}",
        session.name,
        change.step.job
    );
    if earlier.offset == session.offset {
        return Ok(());
    }
    ensure!(
        session.offset > earlier.offset,
        "the mark of {} went back to {:?}",
        session.name,
        session.offset
    );
    let offset = session.offset.unwrap_or(0);
    let lines = change.step.rollouts.lines(&session.file);
    ensure!(
        lines.iter().any(|line| line.end == offset),
        "the mark of {} stands at {offset}, inside a line",
        session.name
    );
    let stored = stored_of(change.after, id);
    for line in lines.iter().filter(|line| line.end <= offset) {
        if let Some(payload) = &line.payload {
            ensure!(stored.contains(payload.as_str()), "the mark of {} is beyond {payload}", session.name);
        }
    }
    Ok(())
}

/// The payloads stored of a session.
pub fn stored_of<'s>(snapshot: &'s Snapshot, session_id: &str) -> BTreeSet<&'s str> {
    let own = snapshot.events.values().filter(|event| event.session == session_id);
    own.map(|event| event.payload.as_str()).collect()
}

/// No mark of a bound worker stands beyond a completion that nobody has routed.
fn routed_marks(after: &Snapshot) -> Result<(), String> {
    let workers: BTreeMap<&str, i64> = after
        .live
        .values()
        .filter_map(|binding| Some((binding.worker.as_str(), after.sessions.get(&binding.worker)?.routed)))
        .collect();
    for (id, event) in after.events.iter().filter(|(_, event)| event.is_completion) {
        let mark = workers.get(event.session.as_str());
        ensure!(
            mark.is_none_or(|mark| mark < id) || after.is_routed(*id),
            "the routed mark of {} is beyond the unrouted completion {id}",
            event.session
        );
    }
    Ok(())
}
