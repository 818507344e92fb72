//! The value lists of proposals on what to do next and of their reviews.

use crate::enums::text_enum;

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
