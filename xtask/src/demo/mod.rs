//! `cargo xtask demo`: two scripted agents work through one ledger.
//!
//! The agents are separate processes that know nothing but the `conveyor` program and, as a real
//! agent does, write what they do into their session's file. This module is the stage: it creates
//! the ledger, starts the dispatcher and the agents, plays the app that wakes a sleeping agent,
//! and checks that every step of the story happens in time.

mod agents;
mod conveyor;
mod rollout;
mod stage;
mod timeline;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::failure::{Context as _, Failure};
use conveyor::{Conveyor, text_at};
use stage::{Agent, Dispatcher};
use timeline::Timeline;

pub use agents::{run_manager, run_worker};

const TASK: &str = "demo";
const WORKER_THREAD: &str = "thread-worker";
const MANAGER_THREAD: &str = "thread-manager";

/// What the manager asks for, one instruction a round.
const INSTRUCTIONS: [&str; 3] = [
    "Write a failing test for the parser's empty input",
    "Make the test pass without touching the grammar",
    "Run the whole suite and report what is left",
];

/// After how many rounds the worker falls asleep.
const ROUNDS_BEFORE_SLEEP: usize = 2;

/// How old a life sign may be, in seconds: small, so that falling asleep shows soon.
const STALE_AFTER: &str = "2";

/// How long any one step may take on a slow machine.
const STEP: Duration = Duration::from_secs(20);

/// Runs the story.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let options = Options::read(arguments, &["--conveyor"])?;
    let program = options.get("--conveyor").unwrap_or("target/release/conveyor");
    let shown_program = program.to_owned();
    let program =
        Path::new(program).canonicalize().context(format_args!("looking for the program {program}"))?;
    let dir = tempfile::Builder::new().prefix("conveyor-demo-").tempdir().context("creating a directory")?;
    let dir = dir.keep();
    let conveyor = Conveyor::new(program, dir.join("ledger.db"));
    let timeline = Timeline::begin();
    timeline.note(&format!("A fresh ledger: {}", conveyor.ledger().display()));
    play(&conveyor, &dir, &timeline).map_err(|failure| {
        Failure::new(format!("{failure} (the ledger is {})", conveyor.ledger().display()))
    })?;
    look_further(&timeline, &shown_program, conveyor.ledger());
    Ok(())
}

fn play(conveyor: &Conveyor, dir: &Path, timeline: &Timeline) -> Result<(), Failure> {
    let binding = create_binding(conveyor, dir)?;
    let rollout = text_at(&binding, "/worker/rollout_path")?.to_owned();
    timeline.say("you", "create-disposable-binding: a task, a worker, a manager, and their binding");
    let dispatcher = Dispatcher::start(conveyor, dir)?;
    timeline.say("you", "dispatch --watch: routes messages, reads what the worker writes");

    timeline.note("Two rounds of work");
    let worker = Agent::start(
        "worker",
        conveyor,
        timeline,
        &[("--rollout", &rollout), ("--rounds", &ROUNDS_BEFORE_SLEEP.to_string()), ("--first", "1")],
    )?;
    let manager = Agent::start("manager", conveyor, timeline, &[])?;
    worker.finish(STEP * 2)?;
    timeline.note("One agent falls asleep");
    timeline.say("you", "the worker's thread has gone to sleep; nobody polls its inbox now");

    let receipt = wake_when_stale(conveyor, timeline)?;
    let rounds_left = (INSTRUCTIONS.len() - ROUNDS_BEFORE_SLEEP).to_string();
    let first = (ROUNDS_BEFORE_SLEEP + 1).to_string();
    let worker = Agent::start(
        "worker",
        conveyor,
        timeline,
        &[("--rollout", &rollout), ("--rounds", &rounds_left), ("--first", &first)],
    )?;
    conveyor.json(
        STEP,
        &[
            "app-wakeup-record-delivery",
            TASK,
            "--role",
            "worker",
            "--dispatch-receipt",
            &receipt,
            "--delivery-status",
            "sent",
            "--thread-id",
            WORKER_THREAD,
        ],
    )?;
    timeline.say("app", &format!("app-wakeup-record-delivery: sent to {WORKER_THREAD}"));
    conveyor.until(STEP, "all leases to be healthy again", |conveyor| {
        let status = loop_status(conveyor)?;
        Ok((status["ok"] == true).then_some(()))
    })?;
    timeline.say("you", "app-loop-status: ok, everybody is awake");

    worker.finish(STEP)?;
    manager.finish(STEP)?;
    timeline.note("The books");
    check_books(conveyor, timeline)?;
    dispatcher.stop(timeline)
}

fn create_binding(conveyor: &Conveyor, dir: &Path) -> Result<Value, Failure> {
    let sessions = dir.join("sessions");
    conveyor.json(
        STEP,
        &[
            "create-disposable-binding",
            TASK,
            "--goal",
            "Let the parser accept empty input",
            "--session-dir",
            &sessions.to_string_lossy(),
            "--worker-codex-app-thread-id",
            WORKER_THREAD,
            "--worker-codex-app-thread-title",
            "Demo worker",
            "--manager-codex-app-thread-id",
            MANAGER_THREAD,
            "--manager-codex-app-thread-title",
            "Demo manager",
        ],
    )
}

