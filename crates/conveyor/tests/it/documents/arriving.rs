//! What is built at the same time as the texts that name it.

/// Commands that are still being built, and options of existing commands that are. Their lines are
/// only checked for the name. Built in parallel, removed at the merge: what exists fails a test.
pub const ARRIVING: &[(&str, &[&str])] = &[("create", &[]), ("start-test", &[])];
