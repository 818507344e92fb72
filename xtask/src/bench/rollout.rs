//! Reading a long rollout into the ledger.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::ledger::{self, SMALL, Scale};
use super::measure::{Subject, interleaved, median, output, timed, with_peak_memory};
use super::report::{Bar, Report, Row, Unit};
use super::{Lab, postgres};
use crate::failure::{Context as _, Failure};

pub(super) const MB: u64 = 1_000_000;
const FIXTURES: &str = "crates/conveyor-agents/tests/fixtures/codex-0.169";

/// The session that the rollout belongs to, and its id.
pub(super) const SESSION: &str = "worker-00001";
const SESSION_ID: &str = "id-worker-00001";

/// Throughput against the floor, memory, and a second run with nothing new.
pub(super) fn run(lab: &Lab, report: &mut Report) -> Result<(), Failure> {
    const MOST_MEMORY: f64 = 32.0 * 1024.0 * 1024.0;
    let megabytes = if lab.quick { 50 } else { 500 };
    let rollout = synthesise(lab, megabytes * MB)?;
    let size = std::fs::metadata(&rollout).context(rollout.display())?.len() as f64;
    let empty = ledger::create(lab, "empty.db", Scale { events: 0, ..SMALL })?;
    register(&empty, &rollout)?;
    let (mut ours, mut floors, mut peak) = (Vec::new(), Vec::new(), None);
    let path = rollout.display().to_string();
    let full = lab.scratch.join("ours.db");
    for _ in 0..lab.long_rounds() {
        let ledger = ledger::copy(lab, &empty, "floor.db")?;
        floors.push(timed(&mut lab.floor("load", &ledger, &[&path, SESSION_ID]))?);
        // What one leaves to the disk must not be the other's burden.
        settle(&ledger)?;
        ledger::remove(&ledger);
        let ledger = ledger::copy(lab, &empty, "ours.db")?;
        let (seconds, memory) = with_peak_memory(&mut lab.conveyor(&ledger, &["ingest", SESSION]))?;
        ours.push(seconds);
        peak = memory.into_iter().chain(peak).reduce(f64::max);
        settle(&ledger)?;
    }
    let (ours, floor) = (size / median(ours), size / median(floors));
    let measure = format!("ingest of {megabytes} MB");
    report.add(Row::ratio(&measure, Unit::Throughput, ours, ("floor-load", floor), Bar::AtLeast(0.8)));
    match peak {
        Some(peak) => {
            report.add(Row::alone(format!("{measure}: memory"), Unit::Bytes, peak, Bar::Within(MOST_MEMORY)));
        }
        None => report.skip("memory of an ingest", "this system does not tell it"),
    }
    again(lab, report, &full, &measure)?;
    long_lines(lab, report, &empty)?;
    on_a_server(lab, report, &rollout)
}

/// Ingesting again when nothing is new.
fn again(lab: &Lab, report: &mut Report, full: &Path, measure: &str) -> Result<(), Failure> {
    let mut subjects = [
        Subject::new("floor-open", || timed(&mut lab.floor("open", full, &[]))),
        Subject::new("floor-write", || timed(&mut lab.floor("write", full, &[]))),
        Subject::new("ingest", || timed(&mut lab.conveyor(full, &["ingest", SESSION]))),
    ];
    let medians = interleaved(lab.rounds(50), &mut subjects)?;
    let note = format!("it renews the session's lease; {:.2} × floor-write", medians[2] / medians[1]);
    report.add(
        Row::ratio(
            format!("{measure} again, nothing new"),
            Unit::Seconds,
            medians[2],
            ("floor-open", medians[0]),
            Bar::AtMost(1.5),
        )
        .noting(note),
    );
    ledger::remove(full);
    Ok(())
}

/// Lines that are as long as lines may be.
fn long_lines(lab: &Lab, report: &mut Report, empty: &Path) -> Result<(), Failure> {
    const MOST_MEMORY: f64 = 48.0 * 1024.0 * 1024.0;
    const LONGEST: usize = 8 * 1024 * 1024;
    const LINES: usize = 8;
    let head =
        r#"{"timestamp":"2026-06-01T12:00:00.000Z","type":"response_item","payload":{"type":"x","output":""#;
    let tail = "\"}}\n";
    let text = "a\\n".repeat((LONGEST - head.len() - tail.len()) / 3);
    let file = lab.scratch.join("long.jsonl");
    std::fs::write(&file, format!("{head}{text}{tail}").repeat(LINES)).context(file.display())?;
    let ledger = ledger::copy(lab, empty, "long.db")?;
    register(&ledger, &file)?;
    let measure = "ingest of lines of almost 8 MiB: memory";
    match with_peak_memory(&mut lab.conveyor(&ledger, &["ingest", SESSION]))? {
        (_, Some(peak)) => report.add(Row::alone(measure, Unit::Bytes, peak, Bar::Within(MOST_MEMORY))),
        (_, None) => report.skip(measure, "this system does not tell it"),
    }
    ledger::remove(&ledger);
    Ok(())
}

