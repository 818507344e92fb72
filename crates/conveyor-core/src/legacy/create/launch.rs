//! Starting the Codex of a worker.

use std::time::Duration;

use conveyor_agents::tmux::PaneFacts;
use conveyor_model::Role;
use serde_json::json;

use super::record::Worker;
use super::{Contract, Request};
use crate::legacy::launch::{Launch, is_taken, launch as launch_by_command};
use crate::legacy::{Place, tmux_session_of};
use crate::spawn::bootstrap::{self, Bootstrap, Sent};
use crate::spawn::{self, Approval, Prepared, Sandbox, Spawned, StartError};
use crate::{Error, Result};

/// How it was started.
pub(super) struct Launched {
    /// By way of a server: the session.
    spawned: Option<Spawned>,
    /// The pane that it is in.
    pub(super) pane: PaneFacts,
}

impl Launched {
    /// Whether the question about trust was answered on the way.
    pub(super) fn trust_accepted(&self) -> bool {
        self.spawned.as_ref().is_some_and(|spawned| spawned.trust_accepted)
    }

    /// Whether nobody has looked at its terminal yet.
    pub(super) fn is_unwatched(&self) -> bool {
        self.spawned.is_none()
    }
}

/// What a server is told about the start. What the worker may do is what Codex itself proposes for
/// a directory that is trusted.
pub(super) fn startup(request: &Request<'_>, limit: Duration) -> spawn::Startup {
    spawn::Startup {
        sandbox: Sandbox::WorkspaceWrite,
        approval: Approval::OnRequest,
        accept_trust: request.accept_trust,
        limit,
        native: true,
    }
}

pub(super) fn request<'a>(request: &Request<'a>, startup: &'a spawn::Startup) -> spawn::Request<'a> {
    spawn::Request {
        role: Role::Worker,
        name: request.name,
        cwd: request.cwd,
        // The contract follows once the worker is recorded; that there is one is all that counts.
        prompt: request.with_contract.then_some("contract"),
        startup,
        installation: request.surroundings.installation,
        via: "create",
    }
}

/// A start by way of a server; `None` where none runs, or none is wanted.
pub(super) fn prepare<'a>(
    place: &mut Place,
    request: &Request<'_>,
    start: &'a spawn::Request<'a>,
) -> Result<Option<Prepared<'a>>> {
    if !request.native {
        return Ok(None);
    }
    spawn::prepare(place.cx()?, start, request.reuse)
}

pub(super) fn launch(
    place: &mut Place,
    request: &Request<'_>,
    worker: &mut Worker,
    prepared: Option<Prepared<'_>>,
) -> Result<Launched> {
    if let Some(prepared) = prepared {
        let spawned = prepared.start(place.cx()?)?;
        let home = &request.surroundings.installation.home;
        worker.configure(json!({ "codex_home": home, "codex_thread_id": spawned.thread_id }))?;
        if spawned.trust_accepted {
            place.log(request.name, "accept_trust", json!({}))?;
        }
        let pane = spawned.pane.clone();
        return Ok(Launched { spawned: Some(spawned), pane });
    }
    let tmux_session = tmux_session_of(request.name);
    let new = Launch {
        tmux_session: &tmux_session,
        cwd: request.cwd,
        arguments: &[],
        alone: true,
        prompt: request.with_contract.then_some(worker.contract_path.as_path()),
    };
    let launched = launch_by_command(place.tmux(), &request.surroundings, &new);
    let pane = launched.map_err(|error| match is_taken(&error) {
        true => Error::from(StartError::TerminalTaken(tmux_session.clone())),
        false => error,
    })?;
    Ok(Launched { spawned: None, pane })
}

/// Gives the contract to a worker that has not got it at its start.
pub(super) fn tell(
    place: &mut Place,
    request: &Request<'_>,
    launched: &Launched,
    worker: &Worker,
) -> Result<Contract> {
    if !request.with_contract {
        return Ok(Contract::Saved);
    }
    let Some(spawned) = &launched.spawned else { return Ok(Contract::Given) };
    let path = worker.contract_path.clone();
    let text = std::fs::read_to_string(&path).map_err(|reason| Error::Unreadable { path, reason })?;
    let home = &request.surroundings.installation.home;
    let message = Bootstrap { spawned, home, task_id: None, text: &text };
    Ok(match bootstrap::send(place.cx()?, &message)? {
        Sent::Seen | Sent::NotDue => Contract::Given,
        Sent::NotSent(reason) | Sent::Unknown(reason) => Contract::Unproven(reason),
    })
}
