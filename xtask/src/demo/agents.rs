//! The two agents. Each is a process that polls, as the prompts of Conveyor tell a real agent to:
//! renew the lease, look into the inbox, act on what was consumed.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::conveyor::{Conveyor, text_at};
use super::{INSTRUCTIONS, Options, STALE_AFTER, STEP, TASK, rollout};
use crate::failure::Failure;

/// How long one poll waits; shorter than the lease, which every poll renews.
const POLL_SECONDS: &str = "1";

/// The manager: gives one instruction a round and waits for the worker's completion.
pub fn run_manager(arguments: &[String]) -> Result<(), Failure> {
    let conveyor = Options::read(arguments, &["--conveyor", "--path"])?.conveyor()?;
    heartbeat(&conveyor, "manager")?;
    println!("app-heartbeat: on duty");
    for instruction in INSTRUCTIONS {
        conveyor.json(STEP, &["enqueue-nudge-worker", TASK, "--message", instruction])?;
        println!("enqueue-nudge-worker: \"{instruction}\"");
        let item = next_item(&conveyor, "manager")?;
        let signal = text_at(&item, "/signal_type")?;
        if signal != "worker_task_complete" {
            return Err(Failure::new(format!("expected the worker's completion, not {signal}")));
        }
        println!("manager-inbox: the worker has completed a turn");
    }
    println!("all instructions are carried out");
    Ok(())
}

/// The worker: consumes `--rounds` instructions and carries each out in one turn of its session.
pub fn run_worker(arguments: &[String]) -> Result<(), Failure> {
    let known = ["--conveyor", "--path", "--rollout", "--rounds", "--first"];
    let options = Options::read(arguments, &known)?;
    let conveyor = options.conveyor()?;
    let (rounds, first) = (options.need_number("--rounds")?, options.need_number("--first")?);
    let rollout = Path::new(options.need("--rollout")?);
    heartbeat(&conveyor, "worker")?;
    println!("app-heartbeat: {}", if first == 1 { "on duty" } else { "woken up, the lease is renewed" });
    for turn in first..first + rounds {
        let item = next_item(&conveyor, "worker")?;
        let instruction = text_at(&item, "/payload/message")?;
        println!("worker-inbox: consumed \"{instruction}\"");
        println!("carries it out, and writes what it does into its session file");
        rollout::append_turn(rollout, turn, instruction, &format!("Done: {instruction}."))?;
    }
    Ok(())
}

/// Polls until an item was consumed, renewing the lease before every poll.
fn next_item(conveyor: &Conveyor, role: &str) -> Result<Value, Failure> {
    let inbox = format!("{role}-inbox");
    let start = Instant::now();
    loop {
        heartbeat(conveyor, role)?;
        let wait = [&inbox, TASK, "--consume-next", "--wait", "--timeout", POLL_SECONDS];
        let mut answer = conveyor.json(STEP, &wait)?;
        let item = answer["consumed"].take();
        if !item.is_null() {
            return Ok(item);
        }
        if start.elapsed() > STEP + Duration::from_secs(10) {
            return Err(Failure::new(format!("nothing arrived in the {inbox}")));
        }
    }
}

/// Says "I am alive".
fn heartbeat(conveyor: &Conveyor, role: &str) -> Result<Value, Failure> {
    conveyor.json(STEP, &["app-heartbeat", TASK, "--role", role, "--stale-after", STALE_AFTER])
}
