//! Registered sessions and what they wrote.

pub mod ingest;
pub mod tail;
