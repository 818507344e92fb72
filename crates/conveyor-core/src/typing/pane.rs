//! The pane in which an agent runs: which one it is, who has its keys, and what it shows.

use std::time::Duration;

use conveyor_agents::age;
use conveyor_agents::codex::running_version;
use conveyor_agents::processes::{ForegroundProcess, foreground};
use conveyor_agents::screen::{self, Activity, Composer, Cursor, Pattern, Screen, Standing};
use conveyor_agents::tmux::{Extent, Look, PaneFacts, Target, Tmux, TmuxError};

use super::agent::Asked;
use super::verdict::{Address, Evidence, Input, Program};
use crate::Result;
use crate::addressing::{Found, Terminal};

/// Between two looks that must agree.
const BETWEEN_LOOKS: Duration = Duration::from_millis(150);

/// The agents whose screens are recognised.
const AGENTS: [&str; 1] = ["codex"];

/// What people's shells are called.
pub(crate) const SHELLS: [&str; 9] = ["sh", "bash", "dash", "zsh", "fish", "ksh", "tcsh", "csh", "nu"];

/// A terminal and what a look for it found.
#[derive(Clone, Debug)]
pub(crate) struct Pane {
    terminal: Terminal,
    found: Result<Found, TmuxError>,
}

impl Pane {
    /// Looks for a terminal. What fails is told when the pane is used.
    pub(crate) fn of(terminal: Terminal) -> Self {
        Self { found: terminal.locate(), terminal }
    }

    /// The tmux server that it is in.
    pub(crate) fn tmux(&self) -> &Tmux {
        &self.terminal.tmux
    }

    /// The tmux session that it was registered in.
    pub(crate) fn session(&self) -> &str {
        &self.terminal.session
    }

    /// Makes sure that it is there.
    ///
    /// # Errors
    /// It is not, or it was recorded elsewhere; tmux could not be asked.
    pub(crate) fn require(&self, name: &str) -> Result<()> {
        match &self.found {
            Ok(Found::Here(_)) => Ok(()),
            Ok(Found::Gone) => Err(self.terminal.not_running(name)),
            Ok(Found::Unknown) => Err(self.terminal.elsewhere(name)),
            Err(error) => Err(error.clone().into()),
        }
    }

    /// Where keys go to; nowhere, if it was not found.
    pub(crate) fn target(&self) -> Target {
        match &self.found {
            Ok(Found::Here(here)) => here.target(),
            _ => Target::Pane(String::new()),
        }
    }

    /// The target as people see it.
    pub(crate) fn name(&self) -> String {
        self.terminal.name()
    }

    /// One look at the visible screen.
    pub(crate) fn look(&self) -> Result<Look> {
        Ok(self.terminal.tmux.look(&self.target(), Extent { history_lines: 0, attributes: true })?)
    }

    /// Everything about the pane, with what the agent's own sources say. Two looks must agree.
    pub(crate) fn examine(&self, asked: Asked) -> Result<(PaneFacts, Evidence)> {
        let first = self.look()?;
        std::thread::sleep(BETWEEN_LOOKS);
        let second = self.look()?;
        let address = self.address(&second.pane);
        let both = (composer(&first), composer(&second));
        let agreed =
            if both.0 == both.1 && first.pane.id == second.pane.id { both.1 } else { Composer::Unknown };
        let mut evidence = evidence(&second, address, asked);
        evidence.composer = agreed;
        Ok((second.pane, evidence))
    }

    /// What may have changed since: where keys go, what the agent does, what the screen shows.
    pub(crate) fn examine_again(&self, asked: Asked) -> Result<Evidence> {
        let look = self.look()?;
        let address = self.address(&look.pane);
        Ok(evidence(&look, address, asked))
    }

    fn address(&self, pane: &PaneFacts) -> Address {
        match &self.found {
            Ok(Found::Here(here)) if !here.is_shown_by(pane) => Address::Replaced,
            Ok(Found::Here(here)) if here.proven => Address::Exact,
            Ok(Found::Here(_)) => Address::Ambiguous,
            _ => Address::Replaced,
        }
    }
}

fn evidence(look: &Look, address: Address, asked: Asked) -> Evidence {
    let keys = look.clients.iter().filter(|client| !client.read_only);
    let processes = foreground(look.pane.pid).unwrap_or_default();
    Evidence {
        address,
        input: input(&look.pane),
        program: program(&processes),
        version: running_version(&processes),
        activity: asked.activity,
        composer: composer(look),
        dialog: dialog(&look.text),
        last_key: keys.map(|client| age::since_millis(client.activity.saturating_mul(1_000))).min(),
    }
}

/// The dialog that a captured screen shows. Just now something was reported, so that nothing but
/// dialogs counts.
fn dialog(captured: &str) -> Option<Pattern> {
    let just_now = Activity { status_age_seconds: Some(0), busy_wait_seconds: 1, recent_events: 0 };
    screen::busy_wait(&Screen::parse(captured).text(), &just_now).map(|found| found.pattern)
}

pub(super) fn composer(look: &Look) -> Composer {
    screen::composer(&Screen::parse(&look.text), cursor(look))
}

/// How the composer relates to a text that was pasted into it.
pub(super) fn standing(look: &Look, text: &str) -> Standing {
    screen::standing(&Screen::parse(&look.text), cursor(look), text)
}

fn cursor(look: &Look) -> Cursor {
    let pane = &look.pane;
    Cursor { x: pane.cursor_x, y: pane.cursor_y, visible: pane.cursor_visible }
}

fn input(pane: &PaneFacts) -> Input {
    if pane.dead {
        Input::Dead
    } else if pane.in_mode {
        Input::Mode
    } else if pane.input_off {
        Input::Off
    } else if pane.synchronized {
        Input::Synchronized
    } else {
        Input::Plain
    }
}

/// Who gets the keys: an agent if there is one in the foreground, else who leads there.
fn program(processes: &[ForegroundProcess]) -> Program {
    let names = || processes.iter().flat_map(|process| &process.names);
    if let Some(agent) = AGENTS.into_iter().find(|agent| names().any(|name| name == agent)) {
        return Program::Agent(agent);
    }
    match processes.first().and_then(|process| process.names.last()) {
        Some(name) if SHELLS.contains(&name.as_str()) => Program::Shell(name.clone()),
        Some(name) => Program::Other(name.clone()),
        None => Program::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(names: &[&[&str]]) -> Program {
        let process = |names: &&[&str]| ForegroundProcess {
            pid: 1,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        program(&names.iter().map(process).collect::<Vec<_>>())
    }

    #[test]
    fn the_foreground_decides_who_gets_the_keys() {
        assert_eq!(running(&[&["node", "codex"], &["codex"]]), Program::Agent("codex"));
        assert_eq!(running(&[&["bash", "codex"]]), Program::Agent("codex"));
        assert_eq!(running(&[&["bash"]]), Program::Shell("bash".into()));
        assert_eq!(running(&[&["bash", "deploy"]]), Program::Other("deploy".into()));
        assert_eq!(running(&[&["vim"]]), Program::Other("vim".into()));
        assert_eq!(running(&[]), Program::Unknown);
    }
}
