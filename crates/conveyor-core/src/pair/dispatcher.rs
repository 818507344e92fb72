//! The dispatcher of a pair: one that beats already, or a new one in the background.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use conveyor_model::Timestamp;
use conveyor_model::records::TelemetryEvent;
use conveyor_store::telemetry::{self, WATCH_HEARTBEAT};
use serde::Serialize;

use crate::{Cx, Error, Result};

/// A dispatcher whose last life sign is older does not run any more.
const LIFE_SIGN_SECONDS: i64 = 10;

/// So many life signs are looked at.
const LIFE_SIGNS: i64 = 25;

/// The dispatcher that is to run.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    /// Its identity.
    pub id: String,
    /// The program that is to be it: our own.
    pub program: PathBuf,
    /// A password that its URL does not show.
    pub server_password: Option<String>,
}

/// What was seen to.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct Dispatch {
    pub command: Option<Vec<String>>,
    pub ensure: bool,
    pub pid: Option<u32>,
    pub started: bool,
}

impl Dispatcher {
    /// The words of its command, on the ledger of this name.
    #[must_use]
    pub fn command(&self, ledger: &str) -> Vec<String> {
        let program = self.program.display().to_string();
        let words =
            ["dispatch", "--watch", "--exit-when-unbound", "--dispatcher-id", &self.id, "--path", ledger];
        std::iter::once(program).chain(words.map(ToOwned::to_owned)).collect()
    }
}

/// Sees to it that the dispatcher runs, if one is wanted.
pub(super) fn ensure(cx: &mut Cx, wanted: Option<&Dispatcher>) -> Result<Dispatch> {
    let Some(dispatcher) = wanted else {
        return Ok(Dispatch { command: None, ensure: false, pid: None, started: false });
    };
    let words = dispatcher.command(&cx.ledger());
    let pid = if beats(cx, &dispatcher.id)? { None } else { Some(start(dispatcher, &words)?) };
    Ok(Dispatch { command: Some(words), ensure: true, pid, started: pid.is_some() })
}

/// Whether a dispatcher of this identity has given a life sign just now.
fn beats(cx: &mut Cx, id: &str) -> Result<bool> {
    let now = cx.now();
    let beats = cx.db.read(|tx| telemetry::newest_of_type(tx, WATCH_HEARTBEAT, LIFE_SIGNS))?;
    let lives = |beat: &TelemetryEvent| {
        let at = Timestamp::parse(&beat.timestamp);
        let dry = beat.attributes.get("dry_run").is_some_and(|dry| *dry == true);
        let its_own = beat.correlation.get("dispatcher_id").is_some_and(|own| own == id);
        its_own && !dry && at.is_some_and(|at| now.age_seconds_since(at) <= LIFE_SIGN_SECONDS)
    };
    Ok(beats.iter().any(lives))
}

/// Starts it so that it outlives us and no key that is meant for us reaches it.
fn start(dispatcher: &Dispatcher, words: &[String]) -> Result<u32> {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(&dispatcher.program);
    command.args(&words[1..]).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(password) = &dispatcher.server_password {
        command.env("PGPASSWORD", password);
    }
    let child =
        command.spawn().map_err(|reason| Error::Unreadable { path: dispatcher.program.clone(), reason })?;
    Ok(child.id())
}
