//! Ledgers to measure on: the program creates the file, we fill it.

use std::path::{Path, PathBuf};

use conveyor_model::Timestamp;
use rusqlite::Connection;

use super::Lab;
use super::measure::output;
use crate::failure::{Context as _, Failure};

/// The task that commands name; it is bound.
pub(super) const TASK: &str = "task-00001";

/// How much is in a ledger.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    /// Tasks, each with a worker, a manager and a binding.
    pub(super) tasks: usize,
    /// How many of these bindings are live; the other ones have ended.
    pub(super) live: usize,
    /// Finished commands, each with an attempt and a notification that was consumed.
    pub(super) commands: usize,
    /// Telemetry events with their search rows.
    pub(super) telemetry: usize,
    /// Events from rollouts.
    pub(super) events: usize,
    /// Queued commands, round the live tasks.
    pub(super) queued: usize,
}

/// What a user has after the first day.
pub(super) const SMALL: Scale =
    Scale { tasks: 10, live: 10, commands: 100, telemetry: 1_000, events: 1_000, queued: 0 };

/// A word in every fourth telemetry event, and one in three of all.
pub(super) const FREQUENT: &str = "claimed";
pub(super) const RARE: &str = "zirconium";

/// Rows per transaction while filling.
const BATCH: usize = 50_000;

/// Makes a ledger in the scratch directory.
pub(super) fn create(lab: &Lab, name: &str, scale: Scale) -> Result<PathBuf, Failure> {
    let file = lab.scratch.join(name);
    fill(lab, &file, scale)?;
    Ok(file)
}

/// A copy of a ledger that nobody has open.
pub(super) fn copy(lab: &Lab, of: &Path, name: &str) -> Result<PathBuf, Failure> {
    let file = lab.scratch.join(name);
    remove(&file);
    std::fs::copy(of, &file).context(file.display())?;
    // Otherwise the first commit on it would have to wait for the whole copy to reach the disk.
    std::fs::File::open(&file).and_then(|file| file.sync_all()).context(file.display())?;
    Ok(file)
}

/// Removes a ledger with its write-ahead log.
pub(super) fn remove(file: &Path) {
    for end in ["", "-wal", "-shm"] {
        let mut name = file.as_os_str().to_owned();
        name.push(end);
        // It need not be there.
        let _ = std::fs::remove_file(name);
    }
}

/// A connection behind the program's back; call [`done`] at the end.
pub(super) fn connect(file: &Path) -> Result<Connection, Failure> {
    let connection = Connection::open(file).context(file.display())?;
    connection
        .execute_batch("pragma foreign_keys = off; pragma synchronous = off; pragma cache_size = -262144")
        .context(file.display())?;
    Ok(connection)
}

/// Leaves the whole ledger in its file, without a write-ahead log.
pub(super) fn done(connection: Connection) -> Result<(), Failure> {
    connection.execute_batch("pragma wal_checkpoint(truncate)").context("writing the log back")?;
    connection.close().map_err(|(_, error)| error).context("closing a ledger")
}

/// The number a query gives.
pub(super) fn number(file: &Path, sql: &str) -> Result<i64, Failure> {
    let connection = Connection::open(file).context(file.display())?;
    connection.query_row(sql, [], |row| row.get(0)).context(sql)
}

/// Has the program create a ledger and fills it.
pub(super) fn fill(lab: &Lab, file: &Path, scale: Scale) -> Result<(), Failure> {
    remove(file);
    // A writing command makes the additions, too; it finds nothing to do.
    output(&mut lab.conveyor(file, &["dispatch", "--once"]))?;
    let connection = connect(file)?;
    let filler = Filler { connection: &connection, scale };
    filler.fill().context(format_args!("filling {}", file.display()))?;
    done(connection)
}

struct Filler<'c> {
    connection: &'c Connection,
    scale: Scale,
}

/// The statements of one kind of thing: given its number, writes it.
type Write<'w> = &'w mut dyn FnMut(usize) -> rusqlite::Result<()>;

