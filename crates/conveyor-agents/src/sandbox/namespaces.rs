//! Namespaces made by ourselves: the denied places covered by mounts that nobody inside can take
//! away, and no process outside to be seen.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare as leave};
use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::process::{getgid, getuid};
use rustix::thread::{CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities};

use super::bubblewrap::{SYSTEM, free_directories};
use super::denied::{DeniedSet, Kind};
use super::launch::{self, ENTRY, Instructions, Stage};

const NOTHING: Option<&str> = None;

/// Leaves the namespaces of the system, covers what is denied, and starts the first process of the new
/// ones; gives its exit code.
pub(super) fn unshare(instructions: &Instructions) -> Result<u8, String> {
    let (user, group) = (getuid().as_raw(), getgid().as_raw());
    let namespaces = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    leave(namespaces).map_err(|error| format!("namespaces cannot be made: {error}"))?;
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{user} {user} 1")),
        ("gid_map", format!("{group} {group} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), text)
            .map_err(|error| format!("the users of a namespace cannot be named: {error}"))?;
    }
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING)
        .map_err(|error| format!("mounts cannot be made private: {error}"))?;
    cover(&instructions.denied)?;
    keep_mounting_across_exec()?;
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|error| error.to_string())?;
    // Looked up anew: the directory as it was before would be a way below the covers.
    let ended = Command::new(&instructions.launcher)
        .args([ENTRY, Stage::Init.as_str()])
        .current_dir(&instructions.directory)
        .stdin(Stdio::inherit())
        .status()
        .map_err(|error| format!("the launcher cannot be started: {error}"))?;
    // Without a report of the one inside, this is no success.
    Ok(ended.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

/// Unless it is the super-user, a process loses what it may do in its namespaces when it starts another
/// program; the next one has a mount to make still.
fn keep_mounting_across_exec() -> Result<(), String> {
    let failed = |error: rustix::io::Errno| format!("the right to mount cannot be passed on: {error}");
    let mut sets = capabilities(None).map_err(failed)?;
    sets.inheritable |= CapabilitySet::SYS_ADMIN;
    set_capabilities(None, sets).map_err(failed)?;
    configure_capability_in_ambient_set(CapabilitySet::SYS_ADMIN, true).map_err(failed)
}

/// The first process of the new namespaces: starts the program, and everything ends with it.
pub(super) fn init(instructions: &Instructions) -> Result<u8, String> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, NOTHING)
        .map_err(|error| format!("a /proc of its own cannot be mounted: {error}"))?;
    for place in SYSTEM.map(Path::new).into_iter().filter(|place| place.exists()) {
        bind(place)?;
        make_read_only(place)?;
    }
    launch::restrict(Stage::Init, instructions)?;
    // Not this process itself: the first one of a namespace is deaf to signals from inside.
    launch::start_program(instructions)
}

fn cover(denied: &DeniedSet) -> Result<(), String> {
    let frozen = denied.frozen();
    for ancestor in denied.ancestors() {
        // A directory that is a mount of its own cannot be moved away together with what is denied.
        if ancestor != Path::new("/") {
            bind(&ancestor)?;
        }
        if frozen.contains(&ancestor) {
            free_directories(denied, &ancestor).iter().try_for_each(|inner| bind(inner))?;
            make_read_only(&ancestor)?;
        }
    }
    for place in denied.outermost() {
        let covered = match place.kind {
            Kind::Directory => {
                let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
                mount(Some("tmpfs"), &place.path, Some("tmpfs"), flags, Some("mode=0700"))
            }
            Kind::File => mount(Some("/dev/null"), &place.path, NOTHING, MsFlags::MS_BIND, NOTHING),
            Kind::Missing => Ok(()),
        };
        covered.map_err(|error| format!("{} cannot be covered: {error}", place.path.display()))?;
    }
    Ok(())
}

/// Mounts a place, with what is mounted below it, onto itself.
fn bind(place: &Path) -> Result<(), String> {
    mount(Some(place), place, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING)
        .map_err(|error| format!("{} cannot be mounted: {error}", place.display()))
}

/// Makes a mount read-only, but not what is mounted below it.
fn make_read_only(place: &Path) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("{} cannot be protected: {error}", place.display());
    let found = statvfs(place).map_err(|error| failed(&error))?.f_flag;
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    // What a mount of the system forbids, its copy must go on forbidding.
    for (has, keep) in [
        (StatVfsMountFlags::NOSUID, MsFlags::MS_NOSUID),
        (StatVfsMountFlags::NODEV, MsFlags::MS_NODEV),
        (StatVfsMountFlags::NOEXEC, MsFlags::MS_NOEXEC),
        (StatVfsMountFlags::NOATIME, MsFlags::MS_NOATIME),
        (StatVfsMountFlags::NODIRATIME, MsFlags::MS_NODIRATIME),
        (StatVfsMountFlags::RELATIME, MsFlags::MS_RELATIME),
    ] {
        if found.contains(has) {
            flags |= keep;
        }
    }
    mount(NOTHING, place, NOTHING, flags, NOTHING).map_err(|error| failed(&error))
}
