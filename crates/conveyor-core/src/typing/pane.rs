//! The pane in which an agent runs: which one it is, who has its keys, and what it shows.

use std::time::Duration;

use conveyor_agents::age;
use conveyor_agents::codex::running_version;
use conveyor_agents::processes::{ForegroundProcess, foreground};
use conveyor_agents::screen::{self, Activity, Composer, Cursor, Pattern, Screen};
use conveyor_agents::tmux::{Extent, Look, PaneFacts, Target, Tmux};
use conveyor_model::Adapter;
use conveyor_model::records::Session;
use conveyor_store::{StoreError, Tx, endpoints};

use super::agent::Asked;
use super::verdict::{Address, Evidence, Input, Program};
use crate::{Result, terminal};

/// Between two looks that must agree.
const BETWEEN_LOOKS: Duration = Duration::from_millis(150);

/// The agents whose screens are recognised.
const AGENTS: [&str; 1] = ["codex"];

/// What people's shells are called.
pub(crate) const SHELLS: [&str; 9] = ["sh", "bash", "dash", "zsh", "fish", "ksh", "tcsh", "csh", "nu"];

/// A pane and how it is addressed.
#[derive(Clone, Debug)]
pub(crate) struct Pane {
    pub(crate) tmux: Tmux,
    /// The tmux session that it belongs to.
    pub(crate) session: String,
    /// Its own id, where it is recorded.
    pub(crate) pane_id: Option<String>,
    /// The process that was recorded for it.
    pub(crate) pid: Option<i64>,
}

impl Pane {
    /// The pane of a registered session; `None` when it has no terminal.
    pub(crate) fn of(tx: &mut Tx<'_>, session: &Session, tmux: &Tmux) -> Result<Option<Self>, StoreError> {
        let Some(name) = session.tmux() else { return Ok(None) };
        let endpoint = endpoints::active(tx, &session.id, Adapter::Tmux)?;
        // What was recorded for another terminal is about a predecessor.
        let endpoint = endpoint.filter(|endpoint| endpoint.text("session").is_none_or(|known| known == name));
        let tmux = terminal::server_of(tx, session, tmux)?;
        let recorded = session.tmux_pane_id.as_deref().filter(|id| !id.is_empty());
        let pane_id = recorded.or_else(|| endpoint.as_ref()?.text("pane_id")).map(ToOwned::to_owned);
        let pid = endpoint.as_ref().and_then(|endpoint| endpoint.number("pane_pid"));
        Ok(Some(Self { tmux, session: name.to_owned(), pane_id, pid }))
    }

    /// Where keys go to.
    pub(crate) fn target(&self) -> Target {
        match &self.pane_id {
            Some(id) => Target::Pane(id.clone()),
            None => Target::Session(self.session.clone()),
        }
    }

    /// The target as people see it.
    pub(crate) fn name(&self) -> String {
        match &self.pane_id {
            Some(id) => format!("{}:{id}", self.session),
            None => self.session.clone(),
        }
    }

    /// One look at the visible screen.
    pub(crate) fn look(&self) -> Result<Look> {
        Ok(self.tmux.look(&self.target(), Extent { history_lines: 0, attributes: true })?)
    }

    /// Everything about the pane, with what the agent's own sources say. Two looks must agree.
    pub(crate) fn examine(&self, asked: Asked) -> Result<(PaneFacts, Evidence)> {
        let first = self.look()?;
        std::thread::sleep(BETWEEN_LOOKS);
        let second = self.look()?;
        let address = self.address(&second.pane)?;
        let both = (composer(&first), composer(&second));
        let agreed =
            if both.0 == both.1 && first.pane.id == second.pane.id { both.1 } else { Composer::Unknown };
        let mut evidence = evidence(&second, address, asked);
        evidence.composer = agreed;
        Ok((second.pane, evidence))
    }

    /// What may have changed since: where keys go, what the agent does, what the screen shows.
    pub(crate) fn examine_again(&self, asked: Asked) -> Result<Evidence> {
        Ok(evidence(&self.look()?, Address::Exact, asked))
    }

    fn address(&self, pane: &PaneFacts) -> Result<Address> {
        if self.pid.is_some_and(|pid| pid != i64::from(pane.pid)) {
            return Ok(Address::Replaced);
        }
        if self.pane_id.is_none() {
            return Ok(if pane.panes_in_window == 1 { Address::Exact } else { Address::Ambiguous });
        }
        // Another server may have given the recorded number to another pane.
        let of_session = self.tmux.pane(&Target::Session(self.session.clone()))?;
        Ok(if of_session.window_id == pane.window_id { Address::Exact } else { Address::Elsewhere })
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
    let pane = &look.pane;
    let cursor = Cursor { x: pane.cursor_x, y: pane.cursor_y, visible: pane.cursor_visible };
    screen::composer(&Screen::parse(&look.text), cursor)
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
