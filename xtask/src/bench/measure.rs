//! Running programs and taking their time, memory and processor use.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::{Context as _, Failure};

/// Runs a program to its end; gives the time from starting it until it is gone.
pub(super) fn timed(command: &mut Command) -> Result<f64, Failure> {
    // `cargo run` adds directories in which the loader would look for every library first.
    command.env_remove("LD_LIBRARY_PATH").stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let status = command.status().context(format_args!("starting {command:?}"))?;
    let elapsed = start.elapsed();
    if status.success() {
        return Ok(elapsed.as_secs_f64());
    }
    Err(Failure::new(format!("{command:?}: {status}")))
}

/// Runs a program to its end; gives what it printed.
pub(super) fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context(format_args!("starting {command:?}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Failure::new(format!("{command:?}: {}", output.status)))
}

/// Something that is run again and again beside others.
pub(super) struct Subject<'s> {
    /// As the report calls it.
    pub(super) name: &'s str,
    /// Runs it once; gives the seconds it took.
    pub(super) run: Box<dyn FnMut() -> Result<f64, Failure> + 's>,
    /// In every so-manieth round only, for what is slow.
    pub(super) every: usize,
}

impl<'s> Subject<'s> {
    pub(super) fn new(name: &'s str, run: impl FnMut() -> Result<f64, Failure> + 's) -> Self {
        Self { name, run: Box::new(run), every: 1 }
    }
}

/// Runs all subjects in turn, so that noise hits all; gives the median of each.
pub(super) fn interleaved(rounds: usize, subjects: &mut [Subject<'_>]) -> Result<Vec<f64>, Failure> {
    let mut times = vec![Vec::new(); subjects.len()];
    // One round to warm up, not counted.
    for round in 0..=rounds {
        let count = subjects.len();
        for turn in 0..count {
            // Another one first each time: nobody always follows the same.
            let at = (turn + round) % count;
            let subject = &mut subjects[at];
            if round % subject.every != 0 {
                continue;
            }
            let time = (subject.run)().context(subject.name)?;
            if round > 0 || subject.every > 1 {
                times[at].push(time);
            }
        }
    }
    Ok(times.into_iter().map(median).collect())
}

pub(super) fn median(values: Vec<f64>) -> f64 {
    percentile(values, 50.0)
}

/// Of no values: not a number.
pub(super) fn percentile(mut values: Vec<f64>, percent: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small index")]
    let at = (last as f64 * percent / 100.0).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// Runs a program to its end; gives the seconds it took and its peak memory in bytes, as far as
/// the system tells (`None` elsewhere than on Linux). The peak is read while the program runs.
pub(super) fn with_peak_memory(command: &mut Command) -> Result<(f64, Option<f64>), Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().context(format_args!("starting {command:?}"))?;
    let mut peak = None;
    let status = loop {
        if let Some(now) = peak_memory(child.id()) {
            peak = peak.max(Some(now));
        }
        if let Some(status) = child.try_wait().context("waiting for a program")? {
            break status;
        }
        // A short program is watched closely, a long one must not be disturbed.
        if start.elapsed() > Duration::from_millis(100) {
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    if !status.success() {
        return Err(Failure::new(format!("{command:?}: {status}")));
    }
    Ok((start.elapsed().as_secs_f64(), peak.map(|bytes| bytes as f64)))
}

/// The peak memory of a running process in bytes, as far as the system tells.
pub(super) fn peak_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The processor time that a running process has used, over all its threads, in seconds; `None`
/// where the system does not tell.
pub(super) fn processor_time(pid: u32) -> Option<f64> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(nanoseconds as f64 / 1e9)
}

/// A process that does not outlive its owner.
pub(super) struct Guard(pub(super) Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Of one that has ended already both fail, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
