//! Searching the telemetry of the large ledger.

use super::commands::exists;
use super::ledger::{FREQUENT, RARE};
use super::measure::{Subject, interleaved, timed};
use super::report::{Bar, Report, Row, Unit};
use super::{Lab, large};
use crate::failure::Failure;

/// A frequent word and a rare one.
pub(super) fn run(lab: &Lab, report: &mut Report) -> Result<(), Failure> {
    if lab.quick {
        report.skip("discover on the large ledger", "left out of a quick run");
        return Ok(());
    }
    if !exists(lab, "discover")? {
        report.skip("discover on the large ledger", "there is no such command yet");
        return Ok(());
    }
    let ledger = large::open(lab)?;
    let mut subjects = [
        Subject::new("floor-open", || timed(&mut lab.floor("open", &ledger, &[]))),
        Subject::new("frequent", || timed(&mut lab.conveyor(&ledger, &["discover", FREQUENT]))),
        Subject::new("rare", || timed(&mut lab.conveyor(&ledger, &["discover", RARE]))),
    ];
    let medians = interleaved(lab.rounds(20), &mut subjects)?;
    for (at, kind) in [(1, "frequent"), (2, "rare")] {
        let measure = format!("discover, a {kind} word, large ledger");
        report.add(Row::ratio(
            measure,
            Unit::Seconds,
            medians[at],
            ("floor-open", medians[0]),
            Bar::AtMost(10.0),
        ));
    }
    Ok(())
}
