//! The value lists of the ledger, each written once: the database checks, the argument parser,
//! the help and the documentation are made from these.

/// Declares an enum whose values have a fixed text form in the database and in JSON.
macro_rules! text_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every value, in documented order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The text form of every value, in documented order.
            pub const TEXTS: &'static [&'static str] = &[$($text),+];

            /// The stored and printed form.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The value with this text form, if there is one.
            #[must_use]
            pub fn from_text(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

mod contract;

pub use contract::*;

text_enum! {
    /// Which side of a binding a session is on.
    Role {
        /// Does the work.
        Worker = "worker",
        /// Supervises the worker.
        Manager = "manager",
    }
}

impl Role {
    /// The other side.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Worker => Self::Manager,
            Self::Manager => Self::Worker,
        }
    }
}

text_enum! {
    /// Life-cycle state of a task.
    TaskState {
        /// Created, not yet supervised.
        Candidate = "candidate",
        /// Under supervision.
        Managed = "managed",
        /// Set aside.
        Paused = "paused",
        /// Closed as done.
        Done = "done",
        /// Closed as failed.
        Failed = "failed",
    }
}

impl TaskState {
    /// Whether the task is still open.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Candidate | Self::Managed | Self::Paused)
    }
}

text_enum! {
    /// Whether a registered session can be used.
    SessionState {
        /// Registered and usable.
        Active = "active",
        /// Deregistered or lost; comes back by registering the name again.
        Gone = "gone",
    }
}

text_enum! {
    /// State of a binding; `active` and `ending` are the live ones.
    BindingState {
        /// In force.
        Active = "active",
        /// Being ended.
        Ending = "ending",
        /// Ended.
        Ended = "ended",
        /// A side was lost.
        Invalid = "invalid",
    }
}

text_enum! {
    /// State of a queued command.
    CommandState {
        /// Waiting to be claimed.
        Pending = "pending",
        /// Claimed by a dispatcher.
        Attempted = "attempted",
        /// Done.
        Succeeded = "succeeded",
        /// Failed for good.
        Failed = "failed",
        /// Stopped by a gate.
        Blocked = "blocked",
    }
}

text_enum! {
    /// State of one dispatcher attempt at a command.
    AttemptState {
        /// Begun and not finished.
        Running = "running",
        /// Finished well.
        Succeeded = "succeeded",
        /// Failed.
        Failed = "failed",
        /// Its claim lapsed before an effect began.
        Abandoned = "abandoned",
        /// Stopped by a gate.
        Blocked = "blocked",
    }
}

text_enum! {
    /// The command types that a dispatcher executes.
    CommandType {
        /// A message from the worker's side to the manager.
        NotifyManager = "notify_manager",
        /// A message from the manager's side to the worker.
        NudgeWorker = "nudge_worker",
        /// Permission for the worker to begin the next loop iteration.
        ContinueIteration = "continue_iteration",
    }
}

impl CommandType {
    /// Who receives a command of this type.
    #[must_use]
    pub fn target(self) -> Role {
        match self {
            Self::NotifyManager => Role::Manager,
            Self::NudgeWorker | Self::ContinueIteration => Role::Worker,
        }
    }
}

/// The signal type of a routed worker completion.
pub const WORKER_TASK_COMPLETE: &str = "worker_task_complete";

text_enum! {
    /// State of a routed notification.
    NotificationState {
        /// Not delivered yet.
        Pending = "pending",
        /// In the receiver's inbox (pull) or typed into its terminal (push).
        Delivered = "delivered",
        /// Delivery failed after an effect began.
        Failed = "failed",
        /// Recorded on purpose without delivery.
        Suppressed = "suppressed",
    }
}

text_enum! {
    /// How a notification reaches its receiver.
    DeliveryMode {
        /// Typed into a terminal.
        Push = "push",
        /// Fetched by the receiver.
        PullRequired = "pull_required",
    }
}

text_enum! {
    /// Who caused a telemetry event.
    Actor {
        /// The dispatcher.
        Dispatch = "dispatch",
        /// A manager.
        Manager = "manager",
        /// A worker.
        Worker = "worker",
        /// A person.
        Operator = "operator",
        /// This program on its own account.
        Workerctl = "workerctl",
        /// The surroundings.
        System = "system",
    }
}

impl From<Role> for Actor {
    fn from(role: Role) -> Self {
        match role {
            Role::Worker => Self::Worker,
            Role::Manager => Self::Manager,
        }
    }
}

text_enum! {
    /// How a telemetry event went.
    Severity {
        /// Detail for debugging.
        Debug = "debug",
        /// As intended.
        Info = "info",
        /// Blocked, denied, degraded or recovered.
        Warning = "warning",
        /// Failed.
        Error = "error",
    }
}

text_enum! {
    /// Verdict on a lease: a role's heartbeat or a dispatcher's.
    LeaseState {
        /// A life sign within the limit.
        Healthy = "healthy",
        /// The last life sign is too old, or unreadable.
        Stale = "stale",
        /// Never a life sign.
        Missing = "missing",
    }
}

text_enum! {
    /// What a wake-up decision for one role says.
    WakeStatus {
        /// The prompt can be sent to a known thread.
        ReadyToSend = "ready_to_send",
        /// The role is awake.
        SkippedHealthy = "skipped_healthy",
        /// The role sleeps and its thread is unknown.
        BlockedMissingThread = "blocked_missing_thread",
    }
}

