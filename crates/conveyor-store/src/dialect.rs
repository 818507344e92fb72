//! Everything in which the two engines' SQL differs. All other statements are written once, with
//! `$1` placeholders and, where needed, one of the fragments below in braces.

/// Which engine a connection speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A file, in process.
    Sqlite,
    /// A server.
    Postgres,
}

impl Engine {
    /// The name that reports print.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgresql",
        }
    }
}

/// Fragments by name: (name, SQLite, PostgreSQL).
const FRAGMENTS: &[(&str, &str, &str)] = &[
    // A claim takes the task's row; whoever cannot have it now goes on with another task. SQLite's
    // write lock already excludes everybody.
    ("lock_task", "", " for no key update skip locked"),
    // Writers that must not interleave on one row.
    ("lock_row", "", " for update"),
    // Consumers of one inbox: each takes the first item that no other has in its hands.
    ("skip_locked", "", " for update skip locked"),
    // The expression under the index `conveyor_heartbeats`; it must match that index's text.
    (
        "heartbeat_dispatcher",
        "json_extract(correlation_json, '$.dispatcher_id')",
        "(correlation_json::json->>'dispatcher_id')",
    ),
    // The expression under the index `conveyor_divergences`.
    (
        "notable_pattern",
        "json_extract(status_json, '$.notable_pane_pattern')",
        "(status_json::json->>'notable_pane_pattern')",
    ),
    // The expression under the index `conveyor_completed_turns`.
    ("turn_of_event", "json_extract(e.payload_json, '$.turn_id')", "(e.payload_json::json->>'turn_id')"),
    // SQLite's planner would rather sort than use these partial indexes in order; PostgreSQL's
    // chooses by itself.
    ("by_ready", "indexed by conveyor_commands_ready", ""),
    ("by_claimed", "indexed by conveyor_commands_claimed", ""),
    ("by_live", "indexed by conveyor_bindings_live", ""),
    // Whether the table of endpoints is there: commands that only read may meet a ledger without it.
    (
        "count_of_endpoint_tables",
        "count(*) from sqlite_master where type = 'table' and name = 'session_endpoints'",
        "count(*) from pg_tables where schemaname = current_schema() and tablename = 'session_endpoints'",
    ),
    // Whether rows tell which machine they mean, likewise.
    (
        "count_of_machine_columns",
        "count(*) from pragma_table_info('sessions') where name = 'host_id'",
        "count(*) from information_schema.columns where table_schema = current_schema() \
         and table_name = 'sessions' and column_name = 'host_id'",
    ),
    (
        "count_of_record_tables",
        "count(*) from sqlite_master where type = 'table' and name = 'conveyor_schema'",
        "count(*) from pg_tables where schemaname = current_schema() and tablename = 'conveyor_schema'",
    ),
    // Full-text condition over the telemetry search table with the query in $1.
    ("search_matches", "telemetry_events_fts match $1", "search_vector @@ cast(cast($1 as text) as tsquery)"),
];

/// The statement text for one engine: fragments filled in and, for SQLite, `$n` as `?n` (there a
/// `$1` would be a *name*, bound in order of first appearance).
pub(crate) fn render(sql: &str, engine: Engine) -> String {
    let mut text = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(at) = rest.find(['$', '{']) {
        let (before, special) = rest.split_at(at);
        text.push_str(before);
        rest = match (special.as_bytes()[0], engine) {
            (b'{', _) => push_fragment(&mut text, special, engine),
            (_, Engine::Sqlite) if special[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                text.push('?');
                &special[1..]
            }
            _ => {
                text.push('$');
                &special[1..]
            }
        };
    }
    text.push_str(rest);
    text
}

fn push_fragment<'a>(text: &mut String, special: &'a str, engine: Engine) -> &'a str {
    for (name, sqlite, postgres) in FRAGMENTS {
        let after = special[1..].strip_prefix(name).and_then(|after| after.strip_prefix('}'));
        if let Some(after) = after {
            let fragment = if engine == Engine::Sqlite { *sqlite } else { *postgres };
            text.push_str(&render(fragment, engine));
            return after;
        }
    }
    text.push('{');
    &special[1..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_positions_on_both_engines() {
        let sql = "select $2, $1 where x = '{}' and y = '$.z'";
        assert_eq!(render(sql, Engine::Sqlite), "select ?2, ?1 where x = '{}' and y = '$.z'");
        assert_eq!(render(sql, Engine::Postgres), sql);
    }

    #[test]
    fn fragments_follow_the_engine() {
        let sql = "select id from tasks where id = $1{lock_task}";
        assert_eq!(render(sql, Engine::Sqlite), "select id from tasks where id = ?1");
        assert!(render(sql, Engine::Postgres).ends_with("$1 for no key update skip locked"));
        assert!(render("{heartbeat_dispatcher}", Engine::Sqlite).contains("'$.dispatcher_id'"));
    }
}
