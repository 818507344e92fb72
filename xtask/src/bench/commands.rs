//! One-shot commands: how long they take from start to end, on a small ledger and on a large one.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use super::ledger::{self, SMALL, TASK};
use super::measure::{Subject, interleaved, median, output, timed, with_peak_memory};
use super::report::{Bar, Report, Row, Unit};
use super::{Lab, large};
use crate::failure::{Context as _, Failure};

const READING: [&[&str]; 4] = [&["--help"], &["tasks"], &["app-loop-status", TASK], &["worker-inbox", TASK]];
const WRITING: [&[&str]; 2] = [
    &["enqueue-nudge-worker", TASK, "--message", "Please go on."],
    &["app-heartbeat", TASK, "--role", "worker"],
];

const OPEN: &str = "floor-open";
const WRITE: &str = "floor-write";

/// Commands on a small ledger against the floors.
pub(super) fn small(lab: &Lab, report: &mut Report) -> Result<(), Failure> {
    let ledger = ledger::create(lab, "small.db", SMALL)?;
    let node = timed(Command::new("node").args(["-e", "0"])).is_ok();
    let mut subjects = vec![
        Subject::new(OPEN, || timed(&mut lab.floor("open", &ledger, &[]))),
        Subject::new(WRITE, || timed(&mut lab.floor("write", &ledger, &[]))),
    ];
    for words in READING.into_iter().chain(WRITING) {
        subjects.push(subject(lab, &ledger, words));
    }
    if node {
        let mut subject = Subject::new("node", || timed(Command::new("node").args(["-e", "0"])));
        subject.every = 4;
        subjects.push(subject);
    }
    let medians = interleaved(lab.rounds(100), &mut subjects)?;
    let (open, write) = (medians[0], medians[1]);
    let mut slowest: f64 = 0.0;
    for (words, ours) in READING.iter().zip(&medians[2..]) {
        slowest = slowest.max(*ours);
        report.add(Row::ratio(words[0], Unit::Seconds, *ours, (OPEN, open), Bar::AtMost(1.5)));
    }
    for (words, ours) in WRITING.iter().zip(&medians[2 + READING.len()..]) {
        report.add(Row::ratio(words[0], Unit::Seconds, *ours, (WRITE, write), Bar::AtMost(1.7)));
    }
    if node {
        let node = medians.last().copied().unwrap_or(f64::NAN);
        let measure = "slowest read command";
        report.add(Row::ratio(measure, Unit::Seconds, slowest, ("node -e 0", node), Bar::AtMost(0.2)));
    } else {
        report.skip("slowest read command", "there is no node to compare it with");
    }
    Ok(())
}

