//! What a complete ledger consists of: the indexes, triggers and lists of names that creation,
//! upgrade and `db-doctor` share. The tables are in `tables`.

use super::define::{Index, index};
use super::tables::tables;

/// The schema version of new files.
pub(crate) const VERSION: i64 = 24;

/// The newest version of a file that is used; the two above [`VERSION`] only add tables.
pub(crate) const NEWEST: i64 = 26;

/// The full-text table over telemetry.
pub(crate) const SEARCH_TABLE: &str = "telemetry_events_fts";

/// Its definition in SQLite.
pub(crate) const SEARCH_SQLITE: &str = "create virtual table telemetry_events_fts using fts5(
  event_id unindexed, task_id unindexed, run_id unindexed, actor unindexed, event_type unindexed,
  summary, attributes
)";

/// What SQLite keeps beside it.
pub(crate) const SEARCH_SHADOWS: [&str; 5] = [
    "telemetry_events_fts_data",
    "telemetry_events_fts_idx",
    "telemetry_events_fts_content",
    "telemetry_events_fts_docsize",
    "telemetry_events_fts_config",
];

/// The tables that files of version 26 have beside those of [`VERSION`].
pub(crate) const TABLES_OF_26: [&str; 7] = [
    "campaigns",
    "campaign_worker_slots",
    "campaign_assignments",
    "campaign_channel_briefs",
    "campaign_asset_receipts",
    "notification_acknowledgements",
    "setup_bundles",
];

/// The triggers that keep the audit log append-only, with their SQLite definitions.
pub(crate) const TRIGGERS: [(&str, &str); 2] = [
    (
        "events_no_update",
        "create trigger if not exists events_no_update before update on events
begin
  select raise(abort, 'events are append-only');
end",
    ),
    (
        "events_no_delete",
        "create trigger if not exists events_no_delete before delete on events
begin
  select raise(abort, 'events are append-only');
end",
    ),
];

/// A binding that is in force or being ended.
const LIVE: &str = "state in ('active', 'ending')";

/// Created like the others, but files lack it without harm.
const OPTIONAL_INDEX: &str = "routed_notifications_consumed_cycle";

/// Every index of a version-24 ledger.
pub(crate) static INDEXES: &[Index] = &[
    // A server's index has no room for long texts.
    index("acceptance_criteria_task_source_criterion", "acceptance_criteria", "task_id, source, criterion")
        .on_postgres("task_id, source, md5(criterion)")
        .unique(),
    index("acceptance_criteria_task_status", "acceptance_criteria", "task_id, status, id"),
    index("agent_observations_task_id", "agent_observations", "task_id, id"),
    index("codex_events_session_id", "codex_events", "session_id, id"),
    index("command_attempts_command_id", "command_attempts", "command_id, id"),
    index("command_attempts_correlation_id", "command_attempts", "correlation_id"),
    index("commands_claimable", "commands", "state, type, available_at, created_at, id"),
    index("commands_task_state_created", "commands", "task_id, state, created_at"),
    index("continuation_reviews_task", "continuation_reviews", "task_id, id"),
    index("epilogue_runs_task_step", "epilogue_runs", "task_id, step_name, id"),
    index("events_task_id", "events", "task_id, id"),
    index("manager_configs_task_id", "manager_configs", "task_id"),
    index("manager_cycle_spans_cycle_phase", "manager_cycle_spans", "manager_cycle_id, phase, id"),
    index("manager_cycle_spans_task", "manager_cycle_spans", "task_id, id"),
    index("one_active_binding_per_manager_session", "bindings", "manager_session_id").unique().only(LIVE),
    index("one_active_binding_per_task", "bindings", "task_id").unique().only(LIVE),
    index("one_active_binding_per_worker", "bindings", "worker_id").unique().only(LIVE),
    index("one_active_binding_per_worker_session", "bindings", "worker_session_id").unique().only(LIVE),
    index("one_active_manager_per_task", "managers", "task_id")
        .unique()
        .only("state in ('starting', 'ready', 'stopping')"),
    index("one_active_run_per_task", "runs", "task_id").unique().only("status = 'active'"),
    index(
        "routed_notifications_claimable",
        "routed_notifications",
        "state, signal_type, side_effect_started, claim_expires_at, created_at",
    ),
    index("routed_notifications_consumed_cycle", "routed_notifications", "consumed_manager_cycle_id"),
    index("routed_notifications_dedupe_key", "routed_notifications", "dedupe_key").unique(),
    index("routed_notifications_source_event", "routed_notifications", "source_event_id"),
    index(
        "routed_notifications_target_inbox",
        "routed_notifications",
        "target_session_id, consumed_at, state, created_at, id",
    ),
    index("runs_task_status", "runs", "task_id, status, started_at"),
    index("statuses_worker_id", "statuses", "worker_id, id"),
    index(
        "task_acknowledgements_task_role_revision",
        "task_acknowledgements",
        "task_id, role, revision desc, id desc",
    ),
    index(
        "task_continuations_task_role_revision",
        "task_continuations",
        "task_id, proposer, revision desc, id desc",
    ),
    index("telemetry_events_actor_timestamp", "telemetry_events", "actor, timestamp, id"),
    index("telemetry_events_run_timestamp", "telemetry_events", "run_id, timestamp, id"),
    index("telemetry_events_task_timestamp", "telemetry_events", "task_id, timestamp, id"),
    index("telemetry_events_type_timestamp", "telemetry_events", "event_type, timestamp, id"),
    index("terminal_captures_task_role", "terminal_captures", "task_id, role, id"),
    index("transcript_captures_worker_id", "transcript_captures", "worker_id, id"),
    index("transcript_segments_task_role", "transcript_segments", "task_id, role, id"),
    index("worker_handoffs_task_id", "worker_handoffs", "task_id, id"),
];

/// The names of the tables that a complete file of this version has, sorted.
pub(crate) fn required_tables(version: i64) -> Vec<&'static str> {
    let mut names: Vec<_> = tables().map(|table| table.name).chain([SEARCH_TABLE]).collect();
    if version >= NEWEST {
        names.extend(TABLES_OF_26);
    }
    names.sort_unstable();
    names
}

/// The names of the indexes that a complete ledger has, sorted.
pub(crate) fn required_indexes() -> Vec<&'static str> {
    let mut names: Vec<_> =
        INDEXES.iter().map(|index| index.name).filter(|name| *name != OPTIONAL_INDEX).collect();
    names.sort_unstable();
    names
}

/// The names of the triggers that a complete ledger has, sorted.
pub(crate) fn required_triggers() -> Vec<&'static str> {
    let mut names = TRIGGERS.map(|(name, _)| name).to_vec();
    names.sort_unstable();
    names
}

/// Whether a table of this name is part of a version-24 file.
pub(crate) fn is_ours(table: &str) -> bool {
    table == SEARCH_TABLE || SEARCH_SHADOWS.contains(&table) || tables().any(|ours| ours.name == table)
}
