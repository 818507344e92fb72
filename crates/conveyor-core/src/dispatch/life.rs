//! Whether a dispatcher runs: the one answer, for everybody who asks.
//!
//! It runs while it has a young life sign and this very run of it, its incarnation, has left no mark
//! of its end. Life signs of programs that do not say which run gave them count by their age alone.

use std::collections::BTreeSet;

use conveyor_model::Timestamp;
use conveyor_store::Tx;
use conveyor_store::watches::{self, Beat};
use serde_json::{Value, json};

use crate::Result;

/// For so long the life signs of a dispatcher that beats every few seconds stay young.
pub(crate) const LIFE_SIGN_SECONDS: f64 = 10.0;

/// One run of a watching dispatcher, told from all others.
#[derive(Clone, Debug)]
pub(super) struct Incarnation(Value);

impl Incarnation {
    /// The run that this process begins at a moment.
    pub(super) fn begun(at: Timestamp) -> Self {
        let host = conveyor_agents::processes::host_name();
        Self(json!({ "host": host, "pid": std::process::id(), "start": at.to_ms_text() }))
    }

    /// As it is stored.
    pub(super) fn value(&self) -> &Value {
        &self.0
    }
}

/// What is known of a dispatcher at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// The life sign by which it runs; otherwise its newest one.
    pub(crate) last: Beat,
    /// Whether it runs.
    pub(crate) runs: bool,
    /// Whether it has said that it ends.
    pub(crate) has_ended: bool,
}

/// What is known of a dispatcher, or of the one of all that tells most of running; `None` when there
/// never was a life sign. A life sign is young for `limit` whole seconds.
pub(crate) fn of(
    tx: &mut Tx<'_>,
    dispatcher: Option<&str>,
    limit: f64,
    now: Timestamp,
) -> Result<Option<Life>> {
    let ended = ended(tx, limit, now)?;
    let mut newest = None;
    watches::each_beat(tx, dispatcher, &mut |beat| {
        let has_ended = has_ended(&beat, &ended);
        let (runs, is_old) = (is_young(&beat.at, limit, now) && !has_ended, is_old(&beat.at, limit, now));
        if runs || newest.is_none() {
            newest = Some(Life { last: beat, runs, has_ended });
        }
        !runs && !is_old
    })?;
    Ok(newest)
}

/// A life sign of each run of a dispatcher, or of all, that goes on and of which `holds` is true.
pub(crate) fn running(
    tx: &mut Tx<'_>,
    dispatcher: Option<&str>,
    limit: f64,
    now: Timestamp,
    holds: impl Fn(&Beat) -> bool,
) -> Result<Vec<Beat>> {
    let ended = ended(tx, limit, now)?;
    let mut running: Vec<Beat> = Vec::new();
    watches::each_beat(tx, dispatcher, &mut |beat| {
        if !is_young(&beat.at, limit, now) {
            return !is_old(&beat.at, limit, now);
        }
        let is_known = running
            .iter()
            .any(|known| known.dispatcher_id == beat.dispatcher_id && known.incarnation == beat.incarnation);
        if !is_known && !has_ended(&beat, &ended) && holds(&beat) {
            running.push(beat);
        }
        true
    })?;
    Ok(running)
}

/// The age of a life sign in whole seconds; `None` when its time is unreadable.
pub(crate) fn age_seconds(at: &str, now: Timestamp) -> Option<i64> {
    Timestamp::parse(at).map(|at| now.age_seconds_since(at))
}

fn is_young(at: &str, limit: f64, now: Timestamp) -> bool {
    #[allow(clippy::cast_precision_loss, reason = "an age fits an f64 for some hundred million years")]
    age_seconds(at, now).is_some_and(|age| age as f64 <= limit)
}

/// Whether there is no need to look further back; an unreadable time tells nothing of what is behind.
fn is_old(at: &str, limit: f64, now: Timestamp) -> bool {
    age_seconds(at, now).is_some() && !is_young(at, limit, now)
}

fn has_ended(beat: &Beat, ended: &BTreeSet<String>) -> bool {
    beat.incarnation.as_ref().is_some_and(|own| ended.contains(&own.to_string()))
}

/// The runs that have ended while a life sign can be young.
fn ended(tx: &mut Tx<'_>, limit: f64, now: Timestamp) -> Result<BTreeSet<String>> {
    #[allow(clippy::cast_possible_truncation, reason = "a longer time than there is saturates")]
    let limit = (limit.ceil() as i64).saturating_add(1).saturating_mul(1000);
    let since = Timestamp::from_millis(now.as_millis().saturating_sub(limit).max(0));
    Ok(watches::ended_since(tx, since)?)
}
