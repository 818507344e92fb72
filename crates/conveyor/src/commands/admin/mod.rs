//! The ledger itself and the shell.

pub mod completions;
pub mod db_doctor;
pub mod doctor;
pub mod install_skills;
pub mod man_pages;
