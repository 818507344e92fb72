//! Tables of older versions, and the marks of migrations. Conveyor reads them and fills few.

use conveyor_model::{WorkerState, WorkerStatus};

use crate::schema::define::{Table, integer, key, serial, text};

/// The tables of this part.
pub(super) static TABLES: &[Table] = &[
    // Legacy workers (state-directory workers).
    Table {
        name: "workers",
        columns: &[
            key("id"),
            text("name").unique(),
            text("tmux_session").unique(),
            text("tmux_pane_id").null(),
            text("identity_token").unique(),
            text("cwd"),
            text("state").one_of(WorkerState::TEXTS),
            text("created_at"),
            text("updated_at"),
            text("last_seen_at").null(),
            text("exit_detected_at").null(),
            text("exit_reason").null(),
        ],
    },
    // Self-reported status history of legacy workers.
    Table {
        name: "statuses",
        columns: &[
            serial(),
            text("worker_id").refs("workers"),
            text("state").one_of(WorkerStatus::TEXTS),
            text("current_task").null(),
            text("next_action").null(),
            text("blocker").null(),
            text("created_at"),
        ],
    },
    // Legacy managers. Never inserted any more; old rows are read, `last_seen_at` and
    // `last_capture_sha256` may be refreshed.
    Table {
        name: "managers",
        columns: &[
            key("id"),
            text("name").unique(),
            text("task_id").refs("tasks"),
            text("tmux_session").unique(),
            text("tmux_pane_id").null(),
            text("state").one_of(&["starting", "ready", "stopping", "stopped", "missing", "failed"]),
            text("codex_args_json").json(),
            text("started_at"),
            text("stopped_at").null(),
            text("last_seen_at").null(),
            text("last_capture_sha256").null(),
            text("exit_detected_at").null(),
            text("exit_reason").null(),
        ],
    },
    // Prompt archive of older versions. Read by audit and export only.
    Table {
        name: "prompts",
        columns: &[
            serial(),
            text("task_id").null().refs("tasks"),
            text("manager_id").null().refs("managers"),
            text("kind").one_of(&["manager", "worker_contract", "resume"]),
            text("content"),
            text("content_sha256"),
            text("generator_version"),
            text("source_snapshot_json").json(),
            text("policy_json").json(),
            text("artifact_path").null(),
            text("created_at"),
        ],
    },
    // Nudge budgets of older versions. Read only.
    Table {
        name: "budgets",
        columns: &[
            key("task_id").refs("tasks"),
            integer("max_nudges").not_negative(),
            integer("nudges_used").default("0").up_to("max_nudges"),
            text("expires_at"),
        ],
    },
    // One row per schema version this file has been brought to.
    Table { name: "schema_migrations", columns: &[integer("version").primary(), text("applied_at")] },
    // Marks of imported files.
    Table {
        name: "data_migrations",
        columns: &[key("name"), text("source_path"), text("source_hash"), text("applied_at")],
    },
];
