//! Identifiers: a prefix that names the entity and a random version-4 UUID.

/// What an identifier stands for; the text before its UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdPrefix {
    /// A task.
    Task,
    /// A registered session.
    Session,
    /// The identity token of a session.
    SessionToken,
    /// A binding.
    Binding,
    /// A run.
    Run,
    /// A command; also its default idempotency key.
    Command,
    /// A generated correlation id of commands and notifications.
    Dispatch,
    /// A generated correlation id of proposals on what to do next.
    Continuation,
    /// A generated correlation id of closing steps.
    Epilogue,
    /// A telemetry event.
    Telemetry,
    /// A legacy worker.
    Worker,
    /// The identity token of a legacy worker.
    WorkerToken,
    /// The identity token of a manager session made from a legacy manager row.
    LegacyManagerToken,
    /// The delivery of a message.
    Delivery,
    /// The id under which a receiver may record a message.
    ClientMessage,
}

impl IdPrefix {
    /// The text in front of the UUID, with its final hyphen.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task-",
            Self::Session => "session-",
            Self::SessionToken => "session-token-",
            Self::Binding => "binding-",
            Self::Run => "run-",
            Self::Command => "command-",
            Self::Dispatch => "dispatch-",
            Self::Continuation => "continuation-",
            Self::Epilogue => "epilogue-",
            Self::Telemetry => "telemetry-",
            Self::Worker => "worker-",
            Self::WorkerToken => "workerctl-",
            Self::LegacyManagerToken => "legacy-manager-token-",
            Self::Delivery => "delivery-",
            Self::ClientMessage => "cv-",
        }
    }
}

/// Where fresh identifiers come from.
pub trait Ids: Send + Sync {
    /// A fresh UUID in lower-case hyphenated form.
    fn uuid(&self) -> String;

    /// A fresh identifier of the given kind.
    fn fresh(&self, prefix: IdPrefix) -> String {
        format!("{}{}", prefix.as_str(), self.uuid())
    }
}
