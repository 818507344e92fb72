//! The heart: tasks, sessions and bindings, the command queue, notifications, and the record of
//! what happened.

use conveyor_model::{
    Actor, AttemptState, BindingState, CommandState, DeliveryMode, NotificationState, Role, SessionState,
    Severity, TaskState,
};

use crate::schema::define::{Table, integer, key, serial, text};

/// The tables of this part.
pub(super) static TABLES: &[Table] = &[
    // One unit of supervised work. Names are not unique; lookups take the newest.
    Table {
        name: "tasks",
        columns: &[
            key("id"),
            text("name"),
            text("goal"),
            text("summary").null(),
            text("state").one_of(TaskState::TEXTS),
            text("created_at"),
            text("updated_at"),
        ],
    },
    // One registered coding-agent session (worker or manager).
    Table {
        name: "sessions",
        columns: &[
            key("id"),
            text("name").unique(),
            text("role").one_of(Role::TEXTS),
            text("identity_token").unique(),
            text("tmux_session").null(),
            text("tmux_pane_id").null(),
            text("codex_session_path").null(),
            text("codex_session_id").null(),
            text("codex_app_thread_id").null(),
            text("codex_app_thread_title").null(),
            integer("pid").null(),
            text("cwd"),
            text("registered_at"),
            text("last_heartbeat_at").null(),
            text("state").one_of(SessionState::TEXTS),
            integer("last_ingest_offset").null(),
        ],
    },
    // Pairs one worker session with one manager session for one task.
    Table {
        name: "bindings",
        columns: &[
            key("id"),
            text("task_id").refs("tasks"),
            text("worker_id").null().refs("workers"),
            text("manager_id").null().refs("managers"),
            text("worker_session_id").null().refs("sessions"),
            text("manager_session_id").null().refs("sessions"),
            text("state").one_of(BindingState::TEXTS),
            text("created_at"),
            text("ended_at").null(),
        ],
    },
    // A named span of work or a loop policy record of a task.
    Table {
        name: "runs",
        columns: &[
            key("id"),
            text("task_id").refs("tasks"),
            text("name"),
            text("purpose").null(),
            text("status").one_of(&["active", "finished", "failed", "abandoned"]),
            text("started_at"),
            text("ended_at").null(),
            text("metadata_json").json(),
        ],
    },
    // Durable command queue; also the audit record of actions a command performs itself.
    Table {
        name: "commands",
        columns: &[
            key("id"),
            text("idempotency_key").unique(),
            text("created_at"),
            text("updated_at"),
            text("task_id").null().refs("tasks"),
            text("worker_id").null().refs("workers"),
            text("manager_id").null().refs("managers"),
            text("correlation_id").null(),
            text("type"),
            text("state").one_of(CommandState::TEXTS),
            text("available_at").null(),
            text("claimed_by").null(),
            text("claimed_at").null(),
            text("claim_expires_at").null(),
            integer("attempts").default("0").not_negative(),
            integer("max_attempts").default("1").positive(),
            text("required_permission").null(),
            text("payload_json").json(),
            text("result_json").null().json(),
            text("error").null(),
        ],
    },
    // One row per dispatcher attempt at a command.
    Table {
        name: "command_attempts",
        columns: &[
            serial(),
            text("command_id").refs("commands"),
            text("correlation_id"),
            text("dispatcher_id"),
            text("started_at"),
            text("finished_at").null(),
            text("state").one_of(AttemptState::TEXTS),
            text("result_json").null().json(),
            text("error").null(),
            integer("side_effect_started").flag(),
            integer("side_effect_completed").flag(),
        ],
    },
    // Messages routed from one session to another; the inbox.
    Table {
        name: "routed_notifications",
        columns: &[
            serial(),
            text("task_id").refs("tasks"),
            text("binding_id").refs("bindings"),
            text("correlation_id"),
            text("source_session_id").refs("sessions"),
            text("target_session_id").refs("sessions"),
            text("signal_type"),
            integer("source_event_id").null().refs("codex_events"),
            text("source_event_timestamp").null(),
            text("dedupe_key").unique(),
            text("command_id").null().refs("commands"),
            text("created_at"),
            text("delivered_at").null(),
            integer("consumed_manager_cycle_id").null().refs("manager_cycles"),
            text("consumed_by_session_id").null().refs("sessions"),
            text("consumed_at").null(),
            text("delivery_mode").default("'push'").one_of(DeliveryMode::TEXTS),
            text("state").one_of(NotificationState::TEXTS),
            text("claimed_by").null(),
            text("claimed_at").null(),
            text("claim_expires_at").null(),
            integer("side_effect_started").flag(),
            integer("side_effect_completed").flag(),
            text("payload_json").json(),
            text("error").null(),
        ],
    },
    // Events ingested from a session's rollout file.
    Table {
        name: "codex_events",
        columns: &[
            serial(),
            text("session_id").refs("sessions"),
            text("timestamp"),
            text("type"),
            text("subtype").null(),
            text("payload_json").json(),
            integer("byte_offset"),
            text("ingested_at"),
        ],
    },
    // Append-only audit log; two triggers keep it so.
    Table {
        name: "events",
        columns: &[
            serial(),
            text("created_at"),
            text("actor"),
            text("command_id").null().refs("commands"),
            text("correlation_id").null(),
            text("task_id").null().refs("tasks"),
            text("worker_id").null().refs("workers"),
            text("manager_id").null().refs("managers"),
            text("type"),
            text("payload_json").json(),
        ],
    },
    // Structured, searchable telemetry. Every row has a twin in `telemetry_events_fts`.
    Table {
        name: "telemetry_events",
        columns: &[
            key("id"),
            text("run_id").null().refs("runs"),
            text("task_id").null().refs("tasks"),
            text("timestamp"),
            text("actor").one_of(Actor::TEXTS),
            text("event_type"),
            text("severity").one_of(Severity::TEXTS),
            text("summary"),
            text("correlation_json").json(),
            text("attributes_json").json(),
        ],
    },
];
