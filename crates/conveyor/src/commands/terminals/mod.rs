//! Looking at the terminals of workers and sessions.

pub mod capture;
pub mod classify;
pub mod idle_check;
pub mod open;
