//! What to do about each error: one line, with commands that can be run as they stand.

use conveyor_agents::processes::DiscoveryError;
use conveyor_agents::tmux::TmuxError;
use conveyor_model::shell::quote;
use conveyor_store::StoreError;

use super::Error;

impl Error {
    /// What to do about it, as the end of a sentence; `None` where the text says it already.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnknownTask(_) => "see `conveyor tasks` for the tasks of this ledger".into(),
            Self::UnknownSession(_) => {
                "see `conveyor sessions --state all`, or register it with `conveyor register-worker` or \
                 `conveyor register-manager`"
                    .into()
            }
            Self::NoBoundSession { role, .. } => format!(
                "register the {role} again if it is gone, or bind one with `conveyor bind --task … --worker … \
                 --manager …`"
            ),
            Self::NoActiveBinding(_) => {
                "bind a worker and a manager with `conveyor bind --task … --worker … --manager …`".into()
            }
            Self::KeyTaken(_) => {
                "the command was queued before; see `conveyor commands`, or give another --idempotency-key"
                    .into()
            }
            Self::Ingest(error) => error.hint().into(),
            Self::RoleTaken { wanted, .. } => format!("choose another name for the {wanted}"),
            Self::SessionGone { name, role } => {
                format!("register it again with `conveyor register-{role} --name {} --pid …`", quote(name))
            }
            Self::TaskBound { task_id, .. } | Self::SessionBound { task_id, .. } => {
                format!("unbind it first with `conveyor unbind --task {}`", quote(task_id))
            }
            Self::NothingToUnbind(_) => "see `conveyor discover` for the live bindings".into(),
            Self::Rollout(_) => "give the rollout of a Codex session with --codex-session FILE".into(),
            Self::Discovery(DiscoveryError::NoProcess { .. }) => {
                "give the pid of a running Codex, or its rollout with --codex-session FILE".into()
            }
            Self::Tmux(TmuxError::NotInstalled { .. }) => "install tmux".into(),
            Self::UnknownWorker(_) => {
                "see `conveyor list` for the workers of the state root, `conveyor sessions --state all` for \
                 sessions"
                    .into()
            }
            Self::TargetNotReady(refused) => refused.hint.into(),
            Self::Unconfirmed { .. } => {
                "look into its terminal before you send it again; the text may still stand in the composer"
                    .into()
            }
            Self::NewThreadNotProven { name, role, tmux_session, .. } => format!(
                "register it again with `conveyor register-{role} --name {} --codex-session FILE --tmux-session {}`",
                quote(name),
                quote(tmux_session)
            ),
            Self::NoTerminalOfSession(name) => {
                format!(
                    "send it a message with `conveyor enqueue-nudge-worker`, or register {} with --tmux-session",
                    quote(name)
                )
            }
            Self::NobodyToNudge { name, .. } => {
                format!("see `conveyor sessions`, then `conveyor session-nudge {} …`", quote(name))
            }
            Self::NoWorker(name) => {
                format!(
                    "a registered session is interrupted with `conveyor session-interrupt {}`",
                    quote(name)
                )
            }
            Self::NoTmuxSession(_) => "register the session again with its --tmux-session".into(),
            Self::TerminalNotRunning { .. } => "start it again, or see `tmux list-sessions`".into(),
            Self::TerminalElsewhere { .. } => "run this where it was registered".into(),
            Self::TerminalAmbiguous { .. } => "register it again with its --pid".into(),
            Self::WorkerTaken(_) => "give each worker a tmux_session and an identity_token of its own".into(),
            Self::Unreadable { reason, .. } if reason.kind() == std::io::ErrorKind::InvalidData => {
                "the file must be text in UTF-8".into()
            }
            Self::Unreadable { .. } => "check the file and its permissions".into(),
            Self::NotAnObject { .. } => "repair the file or remove it".into(),
            Self::UnknownCriterion { task, .. } => {
                format!("see `conveyor criteria {} --list` for its criteria", quote(task))
            }
            Self::UnknownPermission(_) => {
                "name one as category.action, or ask for a whole category with --list".into()
            }
            Self::UnknownCycle(_) => "give the cycle_id that `conveyor cycle` printed".into(),
            Self::NotAcknowledged(_) => {
                "both sides must acknowledge the current revision of the task's manager configuration".into()
            }
            Self::NoTerminal { .. } => "bind a worker and a manager with `conveyor bind --task …`".into(),
            Self::OtherTerminal { .. } => {
                "check the terminal, and register the session again with its --tmux-session".into()
            }
            Self::NoSegment(_) => {
                "what could be captured is recorded; a terminal that shows nothing new has none".into()
            }
            Self::GateEnforced(_) => {
                "the task's contract enforces this (manager-config --enforce-gates); stop-task gives it up"
                    .into()
            }
            Self::NotClosed { .. } => "the failure is recorded; try again once its cause is gone".into(),
            Self::File { .. } => "check the directory, its permissions and the space left".into(),
            Self::ThreadNotProven { .. } => {
                "check the id, and which Codex is meant with --codex-home DIR".into()
            }
            Self::FirstMessage { name, unknown: true, .. } => {
                format!("look into its terminal before you send it again to {}", quote(name))
            }
            Self::FirstMessage { name, .. } => {
                format!("send it with `conveyor session-nudge {} …`", quote(name))
            }
            Self::NoGoal(task) => format!(
                "give --task-goal to have it made, or make it with `conveyor tasks --create {} --goal …`",
                quote(task)
            ),
            Self::RunActive { .. } => "finish the task, or stop it, before it is paired again".into(),
            Self::Start(error) => return error.hint(),
            Self::Store(error) => return store_hint(error),
            Self::Operational(cause) => return cause.hint(),
            _ => return None,
        })
    }
}

fn store_hint(error: &StoreError) -> Option<String> {
    let hint = match error {
        StoreError::Open { .. } => "check the path given with --path, its directory and their permissions",
        StoreError::Foreign { .. } => "give another file with --path",
        StoreError::Newer { .. } => "update conveyor",
        StoreError::Busy { .. } => "try again; if it stays, find the process that holds the database open",
        StoreError::Unreachable { .. } => "check that the server runs and that the URL is right",
        StoreError::NoSpace { .. } => "make room, then try again",
        StoreError::ReadOnly { .. } => {
            "try again; if it stays, give the URL of the server that takes changes"
        }
        StoreError::Sql(text) if text.contains("no such table") || text.contains("no such column") => {
            "a part of the ledger is missing: `conveyor db-doctor` says which"
        }
        StoreError::Damaged { .. } => {
            "give another file with --path, or restore this one from a backup, having removed the files beside it \
             whose names end in -wal and -shm"
        }
        _ => return None,
    };
    Some(hint.into())
}
