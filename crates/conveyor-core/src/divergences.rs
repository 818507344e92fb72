//! Observations whose terminal showed something that a manager should have noticed.

use conveyor_store::cycles::{self, Divergence};

use crate::{Cx, Result, Sink, reference};

/// Hands the cycles of a task whose terminal showed something notable to `sink`, newest first, at
/// most `limit`.
///
/// # Errors
/// An unknown task, a failing ledger, or a failing `sink`.
pub fn list(cx: &mut Cx, task: &str, limit: i64, sink: Sink<'_, Divergence>) -> Result<()> {
    cx.db.read(|tx| {
        let task = reference::task(tx, task)?;
        cycles::each_divergence(tx, &task.id, limit, &mut |divergence| Ok(sink(divergence)?))
    })
}
