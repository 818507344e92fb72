//! The process that keeps watch: it ends everything that came of the program when that has ended,
//! when time is up, or when whoever asked for it is gone or wants it to end.

use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, getpid, getppid, kill_process, kill_process_group, setrlimit,
    wait,
};

use super::launch::Instructions;
use super::report::Report;

/// How long what was told to end is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts the next stage, waits for its end, and reports it.
pub(super) fn keep(instructions: &Instructions) -> Result<u8, String> {
    let asker = getppid();
    let stop = Arc::new(AtomicBool::new(false));
    let failed = |error: &dyn std::fmt::Display| format!("nobody could keep watch: {error}");
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop))
        .map_err(|error| failed(&error))?;
    // No picture of the program's memory on disk.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    {
        rustix::process::set_child_subreaper(Some(getpid())).map_err(|error| failed(&error))?;
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
            .map_err(|error| failed(&error))?;
    }
    let (program, arguments) = instructions.next.split_first().ok_or("there is nothing to start")?;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(&instructions.directory)
        .spawn()
        .map_err(|error| format!("{program} cannot be started: {error}"))?;
    let deadline = Instant::now() + Duration::from_millis(instructions.timeout_ms);
    let is_over = || stop.load(Ordering::SeqCst) || getppid() != asker;
    let status = watch(&mut child, deadline, is_over);
    end_descendants();
    if getppid() != asker {
        clear_away(instructions);
    }
    let report = status.map_err(|error| failed(&error))?.map_or(Report::TimedOut, Report::of);
    report.send(&instructions.word);
    Ok(0)
}

/// Removes what whoever asked for it would have removed.
fn clear_away(instructions: &Instructions) {
    for directory in [Some(instructions.directory.as_path()), instructions.socket.parent()] {
        // Nobody is left to tell.
        let _ = directory.map(std::fs::remove_dir_all);
    }
}

/// `None`: time is up, or it is over for another reason.
fn watch(
    child: &mut Child,
    deadline: Instant,
    is_over: impl Fn() -> bool,
) -> std::io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_micros(100);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline || is_over() {
            // It leads a group of its own, as the first of its session, and is not reaped yet, so that the
            // group's id is still its own. If it has ended in this moment, there may be nothing to end.
            if let Ok(Some(group)) = i32::try_from(child.id()).map(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.kill();
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

/// Ends what is left of all that was started: whoever loses its parent becomes our child.
fn end_descendants() {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        for child in children() {
            // It may have ended by itself.
            let _ = kill_process(child, Signal::KILL);
        }
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => return,
        }
    }
}

/// Our children; they are looked up by their parent, because not every kernel keeps a list.
fn children() -> Vec<Pid> {
    let own = getpid().as_raw_nonzero().get();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| parent(*pid) == Some(own)).filter_map(Pid::from_raw).collect()
}

fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program may contain anything, also parentheses.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
