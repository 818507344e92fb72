//! Messages: the queue, the dispatcher and inboxes.

pub mod commands;
pub mod dispatch;
pub mod enqueue;
