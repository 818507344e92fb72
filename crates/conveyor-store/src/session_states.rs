//! What each session was last found to be doing.

use conveyor_model::{Adapter, AgentState, Confidence, Timestamp, json};
use serde_json::Value;

use crate::{StoreError, Tx, params};

/// A state that was found just now.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    /// The session.
    pub session_id: &'a str,
    /// What it does.
    pub state: AgentState,
    /// How certain that is.
    pub confidence: Confidence,
    /// Who was asked.
    pub adapter: Adapter,
    /// Who answered: changes when the agent is replaced.
    pub incarnation: Option<&'a str>,
    /// The signal that decided.
    pub winner: &'a str,
    /// All signals: a JSON object.
    pub detail: Value,
}

/// Records a state; the moment since when it holds stays while it is the same.
///
/// # Errors
/// A failing statement.
pub fn record(tx: &mut Tx<'_>, found: &Found<'_>) -> Result<(), StoreError> {
    let now = tx.now()?.to_ms_text();
    tx.execute(
        "insert into session_states (session_id, state, confidence, adapter, incarnation, since, observed_at, winner, \
         detail_json, revision) values ($1, $2, $3, $4, $5, $6, $6, $7, $8, 1) \
         on conflict (session_id) do update set \
         since = case when session_states.state = excluded.state then session_states.since else excluded.since end, \
         revision = case when session_states.state = excluded.state then session_states.revision \
         else session_states.revision + 1 end, \
         state = excluded.state, confidence = excluded.confidence, adapter = excluded.adapter, \
         incarnation = excluded.incarnation, observed_at = excluded.observed_at, winner = excluded.winner, \
         detail_json = excluded.detail_json",
        params![
            found.session_id,
            found.state.as_str(),
            found.confidence.as_str(),
            found.adapter.as_str(),
            found.incarnation,
            now,
            found.winner,
            json::compact(&found.detail),
        ],
    )?;
    Ok(())
}

/// Since when a session has been in a state, by what was recorded last; `None` when it was found in
/// another one, or never looked at.
///
/// # Errors
/// A failing statement.
pub fn since(tx: &mut Tx<'_>, session_id: &str, state: AgentState) -> Result<Option<Timestamp>, StoreError> {
    let since = tx.first(
        "select since from session_states where session_id = $1 and state = $2",
        params![session_id, state.as_str()],
        |row| row.text(0),
    )?;
    Ok(since.as_deref().and_then(Timestamp::parse))
}