impl Filler<'_> {
    fn fill(&self) -> rusqlite::Result<()> {
        let Scale { tasks, commands, telemetry, events, queued, .. } = self.scale;
        self.connection.set_prepared_statement_cache_capacity(32);
        self.many(tasks, &mut |n| self.task(n))?;
        self.many(commands, &mut |n| self.command(n))?;
        self.many(telemetry, &mut |n| self.telemetry(n))?;
        self.many(events, &mut |n| self.event(n))?;
        self.many(queued, &mut |n| self.queued(n))
    }

    /// Numbers begin with 1.
    fn many(&self, count: usize, write: Write<'_>) -> rusqlite::Result<()> {
        for first in (1..=count).step_by(BATCH) {
            self.connection.execute_batch("begin immediate")?;
            (first..=count.min(first + BATCH - 1)).try_for_each(&mut *write)?;
            self.connection.execute_batch("commit")?;
        }
        Ok(())
    }

    fn run(&self, sql: &str, values: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute(values).map(|_| ())
    }

    fn task(&self, n: usize) -> rusqlite::Result<()> {
        let live = n <= self.scale.live;
        let at = moment(n);
        self.run(
            "insert into tasks (id, name, goal, state, created_at, updated_at) \
             values ('id-' || ?1, ?1, 'Make the parser accept empty input', ?2, ?3, ?3)",
            &[&name("task", n), &if live { "managed" } else { "done" }, &at],
        )?;
        for role in ["worker", "manager"] {
            self.run(
                "insert into sessions (id, name, role, identity_token, codex_session_path, codex_app_thread_id, \
                 cwd, registered_at, last_heartbeat_at, state) \
                 values ('id-' || ?1, ?1, ?2, 'token-' || ?1, ?3, 'thread-' || ?1, '/srv', ?4, ?4, ?5)",
                &[&name(role, n), &role, &format!("{role}-{n:05}.jsonl"), &at, &if live { "active" } else { "gone" }],
            )?;
        }
        self.run(
            "insert into bindings (id, task_id, worker_session_id, manager_session_id, state, created_at, ended_at) \
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            &[
                &binding(n),
                &id("task", n),
                &id("worker", n),
                &id("manager", n),
                &if live { "active" } else { "ended" },
                &at,
                &(!live).then(|| moment(n + 1)),
            ],
        )
    }

    /// A command that was delivered and consumed.
    fn command(&self, n: usize) -> rusqlite::Result<()> {
        let of = 1 + n % self.scale.tasks;
        let (command, correlation, at) = (random_id("command", n), random_id("dispatch", n), moment(n));
        let result = format!(
            r#"{{"command_id":"{command}","delivery_mode":"pull_required","state":"pull_required","target_session":"{}"}}"#,
            name("worker", of)
        );
        self.run(
            "insert into commands (id, idempotency_key, created_at, updated_at, task_id, correlation_id, type, state, \
             claimed_by, claimed_at, claim_expires_at, attempts, payload_json, result_json) \
             values (?1, ?1, ?2, ?2, ?3, ?4, 'nudge_worker', 'succeeded', 'dispatch-local', ?2, ?2, 1, ?5, ?6)",
            &[&command, &at, &id("task", of), &correlation, &MESSAGE, &result],
        )?;
        self.run(
            "insert into command_attempts (command_id, correlation_id, dispatcher_id, started_at, finished_at, state, \
             result_json) values (?1, ?2, 'dispatch-local', ?3, ?3, 'succeeded', ?4)",
            &[&command, &correlation, &at, &result],
        )?;
        self.run(
            "insert into routed_notifications (task_id, binding_id, correlation_id, source_session_id, \
             target_session_id, signal_type, dedupe_key, command_id, created_at, delivered_at, consumed_by_session_id, \
             consumed_at, delivery_mode, state, payload_json) \
             values (?1, ?2, ?3, ?4, ?5, 'nudge_worker', ?6, ?7, ?8, ?8, ?5, ?8, 'pull_required', 'delivered', ?9)",
            &[
                &id("task", of),
                &binding(of),
                &correlation,
                &id("manager", of),
                &id("worker", of),
                &format!("{}:nudge_worker:{command}", binding(of)),
                &command,
                &at,
                &MESSAGE,
            ],
        )
    }

    fn telemetry(&self, n: usize) -> rusqlite::Result<()> {
        let (event, task) = (random_id("telemetry", n), id("task", 1 + n % self.scale.tasks));
        let (kind, summary) = match n % 4 {
            0 => ("dispatch_command_claimed", "Command nudge_worker was claimed."),
            1 => ("dispatch_command_succeeded", "Command nudge_worker succeeded."),
            2 => ("codex_events_ingested", "Ingested 17 events of a session."),
            _ => ("session_inbox_read", "Read 3 items of an inbox."),
        };
        // Three events, spread over the whole, have the rare word.
        let is_rare = self.scale.telemetry >= 3 && n % (self.scale.telemetry / 3) == 1;
        let attributes = format!(
            r#"{{"attempts":1,"item":"item {n}","manager_id":null,"remark":"{}","worker_id":null}}"#,
            if is_rare { RARE } else { "nothing special" }
        );
        self.run(
            "insert into telemetry_events (id, task_id, timestamp, actor, event_type, severity, summary, \
             correlation_json, attributes_json) values (?1, ?2, ?3, 'dispatch', ?4, 'info', ?5, ?6, ?7)",
            &[
                &event,
                &task,
                &moment(n),
                &kind,
                &summary,
                &format!(
                    r#"{{"command_id":"{}","dispatcher_id":"dispatch-local"}}"#,
                    random_id("command", n)
                ),
                &attributes,
            ],
        )?;
        self.run(
            "insert into telemetry_events_fts (event_id, task_id, run_id, actor, event_type, summary, attributes) \
             values (?1, ?2, null, 'dispatch', ?3, ?4, ?5)",
            &[&event, &task, &kind, &summary, &attributes],
        )
    }

    fn event(&self, n: usize) -> rusqlite::Result<()> {
        let (kind, subtype) = match n % 8 {
            0 => ("event_msg", Some("agent_message")),
            1 => ("event_msg", Some("token_count")),
            2 => ("turn_context", None),
            _ => ("response_item", None),
        };
        self.run(
            "insert into codex_events (session_id, timestamp, type, subtype, payload_json, byte_offset, ingested_at) \
             values (?1, ?2, ?3, ?4, ?5, ?6, ?2)",
            &[
                &id("worker", 1 + n % self.scale.tasks),
                &moment(n),
                &kind,
                &subtype,
                &format!(r#"{{"call_id":"call-{n}","output":"line one of the output, and some more of it","type":"x"}}"#),
                &(n as i64 * 500),
            ],
        )
    }

    fn queued(&self, n: usize) -> rusqlite::Result<()> {
        let command = random_id("command", self.scale.commands + n);
        self.run(
            "insert into commands (id, idempotency_key, created_at, updated_at, task_id, correlation_id, type, state, \
             payload_json) values (?1, ?1, ?2, ?2, ?3, ?4, 'nudge_worker', 'pending', ?5)",
            &[
                &command,
                &moment(self.scale.commands + n),
                &id("task", 1 + n % self.scale.live),
                &random_id("dispatch", n),
                &MESSAGE,
            ],
        )
    }
}

const MESSAGE: &str =
    r#"{"message":"Please look at the failing test in the parser and report what you find."}"#;

pub(super) fn name(kind: &str, n: usize) -> String {
    format!("{kind}-{n:05}")
}

fn id(kind: &str, n: usize) -> String {
    format!("id-{kind}-{n:05}")
}

fn binding(n: usize) -> String {
    id("binding", n)
}

/// An id as random as the product's, but the same in every run.
fn random_id(prefix: &str, n: usize) -> String {
    let scatter = |salt: u64| {
        (n as u64 + salt)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9)
    };
    let (high, low) = (scatter(1), scatter(1 << 40));
    format!(
        "{prefix}-{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        high >> 32,
        high & 0xffff,
        (high >> 16) & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    )
}

/// Moments of the past in order, three seconds apart.
fn moment(n: usize) -> String {
    const FIRST: i64 = 1_767_225_600_000;
    Timestamp::from_millis(FIRST + 3_000 * n as i64).to_ms_text()
}
