//! The rollout files of a disposable binding, put in place so that it can be undone.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// Files that were put in place. They stay only if [`Placed::keep`] is called: dropping this puts
/// everything back.
///
/// While it lives, nobody else of ours puts files into that directory: between the look whether a
/// file is still ours and its removal another process could put its own there.
pub(super) struct Placed {
    /// The directory, opened and locked.
    _lock: File,
    files: Vec<PlacedFile>,
    /// Directories that were made, outermost first.
    directories: Vec<PathBuf>,
}

struct PlacedFile {
    path: PathBuf,
    /// Device and inode of the file we put there: what is to be undone is ours alone.
    ours: (u64, u64),
    /// What was there before, under another name.
    old: Option<PathBuf>,
}

impl Placed {
    /// Writes each file beside its place and moves it there, over what may be there. Missing
    /// directories are made, for their owner only.
    ///
    /// # Errors
    /// What cannot be written; everything is put back then.
    pub(super) fn place(directory: &Path, files: &[(String, String)]) -> Result<Self> {
        let (lock, directories) = locked(directory).map_err(|reason| failed(directory, reason))?;
        remove_unfinished(directory);
        let mut placed = Self { _lock: lock, files: Vec::new(), directories };
        for (name, content) in files {
            let path = directory.join(name);
            placed.place_file(directory, name, content).map_err(|reason| failed(&path, reason))?;
        }
        Ok(placed)
    }

    /// The files stay; what they replaced is removed.
    pub(super) fn keep(mut self) {
        for old in self.files.drain(..).filter_map(|file| file.old) {
            // A left-over of this name is no more than a left-over.
            let _ = fs::remove_file(old);
        }
        self.directories.clear();
    }

    fn place_file(&mut self, directory: &Path, name: &str, content: &str) -> io::Result<()> {
        let path = directory.join(name);
        let beside = |what: &str| directory.join(format!(".{name}.{}.{what}", std::process::id()));
        let new = beside("new");
        let written = write_new(&new, content)?;
        let swap = || {
            let old = set_aside(&path, &beside("old"))?;
            fs::rename(&new, &path).inspect_err(|_| remove(old.as_deref()))?;
            Ok(old)
        };
        let old = swap().inspect_err(|_: &io::Error| remove(Some(&new)))?;
        self.files.push(PlacedFile { path, ours: identity(&written), old });
        Ok(())
    }
}

