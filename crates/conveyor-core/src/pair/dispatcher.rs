//! The dispatcher of a pair: one that beats already, or a new one in the background.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use conveyor_store::watches::{Beat, PARTIAL};
use serde::Serialize;

use crate::dispatch::life;
use crate::{Cx, Error, Result};

/// The option with which a dispatcher leaves the session of whoever starts it.
const OWN_SESSION: &str = "--own-session";

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
    let pid = if runs(cx, &dispatcher.id)? { None } else { Some(start(dispatcher, &words)?) };
    Ok(Dispatch { command: Some(words), ensure: true, pid, started: pid.is_some() })
}

/// Whether a dispatcher of this identity runs that moves everything, and goes on doing so.
fn runs(cx: &mut Cx, id: &str) -> Result<bool> {
    let now = cx.now();
    let serves = |beat: &Beat| !beat.is(PARTIAL);
    let running = cx.db.read(|tx| life::running(tx, Some(id), life::LIFE_SIGN_SECONDS, now, serves))?;
    Ok(!running.is_empty())
}

/// Starts it so that it outlives us and our terminal, and no key that is meant for us reaches it.
fn start(dispatcher: &Dispatcher, words: &[String]) -> Result<u32> {
    let mut command = Command::new(&dispatcher.program);
    // Not in a group of its own: whoever leads one cannot leave for a session of its own.
    command.args(&words[1..]).arg(OWN_SESSION);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(password) = &dispatcher.server_password {
        command.env("PGPASSWORD", password);
    }
    let child =
        command.spawn().map_err(|reason| Error::Unreadable { path: dispatcher.program.clone(), reason })?;
    Ok(child.id())
}
