//! `start-worker` and `start-manager`: one session with its first message.

use std::path::Path;

use conveyor_store::{manager_configs, tasks};

use super::bootstrap::{self, Bootstrap, Sent};
use super::{Request, Spawned};
use crate::prompts::{ManagerFacts, manager_bootstrap};
use crate::{Cx, Error, Result};

/// What a manager is started for.
#[derive(Clone, Copy, Debug, Default)]
pub struct ManagerTask<'a> {
    /// The task, by id or name; one that is not there yet is taken by its name.
    pub task: Option<&'a str>,
    /// What it is for; default: what is stored.
    pub goal: Option<&'a str>,
    /// The session that is to be supervised.
    pub worker: Option<&'a str>,
}

/// The first message of a manager.
///
/// # Errors
/// A failing ledger.
pub fn manager_prompt(cx: &mut Cx, name: &str, cwd: &Path, about: &ManagerTask<'_>) -> Result<String> {
    let known = cx.db.read(|tx| {
        let Some(task) = about.task else { return Ok(None) };
        let Some(found) = tasks::find(tx, task)? else { return Ok(None) };
        let config = manager_configs::of_task(tx, &found.id)?;
        Ok::<_, Error>(Some((found, config)))
    })?;
    let (task, config) = known.map_or((None, None), |(task, config)| (Some(task), config));
    Ok(manager_bootstrap(&ManagerFacts {
        cwd: &cwd.display().to_string(),
        ledger: &cx.ledger(),
        manager: name,
        task: task.as_ref().map(|task| task.name.as_str()).or(about.task),
        goal: about.goal.or_else(|| task.as_ref().map(|task| task.goal.as_str())),
        worker: about.worker,
        config: config.as_ref(),
    }))
}

/// A started session.
#[derive(Debug)]
pub struct Started {
    /// The session.
    pub spawned: Spawned,
    /// Set when its first message was not sent, or is not proven to have arrived.
    pub unsent: Option<Error>,
}

/// Starts a session, registers it, and gives it its first message.
///
/// # Errors
/// As [`super::start`].
pub fn start(cx: &mut Cx, request: &Request<'_>) -> Result<Started> {
    let mut spawned = super::start(cx, request)?;
    let unsent = send_first(cx, &mut spawned, request, None)?;
    Ok(Started { spawned, unsent })
}

/// Gives a started session its first message; what is wrong with that is told and becomes a warning.
pub(crate) fn send_first(
    cx: &mut Cx,
    spawned: &mut Spawned,
    request: &Request<'_>,
    task_id: Option<&str>,
) -> Result<Option<Error>> {
    let Some(text) = request.prompt else { return Ok(None) };
    let message = Bootstrap { spawned, home: &request.installation.home, task_id, text };
    let sent = bootstrap::send(cx, &message)?;
    let name = spawned.name.clone();
    let unsent = match sent {
        Sent::Seen | Sent::NotDue => return Ok(None),
        Sent::NotSent(reason) => Error::FirstMessage { name, reason, unknown: false },
        Sent::Unknown(reason) => Error::FirstMessage { name, reason, unknown: true },
    };
    spawned.warnings.push(unsent.to_string());
    Ok(Some(unsent))
}
