//! How a run fails: one plain line on standard error, and an exit code.

use std::io::Write;

use conveyor_core::Error;

use crate::Host;

/// A failed run.
#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong; the text says how and what to do. Exit 2.
    Usage(String),
    /// The operation failed.
    Operation(Error),
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

    /// What made the output fail, for code that writes on behalf of an operation.
    pub(crate) fn into_output_error(self) -> std::io::Error {
        match self {
            Self::Operation(Error::Output(error)) => error,
            other => std::io::Error::other(format!("{other:?}")),
        }
    }

    /// Says what failed and gives the exit code. A reader that went away ends the program quietly.
    pub(crate) fn report(self, host: &mut Host) -> u8 {
        let (text, code) = match self {
            Self::Usage(text) => (text, 2),
            Self::Verdict(code) => return code,
            Self::Operation(Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                return 0;
            }
            Self::Operation(error) => {
                let code = error.exit_code();
                let text = error.to_string();
                (error.hint().map_or(text.clone(), |hint| format!("{text}: {hint}")), code)
            }
        };
        // One line, whatever a library or a stored text put into it.
        let line = crate::out::printable(&text);
        // Nobody is left to tell when standard error is gone.
        let _ = writeln!(host.stderr, "{line}");
        code
    }
}
