//! The value lists of the supervision contract.

text_enum! {
    /// What a manager decided to do.
    Decision {
        /// Leave the worker alone for now.
        Wait = "wait",
        /// Send the worker a message.
        Nudge = "nudge",
        /// End what the worker is doing.
        Interrupt = "interrupt",
        /// Ask a person.
        Escalate = "escalate",
        /// End the task.
        Stop = "stop",
        /// Look closer.
        Inspect = "inspect",
    }
}

text_enum! {
    /// How structured the supervision of a task is.
    SupervisionMode {
        /// Few rules.
        Light = "light",
        /// The manager guides.
        Guided = "guided",
        /// Everything is proven and recorded.
        Strict = "strict",
    }
}

text_enum! {
    /// What happens when a completed turn brings proposals on what to do next.
    NudgeMode {
        /// Nothing.
        Off = "off",
        /// A person is asked.
        AskOperator = "ask-operator",
        /// A reviewer compares the proposals.
        AutoReview = "auto-review",
        /// The work goes on.
        AutoProceed = "auto-proceed",
    }
}

text_enum! {
    /// A closing step of a task.
    EpilogueStep {
        /// Ask every configured tool for its version.
        RunTools = "run-tools",
        /// Draw up a pull request from the records.
        DraftPr = "draft-pr",
        /// Make sure that a review was recorded.
        SubagentReview = "subagent-review",
        /// Make sure that a handoff was saved.
        RecordHandoff = "record-handoff",
    }
}

text_enum! {
    /// What became of an acceptance criterion.
    CriterionStatus {
        /// Brought up.
        Proposed = "proposed",
        /// The task must fulfil it.
        Accepted = "accepted",
        /// It is fulfilled.
        Satisfied = "satisfied",
        /// It is for later.
        Deferred = "deferred",
        /// It does not count.
        Rejected = "rejected",
    }
}

text_enum! {
    /// Where an acceptance criterion came from.
    CriterionSource {
        /// The user asked for it.
        UserRequested = "user_requested",
        /// The manager concluded it.
        ManagerInferred = "manager_inferred",
        /// The worker proposed it.
        WorkerProposed = "worker_proposed",
        /// The last look at the work brought it.
        FinalAudit = "final_audit",
    }
}

text_enum! {
    /// How far two proposals on what to do next agree.
    Agreement {
        /// They say the same.
        Match = "match",
        /// Both can be followed.
        Compatible = "compatible",
        /// They exclude each other.
        Divergent = "divergent",
    }
}

text_enum! {
    /// What a reviewer says shall happen next.
    Verdict {
        /// The work goes on as proposed.
        Proceed = "proceed",
        /// It goes on with what the review adds.
        Amend = "amend",
        /// Nothing goes on without a person.
        Stop = "stop",
    }
}

text_enum! {
    /// In whose place proposals are read.
    Reader {
        /// Nobody in particular.
        All = "all",
        /// The worker.
        Worker = "worker",
        /// The manager, who proposes before it reads.
        Manager = "manager",
        /// A reviewer.
        Reviewer = "reviewer",
    }
}
