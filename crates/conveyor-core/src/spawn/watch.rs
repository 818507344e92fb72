//! Waiting until a started terminal takes messages, and the one question that may be answered on
//! the way.

use std::time::Duration;

use conveyor_agents::screen::{self, Question, Screen, StartupState};
use conveyor_agents::tmux::{Extent, PaneFacts, Target, TmuxError};

use super::{Spawn, StartError, trust};
use crate::{Cx, Result};

/// How often the screen is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// What became of a terminal that was waited for.
pub(super) enum Waited {
    /// Its composer is shown.
    Ready {
        /// Where.
        pane: PaneFacts,
        /// Whether the trust question was answered on the way.
        trust_accepted: bool,
    },
    /// It asks something that nobody may answer for its user.
    Asks(Question),
    /// The time is over; what was seen last.
    Late(String),
}

/// A look at a terminal that is starting.
pub(super) enum Seen {
    /// The pane, how far its program has come, and what it asks but for trust.
    Running(Box<PaneFacts>, StartupState, &'static str, Option<Question>),
    /// The program has ended; the last row that it showed.
    Ended(String),
}

/// Looks at the terminal once; answers the trust question if that is allowed, and was not done.
pub(super) fn look(cx: &Cx, spawn: &Spawn<'_>, pane: &Target, trust_accepted: &mut bool) -> Result<Seen> {
    // When a program ends, tmux moves its screen up by a row to say so.
    let extent = Extent { history_lines: 2, attributes: false };
    let look = match cx.tmux.look(pane, extent) {
        Ok(look) => look,
        Err(TmuxError::NoSession { .. }) => return Ok(Seen::Ended(String::new())),
        Err(error) => return Err(StartError::Tmux(error).into()),
    };
    if look.pane.dead {
        return Ok(Seen::Ended(last_words(&Screen::parse(&look.text).text())));
    }
    let visible = Screen::parse(look.visible()).text();
    let startup = screen::startup(&visible);
    if startup.state == StartupState::NeedsTrust {
        if !spawn.request.startup.accept_trust {
            nothing_left(cx, pane);
            return Err(StartError::NotTrusted(spawn.request.cwd.to_owned()).into());
        }
        if !*trust_accepted && screen::trusts_on_enter(&visible) {
            *trust_accepted = trust::answer(&cx.tmux, pane).map_err(StartError::Tmux)?;
        }
    }
    let asked = screen::question(&visible).filter(|_| startup.state != StartupState::NeedsTrust);
    Ok(Seen::Running(Box::new(look.pane), startup.state, startup.reason, asked))
}

/// Waits until the composer is shown.
pub(super) fn until_ready(cx: &Cx, spawn: &Spawn<'_>, pane: &Target) -> Result<Waited> {
    let mut trust_accepted = false;
    loop {
        let seen = match look(cx, spawn, pane, &mut trust_accepted)? {
            Seen::Ended(last) => return Err(died(cx, spawn, pane, last)),
            Seen::Running(pane, StartupState::Ready, ..) => {
                return Ok(Waited::Ready { pane: *pane, trust_accepted });
            }
            // Nothing was said to it yet, so that it can only ask about its start.
            Seen::Running(.., Some(question)) => return Ok(Waited::Asks(question)),
            Seen::Running(_, _, reason, None) => reason,
        };
        if spawn.is_over() {
            return Ok(Waited::Late(seen.to_owned()));
        }
        std::thread::sleep(PAUSE);
    }
}

/// The refusal of a program that has ended; nothing is left of its terminal.
pub(super) fn died(cx: &Cx, spawn: &Spawn<'_>, pane: &Target, last: String) -> crate::Error {
    nothing_left(cx, pane);
    StartError::Died { session: spawn.tmux_session.clone(), last }.into()
}

/// Removes a terminal that is of no use to anybody.
fn nothing_left(cx: &Cx, pane: &Target) {
    let _ = cx.tmux.kill_pane(pane);
}

/// The first row that tells of an error, since what follows it is how to get help; else the last row
/// with text. tmux's own note that the pane is dead does not count.
fn last_words(visible: &str) -> String {
    let rows = visible.lines().map(str::trim);
    let rows: Vec<&str> = rows.filter(|row| !row.is_empty() && !row.starts_with("Pane is dead")).collect();
    let tells = |row: &&&str| row.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("error"));
    let words = rows.iter().find(tells).or(rows.last());
    words.copied().unwrap_or_default().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_the_programs_own() {
        let screen = "one\n  Error: no rollout found  \n\n\nPane is dead (status 1, Sun Nov 29)\n";
        assert_eq!(last_words(screen), "Error: no rollout found");
        assert_eq!(last_words("\n\n"), "");
        let refused = "error: invalid value 'x' for '--ask-for-approval <P>'\n  [possible values: never]\n\nFor more \
                       information, try '--help'.\nPane is dead (status 2)\n";
        assert_eq!(last_words(refused), "error: invalid value 'x' for '--ask-for-approval <P>'");
    }
}
