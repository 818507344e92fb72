use std::path::Path;

use conveyor_agents::tmux::TmuxError;
use conveyor_model::records::Object;
use serde::Serialize;

use super::{Config, Place, files, status};
use crate::addressing::{Found, Terminal};
use crate::{Error, Result};

/// A legacy worker as lists print it.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// What it is doing.
    pub current_task: String,
    /// Its name.
    pub name: String,
    /// Whether its terminal is there.
    pub running: bool,
    /// What it says of itself, as recorded.
    pub state: String,
    /// `running` or `stopped`.
    pub status: &'static str,
    /// Why its terminal could not be looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminal_error: Option<String>,
}

/// The files of which one makes a directory a worker's.
const SIGNS: [&str; 4] = ["config.json", "status.json", "events.jsonl", "capture-meta.json"];

/// The legacy workers of the state root, in order of their directories. Writes nothing.
///
/// # Errors
/// A state root that cannot be read, or a file that holds something else than an object.
pub fn list(place: &mut Place) -> Result<Vec<Listed>> {
    let directories =
        directories(place.root(), |directory| SIGNS.iter().any(|sign| directory.join(sign).exists()))?;
    directories.into_iter().map(|directory| listed(place, &directory)).collect()
}

/// The names of the directories of the state root that have a configuration, in byte order.
///
/// # Errors
/// A state root that cannot be read.
pub(crate) fn worker_directories(root: &Path) -> Result<Vec<String>> {
    directories(root, |directory| directory.join("config.json").exists())
}

fn listed(place: &mut Place, directory: &str) -> Result<Listed> {
    let config = files::read_object(&Config::path(place.root(), directory))?.map(Config::from_object);
    let name = config.as_ref().and_then(|config| config.text("name")).unwrap_or(directory).to_owned();
    let latest = status::latest(place, &name, directory)?;
    let unknown = Config::from_object(Object::new());
    let terminal = Terminal::of_worker(config.as_ref().unwrap_or(&unknown), &name, place.tmux());
    let (running, terminal_error) = match terminal.locate() {
        Ok(found) => (matches!(found, Found::Here(_)), None),
        // Where there is no tmux, nothing runs in it.
        Err(TmuxError::NotInstalled { .. }) => (false, None),
        Err(error) => (false, Some(error.to_string())),
    };
    Ok(Listed {
        current_task: latest.current_task.unwrap_or_default(),
        name,
        running,
        state: latest.state.unwrap_or_else(|| "unknown".into()),
        status: if running { "running" } else { "stopped" },
        terminal_error,
    })
}

/// The names of the directories in `root` that are wanted, in byte order; none where there is no
/// such directory.
pub(super) fn directories(root: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<String>> {
    let unreadable = |reason| Error::Unreadable { path: root.to_owned(), reason };
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        if path.is_dir() && wanted(&path) {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort_unstable();
    Ok(names)
}
