//! `cargo xtask tidy`: the house rules that no lint knows.

mod arrows;
mod documents;
mod source;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::failure::{Context as _, Failure};

/// Directories that hold no source of ours.
const SKIPPED: [&str; 3] = ["target", ".git", "node_modules"];

/// Runs every check on the source tree.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    if let Some(unknown) = arguments.first() {
        return Err(Failure::new(format!("it takes no arguments, not {unknown:?}")));
    }
    let tree = Tree::read(&crate::source_root())?;
    let findings = check(&tree);
    for finding in &findings {
        eprintln!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        1 => Err(Failure::new("1 finding")),
        many => Err(Failure::new(format!("{many} findings"))),
    }
}

fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = arrows::check(tree);
    findings.extend(source::check(tree));
    findings.extend(documents::check(tree));
    findings
}

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: PathBuf,
    line: Option<usize>,
    message: String,
}

impl Finding {
    fn in_file(file: &SourceFile, message: impl Into<String>) -> Self {
        Self { path: file.path.clone(), line: None, message: message.into() }
    }

    fn at(file: &SourceFile, line: usize, message: impl Into<String>) -> Self {
        Self { path: file.path.clone(), line: Some(line), message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A text file of the source tree.
struct SourceFile {
    /// Relative to the root.
    path: PathBuf,
    text: String,
}

impl SourceFile {
    fn has_extension(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|found| found == extension)
    }

    /// Whether a directory of this name is on the file's path.
    fn is_below(&self, directory: &str) -> bool {
        self.path.parent().is_some_and(|parent| parent.components().any(|part| part.as_os_str() == directory))
    }

    fn starts_with(&self, prefix: &str) -> bool {
        self.path.starts_with(prefix)
    }
}

/// The text files of a source tree, sorted by path.
struct Tree {
    root: PathBuf,
    files: Vec<SourceFile>,
}

impl Tree {
    fn read(root: &Path) -> Result<Self, Failure> {
        let mut paths = Vec::new();
        collect(root, &mut paths)?;
        paths.sort_unstable();
        let mut files = Vec::new();
        for path in paths {
            let bytes = std::fs::read(&path).context(path.display())?;
            // What is not text is none of our business.
            if let Ok(text) = String::from_utf8(bytes) {
                let path = path.strip_prefix(root).unwrap_or(&path).to_owned();
                files.push(SourceFile { path, text });
            }
        }
        Ok(Self { root: root.to_owned(), files })
    }

    /// Our own files: without the recorded data that tests read.
    fn written_by_us(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().filter(|file| !file.is_below("fixtures") && !file.is_below("snapshots"))
    }
}

fn collect(dir: &Path, paths: &mut Vec<PathBuf>) -> Result<(), Failure> {
    for entry in std::fs::read_dir(dir).context(dir.display())? {
        let entry = entry.context(dir.display())?;
        let kind = entry.file_type().context(entry.path().display())?;
        if kind.is_file() {
            paths.push(entry.path());
        } else if kind.is_dir() && !SKIPPED.iter().any(|name| entry.file_name() == *name) {
            collect(&entry.path(), paths)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up tree; each check is tried on one that follows its rule and one that breaks it.
    pub(super) fn tree(files: &[(&str, &str)]) -> Tree {
        let files =
            files.iter().map(|(path, text)| SourceFile { path: path.into(), text: (*text).to_owned() });
        Tree { root: PathBuf::from("/nowhere"), files: files.collect() }
    }

    pub(super) fn shown(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_tree_is_read_without_build_results_and_binaries() {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in [
            ("b.md", &b"text"[..]),
            ("src/a.rs", b"text"),
            ("src/picture.png", b"\xff\xfe\x00"),
            ("target/debug/a.rs", b"text"),
        ] {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let tree = Tree::read(root.path()).unwrap();
        let paths: Vec<_> = tree.files.iter().map(|file| file.path.display().to_string()).collect();
        assert_eq!(paths, ["b.md", "src/a.rs"]);
    }
}
