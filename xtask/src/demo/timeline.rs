//! What the person at the terminal sees: elapsed seconds, who, what.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

/// The live account of the story. Clones share the beginning.
#[derive(Clone, Copy)]
pub(super) struct Timeline {
    begin: Instant,
    colour: bool,
}

impl Timeline {
    pub(super) fn begin() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { begin: Instant::now(), colour: std::io::stdout().is_terminal() && !unwanted }
    }

    /// Something that somebody did.
    pub(super) fn say(&self, who: &str, what: &str) {
        let (on, off) = if self.colour { (colour_of(who), "\x1b[0m") } else { ("", "") };
        self.print(&format!("{:>7.2} s  {on}{who:<8}{off}  {what}\n", self.begin.elapsed().as_secs_f64()));
    }

    /// A line between the acts.
    pub(super) fn note(&self, text: &str) {
        let (on, off) = if self.colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        self.print(&format!("\n{on}{text}{off}\n"));
    }

    fn print(&self, line: &str) {
        let mut out = std::io::stdout().lock();
        // Nobody listens any more when this fails; the story goes on and is still checked.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}

fn colour_of(who: &str) -> &'static str {
    match who {
        "manager" => "\x1b[36m",
        "worker" => "\x1b[33m",
        "app" => "\x1b[35m",
        _ => "\x1b[2m",
    }
}
