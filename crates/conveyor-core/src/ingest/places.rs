//! Where the system is to tell of writes to followed files: the directories of their real paths, of
//! the links that lead there, and of what is still to be created on the way.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use conveyor_store::{Concern, FileHints, Hint, NoHints, WatchId};

/// So many links may lead to a file, as for the system itself.
const MOST_LINKS: usize = 40;

/// How often the way to a file may change while it begins to be watched.
const ATTEMPTS: usize = 4;

/// A name in a watched directory.
type Key = (WatchId, OsString);

/// A name in a directory, given by its real path, on the way to a file.
struct Spot {
    directory: PathBuf,
    name: OsString,
    concern: Concern,
}

/// What of which sessions is to be done after a hint.
#[derive(Default)]
pub(super) struct Affected {
    /// Their files may have been written to.
    pub(super) written: BTreeSet<String>,
    /// Their paths may lead to another file.
    pub(super) moved: BTreeSet<String>,
    /// Nobody knows what happened to any of them.
    pub(super) is_everything: bool,
}

/// Which sessions' files are watched where.
#[derive(Default)]
pub(super) struct Places {
    sessions: HashMap<Key, Vec<String>>,
    keys: HashMap<String, Vec<Key>>,
    /// How many keys there are in each watched directory.
    uses: HashMap<WatchId, usize>,
}

impl Places {
    /// Has everything watched that tells of changes to the file at `path`. Look at the file
    /// afterwards: what happened before is not told.
    pub(super) fn watch(
        &mut self,
        hints: &mut FileHints,
        session_id: &str,
        path: &Path,
    ) -> Result<(), NoHints> {
        for _ in 0..ATTEMPTS {
            let mut keys = Vec::new();
            let mut outcome = Ok(());
            let mut is_news = false;
            for spot in way_to(path)? {
                match hints.watch(&spot.directory, spot.concern) {
                    Ok(id) => {
                        is_news |= !self.uses.contains_key(&id);
                        keys.push((id, spot.name));
                    }
                    Err(error) => outcome = Err(error),
                }
            }
            self.replace(hints, session_id, keys);
            // What changed before a directory was watched was not told.
            if !is_news || outcome.is_err() {
                return outcome.inspect_err(|_| self.forget(hints, session_id));
            }
        }
        self.forget(hints, session_id);
        Err(NoHints::Unwatchable("it changes all the time".into()))
    }

    /// Watches nothing any more for this session.
    pub(super) fn forget(&mut self, hints: &mut FileHints, session_id: &str) {
        self.replace(hints, session_id, Vec::new());
    }

    fn replace(&mut self, hints: &mut FileHints, session_id: &str, mut keys: Vec<Key>) {
        keys.sort_unstable();
        keys.dedup();
        keys.shrink_to_fit();
        let before = self.keys.remove(session_id).unwrap_or_default();
        for key in keys.iter().filter(|key| !before.contains(key)) {
            *self.uses.entry(key.0).or_default() += 1;
            self.sessions
                .entry(key.clone())
                .or_insert_with(|| Vec::with_capacity(1))
                .push(session_id.to_owned());
        }
        for key in before.iter().filter(|key| !keys.contains(key)) {
            self.leave(hints, session_id, key);
        }
        if !keys.is_empty() {
            self.keys.insert(session_id.to_owned(), keys);
        }
    }

    fn leave(&mut self, hints: &mut FileHints, session_id: &str, key: &Key) {
        if let Some(sessions) = self.sessions.get_mut(key) {
            sessions.retain(|id| id != session_id);
            if sessions.is_empty() {
                self.sessions.remove(key);
            }
        }
        if let Some(uses) = self.uses.get_mut(&key.0) {
            *uses -= 1;
            if *uses == 0 {
                self.uses.remove(&key.0);
                hints.unwatch(key.0);
            }
        }
    }

    /// Whom these hints concern.
    pub(super) fn affected(&self, hints: Vec<Hint>) -> Affected {
        let mut affected = Affected::default();
        let at = |key: &Key| self.sessions.get(key).into_iter().flatten().cloned();
        for hint in hints {
            match hint {
                Hint::Written(id, name) => affected.written.extend(at(&(id, name))),
                Hint::Renamed(id, name) => affected.moved.extend(at(&(id, name))),
                Hint::Lost(id) => {
                    let lost = self.sessions.iter().filter(|((at, _), _)| *at == id);
                    affected.moved.extend(lost.flat_map(|(_, sessions)| sessions).cloned());
                }
                Hint::Overflow => affected.is_everything = true,
            }
        }
        affected
    }
}

/// What is to be watched to hear of changes to the file at `path`, as far as the way there exists. A
/// link among its directories that comes to lead elsewhere is not among it.
fn way_to(path: &Path) -> Result<Vec<Spot>, NoHints> {
    let mut spots = Vec::new();
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let (spot, rest) = first_missing(&path)?;
        let here = spot.directory.join(&spot.name);
        let is_link = std::fs::read_link(&here);
        let directory = spot.directory.clone();
        spots.push(spot);
        match is_link {
            Ok(target) => path = directory.join(target).join(rest),
            Err(_) => return Ok(spots),
        }
    }
    Err(NoHints::Unwatchable("too many links lead to it".into()))
}

/// The last name of the path if its directory exists, else the first one that does not, in each case
/// with what comes behind it.
fn first_missing(path: &Path) -> Result<(Spot, PathBuf), NoHints> {
    let mut rest = PathBuf::new();
    let mut at = path;
    while let (Some(parent), Some(name)) = (at.parent(), at.file_name()) {
        match parent.canonicalize() {
            Ok(directory) => {
                let concern = if at == path { Concern::Contents } else { Concern::Names };
                return Ok((Spot { directory, name: name.to_owned(), concern }, rest));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                rest = Path::new(name).join(rest);
                at = parent;
            }
            Err(error) => return Err(NoHints::Unwatchable(error.to_string())),
        }
    }
    Err(NoHints::Unwatchable("its path ends in no name".into()))
}
