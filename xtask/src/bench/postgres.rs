//! Dispatching on PostgreSQL, against `pgbench` with the same statements.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use conveyor_testkit::postgres::{Server, enabled};

use super::Lab;
use super::measure::{median, output};
use super::report::{Bar, Report, Row, Unit};
use crate::failure::{Context as _, Failure};

/// Items per transaction of `pgbench`, and transactions per client. Each statement of the script is
/// prepared once, so there must be many more transactions than items.
const ITEMS: usize = 20;
const TRANSACTIONS: usize = 100;
const PER_CLIENT: usize = ITEMS * TRANSACTIONS;

pub(super) const SCHEMA: &str = "bench";
const WHAT: &str = "dispatch on PostgreSQL";

/// One dispatcher and four.
pub(super) fn run(lab: &Lab, report: &mut Report) -> Result<(), Failure> {
    let Some(pgbench) = find_pgbench() else {
        report.skip(WHAT, "there is no pgbench");
        return Ok(());
    };
    let Some(server) = server(report, WHAT) else { return Ok(()) };
    let url = url(&server);
    let bench = Bench { lab, pgbench, server, url };
    bench.create()?;
    for dispatchers in [1, 4] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..lab.rounds(3) {
            theirs.push(bench.pgbench(dispatchers)?);
            ours.push(bench.dispatch(dispatchers)?);
        }
        let plural = if dispatchers == 1 { "" } else { "s" };
        report.add(Row::ratio(
            format!("{WHAT}, {dispatchers} dispatcher{plural}"),
            Unit::Rate,
            median(ours),
            ("pgbench", median(theirs)),
            Bar::AtLeast(0.6),
        ));
    }
    Ok(())
}

/// A server of its own; `None`, and `what` skipped, where there is none.
pub(super) fn server(report: &mut Report, what: &str) -> Option<Server> {
    if !enabled() {
        report.skip(what, "PostgreSQL is switched off");
        return None;
    }
    Server::own().inspect_err(|reason| report.skip(what, reason)).ok()
}

/// The ledger on it.
pub(super) fn url(server: &Server) -> PathBuf {
    let host = server.socket_dir().display().to_string().replace('/', "%2F");
    format!("postgres://conveyor@{host}/postgres?options=-csearch_path%3D{SCHEMA}").into()
}

/// On PATH, or where `pg_config` says.
fn find_pgbench() -> Option<PathBuf> {
    let works = |program: &Path| {
        let mut command = Command::new(program);
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let directory = output(Command::new("pg_config").arg("--bindir")).unwrap_or_default();
    ["pgbench".into(), Path::new(directory.trim()).join("pgbench")]
        .into_iter()
        .find(|path: &PathBuf| works(path))
}

struct Bench<'l> {
    lab: &'l Lab,
    pgbench: PathBuf,
    server: Server,
    url: PathBuf,
}

