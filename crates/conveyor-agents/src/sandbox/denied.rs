//! What is denied: real places on disk, with every other name they have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What stands at a denied path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// A directory, denied with everything below.
    Directory,
    /// Anything else.
    File,
    /// Nothing yet; nothing may come.
    Missing,
}

/// A denied place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Denied {
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    /// Device and inode, of what exists.
    pub(super) object: (u64, u64),
}

impl Denied {
    fn at(path: PathBuf) -> Result<Self, String> {
        match fs::symlink_metadata(&path) {
            Ok(found) => {
                let kind = if found.is_dir() { Kind::Directory } else { Kind::File };
                Ok(Self { path, kind, object: (found.dev(), found.ino()) })
            }
            Err(error) if is_missing(&error) => Ok(Self { path, kind: Kind::Missing, object: (0, 0) }),
            Err(error) => Err(format!("{} cannot be looked at: {error}", path.display())),
        }
    }

    /// Whether this is it, or it is below.
    pub(super) fn covers(&self, path: &Path) -> bool {
        path == self.path || (self.kind == Kind::Directory && path.starts_with(&self.path))
    }
}

/// Everything that is denied.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct DeniedSet {
    /// Sorted by path, so that what contains comes before what is contained.
    pub(super) places: Vec<Denied>,
}

impl DeniedSet {
    /// Finds the real places behind the given absolute paths, and their other names. `Err` says what
    /// cannot be denied with certainty.
    pub(super) fn resolve(paths: &[PathBuf]) -> Result<(Self, usize), String> {
        let mut real = BTreeSet::new();
        for path in paths {
            real.insert(real_path(path)?);
        }
        let asked = real.len();
        let mut set = Self::of(real)?;
        #[cfg(target_os = "linux")]
        {
            let aliases = super::mounts::aliases(&set)?;
            let devices = super::devices::readable_disks();
            if !aliases.is_empty() || !devices.is_empty() {
                let known = set.places.iter().map(|denied| denied.path.clone());
                set = Self::of(known.chain(aliases).chain(devices).collect())?;
            }
        }
        set.refuse_unknown_names()?;
        Ok((set, asked))
    }

    fn of(paths: BTreeSet<PathBuf>) -> Result<Self, String> {
        Ok(Self { places: paths.into_iter().map(Denied::at).collect::<Result<_, _>>()? })
    }

    /// The places that no other place contains, so that each is dealt with once.
    pub(super) fn outermost(&self) -> impl Iterator<Item = &Denied> {
        self.places
            .iter()
            .filter(|one| !self.places.iter().any(|other| other.path != one.path && other.covers(&one.path)))
    }

    /// The directories on the way to denied places, outer ones first; the root is the first.
    pub(super) fn ancestors(&self) -> BTreeSet<PathBuf> {
        self.outermost().flat_map(|denied| denied.path.ancestors().skip(1)).map(Path::to_owned).collect()
    }

    /// The existing directories in which nothing may be created, because what is missing there is
    /// denied.
    pub(super) fn frozen(&self) -> BTreeSet<PathBuf> {
        let missing = self.outermost().filter(|denied| denied.kind == Kind::Missing);
        missing
            .filter_map(|denied| denied.path.ancestors().skip(1).find(|above| above.is_dir()))
            .map(Path::to_owned)
            .collect()
    }

    /// Whether a path is denied or below what is denied.
    pub(super) fn covers(&self, path: &Path) -> bool {
        self.places.iter().any(|denied| denied.covers(path))
    }

    /// Whether an object is denied, whatever its name.
    pub(super) fn has_object(&self, device: u64, inode: u64) -> bool {
        self.places.iter().any(|one| one.kind != Kind::Missing && one.object == (device, inode))
    }