text_enum! {
    /// What the sender of a wake-up did.
    DeliveryStatus {
        /// The prompt was sent to the thread.
        Sent = "sent",
        /// Nothing was sent because the role was awake.
        Skipped = "skipped",
        /// Nothing could be sent.
        Blocked = "blocked",
    }
}

text_enum! {
    /// What a legacy worker says it is doing.
    WorkerStatus {
        /// Deciding what to do.
        Planning = "planning",
        /// Changing files.
        Editing = "editing",
        /// Running tests.
        RunningTests = "running_tests",
        /// Cannot go on.
        Blocked = "blocked",
        /// Waits for something.
        Waiting = "waiting",
        /// Finished.
        Done = "done",
        /// Not known.
        Unknown = "unknown",
    }
}

text_enum! {
    /// Life-cycle state of a legacy worker.
    WorkerState {
        /// Found in files, not used yet.
        Candidate = "candidate",
        /// In use.
        Active = "active",
        /// Ended on purpose.
        Stopped = "stopped",
        /// Lost.
        Missing = "missing",
        /// Failed.
        Failed = "failed",
    }
}

text_enum! {
    /// How much of a captured terminal becomes a segment of the transcript.
    CaptureMode {
        /// Nothing but the fact.
        Metadata = "metadata",
        /// The last lines of what is new.
        Excerpt = "excerpt",
        /// Everything, whatever was there before.
        Snapshot = "snapshot",
        /// What is new.
        Segment = "segment",
        /// What is new.
        Full = "full",
    }
}

text_enum! {
    /// What a segment of a transcript holds.
    SegmentKind {
        /// No text: only that a capture was made, or the text was pruned.
        Metadata = "metadata",
        /// The last lines of what was new.
        Excerpt = "excerpt",
        /// A whole capture.
        Snapshot = "snapshot",
        /// The lines that follow the previous capture.
        Segment = "segment",
        /// A whole capture, because nothing in it follows the previous one.
        Reset = "reset",
    }
}

text_enum! {
    /// Which sides of a task a command is about.
    Roles {
        /// Both.
        All = "all",
        /// The worker alone.
        Worker = "worker",
        /// The manager alone.
        Manager = "manager",
    }
}

impl Roles {
    /// The sides, worker first.
    #[must_use]
    pub fn each(self) -> &'static [Role] {
        match self {
            Self::All => &[Role::Worker, Role::Manager],
            Self::Worker => &[Role::Worker],
            Self::Manager => &[Role::Manager],
        }
    }
}

text_enum! {
    /// How an agent is reached.
    Adapter {
        /// Through the app-server of Codex.
        Codex = "codex",
        /// By typing into its terminal.
        Tmux = "tmux",
        /// It fetches by itself.
        Pull = "pull",
    }
}

text_enum! {
    /// How an address of a session came to be known, in falling order of trust.
    EndpointOrigin {
        /// We started it.
        Spawned = "spawned",
        /// It registered itself.
        OneSelf = "self",
        /// A person registered it.
        Registered = "registered",
        /// It was found.
        Discovered = "discovered",
    }
}

text_enum! {
    /// What an agent is doing.
    AgentState {
        /// It takes a message.
        Idle = "idle",
        /// A turn runs.
        Busy = "busy",
        /// A turn waits for a permission.
        WaitingApproval = "waiting_approval",
        /// A turn waits for an answer.
        WaitingInput = "waiting_input",
        /// The last turn failed.
        Error = "error",
        /// The last turn failed because a quota is used up.
        UsageLimited = "usage_limited",
        /// Saved, in nobody's memory.
        NotLoaded = "not_loaded",
        /// It is not there any more.
        Gone = "gone",
        /// Nothing is known.
        Unknown = "unknown",
    }
}

text_enum! {
    /// How certain a state is.
    Confidence {
        /// The agent's own live channel says so.
        Proven = "proven",
        /// It follows from what the agent has written.
        Inferred = "inferred",
        /// Nothing says anything.
        None = "none",
    }
}

text_enum! {
    /// How far the delivery of a message has come.
    DeliveryStage {
        /// To be sent.
        Planned = "planned",
        /// Put off; nothing was sent.
        Parked = "parked",
        /// Being sent.
        Sending = "sending",
        /// Sent.
        Accepted = "accepted",
        /// In the receiver's own record.
        Seen = "seen",
        /// The turn that it began has ended.
        Finished = "finished",
        /// Sent, perhaps; nothing proves it.
        Unknown = "unknown",
        /// It did not arrive.
        Failed = "failed",
        /// Forbidden before anything happened.
        Refused = "refused",
        /// Withdrawn before anything happened.
        Cancelled = "cancelled",
    }
}

text_enum! {
    /// What a delivery is for.
    DeliveryPurpose {
        /// A completion or another signal.
        Signal = "signal",
        /// A message.
        Nudge = "nudge",
        /// A wake-up.
        Wake = "wake",
        /// The first prompt.
        Bootstrap = "bootstrap",
        /// An appeal.
        Attention = "attention",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_reads_back_as_its_value() {
        for &state in CommandState::ALL {
            assert_eq!(CommandState::from_text(state.as_str()), Some(state));
        }
        assert_eq!(CommandState::ALL.len(), CommandState::TEXTS.len());
        assert_eq!(Role::from_text("Worker"), None, "texts are exact");
    }

    #[test]
    fn directions_of_travel() {
        assert_eq!(CommandType::NotifyManager.target(), Role::Manager);
        assert_eq!(CommandType::NudgeWorker.target(), Role::Worker);
        assert_eq!(CommandType::ContinueIteration.target().other(), Role::Manager);
    }
}
