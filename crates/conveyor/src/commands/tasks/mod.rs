//! Tasks and who works on them.

pub mod bind;
pub mod create_disposable_binding;
pub mod finish_task;
pub mod reconcile;
pub mod stop_task;
#[allow(clippy::module_inception, reason = "the command is called `tasks`, and one file is one command")]
pub mod tasks;
pub mod unbind;
