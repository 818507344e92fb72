//! The terminal of a session: the command that runs in it, and how it is started.

use std::ffi::OsString;

use conveyor_agents::tmux::{NewSession, Target};
use conveyor_model::shell::quote_if_needed;

use super::{Spawn, StartError};
use crate::{Cx, Result};

/// The names of variables that npm sets for what it runs: they confuse what an agent runs with npm.
const NPM_VARIABLES: &str =
    "awk 'BEGIN { for (name in ENVIRON) if (name ~ /^(npm|NPM)_[A-Za-z0-9_]*$/) print name }'";

/// What a shell does to become this program.
fn script(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote_if_needed(word)).collect();
    format!(
        "for name in $({NPM_VARIABLES}); do unset \"$name\"; done; unset PNPM_SCRIPT_SRC_DIR; exec {}",
        words.join(" ")
    )
}

/// Starts the terminal with this program in it; gives its pane, which stays when the program ends.
pub(super) fn start(cx: &Cx, spawn: &Spawn<'_>, words: &[String]) -> Result<Target> {
    let installation = spawn.request.installation;
    let mut environment = vec![(OsString::from("CODEX_HOME"), installation.home.clone().into_os_string())];
    if let Some(home) = &installation.user_home {
        environment.push(("HOME".into(), home.clone().into_os_string()));
    }
    let command = ["/bin/sh".into(), "-c".into(), script(words).into()];
    let new = NewSession {
        name: &spawn.tmux_session,
        cwd: Some(spawn.request.cwd),
        environment: &environment,
        command: &command,
        keep: true,
    };
    let pane = cx.tmux.new_session(&new).map_err(StartError::Tmux)?;
    Ok(Target::Pane(pane.id))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_program_gets_its_words_and_nothing_of_npm() {
        let words = ["sh", "-c", r#"echo "[$1] $npm_config_x $NPM_TOKEN $npmish $PNPM_SCRIPT_SRC_DIR""#, "-"];
        let mut words: Vec<String> = words.map(ToOwned::to_owned).into();
        words.push("it's $HOME; \"x\"".into());
        let output = Command::new("/bin/sh")
            .args(["-c", &script(&words)])
            .envs([("npm_config_x", "1"), ("NPM_TOKEN", "2"), ("npmish", "3"), ("PNPM_SCRIPT_SRC_DIR", "4")])
            .env("odd", "a\nnpm_b=c")
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "[it's $HOME; \"x\"]   3 \n");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}
