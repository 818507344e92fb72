//! Supervision: what the manager was asked to do, what it did, and what both sides declared.

use conveyor_model::{
    Agreement, CriterionSource, CriterionStatus, Decision, NudgeMode, Role, SupervisionMode, Verdict,
};

use crate::schema::define::{Table, integer, key, real, serial, text};

/// The tables of this part.
pub(super) static TABLES: &[Table] = &[
    // Supervision contract of a task: at most one row per task.
    Table {
        name: "manager_configs",
        columns: &[
            key("task_id").refs("tasks"),
            text("recipe_name").null(),
            text("supervision_mode").one_of(SupervisionMode::TEXTS),
            text("objective").null(),
            text("guidelines_json").json(),
            text("acceptance_criteria_json").json(),
            text("reference_paths_json").json(),
            text("permissions_json").json(),
            text("tools_json").default("'[]'").json(),
            text("epilogues_json").default("'[]'").json(),
            text("nudge_on_completion").default("'ask-operator'").one_of(NudgeMode::TEXTS),
            integer("require_acks").flag(),
            integer("revision").default("1").positive(),
            text("created_at"),
            text("updated_at"),
        ],
    },
    // Acceptance criteria and loop evidence. Unique per (task, source, criterion text).
    Table {
        name: "acceptance_criteria",
        columns: &[
            serial(),
            text("task_id").refs("tasks"),
            text("criterion"),
            text("status").one_of(CriterionStatus::TEXTS),
            text("source").one_of(CriterionSource::TEXTS),
            text("proof").null(),
            text("rationale").null(),
            text("evidence_json").json(),
            text("created_at"),
            text("updated_at"),
        ],
    },
    // Worker and manager acknowledgements, one row per revision.
    Table {
        name: "task_acknowledgements",
        columns: &[
            serial(),
            text("task_id").refs("tasks"),
            text("binding_id").null().refs("bindings"),
            text("role").one_of(Role::TEXTS),
            text("payload_json").json(),
            integer("revision").positive(),
            integer("manager_config_revision").null().positive(),
            text("created_at"),
            text("correlation_id").null(),
        ],
    },
    // Worker summaries saved before compaction or replacement.
    Table {
        name: "worker_handoffs",
        columns: &[
            serial(),
            text("task_id").refs("tasks"),
            text("worker_session_id").null().refs("sessions"),
            text("summary"),
            text("next_steps_json").json(),
            text("payload_json").json(),
            text("created_at"),
        ],
    },
    // One row per `cycle` invocation.
    Table {
        name: "manager_cycles",
        columns: &[
            serial(),
            text("task_id").refs("tasks"),
            text("manager_id").null().refs("managers"),
            text("started_at"),
            text("completed_at").null(),
            text("state").one_of(&["started", "succeeded", "failed"]),
            integer("health_observation_id").null().refs("agent_observations"),
            integer("manager_capture_id").null().refs("terminal_captures"),
            integer("worker_capture_id").null().refs("terminal_captures"),
            text("status_json").null().json(),
            text("health_json").null().json(),
            text("decision").null(),
            text("error").null(),
        ],
    },
    // Timed phases inside a manager cycle.
    Table {
        name: "manager_cycle_spans",
        columns: &[
            serial(),
            integer("manager_cycle_id").refs("manager_cycles"),
            text("task_id").refs("tasks"),
            text("run_id").null().refs("runs"),
            text("phase"),
            text("started_at"),
            text("completed_at"),
            real("duration_ms").not_negative(),
            text("state").one_of(&["succeeded", "failed", "degraded"]),
            text("attributes_json").json(),
            text("error_type").null(),
            integer("manager_decision_id").null().refs("manager_decisions"),
            text("command_id").null().refs("commands"),
        ],
    },
    // Decisions recorded by the manager.
    Table {
        name: "manager_decisions",
        columns: &[
            serial(),
            text("task_id").refs("tasks"),
            text("manager_id").null().refs("managers"),
            integer("manager_cycle_id").null().refs("manager_cycles"),
            text("decision").one_of(Decision::TEXTS),
            text("reason"),
            text("created_at"),
            text("payload_json").json(),
        ],
    },
    // Proposals of worker or manager on what to do next.
    Table {
        name: "task_continuations",
        columns: &[
            serial(),
            text("task_id").refs("tasks"),
            text("proposer").one_of(Role::TEXTS),
            text("payload_json").json(),
            integer("revision").positive(),
            text("created_at"),
            text("correlation_id"),
        ],
    },
    // Verdict on a pair of continuation proposals.
    Table {
        name: "continuation_reviews",
        columns: &[
            serial(),
            text("task_id").refs("tasks"),
            integer("worker_continuation_id").refs("task_continuations"),
            integer("manager_continuation_id").refs("task_continuations"),
            text("agreement").one_of(Agreement::TEXTS),
            text("verdict").one_of(Verdict::TEXTS),
            text("addendum").null(),
            text("rationale"),
            text("subagent_run_json").json(),
            text("created_at"),
            text("correlation_id"),
        ],
    },
    // Results of configured closing steps.
    Table {
        name: "epilogue_runs",
        columns: &[
            serial(),
            text("task_id").refs("tasks"),
            text("step_name"),
            text("state").one_of(&["pending", "running", "succeeded", "failed", "skipped"]),
            text("started_at"),
            text("finished_at").null(),
            text("result_json").null().json(),
            text("error").null(),
            text("correlation_id").null(),
        ],
    },
];
