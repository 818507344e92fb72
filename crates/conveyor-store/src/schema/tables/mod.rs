//! Every table of a version-24 ledger, each described once for both engines.

mod captures;
mod contract;
mod legacy;
mod queue;

use super::define::Table;

/// All tables, in the order in which they are created.
pub(crate) fn tables() -> impl Iterator<Item = &'static Table> {
    [queue::TABLES, contract::TABLES, captures::TABLES, legacy::TABLES].into_iter().flatten()
}

/// The table of this name.
pub(crate) fn table(name: &str) -> Option<&'static Table> {
    tables().find(|table| table.name == name)
}