/// Removes what processes of ours that were killed had not put in place yet. Whoever still writes such
/// a file holds the directory's lock.
fn remove_unfinished(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let is_ours = |name: &str| {
        let inner = name.strip_prefix(".rollout-").and_then(|rest| rest.strip_suffix(".new"));
        inner.and_then(|inner| inner.rsplit_once('.')).is_some_and(|(_, pid)| pid.parse::<u32>().is_ok())
    };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(is_ours) {
            // A left-over is no more than a left-over.
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Drop for Placed {
    /// Puts everything back, as far as it is still ours.
    fn drop(&mut self) {
        for file in self.files.drain(..).rev() {
            let untouched = fs::symlink_metadata(&file.path).is_ok_and(|now| identity(&now) == file.ours);
            // Nothing more can be done about failures here; the failure that led here is reported.
            let _ = match (untouched, file.old) {
                (true, Some(old)) => fs::rename(old, &file.path),
                (true, None) => fs::remove_file(&file.path),
                // Another process has put its own file there since.
                (false, Some(old)) => fs::remove_file(old),
                (false, None) => Ok(()),
            };
        }
        remove_directories(&self.directories);
    }
}

/// How long another process may be putting its files there, and how often it is looked.
const PATIENCE: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// Makes a directory and locks it; gives the directories that were made, outermost first.
fn locked(directory: &Path) -> io::Result<(File, Vec<PathBuf>)> {
    let mut made = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let lock = make_and_lock(directory, &mut made, deadline).inspect_err(|_| remove_directories(&made))?;
    Ok((lock, made))
}

fn make_and_lock(directory: &Path, made: &mut Vec<PathBuf>, deadline: Instant) -> io::Result<File> {
    loop {
        make_directories(directory, made)?;
        // Whoever made it may have failed meanwhile, and removed it; a link that leads nowhere stays.
        let lock = match File::open(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !directory.is_symlink() => continue,
            opened => opened?,
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(BETWEEN_LOOKS);
                continue;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other("another process is putting its files there"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let ours = identity(&lock.metadata()?);
        if fs::metadata(directory).is_ok_and(|now| identity(&now) == ours) {
            return Ok(lock);
        }
    }
}

fn make_directories(directory: &Path, made: &mut Vec<PathBuf>) -> io::Result<()> {
    let missing: Vec<&Path> = directory.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    for ancestor in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(ancestor) {
            Ok(()) => made.push(ancestor.to_owned()),
            // Somebody else made it just now.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes directories that were made, outermost first, as far as nothing is in them.
fn remove_directories(made: &[PathBuf]) {
    for directory in made.iter().rev() {
        // Fails when somebody has put something into it, as it should.
        let _ = fs::remove_dir(directory);
    }
}

/// Writes a new file of mode 0600 safely to the disk; gives what it is.
fn write_new(path: &Path, content: &str) -> io::Result<Metadata> {
    // A process of the same number may have died here.
    remove(Some(path));
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written =
        file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| file.metadata());
    written.inspect_err(|_| remove(Some(path)))
}

/// Gives the file at `path`, if there is one, a second name. It stays where it is until the new
/// one takes its place, so that no crash leaves the place empty.
fn set_aside(path: &Path, old: &Path) -> io::Result<Option<PathBuf>> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(found) if found.is_file() || found.is_symlink() => {}
        Ok(_) => return Err(io::Error::other("something that is not a file is there")),
    }
    remove(Some(old));
    // Not every file system has hard links.
    fs::hard_link(path, old).or_else(|_| fs::copy(path, old).map(drop))?;
    Ok(Some(old.to_owned()))
}

fn remove(path: Option<&Path>) {
    if let Some(path) = path {
        // It may not be there, and nothing depends on its being gone.
        let _ = fs::remove_file(path);
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn failed(path: &Path, reason: io::Error) -> Error {
    Error::File { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn file(name: &str, content: &str) -> (String, String) {
        (name.into(), content.into())
    }

    #[test]
    fn kept_files_replace_what_was_there() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("a"), "before").unwrap();
        Placed::place(base.path(), &[file("a", "new"), file("b", "new")]).unwrap().keep();
        assert_eq!(names(base.path()), ["a", "b"]);
        assert_eq!(fs::read_to_string(base.path().join("a")).unwrap(), "new");
        assert_eq!(fs::metadata(base.path().join("a")).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_a_killed_process_had_not_placed_is_removed() {
        let base = tempfile::tempdir().unwrap();
        for left in
            [".rollout-w.jsonl.123.new", ".rollout-w.jsonl.123.old", ".rollout-x.new", "rollout-w.1.new"]
        {
            fs::write(base.path().join(left), "x").unwrap();
        }
        Placed::place(base.path(), &[file("a", "new")]).unwrap().keep();
        assert_eq!(
            names(base.path()),
            [".rollout-w.jsonl.123.old", ".rollout-x.new", "a", "rollout-w.1.new"]
        );
    }

    #[test]
    fn dropping_puts_everything_back() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("a"), "before").unwrap();
        drop(Placed::place(base.path(), &[file("a", "new"), file("b", "new")]).unwrap());
        assert_eq!(names(base.path()), ["a"]);
        assert_eq!(fs::read_to_string(base.path().join("a")).unwrap(), "before");
        let deep = base.path().join("x/y");
        let placed = Placed::place(&deep, &[file("a", "new")]).unwrap();
        assert_eq!(fs::metadata(&deep).unwrap().mode() & 0o777, 0o700);
        drop(placed);
        assert_eq!(names(base.path()), ["a"]);
    }

    #[test]
    fn what_somebody_else_put_there_since_stays() {
        let base = tempfile::tempdir().unwrap();
        let first = Placed::place(base.path(), &[file("a", "first")]).unwrap();
        // The second took the first one's file for an old one; whoever commits wins.
        let beside = base.path().join("second");
        fs::write(&beside, "second").unwrap();
        fs::rename(&beside, base.path().join("a")).unwrap();
        drop(first);
        assert_eq!(fs::read_to_string(base.path().join("a")).unwrap(), "second");
    }

    #[test]
    fn a_link_that_leads_nowhere_is_no_directory() {
        let base = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("nowhere", base.path().join("link")).unwrap();
        for place in ["link", "link/below"] {
            assert!(Placed::place(&base.path().join(place), &[file("a", "new")]).is_err(), "{place}");
        }
        assert_eq!(names(base.path()), ["link"]);
    }

    #[test]
    fn who_comes_second_waits_for_the_first() {
        let base = tempfile::tempdir().unwrap();
        let first = Placed::place(&base.path().join("d"), &[file("a", "first")]).unwrap();
        let second = std::thread::scope(|scope| {
            let second = scope.spawn(|| Placed::place(&base.path().join("d"), &[file("a", "second")]));
            std::thread::sleep(BETWEEN_LOOKS * 3);
            assert_eq!(names(&base.path().join("d")), ["a"], "nothing of the second is there");
            // The directory goes with it, and is made again.
            drop(first);
            second.join().unwrap()
        });
        second.unwrap().keep();
        assert_eq!(fs::read_to_string(base.path().join("d/a")).unwrap(), "second");
    }

    #[test]
    fn a_directory_in_the_way_is_no_file_to_be_replaced() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("b")).unwrap();
        let refused = Placed::place(base.path(), &[file("a", "new"), file("b", "new")]);
        assert!(refused.is_err_and(|error| error.to_string().contains("not a file")));
        assert_eq!(names(base.path()), ["b"]);
    }
}
