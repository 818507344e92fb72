//! A review by a program that sees only what it is told. Whatever goes wrong is a recorded stop.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use conveyor_agents::sandbox::{self, Ending, Engine, Ran};
use conveyor_model::records::{Object, Task};
use conveyor_model::{Agreement, Verdict as Word, json as stored};
use conveyor_store::continuations::Review;
use conveyor_store::{Location, bindings};
use serde::Serialize;
use serde_json::{Value, json};

use super::context::{ALLOWED, Context, Recorded};
use super::payload::{Verdict, check_distinct};
use super::{Turn, record};
use crate::outage::Outage;
use crate::{Cx, Error, Result, reference};

/// What a recorded failure tells the next turn.
const STOP: &str =
    "Reviewer automation failed. Nothing may proceed on this turn until the operator has decided.";

/// Who shall review what.
pub struct ReviewRequest<'a> {
    /// Task id or name.
    pub task: &'a str,
    /// The turn.
    pub correlation_id: &'a str,
    /// What the reviewer calls itself.
    pub reviewer_session_id: &'a str,
    /// What the manager calls itself.
    pub manager_session_id: &'a str,
    /// The reviewer and its arguments.
    pub command: &'a [String],
    /// How many seconds it may take; less than one counts as one.
    pub seconds: f64,
    /// The reviewer's whole environment, but for its private directory.
    pub environment: &'a [(String, OsString)],
    /// The directory of our state, which a reviewer may not see.
    pub state_root: &'a Path,
    /// Our own executable.
    pub launcher: &'a Path,
    /// The ways to shut the reviewer off, best first.
    pub engines: &'a [Engine],
}

/// What a reviewer would be told, and which one.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct Preview {
    pub context: Context,
    pub reviewer_command: Vec<String>,
}

/// What is known before the reviewer starts.
struct Prepared {
    task: Task,
    turn: Turn,
    recorded: Recorded,
    rollouts: Vec<String>,
}

/// What the reviewer would be told. Nothing is run but what asks the project, and nothing recorded.
///
/// # Errors
/// An unknown task, a missing permission or proposal, equal sessions, or a failing ledger.
pub fn preview(cx: &mut Cx, request: &ReviewRequest<'_>) -> Result<Preview> {
    let prepared = prepare(cx, request)?;
    Ok(Preview { context: prepared.recorded.complete(), reviewer_command: request.command.to_vec() })
}

/// Has a turn reviewed by a program in a sandbox, and records what it says; what goes wrong from then
/// on is recorded as a verdict to stop. `warn` hears of an outage of the ledger, once.
///
/// # Errors
/// As [`preview`], and without a reviewer.
pub fn review_by_program(
    cx: &mut Cx,
    request: &ReviewRequest<'_>,
    warn: &mut dyn FnMut(&str),
) -> Result<Review> {
    let prepared = prepare(cx, request)?;
    let Some(runner) = request.command.first() else {
        return Err(Error::invalid(
            "continuation-reviewer requires --reviewer-command unless --dry-run is used",
        ));
    };
    let denied = denied(cx, request, &prepared.rollouts)?;
    let context = stored::compact(&to_value(&prepared.recorded.complete())?);
    let seconds = request.seconds.clamp(1.0, MAX_SECONDS);
    let began = Instant::now();
    let ran = sandbox::run(&sandbox::Request {
        launcher: request.launcher,
        engines: request.engines,
        command: &command(cx, request.command),
        environment: request.environment,
        input: context.as_bytes(),
        timeout: Duration::from_secs_f64(seconds),
        denied: &denied,
    });
    let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let facts = Facts { request, runner, seconds, duration_ms, ran: &ran };
    let said = facts.verdict().unwrap_or_else(|reason| facts.failure(&reason));
    record_in_the_end(cx, &prepared.task.id, &prepared.turn, &said, warn)
}

/// Records a verdict that took a while to get: it must not be lost because the ledger was away
/// meanwhile.
fn record_in_the_end(
    cx: &mut Cx,
    task_id: &str,
    turn: &Turn,
    said: &Verdict,
    warn: &mut dyn FnMut(&str),
) -> Result<Review> {
    let deadline = Instant::now() + PATIENCE;
    let mut outage = Outage::none();
    loop {
        let recorded = cx.db.write(|tx| {
            let task = reference::held_task(tx, task_id)?;
            record::record(tx, &task, turn, said)
        });
        match recorded {
            Err(Error::Store(error)) => {
                outage.survive(&mut cx.db, error, &|| Instant::now() >= deadline, warn)?;
            }
            other => return other,
        }
    }
}

fn to_value(context: &Context) -> Result<Value> {
    serde_json::to_value(context).map_err(|error| Error::Output(error.into()))
}

/// How long a ledger that is away is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A month: longer than anybody waits.
const MAX_SECONDS: f64 = 2_592_000.0;

