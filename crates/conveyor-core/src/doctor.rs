//! Checking the ledger itself.

use conveyor_store::doctor::{self, Check};
use serde::Serialize;

use crate::{Cx, Result};

/// What the checks found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The checks, in documented order.
    pub checks: Vec<Check>,
    /// Whether all of them are well.
    pub ok: bool,
    /// The ledger's file, or its URL without password.
    pub path: String,
    /// The newest version that the ledger says it was brought to.
    pub schema_version: Option<i64>,
    /// The version number in the file's header; a server has none.
    pub user_version: Option<i64>,
}

/// Runs all checks; writes nothing.
///
/// # Errors
/// A failing ledger.
pub fn examine(cx: &mut Cx) -> Result<Report> {
    let found = cx.db.read(doctor::examine)?;
    Ok(Report {
        ok: found.checks.iter().all(|check| check.ok),
        checks: found.checks,
        path: cx.ledger(),
        schema_version: found.schema_version,
        user_version: found.user_version,
    })
}
