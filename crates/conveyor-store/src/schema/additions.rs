//! What Conveyor adds to a version-24 ledger. A program that knows nothing of it must go on
//! working on the same file: columns are nullable or have a default, indexes use only built-in
//! functions, the version number stays.

use conveyor_model::{Adapter, AgentState, Confidence, DeliveryPurpose, DeliveryStage, EndpointOrigin};

use super::define::{Column, Index, Table, index, integer, key, serial, text};

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

/// How each session can be reached: one active row for each way.
static ENDPOINTS: Table = Table {
    name: "session_endpoints",
    columns: &[
        serial(),
        text("session_id").refs("sessions"),
        text("adapter").one_of(Adapter::TEXTS),
        text("address_json").json(),
        text("incarnation"),
        text("origin").one_of(EndpointOrigin::TEXTS),
        text("state").one_of(&["active", "retired"]),
        text("capabilities_json").json(),
        text("created_at"),
        text("updated_at"),
        text("verified_at").null(),
    ],
};

/// The rollouts that sessions had before the ones that they have now.
static FORMER_ROLLOUTS: Table = Table {
    name: "conveyor_former_rollouts",
    columns: &[serial(), text("session_id").refs("sessions"), text("path"), text("left_at")],
};

/// What each session was last found to be doing.
static STATES: Table = Table {
    name: "session_states",
    columns: &[
        key("session_id").refs("sessions"),
        text("state").one_of(AgentState::TEXTS),
        text("confidence").one_of(Confidence::TEXTS),
        text("adapter").one_of(Adapter::TEXTS),
        text("incarnation").null(),
        text("since"),
        text("observed_at"),
        text("winner"),
        text("detail_json").json(),
        integer("revision"),
    ],
};

/// Messages on their way to agents.
static DELIVERIES: Table = Table {
    name: "deliveries",
    columns: &[
        key("id"),
        text("client_message_id").unique(),
        text("session_id").refs("sessions"),
        text("task_id").null().refs("tasks"),
        integer("notification_id").null().refs("routed_notifications"),
        text("command_id").null().refs("commands"),
        integer("attempt_id").null().refs("command_attempts"),
        text("supersedes").null(),
        text("purpose").one_of(DeliveryPurpose::TEXTS),
        text("priority").one_of(&["normal", "urgent"]),
        text("stage").one_of(DeliveryStage::TEXTS),
        text("adapter").null(),
        text("mode").null(),
        text("reason").null(),
        text("incarnation").null(),
        text("body_sha256"),
        integer("body_bytes"),
        text("external_json").json(),
        text("evidence_json").json(),
        text("outcome").null(),
        text("not_before").null(),
        text("next_check_at").null(),
        text("lease_by").null(),
        text("lease_expires_at").null(),
        text("created_at"),
        text("updated_at"),
        text("accepted_at").null(),
        text("seen_at").null(),
        text("finished_at").null(),
        text("error").null(),
    ],
};

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
    // Where the pid of a session means something: machine, its run, its table of processes.
    Addition::Column("sessions", text("host_id").null()),
    Addition::Column("sessions", text("boot_id").null()),
    Addition::Column("sessions", text("pid_namespace").null()),
    // Completions up to this event have been routed.
    Addition::Column("sessions", integer("routed_event_id").null()),
    // Who read an event from its rollout, if it was a dispatcher.
    Addition::Column("codex_events", text("ingested_by").null()),
    // Whether the gates of closing hold for a task without being asked for.
    Addition::Column("manager_configs", integer("enforce_gates").default("0")),
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
    // Whether the end of a turn was announced already.
    Addition::Index(
        index(
            "conveyor_completed_turns",
            "codex_events",
            "session_id, json_extract(payload_json, '$.turn_id')",
        )
        .on_postgres("session_id, (payload_json::json->>'turn_id')")
        .only("subtype = 'task_complete'"),
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
    // What was decided about a task, in order.
    Addition::Index(index("conveyor_decisions_task", "manager_decisions", "task_id, id")),
    Addition::Index(
        index("conveyor_tasks_name", "tasks", "name, created_at").on_postgres("name, created_at, rowid"),
    ),
    // Starts of sessions, among all events.
    Addition::Index(
        index("conveyor_spawns", "events", "type, id")
            .only("type in ('session_spawn_intent', 'session_spawn_thread', 'session_spawn_ended')"),
    ),
    // How agents are reached, what they do, what is on its way to them.
    Addition::Table(&ENDPOINTS),
    Addition::Index(
        index("conveyor_endpoints_active", "session_endpoints", "session_id, adapter")
            .unique()
            .only("state = 'active'"),
    ),
    // Where a pane or a socket means something.
    Addition::Column("session_endpoints", text("host_id").null()),
    Addition::Column("session_endpoints", text("boot_id").null()),
    Addition::Column("session_endpoints", text("pid_namespace").null()),
    Addition::Table(&STATES),
    Addition::Table(&FORMER_ROLLOUTS),
    Addition::Index(
        index("conveyor_former_rollouts_once", "conveyor_former_rollouts", "session_id, path").unique(),
    ),
    Addition::Table(&DELIVERIES),
    Addition::Index(index("conveyor_deliveries_check", "deliveries", "stage, next_check_at")),
    Addition::Index(index("conveyor_deliveries_session", "deliveries", "session_id, created_at, id")),
    Addition::Index(index("conveyor_deliveries_notification", "deliveries", "notification_id")),
    Addition::Index(index("conveyor_deliveries_command", "deliveries", "command_id")),
    // While the fate of one message is open, the database itself forbids a second one.
    Addition::Index(
        index("deliveries_one_in_flight", "deliveries", "session_id")
            .unique()
            .only("stage in ('sending', 'accepted', 'unknown')"),
    ),
];