impl Bench<'_> {
    fn create(&self) -> Result<(), Failure> {
        output(&mut self.lab.conveyor(&self.url, &["tasks"]))?;
        self.sql(&format!(
            "set search_path = {SCHEMA};
             insert into tasks (id, name, goal, state, created_at, updated_at)
               select 'task-' || n, 'task-' || n, 'g', 'managed', '2026-01-01', '2026-01-01'
               from generate_series(0, 999) n;
             insert into sessions (id, name, role, identity_token, cwd, registered_at, state)
               select role || '-' || n, role || '-' || n, role, role || n, '/srv', '2026-01-01', 'active'
               from generate_series(0, 999) n, (values ('worker'), ('manager')) roles (role);
             insert into bindings (id, task_id, worker_session_id, manager_session_id, state, created_at)
               select 'binding-' || n, 'task-' || n, 'worker-' || n, 'manager-' || n, 'active', '2026-01-01'
               from generate_series(0, 999) n;
             analyze"
        ))
    }

    /// Makes a queue anew, and the statistics with it.
    fn queue(&self, items: usize) -> Result<(), Failure> {
        self.sql(&format!(
            "set search_path = {SCHEMA};
             truncate commands, command_attempts, routed_notifications, telemetry_events, telemetry_events_fts cascade;
             insert into commands (id, idempotency_key, created_at, updated_at, task_id, correlation_id, type, state,
                 payload_json)
               select 'command-' || md5(n::text), md5(n::text), '2026-01-01T00:00:' || lpad(n::text, 9, '0'),
                 '2026-01-01T00:00:00.000Z', 'task-' || (n % 1000), 'dispatch-' || md5(n::text), 'nudge_worker',
                 'pending', '{{\"message\":\"Please look at the failing test in the parser.\"}}'
               from generate_series(1, {items}) n;
             analyze commands; checkpoint"
        ))
    }

    fn sql(&self, statements: &str) -> Result<(), Failure> {
        self.server.client().batch_execute(statements).context("preparing PostgreSQL")
    }

    /// Items per second of so many dispatchers on one queue.
    fn dispatch(&self, dispatchers: usize) -> Result<f64, Failure> {
        let items = PER_CLIENT * dispatchers;
        self.queue(items)?;
        let limit = items.to_string();
        let start = Instant::now();
        let mut running = Vec::new();
        for n in 0..dispatchers {
            let id = format!("dispatcher-{n}");
            let mut command = self
                .lab
                .conveyor(&self.url, &["dispatch", "--once", "--limit", &limit, "--dispatcher-id", &id]);
            running.push(command.stdout(Stdio::null()).spawn().context("starting a dispatcher")?);
        }
        for child in &mut running {
            let status = child.wait().context("waiting for a dispatcher")?;
            if !status.success() {
                return Err(Failure::new(format!("a dispatcher failed: {status}")));
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let done = "select count(*) from bench.commands where state = 'succeeded'";
        let row = self.server.client().query_one(done, &[]).context(done)?;
        let done: i64 = row.try_get(0).context("counting")?;
        if done as usize != items {
            return Err(Failure::new(format!("{dispatchers} dispatchers did {done} of {items} items")));
        }
        Ok(items as f64 / seconds)
    }

    /// Items per second of so many clients of `pgbench`.
    fn pgbench(&self, clients: usize) -> Result<f64, Failure> {
        self.queue(PER_CLIENT * clients)?;
        let script = self.lab.scratch.join("dispatch.pgbench");
        std::fs::write(&script, script_text()).context(script.display())?;
        let (clients_text, transactions) = (clients.to_string(), TRANSACTIONS.to_string());
        let mut command = Command::new(&self.pgbench);
        command
            .env("PGOPTIONS", format!("-csearch_path={SCHEMA}"))
            .arg("-h")
            .arg(self.server.socket_dir())
            .args([
                "-U",
                "conveyor",
                "-n",
                "-M",
                "prepared",
                "-D",
                "i=0",
                "-c",
                &clients_text,
                "-j",
                &clients_text,
            ])
            .args(["-t", &transactions, "-f"])
            .arg(&script)
            .arg("postgres");
        let printed = output(command.stderr(Stdio::null()))?;
        let tps = printed
            .lines()
            .find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next()?.parse::<f64>().ok())
            .ok_or_else(|| Failure::new(format!("pgbench printed no rate:\n{printed}")))?;
        Ok(tps * ITEMS as f64)
    }
}

/// One transaction: the statements of the dispatcher for [`ITEMS`] commands.
fn script_text() -> String {
    let mut text = String::from("begin;\nselect conveyor_now();\n");
    text.push_str(&format!(
        "select id, type, task_id, correlation_id, required_permission, payload_json, parked_reason, attempts, \
         created_at, rowid from commands where type = 'nudge_worker' and state = 'pending' and available_at is null \
         and attempts < max_attempts order by created_at, rowid limit {ITEMS};\n"
    ));
    for _ in 0..ITEMS {
        text.push_str(ITEM);
        for (kind, attributes) in TELEMETRY {
            text.push_str(&telemetry(kind, attributes));
        }
        text.push_str(FINISH);
    }
    text.push_str("select pg_notify('conveyor_bench', '');\ncommit;\n");
    text
}

