//! Becoming independent of whoever started this process.

/// Leaves the terminal and the group of processes of whoever started us, so that what ends those does
/// not end us. Nothing changes for a process that leads its group already.
pub fn leave_session() {
    // Such a process is as independent as it can get.
    let _ = rustix::process::setsid();
}
