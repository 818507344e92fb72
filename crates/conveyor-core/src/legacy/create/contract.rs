//! The text that a worker of the state root works under.

use conveyor_model::WorkerStatus;
use conveyor_model::shell::quote;
use serde_json::json;

use super::Request;
use super::record::Worker;
use crate::Result;
use crate::legacy::Place;

pub(super) fn text(place: &mut Place, request: &Request<'_>, worker: &Worker) -> Result<String> {
    let ledger = quote(&place.cx()?.ledger());
    let name = quote(request.name);
    let task = match request.task {
        Some(task) => format!("Your task:\n{task}"),
        None => "You have no task yet. Wait for one from your manager.".to_owned(),
    };
    let states = WorkerStatus::TEXTS.join(", ");
    let status = json!({
        "blocker": null,
        "current_task": "…",
        "last_update": "2026-01-31T12:00:00Z",
        "next_action": "…",
        "state": "editing",
    });
    Ok(format!(
        "You are worker {plain} of Agent Conveyor. A manager supervises you.\n\n\
         {task}\n\n\
         Your identity token is {token}. Keep it unchanged, and give it only when Conveyor asks for it.\n\n\
         Report your status whenever the phase of your work changes, when you are blocked, before a long verification, \
         and at the end, with this command; add --blocker '…' when you wait for something:\n\
         conveyor update-status {name} --state <state> --current-task '…' --next-action '…' --path {ledger}\n\
         The states are {states}. Set blocked, and say what is missing, when you need direction.\n\
         {place}\
         The last report also stands in {file}, for programs that look there. It has this shape; let the command write \
         it:\n\
         {status}\n\n\
         Instructions are typed into this terminal. Without a tmux session they come into an inbox: take them out one \
         by one until it is empty or the loop has reached its maximum, with\n\
         conveyor worker-inbox <task-name> --consume-next --wait --timeout 60 --json --path {ledger}\n\n\
         Do not run git commands that destroy work (reset --hard, clean, force pushes, deleting branches) unless you \
         are asked to.\n",
        plain = request.name,
        token = worker.identity_token,
        place = place_note(place, request),
        file = worker.directory.join("status.json").display(),
    ))
}

/// Where the command finds the worker's files, unless that goes without saying.
fn place_note(place: &Place, request: &Request<'_>) -> String {
    if place.root() == request.cwd.join(".codex-workers") {
        return String::new();
    }
    let root = quote(&place.root().display().to_string());
    format!("It finds your files with WORKERCTL_STATE_ROOT={root} in its environment.\n")
}
