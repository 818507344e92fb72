//! The one question of an agent that is answered with a key: whether a directory may be trusted.

use std::time::Duration;

use conveyor_agents::screen::{self, Screen};
use conveyor_agents::tmux::{Extent, Target, Tmux, TmuxError};

use crate::typing::lock::{Insistence, Owner, PaneLock};

/// How long the question must have been shown. Codex 0.169 drops keys in the first milliseconds of
/// a dialog, and an answer is never given twice: a second Enter might meet the next dialog.
const SETTLED: Duration = Duration::from_millis(500);

/// Presses Enter if the question is still shown a moment after it was seen, and the trusting choice
/// is the selected one. Gives whether it was pressed.
///
/// # Errors
/// A failing tmux; that the terminal has ended is none.
pub(crate) fn answer(tmux: &Tmux, target: &Target) -> Result<bool, TmuxError> {
    std::thread::sleep(SETTLED);
    let look = match tmux.look(target, Extent { history_lines: 0, attributes: false }) {
        Ok(look) => look,
        Err(TmuxError::NoSession { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    if look.pane.dead || !screen::trusts_on_enter(&Screen::parse(look.visible()).text()) {
        return Ok(false);
    }
    let owner = Owner::of_keys("trust");
    match PaneLock::take(tmux, &look.pane, owner, Insistence::NONE, &mut |_| false)? {
        Ok(mut lock) => lock.press(&["Enter"]),
        // Whoever types there is about to be refused; the question is still there then.
        Err(_) => Ok(false),
    }
}
