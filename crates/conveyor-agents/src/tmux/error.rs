use std::time::Duration;

/// Why tmux did not do what it was asked to. The messages are one line and say what to do where
/// something can be done; they never contain pasted text or environment values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TmuxError {
    /// There is no such program.
    #[error("{command} failed: {program} is not installed or not on PATH")]
    NotInstalled {
        /// What was tried.
        command: String,
        /// The program that was looked for.
        program: String,
    },
    /// The operating system or a sandbox forbids it.
    #[error(
        "the operating system or a sandbox denies access to tmux ({detail}): try again from a terminal that may \
         use tmux and open terminals (on macOS see Privacy & Security in the settings, then restart the terminal \
         and the tmux server)"
    )]
    AccessDenied {
        /// What tmux or the system said.
        detail: String,
    },
    /// There is no such session or pane, or no server that could have it.
    #[error("there is no tmux session or pane {target:?}")]
    NoSession {
        /// The session's name or the pane's id.
        target: String,
    },
    /// A session of this name exists already.
    #[error("a tmux session {session:?} exists already")]
    SessionExists {
        /// The session's name.
        session: String,
    },
    /// Anything else that tmux refused.
    #[error("{command} failed: {message}")]
    Failed {
        /// The command line, without texts and environment values.
        command: String,
        /// What tmux said, or how it ended.
        message: String,
    },
    /// tmux did not answer in time and was stopped.
    #[error("{command} did not answer within {} s: the tmux server seems to hang", after.as_secs_f64())]
    TimedOut {
        /// The command line, without texts and environment values.
        command: String,
        /// How long it was given.
        after: Duration,
    },
}

/// What a failed call is about, for its error.
pub(super) struct Subject<'a> {
    pub(super) command: &'a str,
    /// The plain name of the session or pane.
    pub(super) target: &'a str,
}

/// The error that tmux's words mean.
pub(super) fn of_detail(detail: &str, subject: &Subject<'_>) -> TmuxError {
    let lower = detail.to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    if says(&["operation not permitted", "permission denied", "not authorized", "not authorised"]) {
        TmuxError::AccessDenied { detail: detail.to_owned() }
    } else if lower.starts_with("duplicate session") {
        TmuxError::SessionExists { session: subject.target.to_owned() }
    } else if is_absence(&lower) {
        TmuxError::NoSession { target: subject.target.to_owned() }
    } else {
        TmuxError::Failed { command: subject.command.to_owned(), message: detail.to_owned() }
    }
}

/// Whether tmux says that what was addressed does not exist, the server included.
fn is_absence(lower: &str) -> bool {
    let no_server = lower.starts_with("error connecting to ")
        && (lower.ends_with("(no such file or directory)") || lower.ends_with("(connection refused)"));
    no_server
        || [
            "can't find session",
            "can't find pane",
            "can't find window",
            "no server running on",
            "no sessions",
            "no current target",
            // A server without sessions ends; it may be about to.
            "no current target",
            "server exited unexpectedly",
            "lost server",
        ]
        .iter()
        .any(|beginning| lower.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(detail: &str) -> TmuxError {
        of_detail(detail, &Subject { command: "tmux x", target: "a" })
    }

    #[test]
    fn what_tmux_says_becomes_a_cause() {
        let denied = "error connecting to /tmp/tmux-0/default (Operation not permitted)";
        assert_eq!(of(denied), TmuxError::AccessDenied { detail: denied.into() });
        assert!(matches!(of("Permission denied"), TmuxError::AccessDenied { .. }));
        for absent in [
            "can't find session: a",
            "no current target",
            "can't find pane: %9",
            "no server running on /tmp/tmux-0/default",
            "error connecting to /tmp/tmux-0/default (No such file or directory)",
            "error connecting to /tmp/tmux-0/default (Connection refused)",
            "server exited unexpectedly",
        ] {
            assert_eq!(of(absent), TmuxError::NoSession { target: "a".into() }, "{absent}");
        }
        assert_eq!(of("duplicate session: a"), TmuxError::SessionExists { session: "a".into() });
        assert_eq!(
            of("protocol version mismatch (client 8, server 7)"),
            TmuxError::Failed {
                command: "tmux x".into(),
                message: "protocol version mismatch (client 8, server 7)".into()
            }
        );
    }
}
