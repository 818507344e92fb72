//! The supervision contract of a task, as far as the dispatcher needs it: what the manager may do.

use conveyor_model::permissions::Permissions;

use crate::{StoreError, Tx, params};

/// The permissions that a task's manager configuration grants; `None` without a configuration.
///
/// # Errors
/// A failing statement.
pub fn permissions(tx: &mut Tx<'_>, task_id: &str) -> Result<Option<Permissions>, StoreError> {
    tx.first("select permissions_json from manager_configs where task_id = $1", params![task_id], |row| {
        Ok(Permissions::from_stored(&row.object(0)?))
    })
}