fn subject<'s>(lab: &'s Lab, ledger: &'s Path, words: &'s [&'s str]) -> Subject<'s> {
    Subject::new(words[0], move || match words {
        ["--help"] => timed(Command::new(&lab.conveyor).arg("--help")),
        _ => timed(&mut lab.conveyor(ledger, words)),
    })
}

/// The same commands on the large ledger against themselves on the small one.
pub(super) fn large(lab: &Lab, report: &mut Report) -> Result<(), Failure> {
    if lab.quick {
        report.skip("commands on the large ledger", "left out of a quick run");
        return Ok(());
    }
    let (small, large) = (ledger::create(lab, "small.db", SMALL)?, large::open(lab)?);
    // Lists grow with the ledger; they are measured by the row.
    let dispatch: &[&str] = &["dispatch", "--once"];
    let steady: Vec<&[&str]> = READING[2..].iter().copied().chain(WRITING).chain([dispatch]).collect();
    let mut subjects = Vec::new();
    for words in &steady {
        subjects.push(subject(lab, &small, words));
        subjects.push(subject(lab, &large, words));
    }
    let medians = interleaved(lab.rounds(50), &mut subjects)?;
    for (words, pair) in steady.iter().zip(medians.chunks(2)) {
        let measure = format!("{} on the large ledger", words[0]);
        report.add(Row::ratio(measure, Unit::Seconds, pair[1], ("small ledger", pair[0]), Bar::AtMost(1.5)));
    }
    Ok(())
}

/// Lists, by the row: a large one may not cost more for each than a small one.
pub(super) fn lists(lab: &Lab, report: &mut Report) -> Result<(), Failure> {
    if lab.quick {
        report.skip("lists of the large ledger", "left out of a quick run");
        return Ok(());
    }
    // Large enough that the start of the program does not count.
    const FEW: usize = 2_000;
    let scale = ledger::Scale { tasks: FEW, commands: FEW, telemetry: 0, events: 0, ..SMALL };
    let (small, large) = (ledger::create(lab, "list.db", scale)?, large::open(lab)?);
    for (words, many) in [(["commands", "--json"], large::COMMANDS), (["tasks", "--json"], large::TASKS)] {
        let mut subjects = [
            subject(lab, &small, &words),
            subject(lab, &large, &words),
            Subject::new("start", || timed(&mut lab.conveyor(&small, &["app-loop-status", TASK]))),
        ];
        let medians = interleaved(lab.rounds(10), &mut subjects)?;
        let per_row = |at: usize, rows: usize| (medians[at] - medians[2]).max(0.0) / rows as f64;
        let (few, many) = (per_row(0, FEW), per_row(1, many));
        let measure = format!("a row of {} on the large ledger", words.join(" "));
        report.add(Row::ratio(measure, Unit::Seconds, many, ("small ledger", few), Bar::AtMost(1.5)));
    }
    Ok(())
}

/// Forty writing commands, four at a time.
pub(super) fn contention(lab: &Lab, report: &mut Report) -> Result<(), Failure> {
    const COMMANDS: usize = 40;
    const AT_ONCE: usize = 4;
    let ledger = ledger::create(lab, "contention.db", SMALL)?;
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..lab.rounds(10) {
        floors.push(
            (0..COMMANDS).map(|_| timed(&mut lab.floor("write", &ledger, &[]))).sum::<Result<f64, _>>()?,
        );
        let failures = Mutex::new(Vec::new());
        let start = Instant::now();
        std::thread::scope(|scope| {
            for first in 0..AT_ONCE {
                let (failures, ledger) = (&failures, &ledger);
                scope.spawn(move || {
                    for at in (first..COMMANDS).step_by(AT_ONCE) {
                        if let Err(failure) = timed(&mut lab.conveyor(ledger, WRITING[at % WRITING.len()])) {
                            failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(failure);
                        }
                    }
                });
            }
        });
        ours.push(start.elapsed().as_secs_f64());
        if let Some(failure) = failures.into_inner().unwrap_or_default().into_iter().next() {
            return Err(failure);
        }
    }
    let measure = "40 writing commands, 4 at a time";
    let floor = ("40 × floor-write", median(floors));
    report.add(Row::ratio(measure, Unit::Seconds, median(ours), floor, Bar::AtMost(1.5)));
    Ok(())
}

/// The most memory that any one-shot command uses.
pub(super) fn memory(lab: &Lab, report: &mut Report) -> Result<(), Failure> {
    const MOST: f64 = 20.0 * 1024.0 * 1024.0;
    let ledger = if lab.quick { ledger::create(lab, "memory.db", SMALL)? } else { large::open(lab)? };
    let more: [&[&str]; 4] =
        [&["commands", "--json"], &["commands"], &["dispatch", "--once"], &["db-doctor"]];
    let mut worst: Option<(f64, &str)> = None;
    for words in READING.into_iter().chain(WRITING).chain(more) {
        for _ in 0..3 {
            let mut command = lab.conveyor(&ledger, words);
            if words == ["--help"] {
                command = Command::new(&lab.conveyor);
                command.arg("--help");
            }
            // The shortest commands may be gone before they can be looked at.
            let (_, peak) = with_peak_memory(&mut command)?;
            if let Some(peak) = peak.filter(|peak| worst.is_none_or(|(worst, _)| *peak > worst)) {
                worst = Some((peak, words[0]));
            }
        }
    }
    let Some((most, name)) = worst else {
        report.skip("memory of one-shot commands", "this system does not tell it");
        return Ok(());
    };
    let row = Row::alone("memory of one-shot commands", Unit::Bytes, most, Bar::Within(MOST));
    report.add(row.noting(format!("the most was used by {name}")));
    Ok(())
}

/// Whether the program has a command yet.
pub(super) fn exists(lab: &Lab, name: &str) -> Result<bool, Failure> {
    let listed = output(Command::new(&lab.conveyor).arg("--help")).context("asking for the commands")?;
    Ok(listed.lines().any(|line| line.split_whitespace().next() == Some(name)))
}
