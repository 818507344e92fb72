//! Everything that can make an operation fail, by cause. The text says what was wrong; [`Error::hint`]
//! says what to do; [`Error::exit_code`] and [`Error::code`] are the one table each for processes
//! and for machines.

mod hint;

use std::path::PathBuf;

use conveyor_agents::processes::DiscoveryError;
use conveyor_agents::rollout::RolloutError;
use conveyor_agents::tmux::TmuxError;
use conveyor_model::Role;
use conveyor_store::StoreError;

use crate::ingest::IngestError;
use crate::spawn::StartError;
use crate::typing::NotReady;

/// A failed operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger's storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The receiver of a list cannot take it.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
    /// No task has this id or name.
    #[error("unknown task {0:?}")]
    UnknownTask(String),
    /// No session has this name.
    #[error("no session registered with name {0:?}")]
    UnknownSession(String),
    /// A session has the other role.
    #[error("session {name:?} is a {actual}, not a {wanted}")]
    WrongRole {
        /// The session.
        name: String,
        /// Its role.
        actual: String,
        /// The role that was needed.
        wanted: Role,
    },
    /// The task has no live binding with sessions.
    #[error("no active session-based binding for task {0:?}")]
    NoActiveBinding(String),
    /// One side of the task's binding has no usable session.
    #[error("no active bound {role} session for task {task:?}")]
    NoBoundSession {
        /// The task's name.
        task: String,
        /// The side.
        role: Role,
    },
    /// A command with this idempotency key exists.
    #[error("the idempotency key {0:?} is taken")]
    KeyTaken(String),
    /// A session's rollout is not read.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// A name is registered for the other role, for good.
    #[error("the name {name:?} is registered as a {actual} and cannot become a {wanted}")]
    RoleTaken {
        /// The session's name.
        name: String,
        /// Its role.
        actual: String,
        /// The role that was wanted.
        wanted: Role,
    },
    /// A session to be bound is gone.
    #[error("{role} session {name:?} is gone")]
    SessionGone {
        /// The session.
        name: String,
        /// Its role.
        role: String,
    },
    /// A task has a live binding already.
    #[error("task {task:?} is bound already, by binding {binding_id}")]
    TaskBound {
        /// The task's name.
        task: String,
        /// What to unbind: the task's id.
        task_id: String,
        /// Its live binding.
        binding_id: String,
    },
    /// A session is in a live binding.
    #[error("session {name:?} is bound to task {task_id} by binding {binding_id}")]
    SessionBound {
        /// The session.
        name: String,
        /// The task it is bound to.
        task_id: String,
        /// The binding.
        binding_id: String,
    },
    /// A task has no live binding to be ended.
    #[error("task {0:?} has no live binding")]
    NothingToUnbind(String),
    /// A rollout cannot be registered.
    #[error(transparent)]
    Rollout(#[from] RolloutError),
    /// No rollout was found for a process.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// tmux did not do what it was asked to.
    #[error(transparent)]
    Tmux(#[from] TmuxError),
    /// Nothing of this name is known, neither in the state root nor in the ledger.
    #[error("unknown worker or session {0:?}")]
    UnknownWorker(String),
    /// A session without a terminal.
    #[error("tmux session is not registered for worker {0:?}")]
    NoTmuxSession(String),
    /// The terminal of a worker or session is not there.
    #[error("tmux session {tmux_session:?} of {name:?} is not running")]
    TerminalNotRunning {
        /// The worker or session.
        name: String,
        /// Its terminal.
        tmux_session: String,
    },
    /// A terminal that was recorded where we are not.
    #[error(
        "the terminal {tmux_session:?} of {name:?} was registered on another machine or in another container"
    )]
    TerminalElsewhere {
        /// The worker or session.
        name: String,
        /// Its terminal.
        tmux_session: String,
    },
    /// It is not known which of several panes is the one that is meant.
    #[error(
        "which pane of tmux session {tmux_session:?} is that of {name:?} is not known, and it has several"
    )]
    TerminalAmbiguous {
        /// The worker or session.
        name: String,
        /// Its terminal.
        tmux_session: String,
    },
    /// Two workers claim one terminal or token.
    #[error("worker {0:?}: its tmux session or its identity token belongs to another worker")]
    WorkerTaken(String),
    /// A file cannot be read.
    #[error("cannot read {path:?}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// A file of the state root holds something else than a JSON object.
    #[error("{path:?} is not a valid JSON object: {reason}")]
    NotAnObject {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A task is closed already.
    #[error("task {name:?} is already {state}")]
    TaskClosed {
        /// Its name.
        name: String,
        /// Its state.
        state: String,
    },
    /// A task has no criterion with this id.
    #[error("unknown acceptance criterion for task {task:?}: {id}")]
    UnknownCriterion {
        /// The task's name.
        task: String,
        /// The id.
        id: i64,
    },
    /// No permission has this name.
    #[error("unknown manager permission action: {0}")]
    UnknownPermission(String),
    /// There is no cycle with this id.
    #[error("unknown manager cycle: {0}")]
    UnknownCycle(i64),
    /// The contract of a task demands acknowledgements that are missing or out of date.
    #[error("cycle requires current acknowledgement(s) before first observation: {0}")]
    NotAcknowledged(String),
    /// A side of a task has nothing whose terminal could be captured.
    #[error("task {task:?} has no session-based binding with a {role}")]
    NoTerminal {
        /// The task's name.
        task: String,
        /// The side.
        role: Role,
    },
    /// A terminal is not the one that was registered.
    #[error("{owner} identity verification failed for {name}: {mismatches}")]
    OtherTerminal {
        /// What is registered: a session, a manager of older versions.
        owner: &'static str,
        /// Its name.
        name: String,
        /// In what the terminal differs.
        mismatches: String,
    },
    /// A required segment of a transcript was not made.
    #[error("no new transcript segment of: {0}")]
    NoSegment(String),
    /// An agent that is to be ended, or something that it does, goes on.
    #[error("{name:?} was not ended: {reason}")]
    AgentNotEnded {
        /// The session.
        name: String,
        /// What went wrong.
        reason: String,
    },
    /// A gate that was asked for keeps a task from being closed.
    #[error("{0}")]
    GateClosed(String),
    /// A gate that the task's contract enforces keeps it from being closed.
    #[error("{0}")]
    GateEnforced(String),
    /// An action that demands a recorded decision of the manager has none that backs it.
    #[error("{text}")]
    NotDecided {
        /// The check, for people and programs.
        text: String,
        /// The exit code that the action's callers know.
        exit: u8,
    },
    /// The manager may not have this done; the text says what is missing, for people and programs.
    #[error("{0}")]
    NotPermitted(String),
    /// A task was not closed because something outside the ledger failed; that is recorded.
    #[error("task {task:?} was not closed: {reason}")]
    NotClosed {
        /// Its name.
        task: String,
        /// What failed.
        reason: String,
    },
    /// A file of our own cannot be written.
    #[error("cannot write {path:?}: {reason}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// A terminal does not take a message now; nothing was sent.
    #[error("{0}")]
    TargetNotReady(Box<NotReady>),
    /// A text was typed, and its arrival was not proven in time.
    #[error("the text was typed to {name:?}, but no turn that begins with it was seen ({reason})")]
    Unconfirmed {
        /// The session or worker.
        name: String,
        /// What is missing.
        reason: &'static str,
    },
    /// A session's terminal shows another thread now, and nothing proves which one.
    #[error(
        "the terminal of {name:?} shows another thread since it was cleared, and which one is not proven \
         ({candidates} could be it): the session is gone"
    )]
    NewThreadNotProven {
        /// The session.
        name: String,
        /// Its role.
        role: String,
        /// Its terminal.
        tmux_session: String,
        /// How many threads were announced.
        candidates: usize,
    },
    /// A session that is not in a terminal.
    #[error("session {0:?} has no tmux session: it was probably registered outside tmux")]
    NoTerminalOfSession(String),
    /// Neither a worker nor a usable session has this name.
    #[error("neither a worker nor a usable session is called {name:?} ({reason})")]
    NobodyToNudge {
        /// The name.
        name: String,
        /// What is wrong with the session.
        reason: String,
    },
    /// There is no legacy worker of this name.
    #[error("there is no worker called {0:?}")]
    NoWorker(String),
    /// A session is not proven to be the one that is meant.
    #[error("the Codex session {thread_id:?} cannot be identified: {reason}")]
    ThreadNotProven {
        /// Its thread, as given.
        thread_id: String,
        /// What is wanting.
        reason: String,
    },
    /// A started session did not get its first message, or is not proven to have.
    #[error("session {name:?} is registered, but its first message {}: {reason}", if *unknown { "is not proven to have arrived" } else { "was not sent" })]
    FirstMessage {
        /// The session.
        name: String,
        /// Why.
        reason: String,
        /// Whether it may have arrived.
        unknown: bool,
    },
    /// A task that is to be made needs a goal.
    #[error("there is no task {0:?}")]
    NoGoal(String),
    /// A task has a run that is going on.
    #[error("task {task:?} has an active run already, {run:?}")]
    RunActive {
        /// Its name.
        task: String,
        /// The run's name.
        run: String,
    },
    /// A pair was not completed; that is recorded, and what was achieved stays.
    #[error("the pair for task {task:?} was not completed: {reason}")]
    Unpaired {
        /// The task's name.
        task: String,
        /// What failed, and what to do.
        reason: String,
    },
    /// A session was not started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A rule about given values is broken; the text names the value and the rule.
    #[error("{0}")]
    Invalid(String),
    /// The request is in order, but the machine says no: the same cause, with exit code 1.
    #[error("{0}")]
    Operational(Box<Error>),
}

