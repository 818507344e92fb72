//! Workers in directories of the state root.

pub mod create;
pub mod events;
pub mod import_compat;
pub mod list;
pub mod start;
pub mod status;
pub mod stop;
pub mod update_status;
