//! How a run fails: one plain line on standard error, and an exit code.

use std::io::Write;

use conveyor_core::Error;
use conveyor_model::shell::quote;

use crate::{Host, app, commands, help};

/// A failed run.
#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong; the text says how and what to do. Exit 2.
    Usage(String),
    /// The operation failed.
    Operation(Error),
    /// The same on a ledger that the user named: what is advised is to be done on that one.
    OperationOn(String, Box<Error>),
    /// The command's printed verdict is negative; everything has been said already.
    Verdict(u8),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Operation(error)
    }
}

impl From<conveyor_store::StoreError> for Failure {
    fn from(error: conveyor_store::StoreError) -> Self {
        Self::Operation(error.into())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Operation(error.into())
    }
}

impl Failure {
    /// A wrong command line.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// The failure of a run on a ledger that the user named.
    pub(crate) fn on(self, ledger: Option<String>) -> Self {
        match (self, ledger) {
            (Self::Operation(error), Some(ledger)) => Self::OperationOn(ledger, error.into()),
            (failure, _) => failure,
        }
    }

    /// What made the output fail, for code that writes on behalf of an operation.
    pub(crate) fn into_output_error(self) -> std::io::Error {
        let error = match self {
            Self::Operation(error) => error,
            Self::OperationOn(_, error) => *error,
            other => return std::io::Error::other(format!("{other:?}")),
        };
        match error {
            Error::Output(error) => error,
            other => std::io::Error::other(format!("{other:?}")),
        }
    }

    /// Says what failed and gives the exit code. A reader that went away ends the program quietly.
    pub(crate) fn report(self, host: &mut Host) -> u8 {
        let (error, ledger) = match self {
            Self::Usage(text) => return say(&text, 2, host),
            Self::Verdict(code) => return code,
            Self::Operation(error) => (error, None),
            Self::OperationOn(ledger, error) => (*error, Some(ledger)),
        };
        if matches!(&error, Error::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe) {
            return 0;
        }
        let text = match (error.hint(), ledger) {
            (None, _) => error.to_string(),
            (Some(hint), None) => format!("{error}: {hint}"),
            (Some(hint), Some(ledger)) => format!("{error}: {}", with_ledger(&hint, &ledger)),
        };
        say(&text, error.exit_code(), host)
    }
}

/// Gives every command line of an advice the ledger that it is about.
fn with_ledger(hint: &str, ledger: &str) -> String {
    // Every second piece stands between backticks.
    let pieces =
        hint.split('`').enumerate().map(|(number, piece)| match number % 2 == 1 && lacks_ledger(piece) {
            true => format!("{piece} --path {}", quote(ledger)),
            false => piece.to_owned(),
        });
    pieces.collect::<Vec<_>>().join("`")
}

/// Whether these words are a command line that could name a ledger and names none. The mere name of a
/// command that needs more is no command line.
fn lacks_ledger(words: &str) -> bool {
    let Some(rest) = words.strip_prefix("conveyor ") else { return false };
    let Some(spec) = rest.split_whitespace().next().and_then(commands::find) else { return false };
    let is_whole = rest != spec.name || app::check(&[rest.to_owned()]).is_ok();
    let has_option =
        || help::command_tree(spec, "conveyor").get_arguments().any(|one| one.get_id() == "path");
    is_whole && !rest.contains(" --path ") && !rest.ends_with("--help") && has_option()
}

/// One line, whatever a library or a stored text put into it. Gives the exit code.
fn say(text: &str, code: u8, host: &mut Host) -> u8 {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(host.stderr, "{}", crate::out::printable(text));
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_about_the_ledger_in_use() {
        let advised = |hint: &str| with_ledger(hint, "/a b/x.db");
        assert_eq!(
            advised("see `conveyor tasks`, or `conveyor bind --task …`, not `tasks`"),
            "see `conveyor tasks --path '/a b/x.db'`, or `conveyor bind --task … --path '/a b/x.db'`, not `tasks`"
        );
        for as_it_is in [
            "see `conveyor tasks --help`",
            "see `conveyor tasks --path 'y'`",
            "`conveyor completions bash`",
            "register it with `conveyor register-worker`",
            "no command",
        ] {
            assert_eq!(advised(as_it_is), as_it_is);
        }
    }
}
