//! What a watching dispatcher costs: while nothing happens, and while sessions write.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::ledger::{self, SMALL, Scale};
use super::measure::{Guard, median, peak_memory, percentile, processor_time};
use super::report::{Bar, Report, Row, Unit};
use super::waking::start_dispatcher;
use super::{Lab, rollout};
use crate::failure::{Context as _, Failure};

/// Tasks of which each has a worker and a manager, both with a rollout.
const FEW: usize = 50;
const MANY: usize = 1_000;
/// Directories among which the rollouts are spread.
const DIRECTORIES: usize = 40;
/// How much of a real rollout each has to begin with.
const BEGINNING: u64 = 20_000;
/// Workers that write a line a second each.
const WRITERS: usize = 20;
const MOST_MEMORY: f64 = 24.0 * 1024.0 * 1024.0;

/// A ledger whose sessions' rollouts are watched.
struct Watch {
    ledger: PathBuf,
    directory: PathBuf,
    tasks: usize,
    dispatcher: Guard,
}

/// What happened in some time.
struct Used {
    seconds: f64,
    /// Of one core.
    share: Option<f64>,
}

/// A watching dispatcher while nothing happens.
pub(super) fn idle(lab: &Lab, report: &mut Report) -> Result<(), Failure> {
    if lab.quick {
        report.skip("minutes of dispatch --watch", "left out of a quick run");
        return Ok(());
    }
    let few = still(lab, report, FEW, Bar::Within(0.003))?;
    let many = still(lab, report, MANY, Bar::None)?;
    if let (Some(few), Some(many)) = (few, many) {
        let measure = format!("idle dispatch --watch, {MANY} sessions: processor");
        let than = (&*format!("{FEW} sessions"), few);
        report.add(Row::ratio(measure, Unit::Share, many, than, Bar::AtMost(2.0)));
    }
    Ok(())
}

fn still(lab: &Lab, report: &mut Report, tasks: usize, bar: Bar) -> Result<Option<f64>, Failure> {
    let watch = Watch::begin(lab, "idle", tasks)?;
    let before = rows(&watch.ledger)?;
    let used = watch.during(&mut || {
        std::thread::sleep(watch_time());
        Ok(())
    })?;
    let after = rows(&watch.ledger)?;
    let measure = format!("idle dispatch --watch, {tasks} sessions");
    match used.share {
        Some(share) if !matches!(bar, Bar::None) => {
            report.add(Row::alone(format!("{measure}: processor"), Unit::Share, share, bar));
        }
        Some(_) => {}
        None => report.skip(&measure, "this system does not tell a process's time"),
    }
    let beats = (after.heartbeats - before.heartbeats) as f64;
    let others = (after.all - before.all) as f64 - beats;
    report.add(Row::alone(
        format!("{measure}: heartbeats"),
        Unit::Rate,
        beats / used.seconds,
        Bar::Within(1.0),
    ));
    report.add(Row::alone(
        format!("{measure}: other rows"),
        Unit::Rate,
        others / used.seconds,
        Bar::Within(0.0),
    ));
    watch.memory(report, &measure);
    Ok(used.share)
}

/// A watching dispatcher while some sessions write, among few and among many others; and how long a
/// line takes to become a notification.
pub(super) fn writers(lab: &Lab, report: &mut Report) -> Result<(), Failure> {
    if lab.quick {
        report.skip("sessions that write", "left out of a quick run");
        return Ok(());
    }
    let mut shares = Vec::new();
    for tasks in [FEW, MANY] {
        let watch = Watch::begin(lab, "writers", tasks)?;
        let used = watch.during(&mut || watch.write(watch_time()))?;
        shares.extend(used.share);
        let measure = format!("a line → its notification, {tasks} sessions");
        let times = watch.complete(lab.rounds(300))?;
        let at = |percent| percentile(times.clone(), percent);
        report.add(Row::alone(
            format!("{measure}, median"),
            Unit::Seconds,
            median(times.clone()),
            Bar::Within(0.02),
        ));
        report.add(Row::alone(format!("{measure}, p99"), Unit::Seconds, at(99.0), Bar::Within(0.1)));
        watch.memory(report, &format!("dispatch --watch, {WRITERS} of {tasks} sessions write"));
    }
    let measure = |tasks| format!("dispatch --watch, {WRITERS} of {tasks} sessions write: processor");
    match shares[..] {
        [few, many] => {
            report.add(Row::alone(measure(FEW), Unit::Share, few, Bar::None));
            let than = (&*format!("{WRITERS} of {FEW}"), few);
            report.add(Row::ratio(measure(MANY), Unit::Share, many, than, Bar::AtMost(1.5)));
        }
        _ => report.skip("a watch with writers", "this system does not tell a process's time"),
    }
    Ok(())
}

fn watch_time() -> Duration {
    Duration::from_secs(60)
}

