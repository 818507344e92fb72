//! Tasks and who works on them.

#[allow(clippy::module_inception, reason = "the command is called `tasks`, and one file is one command")]
pub mod tasks;
