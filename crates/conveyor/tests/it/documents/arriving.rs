//! What is built at the same time as the texts that name it.

/// Commands that are still being built, and options of existing commands that are; without options
/// the whole command. Their lines are only checked for the name. Built in parallel, removed at the
/// merge: an entry whose command or option exists fails a test.
pub const ARRIVING: &[(&str, &[&str])] = &[
    ("pair", &[]),
    ("create", &[]),
    ("start", &[]),
    ("start-test", &[]),
    ("start-worker", &[]),
    ("start-manager", &[]),
    ("stop", &[]),
    ("open", &[]),
    ("open-worker", &[]),
    ("open-manager", &[]),
    ("doctor", &[]),
    ("doctor-self", &[]),
    ("manager-config", &[]),
    ("manager-recipes", &[]),
    ("manager-permission", &[]),
    ("criteria", &[]),
    ("criteria-plan", &[]),
    ("record-decision", &[]),
    ("worker-ack", &[]),
    ("manager-ack", &[]),
    ("handoff", &[]),
    ("compact-worker", &[]),
    ("request-worker-compact", &[]),
    ("register-worker", &["--self", "--thread-id", "--codex-home"]),
    ("register-manager", &["--self", "--thread-id", "--codex-home"]),
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
