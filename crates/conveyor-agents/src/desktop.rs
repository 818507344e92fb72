//! Windows of the desktop in which people look at terminals: macOS only.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use conveyor_model::shell::quote_if_needed;
use serde::Serialize;

/// Where a terminal program for people is looked for.
const APPLICATIONS: &str = "/Applications";

/// A desktop. Tests put their own in place of the machine's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desktop {
    /// Whether it is the one of macOS; elsewhere no window can be opened.
    pub is_macos: bool,
    /// The directory with the applications.
    pub applications: PathBuf,
    /// Where `open` and `osascript` are; `None`: on `PATH`.
    pub programs: Option<PathBuf>,
}

impl Default for Desktop {
    fn default() -> Self {
        Self { is_macos: cfg!(target_os = "macos"), applications: APPLICATIONS.into(), programs: None }
    }
}

/// A program that shows terminals to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Ghostty.
    Ghostty,
    /// The Terminal of macOS.
    Terminal,
}

/// Which program is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WindowChoice {
    /// Ghostty where it is installed, else Terminal.
    #[default]
    Auto,
    /// This one.
    Only(Window),
}

impl WindowChoice {
    /// The spellings.
    pub const TEXTS: &'static [&'static str] = &["auto", "ghostty", "terminal"];

    /// Reads a spelling.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Some(match text {
            "auto" => Self::Auto,
            "ghostty" => Self::Only(Window::Ghostty),
            "terminal" => Self::Only(Window::Terminal),
            _ => return None,
        })
    }
}

impl Desktop {
    /// The program that is meant.
    #[must_use]
    pub fn choose(&self, choice: WindowChoice) -> Window {
        match choice {
            WindowChoice::Only(window) => window,
            WindowChoice::Auto if self.applications.join("Ghostty.app").exists() => Window::Ghostty,
            WindowChoice::Auto => Window::Terminal,
        }
    }

    /// Opens a window: runs one of the commands that [`Window::command`] gives.
    ///
    /// # Errors
    /// What the command said, in one line.
    pub fn open(&self, command: &[String]) -> Result<(), String> {
        let (name, arguments) = command.split_first().ok_or("there is no command")?;
        let program = self.programs.as_ref().map_or_else(|| PathBuf::from(name), |dir| dir.join(name));
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("{name} cannot be run: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{name} failed ({}): {}", output.status, said.trim()))
    }
}

impl Window {
    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ghostty => "Ghostty",
            Self::Terminal => "Terminal",
        }
    }

    /// The command that opens a window in which a command runs.
    #[must_use]
    pub fn command(self, inside: &[String]) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        match self {
            Self::Ghostty => {
                [words(&["open", "-na", "Ghostty.app", "--args", "-e"]), inside.to_vec()].concat()
            }
            Self::Terminal => {
                // Terminal hands the text to the user's shell.
                let line: Vec<String> = inside.iter().map(|word| quote_if_needed(word)).collect();
                let run = format!("tell application \"Terminal\" to do script {}", literal(&line.join(" ")));
                words(&["osascript", "-e", "tell application \"Terminal\" to activate", "-e", &run])
            }
        }
    }
}

/// A text as AppleScript writes it.
fn literal(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attach(session: &str) -> Vec<String> {
        ["tmux", "attach", "-t", session].map(ToOwned::to_owned).to_vec()
    }

    #[test]
    fn ghostty_gets_the_words_as_they_are() {
        let command = Window::Ghostty.command(&attach("a b"));
        assert_eq!(command, ["open", "-na", "Ghostty.app", "--args", "-e", "tmux", "attach", "-t", "a b"]);
    }

    #[test]
    fn terminal_gets_a_line_that_its_shell_reads_as_the_same_words() {
        let command = Window::Terminal.command(&attach("codex-a"));
        assert_eq!(
            command,
            [
                "osascript",
                "-e",
                "tell application \"Terminal\" to activate",
                "-e",
                "tell application \"Terminal\" to do script \"tmux attach -t codex-a\"",
            ]
        );
        let hostile = Window::Terminal.command(&attach("a\"; rm -rf \\ '"));
        assert_eq!(
            hostile[4],
            r#"tell application "Terminal" to do script "tmux attach -t 'a\"; rm -rf \\ '\"'\"''""#
        );
    }

    #[test]
    fn auto_takes_ghostty_where_it_is_installed() {
        let dir = tempfile::tempdir().unwrap();
        let desktop = Desktop { applications: dir.path().to_owned(), ..Desktop::default() };
        assert_eq!(desktop.choose(WindowChoice::Auto), Window::Terminal);
        std::fs::create_dir(dir.path().join("Ghostty.app")).unwrap();
        assert_eq!(desktop.choose(WindowChoice::Auto), Window::Ghostty);
        assert_eq!(desktop.choose(WindowChoice::Only(Window::Terminal)), Window::Terminal);
        for text in WindowChoice::TEXTS {
            assert!(WindowChoice::from_text(text).is_some(), "{text}");
        }
        assert_eq!(WindowChoice::from_text("iterm"), None);
    }
}
