//! `create`, `start-test`: a worker that is a directory of the state root, with a Codex in a
//! terminal.
//!
//! | step | where |
//! | --- | --- |
//! | what is in the way | `begin` |
//! | files and rows | `record` |
//! | the text for the worker | `contract` |
//! | its start | `launch` |
//! | waiting for it | `watch` |

mod begin;
mod contract;
mod launch;
mod record;
mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use conveyor_agents::desktop::{Desktop, WindowChoice};
use conveyor_agents::tmux::Target;
use conveyor_model::WorkerState;
use conveyor_store::{audit, sessions, workers};
use serde_json::json;

use super::{Config, Place, Surroundings, tmux_session_of};
use crate::addressing::Terminal;
use crate::stopping::{self, Agent, Thread};
use crate::windows::{self, Opened};
use crate::{Cx, Error, Result};

pub use watch::{Startup, Verification};

/// A worker to be created.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is to do; `None`: it waits for instructions.
    pub task: Option<&'a str>,
    /// Where it works, absolute.
    pub cwd: &'a Path,
    /// A worker of that name may exist.
    pub reuse: bool,
    /// Whether Codex is told its contract at the start.
    pub with_contract: bool,
    /// Answer the question whether the directory may be trusted with yes.
    pub accept_trust: bool,
    /// How long to wait until Codex takes messages.
    pub wait_ready: Option<u64>,
    /// How long to wait until the worker reports.
    pub verify: Option<u64>,
    /// Open a window, in spite of earlier ones if the second is set.
    pub open: Option<(WindowChoice, bool)>,
    /// End it at the end.
    pub stop_after: bool,
    /// Use Codex's server where one runs.
    pub native: bool,
    /// Which Codex, and what it gets.
    pub surroundings: Surroundings<'a>,
}

/// What was created.
#[derive(Debug)]
pub struct Created {
    /// Its name.
    pub name: String,
    /// Its terminal.
    pub tmux_session: String,
    /// Its directory.
    pub state_dir: PathBuf,
    /// The file with its contract.
    pub contract_path: PathBuf,
    /// What became of the contract.
    pub contract: Contract,
    /// Whether the question about trust was answered.
    pub trust_accepted: bool,
    /// How far Codex came, if it was waited for.
    pub startup: Option<Startup>,
    /// Whether the worker reported, if it was waited for.
    pub verification: Option<Verification>,
    /// The window, if one was wanted.
    pub opened: Option<Result<Opened>>,
    /// Whether it was ended again.
    pub stopped: bool,
}

/// What became of a contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contract {
    /// It is the first message.
    Given,
    /// It stands in its file only, as wanted.
    Saved,
    /// It was to be the first message; why it may not have arrived.
    Unproven(String),
}

/// How long a start by way of a server may take when nothing else was said.
const LIMIT: Duration = Duration::from_secs(30);

/// Creates a worker and starts its Codex: by way of Codex's server where one runs, so that the
/// terminal shows exactly the thread that was made for it; otherwise by its command line.
///
/// # Errors
/// As refusals of the environment: missing tools, a missing directory, a name that is taken, a
/// window that cannot be opened here. [`Error::Start`]: a server that does not start it. A bad
/// name, files that cannot be written, a failing tmux or ledger.
pub fn create(place: &mut Place, desktop: &Desktop, request: &Request<'_>) -> Result<Created> {
    let begun = begin::begin(place, desktop, request)?;
    let limit = request.wait_ready.map_or(LIMIT, Duration::from_secs);
    let startup = launch::startup(request, limit);
    let start = launch::request(request, &startup);
    // What a server refuses is known before anything is written.
    let prepared = launch::prepare(place, request, &start)?;
    let mut worker = record::candidate(place, request, begun)?;
    let launched = launch::launch(place, request, &mut worker, prepared)?;
    record::active(place, request, &mut worker, &launched.pane)?;
    let target = Target::Pane(launched.pane.id.clone());

    let mut trust_accepted = launched.trust_accepted();
    let mut startup = None;
    if let Some(seconds) = request.wait_ready {
        let seen = watch::until_ready(place, request, &target, seconds, trust_accepted)?;
        trust_accepted = seen.trust_accepted;
        record::startup(place, request, &mut worker, &seen)?;
        startup = Some(seen);
    } else if request.accept_trust && launched.is_unwatched() {
        trust_accepted = watch::accept_trust_once(place, request, &target)?;
    }
    let contract = launch::tell(place, request, &launched, &worker)?;
    let verification = match request.verify {
        Some(seconds) => Some(watch::verify(place, request, seconds, &worker.report)?),
        None => None,
    };
    let opened = request.open.map(|(choice, force)| {
        let window = windows::Request { name: request.name, choice, dry_run: false };
        windows::open(place, desktop, &window, force)
    });
    if request.stop_after {
        stop(place, request, &worker.config)?;
    }
    Ok(Created {
        name: request.name.to_owned(),
        tmux_session: tmux_session_of(request.name),
        state_dir: worker.directory,
        contract_path: worker.contract_path,
        contract,
        trust_accepted,
        startup,
        verification,
        opened,
        stopped: request.stop_after,
    })
}

/// Ends the worker again.
fn stop(place: &mut Place, request: &Request<'_>, config: &Config) -> Result<()> {
    let terminal = Terminal::of_worker(config, request.name, place.tmux());
    let thread = Thread::of_worker(config);
    let (name, thread) = (request.name, thread.as_ref());
    let agent = Agent { name, thread, terminal: Some(&terminal), force: false };
    let killed = stopping::end(place.cwd(), &agent)?.killed;
    record_end(place.cx()?, request.name)?;
    place.log(request.name, "stop", json!({ "killed_session": killed, "reason": "stop_after" }))
}

/// Records that a legacy worker's terminal was ended; a session that is registered for it is gone.
pub(crate) fn record_end(cx: &mut Cx, name: &str) -> Result<()> {
    cx.db.write(|tx| {
        workers::set_state(tx, name, WorkerState::Stopped)?;
        let session = sessions::by_name(tx, name)?;
        let tmux_session = tmux_session_of(name);
        if let Some(session) = session.filter(|session| session.tmux() == Some(&tmux_session)) {
            sessions::set_gone_in_seconds(tx, &session.id)?;
            let payload = json!({
                "killed_session": true,
                "role": session.role,
                "session": session.name,
                "target": tmux_session,
            });
            let event =
                audit::AuditEvent { event_type: "session_stopped", task_id: None, command_id: None, payload };
            audit::record(tx, &event)?;
        }
        tx.wake_waiters();
        Ok::<_, Error>(())
    })
}
