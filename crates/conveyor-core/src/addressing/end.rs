//! Ending a terminal: exactly its pane, and only while its process is the recorded one. What ran in
//! it is looked after by whoever ends it.

use conveyor_agents::processes::Identity;
use conveyor_agents::tmux::TmuxError;
use conveyor_model::Whereabouts;

use super::{Found, Here, Recorded, Terminal};
use crate::{Error, Result};

impl Terminal {
    /// Looks for it in order to end it; `None` when it is gone.
    ///
    /// # Errors
    /// A terminal that was recorded elsewhere, one of which it is not known which pane it is, a
    /// failing tmux.
    pub(crate) fn to_be_ended(&self, name: &str) -> Result<Option<Here>> {
        match self.locate()? {
            Found::Here(here) => self.check_certain(name, &here).map(|()| Some(here)),
            Found::Unknown => Err(self.elsewhere(name)),
            Found::Gone => Ok(None),
        }
    }

    /// Ends its pane, as long as that has the process that was found there; `false` when it has not
    /// any more. Other panes of the same tmux session stay.
    ///
    /// # Errors
    /// tmux could not be asked.
    pub(crate) fn end(&self, here: &Here) -> Result<bool, TmuxError> {
        self.tmux.kill_pane_of(&here.facts.id, here.facts.pid)
    }

    /// The recorded process of its pane, if it can be told from others.
    pub(crate) fn process(&self) -> Option<Identity> {
        match (&self.recorded, self.whereabouts) {
            (Recorded::Process { process, .. }, Whereabouts::Here) => process.identity(),
            _ => None,
        }
    }

    /// A pane that is only supposed to be the one, because it is in front, may be ended where it is
    /// the only one.
    fn check_certain(&self, name: &str, here: &Here) -> Result<()> {
        if here.proven {
            return Ok(());
        }
        let panes = self.tmux.panes()?;
        if panes.iter().filter(|pane| pane.session == self.session).count() > 1 {
            return Err(Error::TerminalAmbiguous {
                name: name.to_owned(),
                tmux_session: self.session.clone(),
            });
        }
        Ok(())
    }
}
