//! What terminals showed and what was observed about agents.

use conveyor_model::Role;

use crate::schema::define::{Table, integer, serial, text};

/// The tables of this part.
pub(super) static TABLES: &[Table] = &[
    // Task-scoped captures of a terminal pane.
    Table {
        name: "terminal_captures",
        columns: &[
            serial(),
            text("task_id").refs("tasks"),
            text("worker_id").null().refs("workers"),
            text("manager_id").null().refs("managers"),
            text("role").one_of(Role::TEXTS),
            text("tmux_session"),
            text("tmux_pane_id").null(),
            text("command_id").null().refs("commands"),
            text("captured_at"),
            integer("history_lines"),
            text("content_sha256"),
            text("content").null(),
            text("content_path").null(),
            integer("byte_count"),
            integer("line_count"),
            text("classifier_json").json(),
            text("source"),
        ],
    },
    // New text between two captures of the same role, for replay and export.
    Table {
        name: "transcript_segments",
        columns: &[
            serial(),
            text("task_id").refs("tasks"),
            text("role").one_of(Role::TEXTS),
            integer("source_capture_id").refs("terminal_captures"),
            integer("previous_capture_id").null().refs("terminal_captures"),
            text("captured_at"),
            text("content_sha256"),
            text("segment_text").null(),
            integer("segment_start_line").null(),
            integer("segment_end_line").null(),
            integer("byte_count"),
            integer("line_count"),
            text("retention_class").one_of(&["hot", "warm", "cold", "redacted"]),
            text("segment_kind").one_of(&["metadata", "excerpt", "snapshot", "segment", "reset"]),
            integer("redacted").flag(),
            text("created_at"),
        ],
    },
    // Observations attached to a task.
    Table {
        name: "agent_observations",
        columns: &[
            serial(),
            text("task_id").refs("tasks"),
            text("worker_id").null().refs("workers"),
            text("manager_id").null().refs("managers"),
            text("role").one_of(&["worker", "manager", "workerctl"]),
            text("observation_type").one_of(&[
                "status",
                "error",
                "decision",
                "blocker",
                "summary",
                "command_output",
                "health",
                "capture",
            ]),
            text("severity").one_of(&["info", "warning", "error"]),
            integer("source_capture_id").null().refs("terminal_captures"),
            text("command_id").null().refs("commands"),
            text("created_at"),
            text("message"),
            text("payload_json").json(),
        ],
    },
    // Captures of a legacy worker's pane.
    Table {
        name: "transcript_captures",
        columns: &[
            serial(),
            text("worker_id").refs("workers"),
            text("sha256"),
            text("content").null(),
            text("captured_at"),
            text("changed_at"),
            integer("history_lines"),
            integer("byte_count"),
            integer("line_count"),
            text("capture_kind").one_of(&["latest", "changed", "metadata_only", "archived"]),
            text("retention_class").one_of(&["hot", "warm", "archive"]),
        ],
    },
];
