//! Becoming independent of whoever started this process.

/// Leaves the terminal, the session and the group of processes of whoever started us, so that what
/// ends those does not end us.
///
/// # Errors
/// This process leads its group: such a process cannot leave.
pub fn leave_session() -> std::io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}
