//! Messages: the queue, the dispatcher and inboxes.

pub mod commands;
pub mod dispatch;
pub mod enqueue;
pub mod inbox;
pub mod manager_inbox;
pub mod session_inbox;
pub mod worker_inbox;
