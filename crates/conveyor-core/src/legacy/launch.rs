//! Starting Codex in a terminal by its command line alone, as `start` and, without a server,
//! `create` do.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use conveyor_agents::codex::{AT_SERVER, Codex, Features, WITHOUT_UPDATE};
use conveyor_agents::tmux::{NewSession, PaneFacts, Tmux, TmuxError};
use conveyor_model::shell::quote;

use crate::Result;
use crate::spawn::Installation;

/// How long Codex may take to print its help.
const HELP: Duration = Duration::from_secs(5);

/// How long its server may take to start.
const SERVER: Duration = Duration::from_secs(15);

/// What a launched Codex gets from our own surroundings.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Which Codex.
    pub installation: &'a Installation,
    /// The directory of the running program, which the agent is to find on its `PATH`.
    pub program_dir: Option<&'a Path>,
}

/// A Codex to be launched.
pub(super) struct Launch<'a> {
    pub(super) tmux_session: &'a str,
    pub(super) cwd: &'a Path,
    /// Options for Codex.
    pub(super) arguments: &'a [String],
    /// Do without a shared server, where it can: then its turns end with its terminal.
    pub(super) alone: bool,
    /// The file with its first message.
    pub(super) prompt: Option<&'a Path>,
}

/// Launches it; gives the pane that it is in.
///
/// # Errors
/// Codex is not installed, or tmux does not start the terminal.
pub(super) fn launch(tmux: &Tmux, surroundings: &Surroundings<'_>, launch: &Launch<'_>) -> Result<PaneFacts> {
    let installation = surroundings.installation;
    let program = installation.program()?;
    // Old ones do not know the option; where they do not say so, they are taken for newer ones.
    let codex = Codex::new(program, &installation.home);
    let features = codex.features(HELP);
    let newer = Features { keeps_history: true, ..Features::default() };
    let features = features.unwrap_or(newer);
    let mut environment = vec![(OsString::from("CODEX_HOME"), installation.home.clone().into_os_string())];
    if let Some(home) = &installation.user_home {
        environment.push(("HOME".into(), home.clone().into_os_string()));
    }
    let at_server = !launch.alone && features.names_server && !launch.chooses_server() && has_server(&codex);
    let script = script(program, surroundings.program_dir, &features, launch, at_server);
    let command = ["/bin/sh".into(), "-c".into(), script.into()];
    let new = NewSession {
        name: launch.tmux_session,
        cwd: Some(launch.cwd),
        environment: &environment,
        command: &command,
        keep: false,
    };
    Ok(tmux.new_session(&new)?)
}

/// Whether the shared server runs, which the terminal would start otherwise.
fn has_server(codex: &Codex) -> bool {
    codex.connect(HELP).is_ok() || codex.start_server(SERVER).is_ok()
}

impl Launch<'_> {
    /// Whether what is handed on decides which server is used: any setting does.
    fn chooses_server(&self) -> bool {
        const DECIDING: [&str; 5] = ["-c", "--config", "--remote", "--no-daemon", "--profile"];
        let is_one = |word: &String| DECIDING.iter().any(|option| word.starts_with(option));
        self.arguments.iter().any(is_one)
    }
}

/// Whether tmux says that the terminal's name was taken meanwhile.
pub(super) fn is_taken(error: &crate::Error) -> bool {
    matches!(error, crate::Error::Tmux(TmuxError::SessionExists { .. }))
}

/// What a shell does to become this Codex.
fn script(
    program: &Path,
    program_dir: Option<&Path>,
    features: &Features,
    launch: &Launch<'_>,
    at_server: bool,
) -> String {
    let quoted = |path: &Path| quote(&path.to_string_lossy());
    let mut script = String::new();
    if let Some(dir) = program_dir {
        script.push_str(&format!("PATH={}:\"$PATH\"; export PATH; ", quoted(dir)));
    }
    script.push_str(&format!("exec {} --cd {}", quoted(program), quoted(launch.cwd)));
    script.push_str(&format!(" {}", WITHOUT_UPDATE.join(" ")));
    if at_server {
        script.push_str(&format!(" {}", AT_SERVER.join(" ")));
    }
    if features.keeps_history {
        script.push_str(" --no-alt-screen");
    }
    if launch.alone && features.does_without_server {
        script.push_str(" --no-daemon");
    }
    for argument in launch.arguments {
        script.push_str(&format!(" {}", quote(argument)));
    }
    if let Some(prompt) = launch.prompt {
        script.push_str(&format!(" \"$(cat {})\"", quoted(prompt)));
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_every_word_as_it_is() {
        let arguments = ["-c".to_owned(), "a='b c'".to_owned(), "$HOME".to_owned(), String::new()];
        let launch = Launch {
            tmux_session: "s",
            cwd: Path::new("/srv/my dir"),
            arguments: &arguments,
            alone: true,
            prompt: Some(Path::new("/x/it's.md")),
        };
        let newer = Features { keeps_history: true, does_without_server: true, ..Features::default() };
        assert_eq!(
            script(Path::new("/opt/codex"), Some(Path::new("/opt/bin")), &newer, &launch, false),
            r#"PATH='/opt/bin':"$PATH"; export PATH; exec '/opt/codex' --cd '/srv/my dir' -c check_for_update_on_startup=false --no-alt-screen --no-daemon '-c' 'a='"'"'b c'"'"'' '$HOME' '' "$(cat '/x/it'"'"'s.md')""#
        );
        let bare = Launch { arguments: &[], alone: false, prompt: None, ..launch };
        let older = Features::default();
        assert_eq!(
            script(Path::new("/c"), None, &older, &bare, true),
            "exec '/c' --cd '/srv/my dir' -c check_for_update_on_startup=false --remote unix://"
        );
    }
}
