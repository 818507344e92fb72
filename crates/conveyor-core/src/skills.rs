//! The skills for agents that come with the program, and putting them where Codex looks for them.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{Error, Result};

/// A directory of files for agents.
pub struct Skill {
    /// Its directory's name.
    pub name: &'static str,
    /// Its files.
    pub files: &'static [File],
}

/// One file of a skill.
pub struct File {
    /// Its path below the skill's directory.
    pub path: &'static str,
    /// What is in it.
    pub content: &'static str,
    /// Its permissions.
    pub mode: u32,
}

/// A file of the repository's folder `skills`.
macro_rules! file {
    ($skill:literal, $path:literal, $mode:literal) => {
        File {
            path: $path,
            content: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../skills/", $skill, "/", $path)),
            mode: $mode,
        }
    };
}

/// The skills, in the order in which they are installed.
pub const SKILLS: &[Skill] = &[
    Skill {
        name: "manage-codex-workers",
        files: &[
            file!("manage-codex-workers", "SKILL.md", 0o644),
            file!("manage-codex-workers", "agents/openai.yaml", 0o644),
        ],
    },
    Skill {
        name: "codex-review",
        files: &[
            file!("codex-review", "SKILL.md", 0o644),
            file!("codex-review", "scripts/codex-review", 0o755),
        ],
    },
];

/// What was installed, or would be.
#[derive(Debug, Serialize)]
pub struct Installation {
    /// Codex's own directory.
    pub codex_home: PathBuf,
    /// Whether nothing was touched.
    pub dry_run: bool,
    /// The names of the skills that were installed.
    pub installed: Vec<&'static str>,
    /// All skills that come with the program.
    pub skills: Vec<Placed>,
}

/// A skill and its place.
#[derive(Debug, Serialize)]
pub struct Placed {
    /// Its name.
    pub name: &'static str,
    /// Where it comes from.
    pub source: String,
    /// Where it belongs.
    pub target: PathBuf,
}

/// Puts every skill into the directory `skills` of a Codex home, in the place of whatever is there
/// under its name, so that nothing of an older version survives.
///
/// # Errors
/// What cannot be written. A skill that could not be replaced is what it was before.
pub fn install(codex_home: &Path, dry_run: bool) -> Result<Installation> {
    let directory = codex_home.join("skills");
    let skills = SKILLS.iter().map(|skill| Placed {
        name: skill.name,
        source: format!("embedded:skills/{}", skill.name),
        target: directory.join(skill.name),
    });
    let mut installation = Installation {
        codex_home: codex_home.to_owned(),
        dry_run,
        installed: Vec::new(),
        skills: skills.collect(),
    };
    if dry_run {
        return Ok(installation);
    }
    fs::create_dir_all(&directory).map_err(|reason| failed(&directory, reason))?;
    for skill in SKILLS {
        place(&directory, skill)?;
        installation.installed.push(skill.name);
    }
    Ok(installation)
}

/// Writes a skill beside its place and swaps it in.
fn place(directory: &Path, skill: &Skill) -> Result<()> {
    let beside = |what: &str| directory.join(format!(".{}.{}.{what}", skill.name, std::process::id()));
    let (new, old) = (beside("new"), beside("old"));
    // A process of the same number may have died here.
    remove(&new).and_then(|()| remove(&old)).map_err(|reason| failed(directory, reason))?;
    let placed = write(&new, skill).and_then(|()| swap(&new, &old, &directory.join(skill.name)));
    if placed.is_err() {
        // What matters is what failed first; a left-over of this name is removed the next time.
        let _ = remove(&new);
    }
    placed
}

fn write(directory: &Path, skill: &Skill) -> Result<()> {
    for file in skill.files {
        let path = directory.join(file.path);
        write_file(&path, file).map_err(|reason| failed(&path, reason))?;
    }
    Ok(())
}

fn write_file(path: &Path, file: &File) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut open = OpenOptions::new().write(true).create_new(true).mode(file.mode).open(path)?;
    open.write_all(file.content.as_bytes())?;
    // The mode given above went through the umask.
    open.set_permissions(Permissions::from_mode(file.mode))
}

fn swap(new: &Path, old: &Path, target: &Path) -> Result<()> {
    let moved = match fs::rename(target, old) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(failed(target, error)),
    };
    if let Err(error) = fs::rename(new, target) {
        if moved {
            // The failure that led here is reported; the old skill stays beside its place then.
            let _ = fs::rename(old, target);
        }
        return Err(failed(target, error));
    }
    // The new skill is in place; what cannot be removed is no more than a left-over.
    let _ = remove(old);
    Ok(())
}

/// Removes whatever is at a path; a symbolic link itself, not what it points to.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn failed(path: &Path, reason: io::Error) -> Error {
    Error::File { path: path.to_owned(), reason }
}
