//! The other places at which a denied place can be found, because its file system, or a part of it,
//! is mounted more than once.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::denied::{Denied, DeniedSet, Kind};

/// One mount: which directory of which file system stands where.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    device: String,
    root: PathBuf,
    point: PathBuf,
}

/// The other paths of denied places.
pub(super) fn aliases(denied: &DeniedSet) -> Result<BTreeSet<PathBuf>, String> {
    let table =
        fs::read("/proc/self/mountinfo").map_err(|error| format!("mounts cannot be read: {error}"))?;
    let mounts = parse(&table);
    let mut found = BTreeSet::new();
    for place in denied.outermost() {
        found.extend(candidates(&mounts, &place.path).into_iter().filter(|path| is_same(place, path)));
    }
    found.retain(|path| !denied.covers(path));
    Ok(found)
}

/// Where a path can also be, by the mounts alone.
fn candidates(mounts: &[Mount], path: &Path) -> BTreeSet<PathBuf> {
    // Of mounts on one point the last is seen.
    let Some(own) = mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count())
    else {
        return BTreeSet::new();
    };
    let Ok(below) = path.strip_prefix(&own.point) else { return BTreeSet::new() };
    let inside = join(&own.root, below);
    let others = mounts.iter().filter(|mount| mount.device == own.device);
    others
        .filter_map(|mount| match (inside.strip_prefix(&mount.root), mount.root.strip_prefix(&inside)) {
            (Ok(rest), _) => Some(join(&mount.point, rest)),
            // Only a part of what is denied is mounted there.
            (_, Ok(_)) => Some(mount.point.clone()),
            _ => None,
        })
        .filter(|other| other != path)
        .collect()
}

/// Whether an alias leads there indeed, and is not hidden below another mount.
fn is_same(place: &Denied, alias: &Path) -> bool {
    match place.kind {
        // What is mounted may be any part of a directory; too much denied is better than too little.
        Kind::Directory => fs::symlink_metadata(alias).is_ok(),
        Kind::File => {
            fs::symlink_metadata(alias).is_ok_and(|found| (found.dev(), found.ino()) == place.object)
        }
        Kind::Missing => {
            let object = |path: Option<&Path>| {
                path.and_then(|path| fs::metadata(path).ok()).map(|found| (found.dev(), found.ino()))
            };
            object(place.path.parent()).is_some_and(|own| object(alias.parent()) == Some(own))
        }
    }
}

fn join(path: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { path.to_owned() } else { path.join(rest) }
}

fn parse(table: &[u8]) -> Vec<Mount> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b' ').skip(2);
            let device = String::from_utf8_lossy(fields.next()?).into_owned();
            Some(Mount { device, root: unescape(fields.next()?), point: unescape(fields.next()?) })
        })
        .collect()
}

/// Blanks, tabs, line ends and backslashes in paths are written as `\` with three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'\\')
            .then(|| after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok()))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"27 1 254:0 / / rw - ext4 /dev/vda rw\n\
        30 27 254:0 /home/ann/project /srv/my\\040copy rw - ext4 /dev/vda rw\n\
        31 27 254:0 /home/ann/project/.state/deep /mnt/part rw - ext4 /dev/vda rw\n\
        32 27 0:25 / /tmp rw - tmpfs tmpfs rw\n";

    fn found(path: &str) -> Vec<String> {
        candidates(&parse(TABLE), Path::new(path)).iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn a_place_is_found_through_every_mount_of_its_file_system() {
        assert_eq!(found("/home/ann/project/ledger.db"), ["/srv/my copy/ledger.db"]);
        assert_eq!(found("/home/ann/project/.state"), ["/mnt/part", "/srv/my copy/.state"]);
        assert_eq!(found("/srv/my copy/x"), ["/home/ann/project/x"]);
        assert!(found("/tmp/x").is_empty());
        assert!(found("/etc/passwd").is_empty());
    }
}
