//! What is built at the same time as the texts that name it.

/// Commands that are still being built, and options of existing commands that are. Their lines are
/// only checked for the name. Built in parallel, removed at the merge: what exists fails a test.
pub const ARRIVING: &[(&str, &[&str])] = &[
    ("create", &[]),
    ("start-test", &[]),
    ("compact-worker", &["--clear", "--prompt-only"]),
    ("request-worker-compact", &[]),
    (
        "finish-task",
        &[
            "--message",
            "--decision-id",
            "--strict-decisions",
            "--require-criteria-audit",
            "--require-acks",
            "--require-epilogue",
            "--require-adversarial-proof",
        ],
    ),
    ("stop-task", &["--message", "--decision-id", "--strict-decisions"]),
];
