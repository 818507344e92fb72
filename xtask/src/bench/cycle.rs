//! Observing a worker: a cycle on a long rollout, a cycle under a long contract, and reading a long
//! terminal.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use conveyor_testkit::{TmuxServer, wait};

use super::Lab;
use super::ledger::{self, SMALL, Scale, TASK};
use super::measure::{Subject, interleaved, output, timed};
use super::report::{Bar, Report, Row, Unit};
use super::rollout::{self, MB, SESSION};
use crate::failure::{Context as _, Failure};

/// The terminal of the worker.
const TERMINAL: &str = "codex-bench";
/// The screen of a real Codex at work.
const SCREEN: &str = "crates/conveyor-agents/tests/fixtures/codex-0.169/panes/06-working.txt";

/// Cycles that find nothing new.
pub(super) fn run(lab: &Lab, report: &mut Report) -> Result<(), Failure> {
    let tmux = TmuxServer::new();
    show(&tmux, 0)?;
    on_long_rollout(lab, report, &tmux)?;
    under_long_contract(lab, report, &tmux)
}

/// A terminal with so many lines above a screen of Codex.
fn show(tmux: &TmuxServer, lines: usize) -> Result<(), Failure> {
    let screen = crate::source_root().join(SCREEN);
    let output = "output of a command that the worker has run, as wide as such lines are";
    let command = format!("seq -f 'line %g: {output}' {lines}; cat '{}'; exec sleep 3600", screen.display());
    // By itself tmux drops lines from 2,000 on.
    let roomy = ["start-server", ";", "set-option", "-g", "history-limit", "5000", ";"];
    let session = ["new-session", "-d", "-s", TERMINAL, "-x", "200", "-y", "50", &command];
    tmux.tmux(roomy.into_iter().chain(session));
    let shown = std::fs::read_to_string(&screen).context(screen.display())?;
    let last = shown.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned();
    wait::until(Duration::from_secs(20), "the terminal", || capture_once(tmux).contains(&last));
    Ok(())
}

fn capture_once(tmux: &TmuxServer) -> String {
    tmux.tmux(["capture-pane", "-p", "-t", &format!("={TERMINAL}:")])
}

fn cycle(lab: &Lab, ledger: &Path, tmux: &TmuxServer) -> Result<f64, Failure> {
    timed(lab.conveyor(ledger, &["cycle", TASK]).env_remove("TMUX").env("TMUX_TMPDIR", tmux.dir()))
}

/// One capture by tmux itself.
fn capture(tmux: &TmuxServer) -> Result<f64, Failure> {
    let mut command = Command::new("tmux");
    command.env_remove("TMUX").env("TMUX_TMPDIR", tmux.dir());
    timed(command.args(["capture-pane", "-p", "-t", &format!("={TERMINAL}:")]))
}

/// A cycle on a session with a long rollout that has been read already.
fn on_long_rollout(lab: &Lab, report: &mut Report, tmux: &TmuxServer) -> Result<(), Failure> {
    let megabytes = if lab.quick { 50 } else { 500 };
    let file = rollout::synthesise(lab, megabytes * MB)?;
    let ledger = ledger::create(lab, "cycle.db", Scale { events: 0, ..SMALL })?;
    rollout::register(&ledger, &file)?;
    put_into_terminal(&ledger)?;
    output(&mut lab.conveyor(&ledger, &["ingest", SESSION]))?;
    // The first cycle finds the contract of the task and the like for the first time.
    cycle(lab, &ledger, tmux)?;
    let mut subjects = [
        Subject::new("floor-open", || timed(&mut lab.floor("open", &ledger, &[]))),
        Subject::new("floor-write", || timed(&mut lab.floor("write", &ledger, &[]))),
        Subject::new("capture", || capture(tmux)),
        Subject::new("cycle", || cycle(lab, &ledger, tmux)),
    ];
    let medians = interleaved(lab.rounds(50), &mut subjects)?;
    let [open, write, capture, ours] = [medians[0], medians[1], medians[2], medians[3]];
    let limit = ("3 × floor-open + capture", 3.0 * open + capture);
    let note = format!(
        "floor-open {:.2} ms, a capture {:.2} ms; it commits, and floor-write takes {:.2} ms",
        open * 1e3,
        capture * 1e3,
        write * 1e3
    );
    let measure = format!("cycle, rollout of {megabytes} MB, nothing new");
    report.add(Row::ratio(measure, Unit::Seconds, ours, limit, Bar::AtMost(1.0)).noting(note));
    ledger::remove(&ledger);
    Ok(())
}

fn put_into_terminal(ledger: &Path) -> Result<(), Failure> {
    let connection = ledger::connect(ledger)?;
    connection
        .execute("update sessions set tmux_session = ?1 where name = ?2", (TERMINAL, SESSION))
        .context("putting the worker into a terminal")?;
    ledger::done(connection)
}

