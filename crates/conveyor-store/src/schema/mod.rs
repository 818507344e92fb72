//! The shape of the ledger on both engines: creation, upgrade, repair, refusal, additions.

mod additions;
pub(crate) mod catalogue;
mod define;
pub(crate) mod postgres;
pub(crate) mod sqlite;
mod tables;
mod upgrade;

#[cfg(test)]
mod tests;
