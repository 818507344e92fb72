//! What Conveyor adds to a version-24 ledger. A program that knows nothing of it must go on
//! working on the same file: columns are nullable or have a default, indexes use only built-in
//! functions, the version number stays.

use super::define::{Column, Index, Table, index, integer, key, text};

/// One thing added, recorded by name once it is there.
pub(crate) enum Addition {
    /// A table.
    Table(&'static Table),
    /// A column of a table of the baseline.
    Column(&'static str, Column),
    /// An index.
    Index(Index),
}

impl Addition {
    /// The name under which it is recorded.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Table(table) => table.name.to_owned(),
            Self::Column(table, column) => format!("{table}.{}", column.name),
            Self::Index(index) => index.name.to_owned(),
        }
    }
}

/// The record of what was added.
pub(crate) static RECORD: Table =
    Table { name: "conveyor_schema", columns: &[key("name"), text("applied_at")] };

/// All additions, in the order in which they are made.
pub(crate) static ADDITIONS: &[Addition] = &[
    Addition::Table(&RECORD),
    // Claims that lapsed before their effect began.
    Addition::Column("commands", integer("lapses").default("0")),
    // Why a command that cannot be pushed now is put off.
    Addition::Column("commands", text("parked_reason").null()),
    // Which rollout file was read so far: device, inode, digest of its first line.
    Addition::Column("sessions", text("rollout_device").null()),
    Addition::Column("sessions", text("rollout_inode").null()),
    Addition::Column("sessions", text("rollout_digest").null()),
    // Completions up to this event have been routed.
    Addition::Column("sessions", integer("routed_event_id").null()),
    // The queue in its own order: what can be claimed now, what is put off, whose claim may lapse.
    Addition::Index(
        index("conveyor_commands_ready", "commands", "type, created_at")
            .on_postgres("type, created_at, rowid")
            .only("state = 'pending' and available_at is null"),
    ),
    Addition::Index(
        // With the state in front, because SQLite's planner would rather use any index that has it.
        index("conveyor_commands_claimed", "commands", "state, claim_expires_at").only("state = 'attempted'"),
    ),
    Addition::Index(
        index("conveyor_commands_created", "commands", "created_at").on_postgres("created_at, rowid"),
    ),
    // The newest life sign of a dispatcher.
    Addition::Index(
        index(
            "conveyor_heartbeats",
            "telemetry_events",
            "json_extract(correlation_json, '$.dispatcher_id'), timestamp",
        )
        .on_postgres("(correlation_json::json->>'dispatcher_id'), timestamp")
        .only("event_type = 'dispatch_watch_heartbeat'"),
    ),
    // Who is bound now, without a look at ended bindings.
    Addition::Index(
        index("conveyor_bindings_live", "bindings", "worker_session_id")
            .only("state in ('active', 'ending')"),
    ),
    // Completions that are still to be routed.
    Addition::Index(
        index("conveyor_completions", "codex_events", "session_id, id").only("subtype = 'task_complete'"),
    ),
    // Whether a line of a rollout has been stored already.
    Addition::Index(index("conveyor_event_place", "codex_events", "session_id, byte_offset")),
    // The step of a turn that a session is at.
    Addition::Index(
        index("conveyor_turns", "codex_events", "session_id, id")
            .only("subtype in ('task_started', 'user_message', 'task_complete', 'turn_aborted')"),
    ),
    // The bindings that a task ever had.
    Addition::Index(index("conveyor_bindings_task", "bindings", "task_id, created_at")),
    // When a task was observed last, and which observations of it were notable.
    Addition::Index(index("conveyor_cycles_ended", "manager_cycles", "task_id, completed_at")),
    Addition::Index(
        index("conveyor_divergences", "manager_cycles", "task_id, id")
            .only("json_extract(status_json, '$.notable_pane_pattern') is not null")
            .only_on_postgres("(status_json::json->>'notable_pane_pattern') is not null"),
    ),
    Addition::Index(
        index("conveyor_tasks_name", "tasks", "name, created_at").on_postgres("name, created_at, rowid"),
    ),
];
