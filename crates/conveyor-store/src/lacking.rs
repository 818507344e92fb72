//! What a ledger lacks to which none of our additions was made yet: commands that only read meet files as
//! agent-conveyor 0.1.10 made them, and leave them so.

use crate::{StoreError, Tx};

/// Whether all these additions of ours, by the names they are recorded under, are there.
///
/// # Errors
/// A failing statement.
pub(crate) fn has_all(tx: &mut Tx<'_>, additions: &[&str]) -> Result<bool, StoreError> {
    if tx.one("select {count_of_record_tables}", &[], |row| row.int(0))? == 0 {
        return Ok(false);
    }
    // The names are ours, never a user's.
    let names: Vec<String> = additions.iter().map(|name| format!("'{name}'")).collect();
    let sql = format!("select count(*) from conveyor_schema where name in ({})", names.join(", "));
    Ok(tx.one(&sql, &[], |row| row.int(0))? == additions.len() as i64)
}
