//! Landlock: rights can only be granted, so everything is granted but the denied places: each entry
//! of each directory on the way to them, one by one.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, Scope,
};
use rustix::fs::{FileType, Mode, OFlags};

use super::denied::DeniedSet;

/// Before this version a denied file could be cut off at its beginning.
const NEEDED: ABI = ABI::V3;

/// Kernel interfaces in which a write is a command to the system; they are for reading only.
const READ_ONLY: [&str; 2] = ["/proc", "/sys"];

/// Restricts this process and all it will start.
pub(super) fn restrict(denied: &DeniedSet) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("landlock is not available: {error}");
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(handled())
        .map_err(|error| failed(&error))?
        // Signals to processes outside: where the kernel knows how to refuse them.
        .set_compatibility(CompatLevel::BestEffort)
        .scope(Scope::from_all(ABI::V6))
        .map_err(|error| failed(&error))?
        .create()
        .map_err(|error| failed(&error))?;
    let ancestors = denied.ancestors();
    for ancestor in &ancestors {
        // A directory that cannot be listed grants nothing.
        let Ok(entries) = fs::read_dir(ancestor) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if !ancestors.contains(&path) && !denied.covers(&path) {
                rules = grant(rules, denied, &path).map_err(|error| failed(&error))?;
            }
        }
    }
    rules.restrict_self().map_err(|error| failed(&error))?;
    Ok(())
}

/// Everything but listing directories: names are not secret, and a project must be listable.
fn handled() -> BitFlags<AccessFs> {
    AccessFs::from_all(NEEDED) & !BitFlags::from(AccessFs::ReadDir)
}

fn grant(
    rules: RulesetCreated,
    denied: &DeniedSet,
    path: &Path,
) -> Result<RulesetCreated, landlock::RulesetError> {
    // What cannot be opened gets no rule. A link needs none: what it leads to decides.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(object) = rustix::fs::open(path, flags, Mode::empty()) else { return Ok(rules) };
    let Some(rights) = rights(&object, denied, path) else { return Ok(rules) };
    rules.add_rule(PathBeneath::new(object, rights))
}

fn rights(object: &OwnedFd, denied: &DeniedSet, path: &Path) -> Option<BitFlags<AccessFs>> {
    let found = rustix::fs::fstat(object).ok()?;
    // A rule is bound to the object, whatever its name.
    #[allow(clippy::unnecessary_cast, reason = "the type differs between systems")]
    if denied.has_object(found.st_dev as u64, found.st_ino as u64) {
        return None;
    }
    let reading = AccessFs::Execute | AccessFs::ReadFile;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Symlink => None,
        FileType::Directory if READ_ONLY.iter().any(|place| path == Path::new(place)) => Some(reading),
        FileType::Directory => Some(handled()),
        _ => Some(reading | AccessFs::WriteFile | AccessFs::Truncate),
    }
}
