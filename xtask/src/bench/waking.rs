//! How fast waiting processes wake.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Lab;
use super::ledger::{self, SMALL, TASK};
use super::measure::{Guard, median, output, percentile};
use super::report::{Bar, Report, Row, Unit};
use crate::failure::{Context as _, Failure};

/// Long enough that a process that was just started waits.
const SETTLING: Duration = Duration::from_millis(150);

/// One message on its way, in seconds since the moment before the enqueueing program was started.
struct Journey {
    /// The enqueueing program has said that it is committed.
    committed: f64,
    /// The waiting program has printed it.
    arrived: f64,
}

/// From the commit of an enqueue to the line of a waiting inbox, a dispatcher in between.
pub(super) fn latency(lab: &Lab, report: &mut Report) -> Result<(), Failure> {
    const NAME: &str = "commit of an enqueue → waiting inbox";
    let ledger = ledger::create(lab, "wake.db", SMALL)?;
    let mut dispatcher = start_dispatcher(lab, &ledger)?;
    std::thread::sleep(SETTLING * 4);
    let (mut after_commit, mut after_start) = (Vec::new(), Vec::new());
    for _ in 0..lab.rounds(200) {
        let Journey { committed, arrived } = one_message(lab, &ledger)?;
        // The line can come before we hear of the commit.
        after_commit.push((arrived - committed).max(0.0));
        after_start.push(arrived);
    }
    if let Some(status) = dispatcher.0.try_wait().context("looking at the dispatcher")? {
        return Err(Failure::new(format!("the dispatcher ended early: {status}")));
    }
    drop(dispatcher);
    let printed = output(&mut lab.floor("commits", &ledger, &["200"]))?;
    let commit: f64 = printed.trim().parse().context("reading what floor printed")?;
    // Three commits lie in between, and the disk decides about them.
    let limit = ("5 ms + 3 commits", 0.005 + 3.0 * commit);
    let note = format!("one commit took {:.2} ms", commit * 1e3);
    report.add(
        Row::ratio(
            format!("{NAME}, median"),
            Unit::Seconds,
            median(after_commit.clone()),
            limit,
            Bar::AtMost(1.0),
        )
        .noting(note),
    );
    let at = |percent| percentile(after_commit.clone(), percent);
    report.add(Row::alone(format!("{NAME}, p95"), Unit::Seconds, at(95.0), Bar::None));
    report.add(Row::alone(format!("{NAME}, p99"), Unit::Seconds, at(99.0), Bar::Within(0.05)));
    let measure = "start of an enqueue → waiting inbox, median";
    report.add(Row::alone(measure, Unit::Seconds, median(after_start), Bar::None));
    Ok(())
}

pub(super) fn start_dispatcher(lab: &Lab, ledger: &Path) -> Result<Guard, Failure> {
    let child = lab
        .conveyor(ledger, &["dispatch", "--watch"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("starting a dispatcher")?;
    Ok(Guard(child))
}

fn one_message(lab: &Lab, ledger: &Path) -> Result<Journey, Failure> {
    let wait: &[&str] = &["worker-inbox", TASK, "--wait", "--timeout", "20", "--consume-next"];
    let mut waiting = Guard(piped(lab.conveyor(ledger, wait))?);
    let stdout = waiting.0.stdout.take().ok_or_else(|| Failure::new("a pipe is missing"))?;
    // A heading comes first.
    let line = std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let found = lines.any(|line| line.contains("nudge_worker"));
        let arrived = Instant::now();
        lines.for_each(drop);
        found.then_some(arrived)
    });
    std::thread::sleep(SETTLING);
    let start = Instant::now();
    let enqueue: &[&str] = &["enqueue-nudge-worker", TASK, "--message", "Please go on."];
    let mut enqueue = Guard(piped(lab.conveyor(ledger, enqueue))?);
    let mut first = [0];
    let mut answer = enqueue.0.stdout.take().ok_or_else(|| Failure::new("a pipe is missing"))?;
    answer.read_exact(&mut first).context("waiting for the enqueue's answer")?;
    let committed = start.elapsed().as_secs_f64();
    // Read to the end, so that it can end itself.
    let _ = answer.read_to_end(&mut Vec::new());
    enqueue.0.wait().context("waiting for the enqueue")?;
    let arrived = line.join().map_err(|_| Failure::new("the reading thread failed"))?;
    waiting.0.wait().context("waiting for the inbox")?;
    let arrived = arrived.ok_or_else(|| Failure::new("the waiting inbox did not print the message"))?;
    Ok(Journey { committed, arrived: arrived.duration_since(start).as_secs_f64() })
}

fn piped(mut command: Command) -> Result<std::process::Child, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting a program")
}
