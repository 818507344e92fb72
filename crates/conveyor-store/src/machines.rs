//! Which machine the pid of a session, and the pane or socket of a way to it, mean something on.

use std::collections::BTreeMap;

use conveyor_model::Machine;

use crate::{Row, StoreError, Tx, params};

fn from_row(row: &Row<'_>, first: usize) -> Result<Machine, StoreError> {
    Ok(Machine {
        host_id: row.opt_text(first)?,
        boot_id: row.opt_text(first + 1)?,
        pid_namespace: row.opt_text(first + 2)?,
    })
}

/// Where a session was registered; nothing is known in a ledger without the columns.
///
/// # Errors
/// A failing statement.
pub fn of_session(tx: &mut Tx<'_>, session_id: &str) -> Result<Machine, StoreError> {
    if !are_known(tx)? {
        return Ok(Machine::default());
    }
    let found = tx.first(
        "select host_id, boot_id, pid_namespace from sessions where id = $1",
        params![session_id],
        |row| from_row(row, 0),
    )?;
    Ok(found.unwrap_or_default())
}

/// Where every session was registered, as far as that is known.
///
/// # Errors
/// A failing statement.
pub fn of_sessions(tx: &mut Tx<'_>) -> Result<BTreeMap<String, Machine>, StoreError> {
    if !are_known(tx)? {
        return Ok(BTreeMap::new());
    }
    let found = tx.all(
        "select id, host_id, boot_id, pid_namespace from sessions where host_id is not null and state <> 'gone'",
        &[],
        |row| Ok((row.text(0)?, from_row(row, 1)?)),
    )?;
    Ok(found.into_iter().collect())
}

fn are_known(tx: &mut Tx<'_>) -> Result<bool, StoreError> {
    Ok(tx.one("select {count_of_machine_columns}", &[], |row| row.int(0))? > 0)
}