/// The same rollout into a ledger on a server.
fn on_a_server(lab: &Lab, report: &mut Report, rollout: &Path) -> Result<(), Failure> {
    let size = std::fs::metadata(rollout).context(rollout.display())?.len();
    let measure = format!("ingest of {} MB on PostgreSQL", size / MB);
    let Some(server) = postgres::server(report, &measure) else { return Ok(()) };
    let url = postgres::url(&server);
    output(&mut lab.conveyor(&url, &["dispatch", "--once"]))?;
    let mut times = Vec::new();
    for _ in 0..lab.long_rounds() {
        let statements = format!(
            "set search_path = {};
             truncate sessions, codex_events, telemetry_events, telemetry_events_fts cascade;
             insert into sessions (id, name, role, identity_token, codex_session_path, cwd, registered_at, state)
             values ('{SESSION_ID}', '{SESSION}', 'worker', 'token', '{}', '/srv', '2026-01-01', 'active');
             checkpoint",
            postgres::SCHEMA,
            rollout.display(),
        );
        server.client().batch_execute(&statements).context("preparing PostgreSQL")?;
        times.push(timed(&mut lab.conveyor(&url, &["ingest", SESSION]))?);
    }
    report.add(Row::alone(measure, Unit::Throughput, size as f64 / median(times), Bar::None));
    Ok(())
}

fn settle(ledger: &Path) -> Result<(), Failure> {
    File::open(ledger).and_then(|file| file.sync_all()).context(ledger.display())
}

pub(super) fn register(ledger: &Path, rollout: &Path) -> Result<(), Failure> {
    let connection = ledger::connect(ledger)?;
    connection
        .execute(
            "update sessions set codex_session_path = ?1 where name = ?2",
            (rollout.display().to_string(), SESSION),
        )
        .context("registering the rollout")?;
    ledger::done(connection)
}

/// A rollout of about this size: the lines of real ones again and again, with other ids each time.
pub(super) fn synthesise(lab: &Lab, size: u64) -> Result<PathBuf, Failure> {
    let file = lab.kept.join(format!("rollout-{}.jsonl", size / MB));
    if std::fs::metadata(&file).is_ok_and(|meta| meta.len() >= size) {
        return Ok(file);
    }
    let mut lines = fixture_lines()?;
    let part = file.with_extension("part");
    let mut writer = BufWriter::with_capacity(1 << 20, File::create(&part).context(part.display())?);
    let (mut written, mut round) = (0, 0_u64);
    while written < size {
        round += 1;
        let number = format!("{round:012x}");
        for (line, places) in &mut lines {
            for &place in places.iter() {
                line[place..place + 12].copy_from_slice(number.as_bytes());
            }
            writer.write_all(line).context(part.display())?;
            written += line.len() as u64;
        }
    }
    writer.flush().context(part.display())?;
    drop(writer);
    // Complete under its name, or not at all.
    std::fs::rename(&part, &file).context(file.display())?;
    Ok(file)
}

/// Lines with the places at which the last twelve digits of ids stand.
type Lines = Vec<(Vec<u8>, Vec<usize>)>;

fn fixture_lines() -> Result<Lines, Failure> {
    let directory = crate::source_root().join(FIXTURES);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)
        .context(directory.display())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    let mut lines = Vec::new();
    for file in files {
        let text = std::fs::read(&file).context(file.display())?;
        for line in text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            lines.push((line.to_owned(), id_ends(line)));
        }
    }
    if lines.is_empty() {
        return Err(Failure::new(format!("{} holds no rollouts", directory.display())));
    }
    Ok(lines)
}

/// Where the last part of a UUID begins: after four dashes in the right places.
fn id_ends(line: &[u8]) -> Vec<usize> {
    const LENGTH: usize = 36;
    let is_id = |window: &[u8]| {
        window.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    line.windows(LENGTH).enumerate().filter(|(_, window)| is_id(window)).map(|(at, _)| at + 24).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_a_line() {
        let line = br#"{"id":"01a2090f-e3ba-7f71-9568-fa1d61ff8d2a","x":"a-b-c"}"#;
        assert_eq!(
            id_ends(line).iter().map(|at| &line[*at..*at + 12]).collect::<Vec<_>>(),
            [b"fa1d61ff8d2a"]
        );
    }
}
