//! A whole supervised task.
