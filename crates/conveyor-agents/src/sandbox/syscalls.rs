//! System calls that a sandboxed process may not make, and privileges it may not keep.

use std::collections::BTreeMap;

use nix::libc;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Calls in the second numbering of x86-64 have this bit set.
#[cfg(target_arch = "x86_64")]
const SECOND_NUMBERING: i64 = 0x4000_0000;

/// Terminal commands that put a key into a terminal as if somebody had typed it, and that speak to a
/// console (`TIOCSTI`, `TIOCLINUX`).
const PUSH_KEY: u64 = 0x5412;
const CONSOLE: u64 = 0x541c;

/// Gives up every privilege of the super-user, for good: with them a process could look at disks and
/// at the memory of others.
pub(super) fn drop_privileges() -> Result<(), String> {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(|error| format!("privileges cannot be dropped: {error}"))?;
    set_no_new_privs(true).map_err(|error| format!("no_new_privs cannot be set: {error}"))
}

/// Refuses new Unix sockets, over which a server outside would do the forbidden in its place; keys for
/// terminals, which a shell would obey; and io_uring, which is a way around this filter.
pub(super) fn filter() -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("system calls cannot be filtered: {error}");
    let program = program().map_err(|error| failed(&error))?;
    seccompiler::apply_filter(&program).map_err(|error| failed(&error))
}

fn program() -> Result<BpfProgram, seccompiler::BackendError> {
    let unix = || {
        let family = u64::from(libc::AF_UNIX.unsigned_abs());
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, family)
    };
    // A pair of datagram sockets could be turned towards another address; other pairs cannot.
    let datagram = SeccompCondition::new(
        1,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(0xf),
        u64::from(libc::SOCK_DGRAM.unsigned_abs()),
    )?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(vec![unix()?])?]);
    rules.insert(libc::SYS_socketpair, vec![SeccompRule::new(vec![unix()?, datagram])?]);
    rules.insert(libc::SYS_io_uring_setup, Vec::new());
    let keys = |request: u64| {
        let asks = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request)?;
        SeccompRule::new(vec![asks])
    };
    rules.insert(libc::SYS_ioctl, vec![keys(PUSH_KEY)?, keys(CONSOLE)?]);
    #[cfg(target_arch = "x86_64")]
    for number in [libc::SYS_socket, libc::SYS_socketpair, libc::SYS_io_uring_setup] {
        rules.insert(number | SECOND_NUMBERING, Vec::new());
    }
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, std::env::consts::ARCH.try_into()?)?;
    filter.try_into()
}
