//! Looking at a terminal: its screen, and who else looks at it.

use crate::screen;

use super::call::{Call, Started};
use super::facts::CLIENT_FORMAT;
use super::{ClientFacts, PaneFacts, Target, Tmux, TmuxError, is_ending, pane_of};

/// Which part of a terminal to capture.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extent {
    /// So many lines above the visible screen, where there are so many.
    pub history_lines: u32,
    /// Keep colours and other attributes as escape sequences.
    pub attributes: bool,
}

/// What a terminal showed, and the facts of the same moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The pane.
    pub pane: PaneFacts,
    /// The terminals in which people look at the pane's window.
    pub clients: Vec<ClientFacts>,
    /// The captured rows, each with its line end.
    pub text: String,
}

/// What stands between the clients and the screen; no client's line is like it.
const END_OF_CLIENTS: &str = ".";

/// A look that is under way: tmux works while the caller does something else.
#[derive(Debug)]
pub struct Looking {
    tmux: Tmux,
    target: Target,
    extent: Extent,
    started: Started<'static>,
}

impl Looking {
    /// Waits for what the terminal shows.
    ///
    /// # Errors
    /// As [`Tmux::look`].
    pub fn finish(self) -> Result<Look, TmuxError> {
        match self.started.finish() {
            Ok(printed) => Look::parse(&printed, &self.target),
            // Another server may follow it.
            Err(TmuxError::Failed { message, .. }) if is_ending(&message) => {
                self.tmux.look(&self.target, self.extent)
            }
            Err(error) => Err(error),
        }
    }
}

impl Tmux {
    /// The visible screen of a pane, with lines of history if wanted, the facts about the pane and
    /// the people who look at it: all of one moment.
    ///
    /// # Errors
    /// No such session or pane, or tmux could not be asked.
    pub fn look(&self, target: &Target, extent: Extent) -> Result<Look, TmuxError> {
        let printed = self.run(self.look_call(target, extent)?)?;
        Look::parse(&printed, target)
    }

    /// Begins a [`Self::look`].
    ///
    /// # Errors
    /// A name that cannot be one, or tmux cannot be started.
    pub fn begin_look(&self, target: Target, extent: Extent) -> Result<Looking, TmuxError> {
        let started = self.look_call(&target, extent)?.start(self.program(), self.deadline)?;
        Ok(Looking { tmux: self.clone(), target, extent, started })
    }

    fn look_call(&self, target: &Target, extent: Extent) -> Result<Call<'static>, TmuxError> {
        let exact = target.argument()?;
        let call = self.describe(target, &exact);
        let call = call.then("list-clients").hidden_arg("-F").hidden_arg(CLIENT_FORMAT);
        let call = call.then("display-message").hidden_arg("-p").hidden_arg(END_OF_CLIENTS);
        let mut call = call.then("capture-pane").hidden_arg("-p");
        if extent.attributes {
            call = call.hidden_arg("-e");
        }
        if extent.history_lines > 0 {
            call = call.hidden_arg("-S").hidden_arg(format!("-{}", extent.history_lines));
        }
        Ok(call.hidden_arg("-t").hidden_arg(&exact))
    }
}

impl Look {
    /// The visible screen, without what has scrolled away.
    #[must_use]
    pub fn visible(&self) -> &str {
        screen::visible(&self.text, self.pane.height)
    }

    fn parse(printed: &str, target: &Target) -> Result<Self, TmuxError> {
        let (first, mut rest) = printed.split_once('\n').unwrap_or((printed, ""));
        let pane = pane_of(first, target)?;
        let mut clients = Vec::new();
        while let Some((line, after)) = rest.split_once('\n') {
            rest = after;
            if line == END_OF_CLIENTS {
                break;
            }
            clients.extend(ClientFacts::parse(line).filter(|client| client.window_id == pane.window_id));
        }
        Ok(Self { pane, clients, text: rest.to_owned() })
    }
}
