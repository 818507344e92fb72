//! `doctor`: whether this machine has what Conveyor needs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use conveyor_agents::codex::{Client, Codex, Version, is_listening};
use conveyor_agents::shell;
use conveyor_agents::tmux::{Tmux, TmuxError};
use conveyor_model::records::Object;
use conveyor_model::shell::quote;
use conveyor_store::doctor::{Check, bundled_sqlite};
use serde::Serialize;
use serde_json::{Value, json};

use crate::addressing::{Found, Terminal};
use crate::legacy::{Config, worker_directories};
use crate::spawn::{self, Installation};
use crate::{Error, Result};

/// How long a program may take to tell its version, a server to let us in.
const LIMIT: Duration = Duration::from_secs(5);

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// tmux as a shell finds it.
    pub tmux_program: Option<&'a Path>,
    /// The terminals.
    pub tmux: &'a Tmux,
    /// Codex as a shell finds it, and its home.
    pub installation: &'a Installation,
    /// Where agents are to work, absolute.
    pub cwd: &'a Path,
    /// The state root, below that directory unless it is absolute.
    pub state_root: &'a Path,
    /// The running program.
    pub executable: Option<&'a Path>,
    /// The user's shell.
    pub shell: Option<&'a Path>,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The checks, in documented order.
    pub checks: Vec<Check>,
    /// Whether all that is needed is there.
    pub ok: bool,
    /// The directory of the running program.
    pub project_root: Option<PathBuf>,
    /// What works, but not as well as it could.
    pub warnings: Vec<String>,
    /// The workers of the state root.
    pub workers: Vec<KnownWorker>,
}

/// A worker of the state root.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct KnownWorker {
    pub config_path: PathBuf,
    pub name: String,
    /// `running`, `stopped`, or `unknown` where tmux could not be asked.
    pub status: &'static str,
}

/// The checks that say something without being needed.
const OPTIONAL: [&str; 3] = ["state_root_exists", "codex_app_server", "conveyor_in_agent_shell"];

/// Looks at the machine. Writes nothing, and the ledger is not touched.
///
/// # Errors
/// A state root that cannot be read.
pub fn machine(request: &Request<'_>) -> Result<Machine> {
    let installation = request.installation;
    let mut checks =
        vec![found("tmux", request.tmux_program), found("codex", installation.program.as_deref())];
    if request.tmux_program.is_some() {
        checks.push(version("tmux_version", request.tmux.version().map_err(|error| error.to_string())));
    }
    let mut installed = None;
    if let Some(program) = &installation.program {
        let said = Codex::new(program, &installation.home).version(LIMIT);
        installed = said.as_deref().ok().and_then(Version::parse);
        checks.push(codex_version(said.map_err(|error| error.to_string()), installed));
    }
    checks.push(exists("target_cwd_exists", request.cwd));
    checks.push(exists("state_root_exists", request.state_root));
    let (sqlite, is_new_enough) = bundled_sqlite();
    checks.push(check("sqlite_version", is_new_enough, &[("value", json!(sqlite))]));
    checks.push(app_server(&installation.home, installed));
    checks.push(agent_shell(request));
    let warnings = checks.iter().filter_map(|check| Some(check.findings.get("advice")?.as_str()?.to_owned()));
    Ok(Machine {
        ok: checks.iter().all(|check| check.ok || OPTIONAL.contains(&check.name)),
        warnings: warnings.collect(),
        checks,
        project_root: request.executable.and_then(Path::parent).map(Path::to_owned),
        workers: workers(request)?,
    })
}

pub(super) fn check(name: &'static str, ok: bool, findings: &[(&str, Value)]) -> Check {
    let findings = findings.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    Check { name, ok, findings: Object::from_iter(findings) }
}

/// A program, or what is missing.
pub(super) fn found(name: &'static str, path: Option<&Path>) -> Check {
    check(name, path.is_some(), &[("path", json!(path))])
}

fn exists(name: &'static str, path: &Path) -> Check {
    check(name, path.is_dir(), &[("path", json!(path))])
}

fn version(name: &'static str, said: Result<String, String>) -> Check {
    match said {
        Ok(value) => check(name, true, &[("value", json!(value))]),
        Err(error) => check(name, false, &[("error", json!(error)), ("value", Value::Null)]),
    }
}

