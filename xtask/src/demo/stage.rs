//! The processes of the demonstration. All end with it, however it ends.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::conveyor::{Conveyor, wait};
use super::timeline::Timeline;
use super::{INSTRUCTIONS, STEP, quote};
use crate::failure::{Context as _, Failure};

/// Where the dispatcher's standard error goes, in the demonstration's directory.
pub(super) const DISPATCH_LOG: &str = "dispatch.log";

/// A process that does not outlive its owner.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Of one that has ended already both fail, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A scripted agent in its own process. What it prints goes into the timeline.
pub(super) struct Agent {
    role: &'static str,
    process: Guard,
    lines: JoinHandle<()>,
    complaints: JoinHandle<String>,
}

impl Agent {
    pub(super) fn start(
        role: &'static str,
        conveyor: &Conveyor,
        timeline: &Timeline,
        options: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        let myself = std::env::current_exe().context("looking for this program")?;
        let mut process = Command::new(myself)
            .arg(format!("demo-{role}"))
            .arg("--conveyor")
            .arg(conveyor.program())
            .arg("--path")
            .arg(conveyor.ledger())
            .args(options.iter().flat_map(|(name, value)| [name, value]))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(format_args!("starting the {role}"))?;
        let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
        let timeline = *timeline;
        let lines = std::thread::spawn(move || each_line(stdout, |line| timeline.say(role, line)));
        // Shown at once: what stops one agent lets the other wait in vain.
        let complaints = std::thread::spawn(move || {
            let mut text = String::new();
            each_line(stderr, |line| {
                timeline.say(role, line);
                text.push_str(line);
            });
            text
        });
        Ok(Self { role, process: Guard(process), lines, complaints })
    }

    /// Waits until the agent has done its part.
    pub(super) fn finish(mut self, limit: Duration) -> Result<(), Failure> {
        let status = wait(&mut self.process.0, limit).context(format_args!("the {}", self.role))?;
        let _ = self.lines.join();
        let complaints = self.complaints.join().unwrap_or_default();
        if status.success() {
            return Ok(());
        }
        Err(Failure::new(format!("the {} failed: {}", self.role, complaints.trim())))
    }
}

fn each_line(pipe: Option<impl std::io::Read>, mut show: impl FnMut(&str)) {
    let lines = pipe.map(|pipe| BufReader::new(pipe).lines());
    lines.into_iter().flatten().map_while(Result::ok).for_each(|line| show(&line));
}

/// `conveyor dispatch --watch`.
pub(super) struct Dispatcher {
    process: Guard,
    report: PathBuf,
    errors: PathBuf,
}

impl Dispatcher {
    pub(super) fn start(conveyor: &Conveyor, dir: &Path) -> Result<Self, Failure> {
        let (report, errors) = (dir.join("dispatch.json"), dir.join(DISPATCH_LOG));
        let stdout = File::create(&report).context(report.display())?;
        let stderr = File::create(&errors).context(errors.display())?;
        let process = conveyor
            .command(&["dispatch", "--watch", "--interval", "1", "--json"])
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .context("starting conveyor dispatch")?;
        Ok(Self { process: Guard(process), report, errors })
    }

    /// Asks it to end, as Ctrl-C does, and reads its account.
    pub(super) fn stop(mut self, timeline: &Timeline) -> Result<(), Failure> {
        let child = &mut self.process.0;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| matches!(child.try_wait(), Ok(None))) {
            kill_process(pid, Signal::TERM).context("stopping conveyor dispatch")?;
        }
        let status = wait(child, STEP).context("conveyor dispatch")?;
        if !status.success() {
            let errors = std::fs::read_to_string(&self.errors).unwrap_or_default();
            return Err(Failure::new(format!("conveyor dispatch failed ({status}): {}", errors.trim())));
        }
        let report = std::fs::read_to_string(&self.report).context(self.report.display())?;
        let report: Value =
            serde_json::from_str(&report).context("reading what conveyor dispatch printed")?;
        let processed = report["processed_count"].as_u64().unwrap_or_default();
        // Every instruction and its completion.
        let expected = INSTRUCTIONS.len() * 2;
        if processed != expected as u64 {
            let place = quote(&self.report.to_string_lossy());
            return Err(Failure::new(format!(
                "the dispatcher processed {processed} items, not {expected}; see {place}"
            )));
        }
        timeline.say("you", &format!("dispatch: stopped, {processed} items routed"));
        Ok(())
    }
}