/// How much a task's contract has grown.
#[derive(Clone, Copy)]
struct Contract {
    criteria: usize,
    revisions: u32,
}

/// A cycle of a task with many criteria and a much revised configuration against one with few.
fn under_long_contract(lab: &Lab, report: &mut Report, tmux: &TmuxServer) -> Result<(), Failure> {
    let few = with_contract(lab, "few.db", Contract { criteria: 5, revisions: 1 })?;
    let many = with_contract(lab, "many.db", Contract { criteria: 500, revisions: 50 })?;
    let mut subjects =
        [Subject::new("few", || cycle(lab, &few, tmux)), Subject::new("many", || cycle(lab, &many, tmux))];
    let medians = interleaved(lab.rounds(50), &mut subjects)?;
    report.add(Row::ratio(
        "cycle, 500 criteria and 50 revisions",
        Unit::Seconds,
        medians[1],
        ("5 criteria", medians[0]),
        Bar::AtMost(2.0),
    ));
    Ok(())
}

fn with_contract(lab: &Lab, name: &str, contract: Contract) -> Result<PathBuf, Failure> {
    let ledger = ledger::create(lab, name, SMALL)?;
    let rollout = lab.scratch.join(format!("{name}.jsonl"));
    std::fs::copy(rollout::synthesise(lab, 1)?, &rollout).context(rollout.display())?;
    rollout::register(&ledger, &rollout)?;
    put_into_terminal(&ledger)?;
    let connection = ledger::connect(&ledger)?;
    write_contract(&connection, contract).context("writing a contract")?;
    ledger::done(connection)?;
    output(&mut lab.conveyor(&ledger, &["ingest", SESSION]))?;
    Ok(ledger)
}

fn write_contract(connection: &rusqlite::Connection, contract: Contract) -> rusqlite::Result<()> {
    const AT: &str = "2026-06-01T12:00:00.000Z";
    connection.execute_batch("begin immediate")?;
    for n in 0..contract.criteria {
        // What managers record: some open, most proven.
        let (status, proof) = match n % 5 {
            0 => ("accepted", None),
            1 => ("deferred", None),
            _ => ("satisfied", Some("`cargo test` passes, and the log shows the case")),
        };
        let text = format!("Case {n}: the parser accepts the input, and the error names line and column");
        connection.execute(
            "insert into acceptance_criteria (task_id, criterion, status, source, proof, rationale, evidence_json, \
             created_at, updated_at) values ('id-task-00001', ?1, ?2, 'manager_inferred', ?3, 'Asked for', ?4, ?5, ?5)",
            (text, status, proof, r#"{"command":"cargo test","status":"pass","summary":"12 passed"}"#, AT),
        )?;
    }
    connection.execute(
        "insert into manager_configs (task_id, supervision_mode, objective, guidelines_json, \
         acceptance_criteria_json, reference_paths_json, permissions_json, require_acks, revision, created_at, \
         updated_at) values ('id-task-00001', 'guided', 'Make it so', '[\"Be brief\"]', '[]', '[]', '{}', 1, ?1, ?2, ?2)",
        (contract.revisions, AT),
    )?;
    for revision in 1..=contract.revisions {
        connection.execute(
            "insert into events (created_at, actor, task_id, type, payload_json) \
             values (?1, 'workerctl', 'id-task-00001', 'manager_config_recorded', ?2)",
            (AT, format!(r#"{{"revision":{revision},"supervision_mode":"guided"}}"#)),
        )?;
        for role in ["worker", "manager"] {
            connection.execute(
                "insert into task_acknowledgements (task_id, binding_id, role, payload_json, revision, \
                 manager_config_revision, created_at) \
                 values ('id-task-00001', 'id-binding-00001', ?1, '{\"ready_to_start\":true}', ?2, ?2, ?3)",
                (role, revision, AT),
            )?;
        }
    }
    connection.execute_batch("commit")
}

/// Reading a terminal with a long history: capturing it, and telling what it shows.
pub(super) fn screen(lab: &Lab, report: &mut Report) -> Result<(), Failure> {
    const MOST: f64 = 0.005;
    // Beside the screen of 50.
    const LINES: &str = "1950";
    let tmux = TmuxServer::new();
    show(&tmux, 2_100)?;
    let rounds = lab.rounds(100).to_string();
    let directory = tmux.dir().display().to_string();
    let printed = output(Command::new(&lab.inside).args(["screen", &directory, TERMINAL, LINES, &rounds]))?;
    let figures: Vec<f64> = printed.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [captured, classified, lines] = figures[..] else {
        return Err(Failure::new(format!("inside printed {printed:?}")));
    };
    report.add(Row::alone(
        format!("classify a pane of {lines} lines, in process"),
        Unit::Seconds,
        classified,
        Bar::Within(MOST),
    ));
    report.add(Row::alone(format!("capture a pane of {lines} lines"), Unit::Seconds, captured, Bar::None));
    Ok(())
}
