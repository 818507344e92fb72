//! Whether Codex will ask about a directory before it works there. Only ever read.
//!
//! Measured with 0.169.0: Codex asks where the directory is part of a repository or has a `.codex`
//! directory itself, and nothing was decided yet. A decision is stored for the directory or for the
//! root of the repository, under its real path, letter by letter: a parent's decision, a trailing
//! slash or a symbolic link do not count.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::client::Client;
use super::error::CodexError;

/// What the user decided about a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustLevel {
    /// Codex may work there.
    Trusted,
    /// It may, with restrictions.
    Untrusted,
}

/// What Codex will do when it is started in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Start: there is nothing to be trusted.
    NothingToTrust,
    /// Start: the user trusts it.
    Trusted {
        /// The directory that the decision is stored for.
        root: PathBuf,
    },
    /// Ask whether to trust it.
    Asks {
        /// The directory that the decision would be stored for.
        root: PathBuf,
    },
    /// Ask whether to go on with restrictions, because the user does not trust it.
    Untrusted {
        /// The directory that the decision is stored for.
        root: PathBuf,
    },
}

impl Trust {
    /// Reads it for a directory.
    ///
    /// # Errors
    /// The directory does not exist, or the server does not answer.
    pub fn of(client: &mut Client, cwd: &Path) -> Result<Self, CodexError> {
        let unusable =
            |reason: String| CodexError::Unsupported { text: format!("directory {cwd:?}: {reason}") };
        let real = cwd.canonicalize().map_err(|error| unusable(error.to_string()))?;
        let text = real.to_str().ok_or_else(|| unusable("its path is not UTF-8".into()))?;
        let projects = client.projects(text)?;
        Ok(Self::decide(&projects, &real))
    }

    /// The same with what is stored, for a real path.
    fn decide(projects: &BTreeMap<PathBuf, TrustLevel>, real: &Path) -> Self {
        let root = repository_root(real);
        for place in [Some(real), root.as_deref()].into_iter().flatten() {
            match projects.get(place) {
                Some(TrustLevel::Trusted) => return Self::Trusted { root: place.to_path_buf() },
                Some(TrustLevel::Untrusted) => return Self::Untrusted { root: place.to_path_buf() },
                None => {}
            }
        }
        match root {
            Some(root) => Self::Asks { root },
            None if real.join(".codex").is_dir() => Self::Asks { root: real.to_path_buf() },
            None => Self::NothingToTrust,
        }
    }
}

/// The root of the repository around a directory; of the main repository for a worktree.
fn repository_root(dir: &Path) -> Option<PathBuf> {
    let root = dir.ancestors().find(|dir| is_repository(&dir.join(".git")))?;
    Some(main_of_worktree(root).unwrap_or_else(|| root.to_path_buf()))
}

/// A directory that is empty is none.
fn is_repository(git: &Path) -> bool {
    git.is_file() || git.join("HEAD").is_file()
}

/// A worktree has a file that names `<main>/.git/worktrees/<name>`.
fn main_of_worktree(root: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(root.join(".git")).ok()?;
    let own = root.join(text.strip_prefix("gitdir:")?.trim());
    let worktrees = own.parent().filter(|dir| dir.file_name().is_some_and(|name| name == "worktrees"))?;
    worktrees.parent()?.parent()?.canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Directories like those in which Codex itself was watched.
    struct Lab(tempfile::TempDir);

    impl Lab {
        fn new() -> Self {
            let lab = Self(tempfile::tempdir().unwrap());
            for dir in
                ["plain", "empty/.git", "settings/.codex/x", "settings/sub", "repo/.git", "repo/sub/.codex"]
            {
                fs::create_dir_all(lab.path(dir)).unwrap();
            }
            fs::write(lab.path("repo/.git/HEAD"), "ref: refs/heads/main\n").unwrap();
            for (dir, target) in [("tree", "repo/.git/worktrees/tree"), ("module", "repo/.git/modules/m")] {
                fs::create_dir_all(lab.path(target)).unwrap();
                fs::create_dir_all(lab.path(dir)).unwrap();
                let text = format!("gitdir: {}\n", lab.path(target).display());
                fs::write(lab.path(dir).join(".git"), text).unwrap();
            }
            lab
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().canonicalize().unwrap().join(name)
        }

        fn decide(&self, name: &str, stored: &[(&str, TrustLevel)]) -> Trust {
            let stored = stored.iter().map(|(name, level)| (self.path(name), *level)).collect();
            Trust::decide(&stored, &self.path(name))
        }
    }

    #[test]
    fn codex_asks_where_there_is_something_to_trust() {
        let lab = Lab::new();
        let asks = |root: &str| Trust::Asks { root: lab.path(root) };
        let cases = [
            ("plain", Trust::NothingToTrust),
            ("empty", Trust::NothingToTrust),
            ("settings", asks("settings")),
            ("settings/sub", Trust::NothingToTrust),
            ("repo", asks("repo")),
            ("repo/sub", asks("repo")),
            ("tree", asks("repo")),
            ("module", asks("module")),
        ];
        for (name, expected) in cases {
            assert_eq!(lab.decide(name, &[]), expected, "{name}");
        }
    }

    #[test]
    fn a_decision_counts_for_the_directory_or_the_root_only() {
        use TrustLevel::{Trusted, Untrusted};
        let lab = Lab::new();
        let trusted = |root: &str| Trust::Trusted { root: lab.path(root) };
        assert_eq!(lab.decide("repo/sub", &[("repo", Trusted)]), trusted("repo"));
        assert_eq!(lab.decide("repo/sub", &[("repo/sub", Trusted)]), trusted("repo/sub"));
        assert_eq!(lab.decide("tree", &[("repo", Trusted)]), trusted("repo"));
        assert_eq!(lab.decide("tree", &[("tree", Trusted)]), trusted("tree"));
        assert_eq!(lab.decide("repo", &[("repo", Untrusted)]), Trust::Untrusted { root: lab.path("repo") });
        assert_eq!(lab.decide("repo", &[("", Trusted)]), Trust::Asks { root: lab.path("repo") });
    }
}
