//! Starting agents.

pub mod pair;
pub mod start;

use std::io::Write;
use std::time::Duration;

use conveyor_core::doctor::{self, AgentShell};
use conveyor_core::spawn::{Approval, Installation, Sandbox, Startup};

use crate::app::App;
use crate::failure::Failure;
use crate::values;

/// How an agent is to be started: shared by the commands that start one.
#[derive(clap::Args)]
pub struct StartFlags {
    /// Where it works [default: the current directory]
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// What its commands may do: read-only, workspace-write or danger-full-access [default: danger-full-access]
    #[arg(long, value_name = "MODE", value_parser = sandbox)]
    sandbox: Option<Sandbox>,
    /// When it asks before it runs a command: on-request, never or untrusted [default: never]
    #[arg(long, value_name = "POLICY", value_parser = approval)]
    ask_for_approval: Option<Approval>,
    /// `yolo`: the defaults of --sandbox and --ask-for-approval
    #[arg(long, value_name = "PROFILE")]
    codex_profile: Option<String>,
    /// Answer Codex's question whether the directory may be trusted with yes, once and only when it is seen
    #[arg(long)]
    accept_trust: bool,
    /// Which Codex is meant [default: $CODEX_HOME, else ~/.codex]
    #[arg(long, value_name = "DIR")]
    codex_home: Option<String>,
    /// Do without Codex's shared server [default: unless $CONVEYOR_NATIVE is off]
    #[arg(long)]
    no_native: bool,
}

fn sandbox(text: &str) -> Result<Sandbox, String> {
    match text {
        "read-only" => Ok(Sandbox::ReadOnly),
        "workspace-write" => Ok(Sandbox::WorkspaceWrite),
        "danger-full-access" => Ok(Sandbox::DangerFullAccess),
        _ => Err("must be one of read-only, workspace-write, danger-full-access".into()),
    }
}

fn approval(text: &str) -> Result<Approval, String> {
    match text {
        "on-request" => Ok(Approval::OnRequest),
        "never" => Ok(Approval::Never),
        "untrusted" => Ok(Approval::Untrusted),
        _ => Err("must be one of on-request, never, untrusted".into()),
    }
}

/// A positive number of seconds as an option says it.
fn seconds(text: &str) -> Result<i64, String> {
    values::integer(text).ok().filter(|value| *value > 0).ok_or_else(|| "must be a positive integer".into())
}

impl StartFlags {
    /// What the flags and, where they are silent, the environment say.
    ///
    /// # Errors
    /// An environment variable with another value than it may have.
    fn startup(&self, app: &App<'_>, limit: i64) -> Result<Startup, Failure> {
        Ok(Startup {
            sandbox: self.sandbox.unwrap_or(Sandbox::DangerFullAccess),
            approval: self.ask_for_approval.unwrap_or(Approval::Never),
            accept_trust: self.accept_trust,
            limit: Duration::from_secs(limit.unsigned_abs()),
            native: super::typing::native(app, self.no_native)?,
        })
    }

    fn installation(&self, app: &App<'_>) -> Result<Installation, Failure> {
        app.installation(self.codex_home.as_deref())
    }

    /// Whether the profile is one that there is.
    fn profile_is_known(&self) -> bool {
        self.codex_profile.as_deref().is_none_or(|profile| profile == "yolo")
    }

    fn cwd(&self, app: &App<'_>) -> Result<std::path::PathBuf, Failure> {
        app.absolute(self.cwd.as_deref().unwrap_or("."))
    }
}

/// Says what a person should know before an agent is started: that it may do everything, that it
/// will not find us.
fn warn_before(app: &mut App<'_>, startup: &Startup, installation: &Installation) {
    warn_of_freedom(app, startup);
    let environment = &app.host.environment;
    let (shell, program) = (environment.shell.as_deref(), environment.executable.as_deref());
    if let AgentShell::Missing(advice) = doctor::conveyor_in_agent_shell(shell, program, installation) {
        warn(app, &[advice]);
    }
}

/// Says what an agent may do that is started without limits.
fn warn_of_freedom(app: &mut App<'_>, startup: &Startup) {
    if startup.sandbox != Sandbox::DangerFullAccess || startup.approval != Approval::Never {
        return;
    }
    // Nobody is left to warn when standard error is gone.
    let _ = writeln!(
        app.host.stderr,
        "warning: the agent may do everything that you may do, without asking; --sandbox workspace-write \
         --ask-for-approval on-request limits it to its directory and has it ask for more"
    );
}

/// Says every warning on standard error, too.
fn warn(app: &mut App<'_>, warnings: &[String]) {
    for warning in warnings {
        // Nobody is left to warn when standard error is gone.
        let _ = writeln!(app.host.stderr, "warning: {}", crate::out::printable(warning));
    }
}