/// Claim, route and insert. Values are computed from the item's number on the server, because a
/// script cannot carry texts. A colon before a word would begin a variable.
const ITEM: &str = "\
\\set i :i + 1
\\set n :client_id * 2000 + :i
\\set t :n % 1000
select id from tasks where id = 'task-' || cast(:t as text) for no key update skip locked;
select id from commands where task_id = 'task-' || cast(:t as text) and state = 'pending' and created_at <= '2026' \
and parked_reason is not null and attempts < max_attempts and type in ('notify_manager', 'nudge_worker') \
order by created_at, rowid;
savepoint unit;
select b.id, b.task_id, b.worker_session_id, w.name, b.manager_session_id, m.name, b.state, b.created_at \
from bindings b left join sessions w on w.id = b.worker_session_id left join sessions m on m.id = b.manager_session_id \
where b.task_id = 'task-' || cast(:t as text) and b.state in ('active', 'ending') order by b.created_at desc limit 1;
select * from sessions where id = 'worker-' || cast(:t as text);
select * from sessions where id = 'manager-' || cast(:t as text);
update commands set state = 'attempted', updated_at = '2026-06-01T12:00:00.000Z', \
claimed_at = '2026-06-01T12:00:00.000Z', claimed_by = 'pgbench', claim_expires_at = conveyor_after(60), \
attempts = attempts + 1, parked_reason = null, error = null \
where id = 'command-' || md5(cast(:n as text)) and state = 'pending' and attempts < max_attempts \
returning claim_expires_at, attempts;
insert into command_attempts (command_id, correlation_id, dispatcher_id, started_at, state) \
values ('command-' || md5(cast(:n as text)), 'dispatch-' || md5(cast(:n as text)), 'pgbench', \
'2026-06-01T12:00:00.000Z', 'running') returning id as attempt \\gset
select id, state, delivery_mode, side_effect_started from routed_notifications \
where dedupe_key = 'binding/nudge_worker/' || md5(cast(:n as text));
insert into routed_notifications (task_id, binding_id, correlation_id, source_session_id, target_session_id, \
signal_type, dedupe_key, command_id, created_at, delivered_at, delivery_mode, state, payload_json) \
values ('task-' || cast(:t as text), 'binding-' || cast(:t as text), 'dispatch-' || md5(cast(:n as text)), \
'manager-' || cast(:t as text), 'worker-' || cast(:t as text), 'nudge_worker', \
'binding/nudge_worker/' || md5(cast(:n as text)), 'command-' || md5(cast(:n as text)), '2026-06-01T12:00:00.000Z', \
'2026-06-01T12:00:00.000Z', 'pull_required', 'delivered', '{\"command_id\": \"' || md5(cast(:n as text)) || \
'\",\"command_type\": \"nudge_worker\",\"message\": \"Please look at the failing test in the parser.\",\
\"permission_check\": null,\"delivery_mode\": \"pull_required\",\"source_session\": \"manager\",\
\"target_session\": \"worker\"}') returning id;
";

const FINISH: &str = "\
update command_attempts set state = 'succeeded', finished_at = '2026-06-01T12:00:00.000Z', \
result_json = '{\"command_id\": \"' || md5(cast(:n as text)) || '\",\"delivery_mode\": \"pull_required\",\
\"dry_run\": false,\"permission_check\": null,\"side_effect_completed\": false,\"side_effect_started\": false,\
\"state\": \"pull_required\"}', error = null where id = :attempt and state = 'running';
update commands set state = 'succeeded', updated_at = '2026-06-01T12:00:00.000Z', \
result_json = '{\"command_id\": \"' || md5(cast(:n as text)) || '\",\"delivery_mode\": \"pull_required\",\
\"dry_run\": false,\"permission_check\": null,\"side_effect_completed\": false,\"side_effect_started\": false,\
\"state\": \"pull_required\"}', error = null where id = 'command-' || md5(cast(:n as text));
release savepoint unit;
";

/// Events of one item: type, and attributes before the item's own id.
const TELEMETRY: [(&str, &str); 4] = [
    ("dispatch_command_claimed", r#"{"attempts": 1,"manager_id": null,"worker_id": null,"#),
    (
        "dispatch_command_attempted",
        r#"{"delivery_mode": "pull_required","permission_check": null,"source_session": "manager","#,
    ),
    ("dispatch_signal_pull_required", r#"{"delivery_mode": "pull_required","target_session": "worker","#),
    (
        "dispatch_command_succeeded",
        r#"{"error": null,"manager_id": null,"result": {"delivery_mode": "pull_required"},"worker_id": null,"#,
    ),
];

fn telemetry(kind: &str, attributes: &str) -> String {
    let words = attributes.replace(|letter: char| !letter.is_ascii_alphanumeric(), " ");
    let number = "md5(cast(:n as text))";
    format!(
        "insert into telemetry_events (id, run_id, task_id, timestamp, actor, event_type, severity, summary, \
         correlation_json, attributes_json) values ('{kind}' || {number}, null, 'task-' || cast(:t as text), \
         '2026-06-01T12:00:00.000Z', 'dispatch', '{kind}', 'info', 'Command nudge_worker was handled.', \
         '{{\"command_id\": \"' || {number} || '\",\"dispatcher_id\": \"pgbench\"}}', \
         '{attributes}\"id\": \"' || {number} || '\"}}');\n\
         insert into telemetry_events_fts (event_id, task_id, run_id, actor, event_type, summary, attributes, \
         search_text) values ('{kind}' || {number}, 'task-' || cast(:t as text), null, 'dispatch', '{kind}', \
         'Command nudge_worker was handled.', '{attributes}\"id\": \"' || {number} || '\"}}', \
         'command nudge worker was handled conveyorcolumnbreak {words} ' || {number});\n"
    )
}
