use std::path::PathBuf;

use conveyor_agents::screen::{Pattern, Question};
use conveyor_agents::tmux::TmuxError;
use conveyor_model::shell::quote;

/// Why a session was not started. Each is one line; nothing is registered.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A program that is needed is not installed.
    #[error("required tool not found: {0}")]
    ToolMissing(&'static str),
    /// A profile that there is not.
    #[error("--codex-profile must be yolo, or left out")]
    Profile,
    /// Terminals cannot be reached or started.
    #[error(transparent)]
    Tmux(TmuxError),
    /// The directory is not there.
    #[error("the directory {0:?} does not exist")]
    NoDirectory(PathBuf),
    /// A session of this name is registered, whatever became of it.
    #[error("a session called {0:?} is registered already")]
    NameTaken(String),
    /// A terminal of this name runs already.
    #[error("the tmux session {0:?} exists already")]
    TerminalTaken(String),
    /// An earlier start of this name was cut off and left something that still lives.
    #[error("{0}")]
    LeftBehind(String),
    /// Codex would ask, or asks, whether the directory may be trusted.
    #[error("Codex asks \"Trust this folder?\" about {0:?}, and nobody may answer for you")]
    NotTrusted(PathBuf),
    /// The user told Codex not to trust the directory.
    #[error("Codex's configuration says that {0:?} is not trusted")]
    Distrusted(PathBuf),
    /// Codex asks something else before it takes messages.
    #[error("Codex in tmux session {session:?} asks {:?} ({}), and nobody may answer for you", question.text, question.choices.join(" / "))]
    Asks {
        /// The terminal, which is still there.
        session: String,
        /// What it asks.
        question: Question,
        /// What to do about what is left.
        advice: String,
    },
    /// The command line of this Codex does not take a word.
    #[error("{option} {word} is for Codex's server only; the command line of this Codex takes {}", listed.join(", "))]
    Word {
        /// The option.
        option: &'static str,
        /// The word.
        word: &'static str,
        /// What its help lists.
        listed: Vec<String>,
    },
    /// Codex or its server did not do what it was asked to.
    #[error("{0}")]
    Codex(String),
    /// Codex ended at its start.
    #[error("Codex ended right after its start in tmux session {session:?}; its last words: {last:?}")]
    Died {
        /// The terminal that was.
        session: String,
        /// The last row that it showed.
        last: String,
    },
    /// What was started did not get ready in time; it may still be there.
    #[error("Codex in tmux session {session:?} was not ready within {seconds} s ({reason})")]
    Late {
        /// The terminal.
        session: String,
        /// The limit.
        seconds: u64,
        /// What was seen last.
        reason: String,
        /// What to do about what is left.
        advice: String,
    },
    /// A later step failed; what was started may still be there.
    #[error("{reason}")]
    Unfinished {
        /// What failed.
        reason: String,
        /// What to do about what is left.
        advice: String,
    },
}

impl StartError {
    /// Whether no terminal is left of the start.
    pub(super) fn leaves_nothing(&self) -> bool {
        matches!(self, Self::Died { .. } | Self::Codex(_) | Self::Tmux(_) | Self::NotTrusted(_))
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::ToolMissing("codex") => "install it with `npm install -g @openai/codex`".into(),
            Self::ToolMissing(tool) => format!("install {tool}"),
            Self::Profile | Self::Tmux(_) | Self::LeftBehind(_) => return None,
            Self::NoDirectory(_) => "give another one with --cwd".into(),
            Self::NameTaken(name) => format!(
                "choose another name; `conveyor deregister {}` lets go of a session that is not needed any more, but \
                 its name stays taken",
                quote(name)
            ),
            Self::TerminalTaken(session) => {
                format!(
                    "choose another name, or end it with `tmux kill-session -t {}`",
                    quote(&exact(session))
                )
            }
            Self::NotTrusted(_) => {
                "look at the directory, then start again with --accept-trust, or run `codex` there once"
                    .into()
            }
            Self::Distrusted(_) => "change its trust_level in Codex's config.toml if that is wrong".into(),
            Self::Codex(_) => {
                "run `codex app-server daemon version` to see whether its server answers".into()
            }
            Self::Asks { question, advice, .. } => {
                let answer = match question.pattern {
                    Pattern::UpdatePrompt => {
                        "press Escape there, never Enter, which would install the update"
                    }
                    Pattern::HooksPrompt | Pattern::ModelPrompt => {
                        "answer it there, once; Codex remembers it"
                    }
                    _ => "answer it there",
                };
                format!("{answer}; {advice}")
            }
            Self::Word { .. } => "choose one of these, or start without --no-native".into(),
            Self::Died { .. } => "run `codex` in that directory to see what is wrong".into(),
            Self::Late { advice, .. } | Self::Unfinished { advice, .. } => advice.clone(),
        })
    }
}

/// A session as tmux takes it exactly.
pub(super) fn exact(session: &str) -> String {
    format!("={session}")
}
