//! `doctor-self`: whether the Codex that runs this command can take part.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use conveyor_agents::codex::panes_of_thread;
use conveyor_agents::programs;
use conveyor_agents::tmux::{Tmux, TmuxError};
use conveyor_model::shell::quote;
use conveyor_store::doctor::Check;
use serde::Serialize;
use serde_json::json;

use super::machine::{check, found};

/// How long the program may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The tmux session, where it was given.
    pub session: Option<&'a str>,
    /// The thread of the agent that runs the command. Then the pane proves nothing: the variable
    /// comes from whichever terminal started the agent's server.
    pub thread_id: Option<&'a str>,
    /// The pane that the command runs in.
    pub pane: Option<&'a str>,
    /// The terminals.
    pub tmux: &'a Tmux,
    /// `workerctl`, tmux and Codex as a shell finds them.
    pub workerctl: Option<&'a Path>,
    /// See there.
    pub tmux_program: Option<&'a Path>,
    /// See there.
    pub codex: Option<&'a Path>,
    /// The directory of the running program.
    pub program_dir: Option<&'a Path>,
    /// The home of Codex.
    pub codex_home: &'a Path,
    /// The ledger as generated commands name it.
    pub ledger: &'a str,
}

/// What was found, and how to go on.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "documented with the command")]
pub struct Agent {
    pub checks: Vec<Check>,
    pub codex_app_inbox_guidance: &'static str,
    pub codex_review_helper_path: PathBuf,
    pub codex_review_skill_path: PathBuf,
    pub command_context_note: &'static str,
    pub command_template: String,
    pub current_session: Option<String>,
    pub follow_up: [&'static str; 3],
    pub ok: bool,
    pub skill_path: PathBuf,
    pub supported: bool,
    pub why_or_why_not: String,
    pub workerctl_invocation: Option<String>,
}

const APP_GUIDANCE: &str = "A session in the Codex app is a full pull target: register it without --tmux-session, then \
     poll `conveyor manager-inbox` or `conveyor worker-inbox` with `--consume-next --wait --json` at the beginning of \
     each turn.";

const CONTEXT_NOTE: &str = "The tmux checks describe the environment of this command. An app session proves who it is \
     by its rollout, which lsof may show, and by the role it was registered with, not by tmux.";

const FOLLOW_UP: [&str; 3] = [
    "Let a manager register itself with `conveyor register-manager`.",
    "Create a task with `conveyor tasks --create`, and bind worker and manager to it with `conveyor bind`.",
    "Drive it with `conveyor cycle`.",
];

/// Looks at the surroundings of the command. Writes nothing, and the ledger is not touched.
#[must_use]
pub fn agent(request: &Request<'_>) -> Agent {
    let skills = request.codex_home.join("skills");
    let skill_path = skills.join("manage-codex-workers/SKILL.md");
    let review = skills.join("codex-review");
    let (review_skill, review_helper) = (review.join("SKILL.md"), review.join("scripts/codex-review"));
    let script = request.program_dir.map(|dir| dir.join("workerctl")).filter(|script| script.is_file());
    let (current_session, access) = current_session(request);

    let mut checks = vec![
        found("workerctl_on_path", request.workerctl),
        found("workerctl_script", script.as_deref()),
        found("tmux_on_path", request.tmux_program),
        found("codex_on_path", request.codex),
        check("inside_tmux", current_session.is_some(), &[("session", json!(current_session))]),
        check("manage_skill_installed", skill_path.is_file(), &[("path", json!(skill_path))]),
        check("codex_review_skill_installed", review_skill.is_file(), &[("path", json!(review_skill))]),
        check(
            "codex_review_helper_installed",
            is_executable(&review_helper),
            &[("path", json!(review_helper))],
        ),
    ];
    if let Some(error) = access {
        checks.push(check("tmux_access", false, &[("error", json!(error.to_string()))]));
    }
    if let (Some(session), Some(_)) = (&current_session, request.tmux_program) {
        checks.push(live(request.tmux, session));
    }
    checks.extend(request.workerctl.map(answers));

    let failed = lacking(&checks);
    let supported = failed.is_empty();
    Agent {
        codex_app_inbox_guidance: APP_GUIDANCE,
        codex_review_helper_path: review_helper,
        codex_review_skill_path: review_skill,
        command_context_note: CONTEXT_NOTE,
        command_template: format!(
            "conveyor register-worker --name <NAME> --pid <PID> --cwd <CWD> --tmux-session <SESSION> --path {}",
            quote(request.ledger)
        ),
        follow_up: FOLLOW_UP,
        ok: supported,
        skill_path,
        supported,
        why_or_why_not: why(&failed, request, current_session.as_deref()),
        workerctl_invocation: match request.workerctl {
            Some(_) => Some("workerctl".to_owned()),
            None => script.map(|script| script.display().to_string()),
        },
        checks,
        current_session,
    }
}

/// The tmux session that shows the agent, and what tmux failed with.
fn current_session(request: &Request<'_>) -> (Option<String>, Option<TmuxError>) {
    if let Some(given) = request.session {
        return (Some(given.to_owned()), None);
    }
    if request.tmux_program.is_none() {
        return (None, None);
    }
    let panes = match (request.thread_id, request.pane) {
        (Some(thread_id), _) => panes_of_thread(request.tmux, thread_id),
        (None, Some(pane)) => {
            request.tmux.panes().map(|panes| panes.into_iter().filter(|known| known.id == pane).collect())
        }
        (None, None) => return (None, None),
    };
    match panes {
        // Several terminals may be attached to one thread; none of them is the one then.
        Ok(panes) => match &panes[..] {
            [first, rest @ ..] if rest.iter().all(|other| other.id == first.id) => {
                (Some(first.session.clone()), None)
            }
            _ => (None, None),
        },
        Err(error) => (None, Some(error)),
    }
}

fn live(tmux: &Tmux, session: &str) -> Check {
    let name = "current_tmux_session_live";
    let error = match tmux.has_session(session) {
        Ok(true) => return check(name, true, &[("session", json!(session))]),
        Ok(false) => format!("there is no tmux session {session:?}"),
        Err(error) => error.to_string(),
    };
    check(name, false, &[("error", json!(error)), ("session", json!(session))])
}

/// Whether the program on `PATH` runs.
fn answers(workerctl: &Path) -> Check {
    let mut command = Command::new(workerctl);
    command.args(["classify", "--text", "Press enter to confirm"]);
    let ok = programs::run(&mut command, LIMIT).is_ok_and(|output| output.is_success());
    check("workerctl_executable", ok, &[("path", json!(workerctl))])
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The names of the checks that a worker in tmux needs and that failed.
fn lacking(checks: &[Check]) -> Vec<&'static str> {
    let needed = ["workerctl_on_path", "tmux_on_path", "inside_tmux", "current_tmux_session_live"];
    checks.iter().filter(|check| !check.ok && needed.contains(&check.name)).map(|check| check.name).collect()
}

fn why(failed: &[&str], request: &Request<'_>, session: Option<&str>) -> String {
    if failed.is_empty() {
        return format!(
            "This session can take part as a worker: it runs in tmux session {:?}, and workerctl is on PATH.",
            session.unwrap_or_default()
        );
    }
    let unknown = match (request.thread_id, session) {
        (Some(thread), None) => format!(
            " Which tmux session shows thread {thread} is not known: inside an agent TMUX and TMUX_PANE prove nothing; \
             give it with --session."
        ),
        _ => String::new(),
    };
    format!(
        "This session cannot take part as a worker in tmux: {} failed.{unknown} A session outside tmux can still \
         register as manager.",
        failed.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use conveyor_agents::tmux::ServerChoice;

    use super::*;

    #[test]
    fn without_tmux_nothing_is_asked() {
        let tmux = Tmux::new("/nowhere/tmux", ServerChoice::Default);
        let request = Request {
            session: None,
            thread_id: Some("t-1"),
            pane: Some("%1"),
            tmux: &tmux,
            workerctl: None,
            tmux_program: None,
            codex: None,
            program_dir: None,
            codex_home: Path::new("/nowhere"),
            ledger: "/x.db",
        };
        let found = agent(&request);
        assert!(!found.supported && found.current_session.is_none());
        assert!(found.checks.iter().all(|check| check.name != "tmux_access"));
        assert!(found.why_or_why_not.contains("t-1"), "{}", found.why_or_why_not);
        assert_eq!(found.checks[0].findings.get("path"), Some(&serde_json::Value::Null));
    }
}
