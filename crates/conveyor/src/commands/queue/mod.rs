//! Messages: the queue, the dispatcher and inboxes.
