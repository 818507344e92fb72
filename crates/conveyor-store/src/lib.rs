//! The ledger. The only crate that contains SQL: one module per aggregate, the schema with its
//! upgrades, and two engines (SQLite file, PostgreSQL server) behind one small [`Db`].
//!
//! Statements are written once, with `$n` placeholders; everything in which the engines differ is
//! in `dialect` and in the schema files.

pub mod acknowledgements;
pub mod audit;
pub mod bindings;
mod bulk;
pub mod captures;
mod changes;
pub mod codex_events;
pub mod commands;
pub mod completions;
pub mod continuations;
pub mod criteria;
pub mod cycles;
mod db;
pub mod decisions;
pub mod deliveries;
mod dialect;
pub mod doctor;
pub mod endpoints;
pub mod epilogues;
mod error;
pub mod handoffs;
mod held;
pub mod immediate;
pub mod imports;
pub mod inbox;
mod lacking;
pub mod lapses;
mod location;
pub mod machines;
pub mod manager_configs;
pub mod mutations;
pub mod notifications;
pub mod observations;
pub mod parked;
mod pooled;
mod postgres;
pub mod rollout_marks;
pub mod runs;
mod schema;
mod search;
pub mod session_states;
pub mod sessions;
mod settings;
mod space;
mod sqlite;
pub mod supervision;
pub mod tasks;
pub mod telemetry;
#[cfg(feature = "tls")]
mod tls;
pub mod transcripts;
mod value;
pub mod watches;
pub mod workers;

pub use bulk::WriteBack;
pub use changes::{Changes, Concern, FileHints, Hint, NoHints, Wake, Waker, WatchId};
pub use db::{Access, Db, Durability, OpenOptions, Tx};
pub use dialect::Engine;
pub use error::StoreError;
pub use location::{Location, ServerDefaults, ServerUrl, SslMode};
pub use value::{Param, Row};

/// How long a statement waits for a lock before it fails.
pub const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
