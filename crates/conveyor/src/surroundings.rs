//! What surrounds a run, as far as a command needs it: the current directory, the home directory, the
//! state root, where the ledger is. Nothing that is missing is replaced by something plausible.

use std::path::{Component, Path, PathBuf};

use conveyor_core::spawn::Installation;
use conveyor_store::Location;

use crate::app::App;
use crate::commands::DbPath;
use crate::failure::Failure;

const STATE_ROOT: &str = "WORKERCTL_STATE_ROOT";
const DATABASE_URL: &str = "CONVEYOR_DATABASE_URL";

impl App<'_> {
    /// Which ledger `--path`, the environment or the state root names.
    ///
    /// # Errors
    /// A text that names neither a file nor a server that we know; a file whose place cannot be told.
    pub fn location(&self, db: &DbPath) -> Result<Location, Failure> {
        let environment = &self.host.environment;
        let given = match (&db.path, &environment.database_url) {
            (Some(path), _) => Some(("--path", path)),
            (None, url) => {
                environment.decodable(&[DATABASE_URL])?;
                url.as_ref().map(|url| (DATABASE_URL, url))
            }
        };
        let Some((origin, given)) = given else {
            return Ok(Location::File(self.state_root()?.join("workerctl.db")));
        };
        let defaults = &environment.server_defaults;
        match Location::server_named(given, defaults).map_err(|error| of(origin, &error))? {
            Some(server) => {
                environment.decodable(&conveyor_store::ServerDefaults::names().collect::<Vec<_>>())?;
                Ok(server)
            }
            None => Ok(Location::File(self.file(origin, given)?)),
        }
    }

    /// The ledger that `--path` names, as generated commands name it.
    pub(crate) fn named_ledger(&self, matches: &clap::ArgMatches) -> Option<String> {
        let path = matches.try_get_one::<String>("path").ok()??.clone();
        self.location(&DbPath { path: Some(path) }).ok().map(|location| location.to_string())
    }

    /// The directory that holds the default ledger and the files of sessions.
    ///
    /// # Errors
    /// A text that names no directory, or one whose place cannot be told.
    pub fn state_root(&self) -> Result<PathBuf, Failure> {
        self.file(STATE_ROOT, self.state_root_text()?)
    }

    /// The same for somebody who works in another directory.
    ///
    /// # Errors
    /// As [`Self::state_root`].
    pub fn state_root_below(&self, directory: &Path) -> Result<PathBuf, Failure> {
        let given = self.state_root_text()?;
        if given.starts_with('~') {
            return self.file(STATE_ROOT, given);
        }
        Ok(lexically_absolute(&directory.join(given)))
    }

    fn state_root_text(&self) -> Result<&str, Failure> {
        let environment = &self.host.environment;
        environment.decodable(&[STATE_ROOT])?;
        let given = environment.state_root.as_deref().unwrap_or(".codex-workers");
        match Location::server_named(given, &environment.server_defaults) {
            Ok(None) => Ok(given),
            _ => Err(Failure::usage(format!(
                "{STATE_ROOT} names a directory, and this looks like a server: a server is named by --path or \
                 {DATABASE_URL}"
            ))),
        }
    }

    /// The Codex that is meant: `given`, else what the environment says.
    ///
    /// # Errors
    /// No place can be told for its home.
    pub fn installation(&self, given: Option<&str>) -> Result<Installation, Failure> {
        let environment = &self.host.environment;
        let home = match (given, &environment.codex_home) {
            (Some(given), _) => self.absolute(given)?,
            (None, Some(home)) => {
                environment.decodable(&["CODEX_HOME"])?;
                self.absolute(&home.to_string_lossy())?
            }
            (None, None) => self.absolute("~/.codex")?,
        };
        let user_home = environment.home.as_ref().map(|_| self.home()).transpose()?.map(Path::to_owned);
        let program = environment.program("codex").map(|program| self.base().join(program));
        Ok(Installation { program, home, user_home })
    }

    /// A path as the user means it: `~` is the home directory, relative to the current directory,
    /// `.` and `..` resolved by name (symbolic links are not followed).
    ///
    /// # Errors
    /// The path depends on a directory that is missing.
    pub fn absolute(&self, given: &str) -> Result<PathBuf, Failure> {
        let expanded = match given.strip_prefix('~') {
            Some("") => self.home()?.to_owned(),
            Some(below) if below.starts_with('/') => self.home()?.join(below.trim_start_matches('/')),
            _ => PathBuf::from(given),
        };
        match expanded.is_absolute() {
            true => Ok(lexically_absolute(&expanded)),
            false => Ok(lexically_absolute(&self.cwd()?.join(expanded))),
        }
    }

    /// As [`Self::absolute`], for what an option or variable says, which must say something.
    fn file(&self, origin: &str, given: &str) -> Result<PathBuf, Failure> {
        if given.trim().is_empty() {
            return Err(Failure::usage(format!("{origin} is blank: it names no file")));
        }
        self.absolute(given)
    }

    /// The current directory.
    ///
    /// # Errors
    /// It was deleted, or its name is no text, which no command that we generate could repeat.
    pub fn cwd(&self) -> Result<&Path, Failure> {
        let cwd = self.host.cwd.as_ref().map_err(|error| {
            Failure::usage(format!(
                "the current directory is not there any more ({error}): change to one that is, or give absolute \
                 paths"
            ))
        })?;
        match cwd.to_str() {
            Some(_) => Ok(cwd),
            None => Err(Failure::usage(format!(
                "the name of the current directory {cwd:?} is no valid UTF-8: change to another one, or give \
                 absolute paths"
            ))),
        }
    }

    /// What stored relative paths are relative to. Where there is no current directory they lead to
    /// nothing, and not to somewhere else.
    pub(crate) fn base(&self) -> PathBuf {
        self.host.cwd.clone().unwrap_or_default()
    }

    /// The home directory.
    fn home(&self) -> Result<&Path, Failure> {
        let environment = &self.host.environment;
        environment.decodable(&["HOME"])?;
        let refused =
            |why: String| Err(Failure::usage(format!("HOME {why}, so nothing below ~ can be found: set it")));
        match environment.home.as_deref() {
            None => refused("is not set".into()),
            Some(home) if !home.is_absolute() => refused(format!("is {home:?}, which is no absolute path")),
            Some(home) => match std::fs::metadata(home) {
                Ok(meta) if meta.is_dir() => Ok(home),
                Ok(_) => refused(format!("is {home:?}, which is no directory")),
                Err(error) => refused(format!("is {home:?}, which cannot be used ({error})")),
            },
        }
    }
}

/// A refusal that says where the refused text comes from.
fn of(origin: &str, error: &conveyor_store::StoreError) -> Failure {
    Failure::usage(format!("{origin}: {error}"))
}

fn lexically_absolute(path: &Path) -> PathBuf {
    let mut result = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::ParentDir => {
                result.pop();
            }
            Component::Normal(name) => result.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved_by_name() {
        assert_eq!(lexically_absolute(Path::new("/a/./b/../c//d/")), Path::new("/a/c/d"));
        assert_eq!(lexically_absolute(Path::new("/../x")), Path::new("/x"));
    }
}