impl Error {
    /// A broken rule about given values.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    /// The environment says no to a request that is in order; the text says what to do.
    pub fn refused(text: impl Into<String>) -> Self {
        Self::invalid(text).operational()
    }

    /// The same cause as a refusal of the environment.
    #[must_use]
    pub fn operational(self) -> Self {
        match self {
            Self::Operational(_) => self,
            cause => Self::Operational(Box::new(cause)),
        }
    }

    /// The stable machine code of this cause.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(_) => "store",
            Self::Output(_) => "output",
            Self::UnknownTask(_) => "unknown_task",
            Self::UnknownSession(_) => "unknown_session",
            Self::WrongRole { .. } => "wrong_role",
            Self::NoActiveBinding(_) => "no_active_binding",
            Self::NoBoundSession { .. } => "no_bound_session",
            Self::KeyTaken(_) => "key_taken",
            Self::Ingest(error) => error.code(),
            Self::RoleTaken { .. } => "role_taken",
            Self::SessionGone { .. } => "session_gone",
            Self::TaskBound { .. } => "task_bound",
            Self::SessionBound { .. } => "session_bound",
            Self::NothingToUnbind(_) => "nothing_to_unbind",
            Self::Rollout(_) => "rollout_unusable",
            Self::Discovery(_) => "no_rollout_of_pid",
            Self::Tmux(_) => "tmux",
            Self::UnknownWorker(_) => "unknown_worker",
            Self::NoTmuxSession(_) => "no_tmux_session",
            Self::TerminalNotRunning { .. } => "terminal_not_running",
            Self::TerminalElsewhere { .. } => "terminal_elsewhere",
            Self::TerminalAmbiguous { .. } => "terminal_ambiguous",
            Self::WorkerTaken(_) => "worker_taken",
            Self::Unreadable { .. } => "unreadable",
            Self::NotAnObject { .. } => "not_an_object",
            Self::TaskClosed { .. } => "task_closed",
            Self::UnknownCriterion { .. } => "unknown_criterion",
            Self::UnknownPermission(_) => "unknown_permission",
            Self::UnknownCycle(_) => "unknown_cycle",
            Self::NotAcknowledged(_) => "not_acknowledged",
            Self::NoTerminal { .. } => "no_terminal",
            Self::OtherTerminal { .. } => "other_terminal",
            Self::NoSegment(_) => "no_segment",
            Self::AgentNotEnded { .. } => "agent_not_ended",
            Self::GateClosed(_) => "gate_closed",
            Self::GateEnforced(_) => "gate_enforced",
            Self::NotDecided { .. } => "not_decided",
            Self::NotPermitted(_) => "not_permitted",
            Self::NotClosed { .. } => "not_closed",
            Self::File { .. } => "file",
            Self::TargetNotReady(_) => "target_not_ready",
            Self::Unconfirmed { .. } => "unconfirmed",
            Self::NewThreadNotProven { .. } => "new_thread_not_proven",
            Self::NoTerminalOfSession(_) => "no_terminal_of_session",
            Self::NobodyToNudge { .. } => "nobody_to_nudge",
            Self::NoWorker(_) => "no_worker",
            Self::ThreadNotProven { .. } => "thread_not_proven",
            Self::FirstMessage { .. } => "first_message",
            Self::NoGoal(_) => "no_goal",
            Self::RunActive { .. } => "run_active",
            Self::Unpaired { .. } => "unpaired",
            Self::Start(_) => "not_started",
            Self::Invalid(_) => "invalid",
            Self::Operational(cause) => cause.code(),
        }
    }

    /// The exit code of a command that fails with this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotClosed { .. }
            | Self::GateClosed(_)
            | Self::GateEnforced(_)
            | Self::NoGoal(_)
            | Self::Unpaired { .. }
            | Self::Operational(_) => 1,
            Self::Start(StartError::Word { .. }) => 2,
            Self::Start(_) => 1,
            Self::NotDecided { exit, .. } => *exit,
            Self::TargetNotReady(_) | Self::FirstMessage { unknown: false, .. } => 3,
            Self::Unconfirmed { .. } | Self::NewThreadNotProven { .. } | Self::FirstMessage { .. } => 4,
            _ => 2,
        }
    }

    /// How audit records call the kind of this cause.
    pub(crate) fn audit_type(&self) -> &'static str {
        match self {
            Self::Ingest(_) => "IngestError",
            Self::UnknownSession(_)
            | Self::WrongRole { .. }
            | Self::RoleTaken { .. }
            | Self::SessionGone { .. }
            | Self::Rollout(_)
            | Self::ThreadNotProven { .. }
            | Self::Discovery(_) => "CodexSessionError",
            Self::UnknownTask(_)
            | Self::NoActiveBinding(_)
            | Self::NoBoundSession { .. }
            | Self::TaskBound { .. }
            | Self::SessionBound { .. }
            | Self::NothingToUnbind(_)
            | Self::RunActive { .. }
            | Self::TaskClosed { .. } => "TaskLifecycleError",
            Self::TargetNotReady(_) => "TargetNotReady",
            Self::Unconfirmed { .. } | Self::NewThreadNotProven { .. } => "Unconfirmed",
            Self::NoTerminalOfSession(_)
            | Self::NobodyToNudge { .. }
            | Self::NoWorker(_)
            | Self::TerminalNotRunning { .. }
            | Self::TerminalElsewhere { .. }
            | Self::TerminalAmbiguous { .. } => "WorkerError",
            Self::NotAcknowledged(_)
            | Self::NoTerminal { .. }
            | Self::OtherTerminal { .. }
            | Self::NoSegment(_)
            | Self::AgentNotEnded { .. }
            | Self::NotClosed { .. }
            | Self::GateClosed(_)
            | Self::GateEnforced(_)
            | Self::Start(_)
            | Self::Tmux(_) => "WorkerError",
            Self::Operational(cause) => cause.audit_type(),
            _ => "Error",
        }
    }
}
