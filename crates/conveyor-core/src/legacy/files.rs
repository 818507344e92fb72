//! The files of legacy workers. Readers never see half a file.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use conveyor_model::json;
use conveyor_model::records::Object;
use serde::Serialize;

use crate::{Error, Result};

/// Refuses a name from which no path may be made.
///
/// # Errors
/// A name with anything but letters, digits, `_` and `-` in it, or none at all.
pub fn check_name(name: &str) -> Result<()> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    if !name.is_empty() && name.chars().all(allowed) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{name:?} cannot be the name of a worker or manager: use letters, digits, `_` and `-` only"
    )))
}

/// The bytes of a file; `None` when there is none.
pub(super) fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    let unreadable = |reason| Error::Unreadable { path: path.to_owned(), reason };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // Reading a pipe would wait for somebody to write into it.
        Ok(found) if !found.is_file() => {
            return Err(unreadable(io::Error::other("it is not a regular file")));
        }
        _ => {}
    }
    fs::read(path).map(Some).map_err(unreadable)
}

/// The JSON object in a file; `None` when there is no file.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub fn read_object(path: &Path) -> Result<Option<Object>> {
    read_bytes(path)?.map(|bytes| object_in(path, &bytes)).transpose()
}

/// The JSON object in the bytes of a file.
pub(super) fn object_in(path: &Path, bytes: &[u8]) -> Result<Object> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::NotAnObject { path: path.to_owned(), reason: error.to_string() })
}

/// Writes an object, indented and with sorted keys, in place of what may be there.
///
/// # Errors
/// The file cannot be written; then what was there still is.
pub fn write_object(path: &Path, object: &impl Serialize) -> Result<()> {
    let text = serde_json::to_value(object).and_then(|mut value| {
        json::normalise_numbers(&mut value);
        serde_json::to_string_pretty(&value)
    });
    write_text(path, &(text.map_err(io::Error::from)? + "\n"))
}

/// Writes a text in place of what may be there. A new file is its owner's alone, an existing one
/// keeps its mode; missing directories are made for their owner alone.
///
/// # Errors
/// The file cannot be written; then what was there still is.
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    replace(path, text.as_bytes()).map_err(|reason| Error::File { path: path.to_owned(), reason })
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    make_directory(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = directory.join(format!(".{name}.{}.new", std::process::id()));
    // A process of the same number may have died here.
    let _ = fs::remove_file(&beside);
    let written = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        if let Ok(existing) = fs::metadata(path) {
            let mode = existing.permissions().mode() & 0o777;
            file.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        fs::rename(&beside, path)
    };
    written().inspect_err(|_| drop(fs::remove_file(&beside)))
}

fn make_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Appends an event to a log: one compact line, in a single write, so that lines of several
/// processes never mix.
///
/// # Errors
/// The file cannot be written.
pub fn append_event(path: &Path, event: &Object) -> Result<()> {
    let line = json::compact(&event.clone().into()) + "\n";
    let append = || {
        make_directory(path.parent().unwrap_or(Path::new("/")))?;
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        file.write_all(line.as_bytes())
    };
    append().map_err(|reason| Error::File { path: path.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_paths() {
        for good in ["a", "A-9_z"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "..", "a/b", "a b", "ä", "a.b"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_are_replaced_as_a_whole_and_keep_their_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/status.json");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        write_object(&path, &serde_json::json!({ "b": 1.0, "a": "ü" })).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\n  \"a\": \"ü\",\n  \"b\": 1\n}\n");
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write_text(&path, "other").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("other", 0o644));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_is_no_object_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        assert_eq!(read_object(&path).unwrap(), None);
        for text in ["", "[1]", "{\"a\":", "7"] {
            fs::write(&path, text).unwrap();
            assert!(
                read_object(&path).is_err_and(|error| error.to_string().contains("config.json")),
                "{text}"
            );
        }
        assert!(read_object(dir.path()).is_err(), "a directory");
    }
}