/// The version of the program, and what is known about it.
fn codex_version(said: Result<String, String>, installed: Option<Version>) -> Check {
    let mut check = version("codex_version", said);
    let (oldest, newest) = Version::tested();
    check.findings.insert("tested".into(), json!(format!("{oldest} to {newest}")));
    match installed {
        Some(installed) if !installed.is_accepted() => {
            let advice = format!(
                "Codex {installed} is older than {}: it is started without its shared server, and nothing is typed \
                 there without --force; update it with `npm install -g @openai/codex`",
                Version::FIRST_ACCEPTED
            );
            check.findings.insert("advice".into(), json!(advice));
        }
        Some(installed) if installed.is_untested() => {
            let note =
                "untested: newer than every tested version; typed into only while its server proves it idle";
            check.findings.insert("note".into(), json!(note));
        }
        _ => {}
    }
    check
}

/// Whether Codex's shared server lets us in. Without it everything works that worked without it. It
/// is a copy of the program that first started it, and may be another version by now.
fn app_server(home: &Path, installed: Option<Version>) -> Check {
    let name = "codex_app_server";
    match Client::connect(home, LIMIT) {
        Ok(client) => {
            let server = client.server_version().and_then(Version::parse);
            let value = server.map(|server| server.to_string());
            let mut check = check(name, true, &[("codex_home", json!(home)), ("value", json!(value))]);
            let versions = server.zip(installed);
            if let Some(advice) = versions.and_then(|(server, installed)| spawn::drifted(server, installed)) {
                check.findings.insert("advice".into(), json!(advice));
            }
            check
        }
        Err(error) if is_listening(home) => {
            let advice = format!(
                "Codex's server in {home:?} does not answer ({error}): see `codex app-server daemon version`"
            );
            check(name, false, &[("advice", json!(advice)), ("codex_home", json!(home))])
        }
        Err(_) => {
            let note = "not running; start-worker, start-manager and pair start it where Codex has one";
            check(name, false, &[("codex_home", json!(home)), ("note", json!(note))])
        }
    }
}

/// Whether the commands of an agent find `conveyor`.
fn agent_shell(request: &Request<'_>) -> Check {
    let name = "conveyor_in_agent_shell";
    match conveyor_in_agent_shell(request.shell, request.executable, request.installation) {
        AgentShell::Found(path) => check(name, true, &[("path", json!(path))]),
        AgentShell::Missing(advice) => {
            check(name, false, &[("advice", json!(advice)), ("path", Value::Null)])
        }
    }
}

/// What an agent's shell finds when it is told to run `conveyor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentShell {
    /// This.
    Found(String),
    /// Nothing; a line that says what to do.
    Missing(String),
}

/// Asks the user's login shell, in which agents run their commands.
#[must_use]
pub fn conveyor_in_agent_shell(
    shell: Option<&Path>,
    executable: Option<&Path>,
    installation: &Installation,
) -> AgentShell {
    let Some(probe) = shell::probe(shell, "conveyor") else {
        return AgentShell::Missing(
            "the login shell does not say whether it finds `conveyor`, which agents run in it".into(),
        );
    };
    if let Some(found) = probe.found {
        return AgentShell::Found(found);
    }
    let program = executable.map_or_else(|| "conveyor".into(), |program| program.display().to_string());
    let place = probe.place_for_link(installation.user_home.as_deref());
    let link = place.unwrap_or(Path::new("/usr/local/bin")).join("conveyor");
    AgentShell::Missing(format!(
        "agents will not find `conveyor` in their shell: link it with `ln -s {} {}`",
        quote(&program),
        quote(&link.display().to_string())
    ))
}

/// The directories of the state root that have a configuration.
fn workers(request: &Request<'_>) -> Result<Vec<KnownWorker>> {
    let root = request.state_root;
    let directories = worker_directories(root)?;
    directories
        .into_iter()
        .map(|name| {
            let config = Config::of(root, &name)?.unwrap_or_else(|| Config::from_object(Object::new()));
            let status = match Terminal::of_worker(&config, &name, request.tmux).locate() {
                Ok(Found::Here(_)) => "running",
                // Where there is no tmux, nothing runs in it.
                Ok(Found::Gone) | Err(TmuxError::NotInstalled { .. }) => "stopped",
                Ok(Found::Unknown) | Err(_) => "unknown",
            };
            Ok::<_, Error>(KnownWorker { config_path: Config::path(root, &name), name, status })
        })
        .collect()
}
