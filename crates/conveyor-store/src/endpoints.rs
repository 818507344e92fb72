//! How sessions can be reached: an address for each way, with what it was last found to be.

use std::collections::{BTreeMap, BTreeSet};

use conveyor_model::records::Object;
use conveyor_model::{Adapter, EndpointOrigin, json};
use serde_json::Value;

use crate::{Param, Row, StoreError, Tx, params};

/// A way to a session that is in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Its row.
    pub id: i64,
    /// What the adapter needs to find it.
    pub address: Object,
    /// Changes whenever the process or thread behind the session is replaced.
    pub incarnation: String,
    /// How it came to be known.
    pub origin: String,
}

impl Endpoint {
    /// A text of the address.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.address.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// A number of the address.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<i64> {
        self.address.get(key).and_then(Value::as_i64)
    }
}

fn from_row(row: &Row<'_>) -> Result<Endpoint, StoreError> {
    Ok(Endpoint { id: row.int(0)?, address: row.object(1)?, incarnation: row.text(2)?, origin: row.text(3)? })
}

/// The way to a session through this adapter, if one is in force. The ledger must have our tables.
///
/// # Errors
/// A failing statement.
pub fn active(tx: &mut Tx<'_>, session_id: &str, adapter: Adapter) -> Result<Option<Endpoint>, StoreError> {
    tx.first(
        "select id, address_json, incarnation, origin from session_endpoints \
         where session_id = $1 and adapter = $2 and state = 'active'",
        params![session_id, adapter.as_str()],
        from_row,
    )
}

/// The sessions without a terminal that live in a server of the agent, and so have no process of their
/// own: the pid in their row is that of whoever registered them. None in a ledger without our tables.
///
/// # Errors
/// A failing statement.
pub fn sessions_without_process(tx: &mut Tx<'_>) -> Result<BTreeSet<String>, StoreError> {
    if tx.one("select {count_of_endpoint_tables}", &[], |row| row.int(0))? == 0 {
        return Ok(BTreeSet::new());
    }
    Ok(without_process(tx, None)?.into_iter().collect())
}

/// Whether a session is one of those that [`sessions_without_process`] lists. The ledger must have our
/// tables.
///
/// # Errors
/// A failing statement.
pub fn is_without_process(tx: &mut Tx<'_>, session_id: &str) -> Result<bool, StoreError> {
    Ok(!without_process(tx, Some(session_id))?.is_empty())
}

/// The sessions without a process of their own; only this one, if one is given.
fn without_process(tx: &mut Tx<'_>, session_id: Option<&str>) -> Result<Vec<String>, StoreError> {
    let mut values = vec![Param::from(Adapter::Codex.as_str()), Param::from(Adapter::Pull.as_str())];
    values.extend(session_id.map(Param::from));
    let one = if session_id.is_some() { "and e.session_id = $3" } else { "" };
    tx.all(
        &format!(
            "select e.session_id from session_endpoints e join sessions s on s.id = e.session_id \
             where e.adapter in ($1, $2) and e.state = 'active' and coalesce(s.tmux_session, '') = '' {one}"
        ),
        &values,
        |row| row.text(0),
    )
}

/// Lets go of a way to a session, unless it is that of this incarnation.
///
/// # Errors
/// A failing statement.
pub fn retire_others(
    tx: &mut Tx<'_>,
    session_id: &str,
    adapter: Adapter,
    incarnation: &str,
) -> Result<(), StoreError> {
    let now = tx.now()?.to_ms_text();
    tx.execute(
        "update session_endpoints set state = 'retired', updated_at = $4 \
         where session_id = $1 and adapter = $2 and state = 'active' and incarnation <> $3",
        params![session_id, adapter.as_str(), incarnation, now],
    )?;
    Ok(())
}

/// The sockets of the tmux servers that sessions' terminals are recorded in, by tmux session; none
/// in a ledger without our tables.
///
/// # Errors
/// A failing statement.
pub fn tmux_sockets(tx: &mut Tx<'_>) -> Result<BTreeMap<String, String>, StoreError> {
    if tx.one("select {count_of_endpoint_tables}", &[], |row| row.int(0))? == 0 {
        return Ok(BTreeMap::new());
    }
    let found = tx.all(
        "select id, address_json, incarnation, origin from session_endpoints \
         where adapter = $1 and state = 'active' order by id",
        params![Adapter::Tmux.as_str()],
        from_row,
    )?;
    let place = |endpoint: &Endpoint| {
        Some((endpoint.text("session")?.to_owned(), endpoint.text("socket_name")?.to_owned()))
    };
    Ok(found.iter().filter_map(place).collect())
}

/// A way to a session about to be recorded.
#[derive(Clone, Debug)]
pub struct NewEndpoint<'a> {
    /// The session.
    pub session_id: &'a str,
    /// How it is reached.
    pub adapter: Adapter,
    /// What the adapter needs to find it: a JSON object.
    pub address: Value,
    /// Changes whenever the process or thread behind the session is replaced.
    pub incarnation: &'a str,
    /// How it came to be known.
    pub origin: EndpointOrigin,
    /// What was found out about the agent: a JSON object.
    pub capabilities: Value,
}

/// Records a way that was proven just now. Another incarnation retires the one that was in force.
///
/// # Errors
/// A failing statement.
pub fn record(tx: &mut Tx<'_>, new: &NewEndpoint<'_>) -> Result<(), StoreError> {
    retire_others(tx, new.session_id, new.adapter, new.incarnation)?;
    let now = tx.now()?.to_ms_text();
    let (address, capabilities) = (json::compact(&new.address), json::compact(&new.capabilities));
    let machine = tx.machine().clone();
    tx.execute(
        "insert into session_endpoints (session_id, adapter, address_json, incarnation, origin, state, \
         capabilities_json, created_at, updated_at, verified_at, host_id, boot_id, pid_namespace) \
         values ($1, $2, $3, $4, $5, 'active', $6, $7, $7, $7, $8, $9, $10) \
         on conflict (session_id, adapter) where state = 'active' do update set address_json = excluded.address_json, \
         capabilities_json = excluded.capabilities_json, updated_at = excluded.updated_at, \
         verified_at = excluded.verified_at, host_id = excluded.host_id, boot_id = excluded.boot_id, \
         pid_namespace = excluded.pid_namespace",
        params![
            new.session_id,
            new.adapter.as_str(),
            address,
            new.incarnation,
            new.origin.as_str(),
            capabilities,
            now,
            machine.host_id,
            machine.boot_id,
            machine.pid_namespace
        ],
    )?;
    Ok(())
}
