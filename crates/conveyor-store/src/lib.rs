//! The ledger. The only crate that contains SQL: one module per aggregate, the schema with its
//! upgrades, and two engines (SQLite file, PostgreSQL server) behind one small [`Db`].

mod error;
pub mod schema;

pub use error::StoreError;

/// How long a statement waits for a lock before it fails.
pub const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