fn prepare(cx: &mut Cx, request: &ReviewRequest<'_>) -> Result<Prepared> {
    check_distinct(request.reviewer_session_id, request.manager_session_id)?;
    let cwd = cx.cwd.clone();
    cx.db.read(|tx| {
        let task = reference::task(tx, request.task)?;
        let turn = Turn::of(tx, &task, request.correlation_id, "continuation reviewer")?;
        let recorded = Recorded::of(tx, &task, &turn, &cwd)?;
        let rollouts = bindings::rollouts_ever(tx, &task.id)?;
        Ok(Prepared { task, turn, recorded, rollouts })
    })
}

/// A program given by its place is meant from where the user is, not from its private directory.
fn command(cx: &Cx, given: &[String]) -> Vec<String> {
    let mut command = given.to_vec();
    if let Some(program) = command.first_mut().filter(|program| program.contains('/'))
        && let Some(absolute) = cx.cwd.join(&*program).to_str()
    {
        *program = absolute.to_owned();
    }
    command
}

/// Everything that a reviewer may not reach.
fn denied(cx: &Cx, request: &ReviewRequest<'_>, rollouts: &[String]) -> Result<Vec<PathBuf>> {
    let mut denied = vec![request.state_root.to_owned()];
    denied.extend(rollouts.iter().map(|rollout| cx.cwd.join(rollout)));
    if let Location::File(file) = cx.db.location() {
        // SQLite puts these beside the file itself, not beside a link to it.
        let file =
            std::fs::canonicalize(file).map_err(|reason| Error::Unreadable { path: file.clone(), reason })?;
        for ending in ["-wal", "-shm", "-journal"] {
            let mut sibling = file.clone().into_os_string();
            sibling.push(ending);
            denied.push(sibling.into());
        }
        denied.push(file);
    }
    Ok(denied)
}

/// What is known after the reviewer has ended.
struct Facts<'a> {
    request: &'a ReviewRequest<'a>,
    runner: &'a str,
    seconds: f64,
    duration_ms: u64,
    ran: &'a Ran,
}

impl Facts<'_> {
    /// The reviewer's answer, if it gave one that keeps the rules. What is told of one that does not
    /// never quotes it.
    fn verdict(&self) -> Result<Verdict, String> {
        match &self.ran.ending {
            Ending::Exited(0) => {}
            Ending::Exited(code) => return Err(format!("reviewer command exited {code}")),
            Ending::Signal(signal) => return Err(format!("reviewer command was ended by signal {signal}")),
            Ending::TimedOut => return Err(format!("reviewer command timed out after {}s", self.seconds)),
            Ending::TooMuch => return Err("reviewer command wrote more than 1 MiB".into()),
            Ending::NotStarted(reason) => return Err(format!("reviewer command {reason}")),
            Ending::NoSandbox(reason) => return Err(reason.clone()),
        }
        let answer: Value = serde_json::from_slice(&self.ran.stdout)
            .map_err(|_| "reviewer command did not answer with one JSON document".to_owned())?;
        let Value::Object(mut answer) = answer else {
            return Err("reviewer command did not answer with a JSON object".into());
        };
        let mut run = match answer.remove("subagent_run") {
            Some(Value::Object(own)) => own,
            _ => Object::new(),
        };
        // These are ours to say.
        run.extend(self.common());
        run.insert("allowed_context".into(), json!(ALLOWED));
        run.insert("status".into(), "succeeded".into());
        answer.insert("subagent_run".into(), run.into());
        Verdict::read(&answer).map_err(|error| format!("reviewer command gave no valid review: {error}"))
    }

    /// What is recorded in the place of an answer.
    fn failure(&self, reason: &str) -> Verdict {
        let mut run = self.common();
        run.insert("error".into(), reason.into());
        run.insert("status".into(), "failed".into());
        run.insert("stderr_redacted".into(), self.ran.has_stderr.into());
        run.insert("stdout_redacted".into(), (!self.ran.stdout.is_empty()).into());
        Verdict {
            agreement: Agreement::Divergent,
            verdict: Word::Stop,
            rationale: reason.to_owned(),
            addendum: Some(STOP.to_owned()),
            subagent_run: run,
        }
    }

    fn common(&self) -> Object {
        let code = match self.ran.ending {
            Ending::Exited(code) => Some(code),
            _ => None,
        };
        let facts = [
            ("duration_ms", json!(self.duration_ms)),
            ("manager_rollout_access", json!(false)),
            ("manager_session_id", json!(self.request.manager_session_id)),
            ("returncode", json!(code)),
            ("reviewer_session_id", json!(self.request.reviewer_session_id)),
            ("runner", json!(self.runner)),
            ("runner_arg_count", json!(self.request.command.len())),
            ("sandbox", self.sandbox()),
        ];
        facts.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    fn sandbox(&self) -> Value {
        let mut record = json!({
            "denied_path_count": self.ran.denied_count,
            "enabled": true,
            "engine": self.ran.engine.map_or("none", Engine::as_str),
            "profile": sandbox::PROFILE,
        });
        if let Ending::NoSandbox(reason) = &self.ran.ending {
            record["enabled"] = false.into();
            record["setup_error"] = reason.clone().into();
        }
        record
    }
}
