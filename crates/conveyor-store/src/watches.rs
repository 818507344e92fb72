//! The life of watching dispatchers as telemetry has it: a life sign once per iteration, and the mark
//! that each orderly end leaves.

use std::collections::BTreeSet;

use conveyor_model::Timestamp;
use conveyor_model::records::Object;
use serde_json::Value;

use crate::{Row, StoreError, Tx, params, telemetry};

/// The event that a watching dispatcher writes once per iteration: its lease.
pub const HEARTBEAT: &str = "dispatch_watch_heartbeat";

/// The event with which a watching dispatcher ends.
pub const ENDED: &str = "dispatch_watch_ended";

/// The attribute of life signs of dispatchers that end once no task is bound.
pub const EXIT_WHEN_UNBOUND: &str = "exit_when_unbound";

/// The attribute of life signs of dispatchers that do not move everything, or not for as long as they
/// are left alone.
pub const PARTIAL: &str = "partial";

/// The member of both events' correlation that tells one run of a dispatcher from all others.
pub const INCARNATION: &str = "incarnation";

/// So many life signs are read first; each further look reads twice as many as the one before.
const FIRST_PAGE: i64 = 50;

/// So many life signs are held at most.
const LARGEST_PAGE: i64 = 3200;

/// A life sign of a watching dispatcher. Dry runs give none.
#[derive(Clone, Debug)]
pub struct Beat {
    /// The dispatcher's id.
    pub dispatcher_id: String,
    /// When it was given, as stored.
    pub at: String,
    /// Which run of the dispatcher gave it; other programs do not say.
    pub incarnation: Option<Value>,
    /// Facts about that run.
    pub attributes: Object,
}

impl Beat {
    /// Whether a fact about the run holds.
    #[must_use]
    pub fn is(&self, attribute: &str) -> bool {
        self.attributes.get(attribute).is_some_and(|fact| *fact == true)
    }
}

/// Hands the life signs of a dispatcher, or of all, to `each`, newest first, until it wants no more.
///
/// # Errors
/// A failing statement.
pub fn each_beat(
    tx: &mut Tx<'_>,
    dispatcher: Option<&str>,
    each: &mut dyn FnMut(Beat) -> bool,
) -> Result<(), StoreError> {
    telemetry::write_held(tx)?;
    let (mut seen, mut limit) = (0, FIRST_PAGE);
    loop {
        let page = page(tx, dispatcher, limit, seen)?;
        let read = page.len() as i64;
        for (at, correlation, attributes) in page {
            let id = correlation.get("dispatcher_id").and_then(Value::as_str);
            let (false, Some(id)) = (attributes.get("dry_run").is_some_and(|dry| *dry == true), id) else {
                continue;
            };
            let incarnation = correlation.get(INCARNATION).filter(|value| !value.is_null()).cloned();
            if !each(Beat { dispatcher_id: id.to_owned(), at, incarnation, attributes }) {
                return Ok(());
            }
        }
        if read < limit {
            return Ok(());
        }
        (seen, limit) = (seen + read, (limit * 2).min(LARGEST_PAGE));
    }
}

fn page(
    tx: &mut Tx<'_>,
    dispatcher: Option<&str>,
    limit: i64,
    offset: i64,
) -> Result<Vec<(String, Object, Object)>, StoreError> {
    let map = |row: &Row<'_>| Ok((row.text(0)?, row.object(1)?, row.object(2)?));
    match dispatcher {
        Some(id) => tx.all(
            "select timestamp, correlation_json, attributes_json from telemetry_events \
             where event_type = 'dispatch_watch_heartbeat' and {heartbeat_dispatcher} = $1 \
             and actor = 'dispatch' order by timestamp desc limit $2 offset $3",
            params![id, limit, offset],
            map,
        ),
        None => tx.all(
            "select timestamp, correlation_json, attributes_json from telemetry_events \
             where event_type = 'dispatch_watch_heartbeat' and actor = 'dispatch' \
             order by timestamp desc limit $1 offset $2",
            params![limit, offset],
            map,
        ),
    }
}

/// The incarnations that have ended since a moment, each as compact JSON.
///
/// # Errors
/// A failing statement.
pub fn ended_since(tx: &mut Tx<'_>, since: Timestamp) -> Result<BTreeSet<String>, StoreError> {
    telemetry::write_held(tx)?;
    // The text bound finds a superset whatever the stored precision.
    let found = tx.all(
        "select correlation_json from telemetry_events where event_type = $1 and timestamp >= $2",
        params![ENDED, since.plus_millis(-1000).to_s_text()],
        |row| row.object(0),
    )?;
    Ok(found.iter().filter_map(|ids| ids.get(INCARNATION)).map(Value::to_string).collect())
}
