//! The ledger itself and the shell.

pub mod completions;
