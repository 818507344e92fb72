//! Runs: named spans of work and the policy records of loops.

use crate::{StoreError, Tx, params};

/// What the advance of a loop needs of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopRecord {
    /// The run's id.
    pub id: String,
    /// The task it belongs to.
    pub task_id: String,
    /// The metadata object as stored.
    pub metadata: String,
}

/// The run with this id, held against other writers until the transaction ends.
///
/// # Errors
/// A failing statement.
pub fn hold(tx: &mut Tx<'_>, id: &str) -> Result<Option<LoopRecord>, StoreError> {
    tx.first("select id, task_id, metadata_json from runs where id = $1{lock_row}", params![id], |row| {
        Ok(LoopRecord { id: row.text(0)?, task_id: row.text(1)?, metadata: row.text(2)? })
    })
}

/// Replaces the metadata of a run.
///
/// # Errors
/// A failing statement.
pub fn set_metadata(tx: &mut Tx<'_>, id: &str, metadata: &str) -> Result<(), StoreError> {
    tx.execute("update runs set metadata_json = $2 where id = $1", params![id, metadata])?;
    Ok(())
}