    /// A file with a name that is not denied could be read by that name.
    fn refuse_unknown_names(&self) -> Result<(), String> {
        let mut names: BTreeMap<(u64, u64), (BTreeSet<PathBuf>, u64)> = BTreeMap::new();
        let mut note = |path: PathBuf, found: &fs::Metadata| {
            if !found.is_dir() && found.nlink() > 1 {
                let known = names.entry((found.dev(), found.ino())).or_default();
                known.0.insert(path);
                known.1 = found.nlink();
            }
        };
        for denied in self.outermost() {
            match denied.kind {
                Kind::File => {
                    if let Ok(found) = fs::symlink_metadata(&denied.path) {
                        note(denied.path.clone(), &found);
                    }
                }
                Kind::Directory => each_below(&denied.path, &mut note)
                    .map_err(|error| format!("{} cannot be searched: {error}", denied.path.display()))?,
                Kind::Missing => {}
            }
        }
        for (known, links) in names.values() {
            if (known.len() as u64) < *links {
                let shown = known.first().map_or_else(String::new, |path| path.display().to_string());
                return Err(format!("{shown} has other names (hard links) that are not denied"));
            }
        }
        Ok(())
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The place behind a path, symbolic links resolved; of a path of which the end does not exist, the
/// place where it would be created.
fn real_path(path: &Path) -> Result<PathBuf, String> {
    let refuse = |error: &io::Error| format!("{} cannot be resolved: {error}", path.display());
    for existing in path.ancestors() {
        match fs::canonicalize(existing) {
            Ok(real) => {
                let rest = path.strip_prefix(existing).unwrap_or(Path::new(""));
                return Ok(if rest.as_os_str().is_empty() { real } else { real.join(rest) });
            }
            // A link into nothing: what would be created through it is somewhere else.
            Err(error) if is_missing(&error) && fs::symlink_metadata(existing).is_ok() => {
                return Err(refuse(&error));
            }
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(refuse(&error)),
        }
    }
    Err(format!("{} is not an absolute path", path.display()))
}

/// Visits everything below a directory; what disappears meanwhile is passed over.
fn each_below(directory: &Path, visit: &mut impl FnMut(PathBuf, &fs::Metadata)) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        if found.is_dir() {
            match each_below(&path, visit) {
                Err(error) if is_missing(&error) => {}
                other => other?,
            }
        } else {
            visit(path, &found);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(dir.path()).unwrap();
        (dir, real)
    }

    #[test]
    fn links_are_resolved_and_what_is_missing_is_denied_where_it_would_be() {
        let (_dir, real) = place();
        fs::write(real.join("ledger"), "x").unwrap();
        std::os::unix::fs::symlink(real.join("ledger"), real.join("link")).unwrap();
        let asked = [real.join("link"), real.join("ledger"), real.join("no/such")];
        let (set, count) = DeniedSet::resolve(&asked).unwrap();
        assert_eq!(count, 2);
        let kinds: Vec<_> = asked[1..]
            .iter()
            .map(|path| set.places.iter().find(|denied| denied.path == *path).unwrap().kind)
            .collect();
        assert_eq!(kinds, [Kind::File, Kind::Missing]);
        assert!(set.frozen().contains(&real));
        assert!(set.ancestors().contains(Path::new("/")));
    }

    #[test]
    fn a_file_with_an_unknown_name_cannot_be_denied() {
        let (_dir, real) = place();
        fs::create_dir(real.join("root")).unwrap();
        fs::write(real.join("root/ledger"), "x").unwrap();
        fs::hard_link(real.join("root/ledger"), real.join("other")).unwrap();
        let refused = DeniedSet::resolve(&[real.join("root")]).unwrap_err();
        assert!(refused.contains("hard links"), "{refused}");
        DeniedSet::resolve(&[real.join("root"), real.join("other")]).unwrap();
    }

    #[test]
    fn a_link_into_nothing_cannot_be_denied() {
        let (_dir, real) = place();
        std::os::unix::fs::symlink(real.join("nothing"), real.join("link")).unwrap();
        assert!(DeniedSet::resolve(&[real.join("link")]).unwrap_err().contains("cannot be resolved"));
    }
}
