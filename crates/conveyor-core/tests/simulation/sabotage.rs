//! Faults that the simulation must find, put into the ledger as if a step of the product had made
//! them.

use crate::jobs::Job;
use crate::judge::Step;
use crate::ledger::Raw;
use crate::snapshot::Snapshot;

/// One fault.
pub struct Sabotage {
    pub name: &'static str,
    /// In whose step it can happen.
    by: fn(&Job) -> bool,
    /// Finds the row to be spoilt; the first column is put for `$` in the statements.
    find: &'static str,
    spoil: &'static [&'static str],
}

fn dispatcher(job: &Job) -> bool {
    matches!(job, Job::Dispatch { dry_run: false, .. })
}

fn consumer(job: &Job) -> bool {
    job.consumes()
}

fn ingester(job: &Job) -> bool {
    matches!(job, Job::Dispatch { ingest: true, .. } | Job::Ingest { .. } | Job::Follow)
}

fn anybody(_: &Job) -> bool {
    true
}

const ROW: &str = "task_id, binding_id, correlation_id, source_session_id, target_session_id, signal_type, \
                   source_event_id, command_id, created_at, delivered_at, delivery_mode, state, payload_json";

pub const ALL: &[Sabotage] = &[
    Sabotage {
        name: "a consumed message comes back",
        by: anybody,
        find: "select id from routed_notifications where consumed_at is not null",
        spoil: &[
            "update routed_notifications set consumed_at = null, consumed_by_session_id = null where id = $",
        ],
    },
    Sabotage {
        name: "a message is lost from its inbox",
        by: anybody,
        find: "select id from routed_notifications where consumed_at is null",
        spoil: &["delete from routed_notifications where id = $"],
    },
    Sabotage {
        name: "a message is delivered twice",
        by: dispatcher,
        find: "select id from routed_notifications where state = 'delivered' and command_id is not null",
        spoil: &["insert into routed_notifications (dedupe_key, ROW) select dedupe_key || '+', ROW \
                  from routed_notifications where id = $"],
    },
    Sabotage {
        name: "a completion is routed twice",
        by: dispatcher,
        find: "select n.id from routed_notifications n join bindings b on b.id = n.binding_id \
               where source_event_id is not null and b.state = 'active'",
        spoil: &["insert into routed_notifications (dedupe_key, ROW) select dedupe_key || '+', ROW \
                  from routed_notifications where id = $"],
    },
    Sabotage {
        name: "an accepted message is lost",
        by: anybody,
        find: "select rowid from commands where state = 'pending' and attempts = 0 and lapses = 0",
        spoil: &["delete from commands where rowid = $"],
    },
    Sabotage {
        name: "a message fails without reason",
        by: dispatcher,
        find: "select c.rowid from commands c join bindings b on b.task_id = c.task_id \
               where c.state = 'pending' and c.lapses = 0 and b.state = 'active'",
        spoil: &[
            "insert into command_attempts (command_id, correlation_id, dispatcher_id, started_at, finished_at, state) \
             select id, correlation_id, 'DISPATCHER', created_at, created_at, 'failed' from commands where rowid = $",
            "update commands set state = 'failed', error = 'x', attempts = 1 where rowid = $",
        ],
    },
    Sabotage {
        name: "a message succeeds without delivery",
        by: dispatcher,
        find: "select rowid from commands where state = 'pending' and lapses = 0",
        spoil: &[
            "insert into command_attempts (command_id, correlation_id, dispatcher_id, started_at, finished_at, state) \
             select id, correlation_id, 'DISPATCHER', created_at, created_at, 'succeeded' from commands \
             where rowid = $",
            "update commands set state = 'succeeded', attempts = 1 where rowid = $",
        ],
    },
    Sabotage {
        name: "attempts are miscounted",
        by: dispatcher,
        find: "select rowid from commands where state = 'pending'",
        spoil: &["update commands set attempts = attempts + 1 where rowid = $"],
    },
    Sabotage {
        name: "a lapse is not counted",
        by: dispatcher,
        find: "select rowid from commands where lapses > 0",
        spoil: &["update commands set lapses = lapses - 1 where rowid = $"],
    },
    Sabotage {
        name: "a claim is ended before its time",
        by: dispatcher,
        find: "select rowid from commands where state = 'attempted' and claim_expires_at > 'NOW'",
        spoil: &[
            "update command_attempts set state = 'abandoned', finished_at = started_at where state = 'running' \
             and command_id = (select id from commands where rowid = $)",
            "update commands set state = 'pending', claimed_by = null, claim_expires_at = null, \
             attempts = attempts - 1, lapses = lapses + 1 where rowid = $",
        ],
    },
    Sabotage {
        name: "two take one message each at once",
        by: consumer,
        find: "select id from routed_notifications where state = 'delivered' and consumed_at is null",
        spoil: &[
            "update routed_notifications set consumed_at = 'NOW', consumed_by_session_id = target_session_id \
                  where target_session_id = (select target_session_id from routed_notifications where id = $) \
                  and state = 'delivered'",
        ],
    },
    Sabotage {
        name: "the last comes first",
        by: consumer,
        find: "select max(id) from routed_notifications where state = 'delivered' and consumed_at is null \
               group by target_session_id having count(distinct created_at) > 1 and max(id) = \
               (select id from routed_notifications order by created_at desc, id desc limit 1)",
        spoil: &[
            "update routed_notifications set consumed_at = 'NOW', consumed_by_session_id = target_session_id \
                  where id = $",
        ],
    },
    Sabotage {
        name: "a message goes to somebody else",
        by: dispatcher,
        find: "select id from routed_notifications where consumed_at is null",
        spoil: &["update routed_notifications set target_session_id = source_session_id where id = $"],
    },
    Sabotage {
        name: "a message is cut loose from its command",
        by: dispatcher,
        find: "select id from routed_notifications where command_id is not null",
        spoil: &["update routed_notifications set command_id = null where id = $"],
    },
    Sabotage {
        name: "a line is read twice",
        by: ingester,
        find: "select id from codex_events",
        spoil: &[
            "insert into codex_events (session_id, timestamp, type, subtype, payload_json, byte_offset, \
                  ingested_at) select session_id, timestamp, type, subtype, payload_json, byte_offset, ingested_at \
                  from codex_events where id = $",
        ],
    },
    Sabotage {
        name: "a line is forgotten",
        by: ingester,
        find: "select id from codex_events where subtype is null",
        spoil: &["delete from codex_events where id = $"],
    },
    Sabotage {
        name: "a mark stands inside a line",
        by: ingester,
        find: "select rowid from sessions where last_ingest_offset is not null",
        spoil: &["update sessions set last_ingest_offset = last_ingest_offset + 1 where rowid = $"],
    },
    Sabotage {
        name: "a completion is passed over",
        by: dispatcher,
        find: "select e.id from codex_events e join bindings b on b.worker_session_id = e.session_id \
               where b.state = 'active' and e.subtype = 'task_complete' \
               and not exists (select 1 from routed_notifications n where n.source_event_id = e.id)",
        spoil: &["update sessions set routed_event_id = $ where id = \
                  (select session_id from codex_events where id = $)"],
    },
    Sabotage {
        name: "an event cannot be searched",
        by: dispatcher,
        find: "select max(rowid) from telemetry_events_fts",
        spoil: &["delete from telemetry_events_fts where rowid = $"],
    },
];

impl Sabotage {
    /// Spoils the ledger (SQLite) if there is something to be spoilt.
    pub fn apply(&self, raw: &mut Raw, seen: &Snapshot, step: &Step<'_>) -> bool {
        if !(self.by)(step.job) || seen.commands.len() < 3 {
            return false;
        }
        let now = step.now.to_ms_text();
        let Some(found) = raw.cell(&self.find.replace("NOW", &now)) else { return false };
        let dispatcher = match step.job {
            Job::Dispatch { id, .. } => id.as_str(),
            _ => "",
        };
        for statement in self.spoil {
            let statement =
                statement.replace("ROW", ROW).replace("NOW", &now).replace("DISPATCHER", dispatcher);
            raw.run(&statement.replace('$', &found));
        }
        true
    }
}
