//! The project that a task is about: where it is, and what git and the forge say of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use conveyor_agents::programs::{self, Output};
use conveyor_model::Role;
use conveyor_model::records::{Object, Task};
use conveyor_store::{Tx, bindings};
use serde::Serialize;
use serde_json::Value;

use crate::{Result, reference};

/// How long git and the forge's program may take, each time.
const LIMIT: Duration = Duration::from_secs(10);

/// What is kept of each output, in characters, from its end.
const MAX_TEXT: usize = 5000;

/// What is kept of an error, likewise.
const MAX_ERROR: usize = 1000;

/// The directory of a task's project: that of its bound worker, else the current one.
pub(crate) fn directory(tx: &mut Tx<'_>, task: &Task, cwd: &Path) -> Result<PathBuf> {
    let Some(binding) = bindings::live_of_task(tx, &task.id)? else { return Ok(cwd.to_owned()) };
    let worker = reference::bound_session(tx, &binding, Role::Worker)?;
    let place = worker.map(|worker| worker.cwd).filter(|place| !place.is_empty());
    Ok(place.map_or_else(|| cwd.to_owned(), PathBuf::from))
}

/// What has changed in a project.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct Diff {
    pub branch_diff_name_only: String,
    pub branch_diff_stat: String,
    pub error: Option<String>,
    pub working_tree_diff_name_only: String,
    pub working_tree_diff_stat: String,
}

impl Diff {
    /// Asks git; what fails is empty, and the first failure is told.
    pub(crate) fn of(directory: &Path) -> Self {
        // Outside of a repository `git diff` explains how to compare two files.
        if let Err(reason) = git(directory, &["rev-parse", "--is-inside-work-tree"]) {
            return Self { error: Some(reason), ..Self::default() };
        }
        let mut error = None;
        let branch = format!("{}...HEAD", default_branch(directory));
        let mut ask = |what: &str, from: &str| match git(
            directory,
            &["diff", "--no-ext-diff", "--no-color", what, from, "--"],
        ) {
            Ok(text) => text,
            Err(reason) => {
                error.get_or_insert(reason);
                String::new()
            }
        };
        let mut diff = Self {
            branch_diff_stat: ask("--stat", &branch),
            branch_diff_name_only: ask("--name-only", &branch),
            working_tree_diff_stat: ask("--stat", "HEAD"),
            working_tree_diff_name_only: ask("--name-only", "HEAD"),
            error: None,
        };
        diff.error = error;
        diff
    }
}

fn default_branch(directory: &Path) -> String {
    if let Ok(name) = git(directory, &["symbolic-ref", "--short", "refs/remotes/origin/HEAD"]) {
        return name.trim().to_owned();
    }
    let has_main = git(directory, &["rev-parse", "--verify", "--quiet", "refs/heads/main"]).is_ok();
    if has_main { "main".into() } else { "master".into() }
}

fn git(directory: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = run("git", arguments, directory).map_err(|error| format!("git cannot be run: {error}"))?;
    if output.is_success() {
        return Ok(tail(&output.stdout, MAX_TEXT));
    }
    let reason = tail(output.stderr.trim(), MAX_ERROR);
    Err(match (output.timed_out, reason.is_empty()) {
        (true, _) => "git took longer than 10 s".into(),
        (false, true) => "git failed without saying why".into(),
        (false, false) => reason,
    })
}

/// Runs a program about the project, without a shell.
fn run(program: &str, arguments: &[&str], directory: &Path) -> std::io::Result<Output> {
    let mut command = Command::new(program);
    // Nothing of git's may wait for a person or take locks that an agent's git needs.
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_OPTIONAL_LOCKS", "0");
    programs::run(command.args(arguments).current_dir(directory), LIMIT)
}

/// The project's latest pull requests, whatever their state; none when the forge cannot be asked.
pub(crate) fn pull_requests(directory: &Path) -> Vec<Object> {
    let fields = "number,title,state,mergedAt,url";
    let arguments = ["pr", "list", "--state", "all", "--limit", "5", "--json", fields];
    match run("gh", &arguments, directory) {
        Ok(output) if output.is_success() => read_pull_requests(&output.stdout),
        _ => Vec::new(),
    }
}

fn read_pull_requests(text: &str) -> Vec<Object> {
    let found: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    let objects =
        found.into_iter().filter_map(|one| if let Value::Object(one) = one { Some(one) } else { None });
    let known = ["number", "title", "state", "mergedAt", "url"];
    objects
        .take(5)
        .map(|one| one.into_iter().filter(|(key, _)| known.contains(&key.as_str())).collect())
        .collect()
}

/// The end of a text, at most so many characters.
pub(crate) fn tail(text: &str, most: usize) -> String {
    let surplus = text.chars().count().saturating_sub(most);
    text.chars().skip(surplus).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_text_is_kept_whole_letters_only() {
        assert_eq!(tail("grün", 2), "ün");
        assert_eq!(tail("grün", 9), "grün");
    }

    #[test]
    fn pull_requests_are_cut_to_what_was_asked_for() {
        let one = r#"{"number":1,"title":"t","state":"OPEN","mergedAt":null,"url":"u","body":"secret"}"#;
        let list = format!("[{}]", [one; 7].join(","));
        let read = read_pull_requests(&list);
        assert_eq!(read.len(), 5);
        assert_eq!(read[0].keys().collect::<Vec<_>>(), ["mergedAt", "number", "state", "title", "url"]);
        assert!(read_pull_requests("not JSON").is_empty());
    }
}
