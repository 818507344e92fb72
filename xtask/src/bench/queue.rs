//! Dispatching queued commands to inboxes.

use super::Lab;
use super::ledger::{self, SMALL, Scale};
use super::measure::{Subject, interleaved, timed};
use super::report::{Bar, Report, Row, Unit};
use crate::failure::Failure;

/// Throughput against the floor, and what a long queue costs.
pub(super) fn run(lab: &Lab, report: &mut Report) -> Result<(), Failure> {
    for queued in [1_000, 10_000] {
        let full = ledger::create(lab, "queue.db", Scale { queued, ..SMALL })?;
        let limit = queued.to_string();
        // A fresh copy each time, outside the time that is taken.
        let dispatch = || timed(&mut lab.conveyor(&ledger::copy(lab, &full, "ours.db")?, &once(&limit)));
        let floor = || timed(&mut lab.floor("queue", &ledger::copy(lab, &full, "floor.db")?, &[&limit]));
        let mut subjects = [Subject::new("dispatch", dispatch), Subject::new("floor-queue", floor)];
        let rounds = lab.rounds(if queued > 1_000 { 5 } else { 15 });
        let medians = interleaved(rounds, &mut subjects)?;
        let rate = |seconds: f64| queued as f64 / seconds;
        report.add(Row::ratio(
            format!("dispatch --once, {queued} queued"),
            Unit::Rate,
            rate(medians[0]),
            ("floor-queue", rate(medians[1])),
            Bar::AtLeast(0.7),
        ));
    }
    let length = if lab.quick { 20_000 } else { 100_000 };
    let short = ledger::create(lab, "queue.db", Scale { queued: 1_000, ..SMALL })?;
    let long = ledger::create(lab, "long.db", Scale { queued: length, ..SMALL })?;
    let mut subjects = [
        Subject::new("long", || {
            timed(&mut lab.conveyor(&ledger::copy(lab, &long, "ours.db")?, &once("1000")))
        }),
        Subject::new("short", || {
            timed(&mut lab.conveyor(&ledger::copy(lab, &short, "ours.db")?, &once("1000")))
        }),
    ];
    let medians = interleaved(lab.rounds(11), &mut subjects)?;
    report.add(Row::ratio(
        format!("one item, {length} queued"),
        Unit::Seconds,
        medians[0] / 1_000.0,
        ("1000 queued", medians[1] / 1_000.0),
        Bar::AtMost(1.3),
    ));
    ledger::remove(&long);
    Ok(())
}

fn once(limit: &str) -> [&str; 4] {
    ["dispatch", "--once", "--limit", limit]
}
