//! What a terminal's screen tells about the agent in it. Pure functions of captured text.
//!
//! The recognisers know the screens of Codex. They err on the side of "not certain": what is not
//! recognised is neither ready nor an empty composer.

mod busy;
mod cells;
mod composer;
mod contents;
mod menu;
mod startup;

pub use busy::{Activity, BusyWait, Pattern, Question, busy_wait, question};
pub use cells::Screen;
pub use composer::{Composer, Cursor, composer};
pub use contents::{Standing, standing};
pub use startup::{Startup, StartupState, startup, trusts_on_enter};

/// The visible screen of a capture with history: its last `height` rows. Blank rows at the end
/// count only where the capture still has them.
#[must_use]
pub fn visible(capture: &str, height: usize) -> &str {
    let without_end = capture.strip_suffix('\n').unwrap_or(capture);
    let first = without_end.rmatch_indices('\n').nth(height.saturating_sub(1));
    first.map_or(capture, |(at, _)| &capture[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_visible_screen_is_the_end_of_a_capture() {
        assert_eq!(visible("a\nb\nc\n", 2), "b\nc\n");
        assert_eq!(visible("a\nb\nc", 2), "b\nc");
        assert_eq!(visible("a\nb\n\n", 2), "b\n\n");
        assert_eq!(visible("a\nb\n", 2), "a\nb\n");
        assert_eq!(visible("", 50), "");
    }
}
