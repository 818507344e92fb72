//! Marks of files that were copied into the ledger (table `data_migrations`).

use crate::{StoreError, Tx, params};

/// A source that is copied once.
#[derive(Clone, Debug)]
pub struct Source {
    /// Tells it from every other source, contents included.
    pub name: String,
    /// Where it was found.
    pub path: String,
    /// Digest of its contents.
    pub digest: String,
}

/// Marks a source as copied; `false`, and nothing written, when it was copied before.
///
/// # Errors
/// A failing statement.
pub fn mark(tx: &mut Tx<'_>, source: &Source) -> Result<bool, StoreError> {
    let now = tx.now()?.to_s_text();
    let inserted = tx.execute(
        "insert into data_migrations (name, source_path, source_hash, applied_at) values ($1, $2, $3, $4) \
         on conflict (name) do nothing",
        params![&source.name, &source.path, &source.digest, now],
    )?;
    Ok(inserted > 0)
}