impl Watch {
    /// Has a dispatcher watch so many tasks, and waits until it has read all there is.
    fn begin(lab: &Lab, name: &str, tasks: usize) -> Result<Self, Failure> {
        const LIMIT: Duration = Duration::from_secs(300);
        let ledger =
            ledger::create(lab, &format!("{name}-{tasks}.db"), Scale { tasks, live: tasks, ..SMALL })?;
        let directory = lab.scratch.join(format!("{name}-{tasks}"));
        let connection = ledger::connect(&ledger)?;
        bind_rollouts(lab, &connection, &directory, tasks)?;
        ledger::done(connection)?;
        let dispatcher = start_dispatcher(lab, &ledger)?;
        let unread = "select count(*) from sessions where last_ingest_offset is null and state = 'active'";
        let start = Instant::now();
        while ledger::number(&ledger, unread)? > 0 {
            if start.elapsed() > LIMIT {
                return Err(Failure::new("the dispatcher did not read all rollouts".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        // What it has begun ends, and the log is written back.
        std::thread::sleep(Duration::from_secs(5));
        Ok(Self { ledger, directory, tasks, dispatcher })
    }

    fn during(&self, work: &mut dyn FnMut() -> Result<(), Failure>) -> Result<Used, Failure> {
        let pid = self.dispatcher.0.id();
        let (before, start) = (processor_time(pid), Instant::now());
        work()?;
        let (after, seconds) = (processor_time(pid), start.elapsed().as_secs_f64());
        let share = before.zip(after).map(|(before, after)| (after - before) / seconds);
        Ok(Used { seconds, share })
    }

    /// Has the writers write a line a second each, one after the other.
    fn write(&self, time: Duration) -> Result<(), Failure> {
        let line = "{\"timestamp\":\"2099-01-01T00:00:00Z\",\"type\":\"response_item\",\"payload\":{\"type\":\
                    \"message\",\"role\":\"assistant\",\"content\":[]}}\n";
        let start = Instant::now();
        let mut written = 0_u32;
        while start.elapsed() < time {
            let n = written as usize % WRITERS * (self.tasks / WRITERS) + 1;
            append(&rollout_of(&self.directory, "worker", n), line)?;
            written += 1;
            let next = Duration::from_secs(1) * written / u32::try_from(WRITERS).unwrap_or(u32::MAX);
            std::thread::sleep(next.saturating_sub(start.elapsed()));
        }
        Ok(())
    }

    /// Has turns of one worker after the other end; gives how long each notification took.
    fn complete(&self, turns: usize) -> Result<Vec<f64>, Failure> {
        const LIMIT: Duration = Duration::from_secs(30);
        let connection = Connection::open(&self.ledger).context(self.ledger.display())?;
        let mut query = connection
            .prepare("select count(*) from routed_notifications where state = 'delivered' and signal_type = 'worker_task_complete'")
            .context("counting notifications")?;
        let mut count = || query.query_row([], |row| row.get::<_, i64>(0)).context("counting notifications");
        let mut times = Vec::with_capacity(turns);
        for turn in 0..turns {
            let line = format!(
                "{{\"timestamp\":\"2099-01-01T00:00:00Z\",\"type\":\"event_msg\",\"payload\":{{\"type\":\
                 \"task_complete\",\"turn_id\":\"turn-{turn}\",\"last_agent_message\":\"done\"}}}}\n"
            );
            let path = rollout_of(&self.directory, "worker", turn * 7 % self.tasks + 1);
            let before = count()?;
            let start = Instant::now();
            append(&path, &line)?;
            while count()? == before {
                if start.elapsed() > LIMIT {
                    return Err(Failure::new("a completion was not routed".to_owned()));
                }
                std::thread::sleep(Duration::from_micros(300));
            }
            times.push(start.elapsed().as_secs_f64());
            // The next one comes while nothing else is going on.
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(times)
    }

    fn memory(&self, report: &mut Report, measure: &str) {
        let measure = format!("{measure}: memory");
        match peak_memory(self.dispatcher.0.id()) {
            Some(peak) => {
                report.add(Row::alone(measure, Unit::Bytes, peak as f64, Bar::Within(MOST_MEMORY)));
            }
            None => report.skip(&measure, "this system does not tell it"),
        }
    }
}

fn append(path: &Path, line: &str) -> Result<(), Failure> {
    let file = std::fs::OpenOptions::new().append(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).context(path.display())
}

fn rollout_of(directory: &Path, role: &str, n: usize) -> PathBuf {
    let place = directory.join(format!("{:02}", n % (DIRECTORIES / 2) * 2 + usize::from(role == "manager")));
    place.join(format!("{}.jsonl", ledger::name(role, n)))
}

fn bind_rollouts(lab: &Lab, connection: &Connection, directory: &Path, tasks: usize) -> Result<(), Failure> {
    let whole = std::fs::read(rollout::synthesise(lab, BEGINNING)?).context("reading a rollout")?;
    let end = whole.iter().take(BEGINNING as usize).rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    for place in 0..DIRECTORIES {
        let place = directory.join(format!("{place:02}"));
        std::fs::create_dir_all(&place).context(place.display())?;
    }
    for role in ["worker", "manager"] {
        for n in 1..=tasks {
            let file = rollout_of(directory, role, n);
            std::fs::write(&file, &whole[..end]).context(file.display())?;
            connection
                .execute(
                    "update sessions set codex_session_path = ?1 where name = ?2",
                    (file.display().to_string(), ledger::name(role, n)),
                )
                .context("binding a rollout")?;
        }
    }
    Ok(())
}

struct Rows {
    heartbeats: i64,
    all: i64,
}

fn rows(ledger: &Path) -> Result<Rows, Failure> {
    const TABLES: [&str; 6] = [
        "telemetry_events",
        "commands",
        "command_attempts",
        "routed_notifications",
        "codex_events",
        "events",
    ];
    let count = |table: &str| ledger::number(ledger, &format!("select count(*) from {table}"));
    let heartbeats = count("telemetry_events where event_type = 'dispatch_watch_heartbeat'")?;
    let all = TABLES.into_iter().map(count).sum::<Result<i64, _>>()?;
    Ok(Rows { heartbeats, all })
}
