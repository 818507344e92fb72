//! Tasks and who works on them.

pub mod bind;
pub mod create_disposable_binding;
#[allow(clippy::module_inception, reason = "the command is called `tasks`, and one file is one command")]
pub mod tasks;
pub mod unbind;
