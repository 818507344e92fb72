//! Whether a worker or session goes on, waits, or is stuck.

use std::path::Path;

use conveyor_agents::screen::{self, Activity, BusyWait};
use conveyor_agents::tmux::Extent;
use conveyor_model::{Timestamp, WorkerStatus};
use serde::Serialize;

use super::observe::{self, Refresh, Terminal};
use super::{Subject, resolve};
use crate::legacy::{self, Place};
use crate::{Error, Result};

/// What to look at, and what counts as old.
#[derive(Clone, Copy, Debug)]
pub struct IdleRequest<'a> {
    /// The worker or session.
    pub name: &'a str,
    /// Whether the terminal is captured first.
    pub refresh: Refresh,
    /// From which age on silence is remarkable while work runs.
    pub busy_wait_seconds: i64,
    /// From which age on a status is stale.
    pub status_stale_seconds: i64,
    /// From which age on an unchanged terminal is stale.
    pub terminal_stale_seconds: i64,
}

/// A verdict on a worker or session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Its terminal is not there.
    Stopped,
    /// It says that it cannot go on.
    Blocked,
    /// It says that it is done.
    Done,
    /// Its terminal cannot be looked at.
    Unknown,
    /// Its terminal waits for somebody.
    BusyWait,
    /// Neither reports nor changes.
    Stale,
    /// It reports, but its terminal does not change.
    Quiet,
    /// Its terminal changes, but it does not report.
    StatusStale,
    /// It reports and changes.
    Active,
}

/// The verdict with everything it is made from.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "named as the printed report")]
pub struct Idle {
    pub blocker: Option<String>,
    pub busy_wait_pattern: Option<screen::Pattern>,
    pub busy_wait_seconds: i64,
    pub capture_error: Option<String>,
    pub current_task: Option<String>,
    pub health: Health,
    pub name: String,
    pub next_action: Option<String>,
    pub reason: String,
    pub recommended_action: &'static str,
    pub running: bool,
    pub state: WorkerStatus,
    pub status_age_seconds: Option<i64>,
    pub status_last_update: Option<String>,
    pub status_stale_seconds: i64,
    pub terminal_age_seconds: Option<i64>,
    pub terminal_changed_at: Option<String>,
    pub terminal_fresh: bool,
    pub terminal_stale_seconds: i64,
    pub tmux_session: Option<String>,
}

/// Judges whether a worker or session goes on. A failing tmux is part of the answer.
///
/// # Errors
/// An unknown name, an invalid file, or a failing ledger.
pub fn idle_check(place: &mut Place, request: &IdleRequest<'_>) -> Result<Idle> {
    let subject = resolve(place, request.name)?;
    let latest = legacy::latest(place, request.name, request.name)?;
    let mut terminal = observe::look(place, &subject, request.refresh)?;
    let screen = visible_screen(place, &subject, &mut terminal)?;
    let now = place.now();
    let age = |time: &Option<String>| {
        let time = time.as_deref().and_then(Timestamp::parse)?;
        Some(now.age_seconds_since(time))
    };
    let status_age_seconds = age(&latest.last_update);
    let terminal_age_seconds = age(&terminal.changed_at);
    let activity =
        Activity { status_age_seconds, busy_wait_seconds: request.busy_wait_seconds, recent_events: 0 };
    let busy_wait = screen.and_then(|screen| screen::busy_wait(&screen, &activity));
    let observed = observe::observed(subject, latest, terminal);
    let stale = |age: Option<i64>, limit: i64| age.is_none_or(|age| age >= limit);
    let (health, recommended_action, reason) = judge(&Facts {
        running: observed.running,
        state: observed.state,
        error: observed.terminal_capture_error.as_deref(),
        busy_wait: busy_wait.as_ref(),
        status_stale: stale(status_age_seconds, request.status_stale_seconds),
        terminal_stale: stale(terminal_age_seconds, request.terminal_stale_seconds),
    });
    Ok(Idle {
        blocker: observed.blocker,
        busy_wait_pattern: busy_wait.map(|found| found.pattern),
        busy_wait_seconds: request.busy_wait_seconds,
        terminal_fresh: observed.terminal_capture_error.is_none(),
        capture_error: observed.terminal_capture_error,
        current_task: observed.current_task,
        health,
        name: observed.name,
        next_action: observed.next_action,
        reason,
        recommended_action,
        running: observed.running,
        state: observed.state,
        status_age_seconds,
        status_last_update: observed.status_last_update,
        status_stale_seconds: request.status_stale_seconds,
        terminal_age_seconds,
        terminal_changed_at: observed.terminal_changed_at,
        terminal_stale_seconds: request.terminal_stale_seconds,
        tmux_session: observed.tmux_session,
    })
}

/// The rows of a terminal of our usual size, where the size is not known.
const USUAL_HEIGHT: usize = 50;

/// The visible screen: of the capture just made, of a further look, else of the last capture.
fn visible_screen(place: &Place, subject: &Subject, terminal: &mut Terminal) -> Result<Option<String>> {
    let Some(here) = &terminal.here else { return Ok(None) };
    if terminal.visible.is_some() {
        return Ok(terminal.visible.take());
    }
    match subject.terminal()?.look_again(&subject.name, here, Extent::default()) {
        Ok(look) => Ok(Some(look.text)),
        Err(error) => {
            terminal.error.get_or_insert(error.to_string());
            Ok(last_capture(&place.root().join(&subject.name).join("transcript.txt"))?)
        }
    }
}

fn last_capture(path: &Path) -> Result<Option<String>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(screen::visible(&String::from_utf8_lossy(&bytes), USUAL_HEIGHT).to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(Error::Unreadable { path: path.to_owned(), reason }),
    }
}

/// What the verdict depends on.
struct Facts<'a> {
    running: bool,
    state: WorkerStatus,
    error: Option<&'a str>,
    busy_wait: Option<&'a BusyWait>,
    status_stale: bool,
    terminal_stale: bool,
}

fn judge(facts: &Facts<'_>) -> (Health, &'static str, String) {
    let verdict = |health, action, reason: &str| (health, action, reason.to_owned());
    if !facts.running {
        return verdict(Health::Stopped, "none", "The terminal is not running.");
    }
    match facts.state {
        WorkerStatus::Blocked => {
            return verdict(Health::Blocked, "read_blocker", "The worker reports that it is blocked.");
        }
        WorkerStatus::Done => {
            return verdict(Health::Done, "review_result", "The worker reports that it is done.");
        }
        _ => {}
    }
    if let Some(error) = facts.error {
        return verdict(Health::Unknown, "inspect_terminal", error);
    }
    if let Some(found) = facts.busy_wait {
        return verdict(Health::BusyWait, found.recommended_action, found.reason);
    }
    match (facts.status_stale, facts.terminal_stale) {
        (true, true) => {
            let reason = "Neither the status nor the terminal has changed for long.";
            verdict(Health::Stale, "ask_for_status", reason)
        }
        (false, true) => {
            verdict(Health::Quiet, "wait", "The status is recent; the terminal has not changed.")
        }
        (true, false) => verdict(Health::StatusStale, "wait", "The terminal changes; the status is old."),
        (false, false) => verdict(Health::Active, "none", "The status and the terminal are recent."),
    }
}