fn loop_status(conveyor: &Conveyor) -> Result<Value, Failure> {
    conveyor.json(STEP, &["app-loop-status", TASK, "--stale-after", STALE_AFTER])
}

/// Waits until the worker's lease has run out and prepares the wake-up; gives the receipt's id.
fn wake_when_stale(conveyor: &Conveyor, timeline: &Timeline) -> Result<String, Failure> {
    let status = conveyor.until(STEP, "the worker's lease to run out", |conveyor| {
        let status = loop_status(conveyor)?;
        Ok((status["worker"]["lease"]["state"] == "stale").then_some(status))
    })?;
    let age = &status["worker"]["lease"]["age_seconds"];
    timeline.say("you", &format!("app-loop-status: the worker is stale, its last life sign is {age} s old"));
    let wake = conveyor.json(STEP, &["app-wakeup-dispatch", TASK, "--stale-after", STALE_AFTER])?;
    let actions = wake["actions"].as_array().map_or(&[][..], Vec::as_slice);
    for action in actions {
        let (role, status) = (text_at(action, "/role")?, text_at(action, "/status")?);
        timeline.say("you", &format!("app-wakeup-dispatch: {role} {status}"));
    }
    let worker_ready =
        actions.iter().any(|action| action["role"] == "worker" && action["send_ready"] == true);
    if !worker_ready {
        return Err(Failure::new("the wake-up of the worker was not prepared"));
    }
    timeline.say("app", "sends the prepared prompt to the worker's thread");
    text_at(&wake, "/receipt/event_id").map(str::to_owned)
}

/// Every message was delivered once, and the ledger is sound.
fn check_books(conveyor: &Conveyor, timeline: &Timeline) -> Result<(), Failure> {
    let commands = conveyor.json(STEP, &["commands", "--task", TASK, "--attempts"])?;
    let commands = commands.as_array().map_or(&[][..], Vec::as_slice);
    let done =
        commands.iter().filter(|command| command["state"] == "succeeded" && command["attempts"] == 1).count();
    if done != INSTRUCTIONS.len() || commands.len() != done {
        return Err(Failure::new(format!(
            "{done} of {} commands succeeded at the first attempt",
            commands.len()
        )));
    }
    timeline.say("you", &format!("commands: all {done} instructions succeeded, one attempt each"));
    for inbox in ["worker-inbox", "manager-inbox"] {
        let left = conveyor.json(STEP, &[inbox, TASK])?;
        if left["items"].as_array().is_none_or(|items| !items.is_empty()) {
            return Err(Failure::new(format!("{inbox} still holds something")));
        }
    }
    timeline.say("you", "worker-inbox, manager-inbox: nothing left over");
    conveyor.run(STEP, &["db-doctor"])?;
    timeline.say("you", "db-doctor: the ledger is sound");
    Ok(())
}

fn look_further(timeline: &Timeline, program: &str, ledger: &Path) {
    timeline.note("The ledger stays for you to look at:");
    let ledger = quote(&ledger.to_string_lossy());
    for command in [
        "tasks",
        &format!("commands --task {TASK} --attempts"),
        &format!("manager-inbox {TASK}"),
        &format!("app-loop-status {TASK}"),
        "db-doctor",
    ] {
        println!("  {} {command} --path {ledger}", quote(program));
    }
}

/// A text as one word of a shell.
fn quote(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The `--name value` pairs of a task's arguments.
struct Options(Vec<(String, String)>);

impl Options {
    fn read(arguments: &[String], known: &[&str]) -> Result<Self, Failure> {
        let mut options = Vec::new();
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            if !known.contains(&name.as_str()) {
                return Err(Failure::new(format!("unknown argument {name:?}")));
            }
            let value = rest.next().ok_or_else(|| Failure::new(format!("{name} needs a value")))?;
            options.push((name.clone(), value.clone()));
        }
        Ok(Self(options))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    fn need(&self, name: &str) -> Result<&str, Failure> {
        self.get(name).ok_or_else(|| Failure::new(format!("{name} is needed")))
    }

    fn need_number(&self, name: &str) -> Result<usize, Failure> {
        self.need(name)?.parse().context(name)
    }

    fn conveyor(&self) -> Result<Conveyor, Failure> {
        Ok(Conveyor::new(PathBuf::from(self.need("--conveyor")?), PathBuf::from(self.need("--path")?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_when_a_shell_needs_it() {
        assert_eq!(quote("/tmp/conveyor-demo-x/ledger.db"), "/tmp/conveyor-demo-x/ledger.db");
        assert_eq!(quote("it's here"), r"'it'\''s here'");
    }

    #[test]
    fn unknown_arguments_are_refused() {
        let given = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            Options::read(&words, &["--conveyor"])
        };
        assert_eq!(given(&["--conveyor", "x"]).unwrap().get("--conveyor"), Some("x"));
        assert!(given(&["--conveyor"]).is_err());
        assert!(given(&["--fast", "x"]).is_err());
    }
}
