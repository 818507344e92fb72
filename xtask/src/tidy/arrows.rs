//! Which crate may know which: `conveyor → core → {store, agents} → model`.

use std::path::Path;

use super::{Finding, Tree};

/// The height of each crate; an arrow leads from a higher one to a lower one. A new crate gets its
/// place here.
const LEVELS: &[(&str, u8)] = &[
    ("conveyor-model", 0),
    ("conveyor-store", 1),
    ("conveyor-agents", 1),
    ("conveyor-testkit", 1),
    ("conveyor-core", 2),
    ("conveyor", 3),
    ("xtask", 4),
];

/// Only for tests and the developer's tasks.
const TESTKIT: &str = "conveyor-testkit";

/// Libraries that only some crates may link, and why. The benchmark's yardsticks in `xtask` are
/// programs of their own, which use the databases without the product.
const RESERVED: &[(&str, &[&str], &str)] = &[
    ("rusqlite", &["conveyor-store", TESTKIT, "xtask"], "SQL is the store's business"),
    ("postgres", &["conveyor-store", TESTKIT, "xtask"], "SQL is the store's business"),
    ("clap", &["conveyor"], "the command line is the program's business"),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| is_crate_manifest(&file.path)) {
        let manifest = Manifest::read(&file.text);
        let Some(level) = level(&manifest.name) else {
            findings.push(Finding::in_file(
                file,
                format!("crate {} has no place among the others", manifest.name),
            ));
            continue;
        };
        for dependency in &manifest.dependencies {
            if let Some(problem) = problem(&manifest.name, level, dependency) {
                findings.push(Finding::at(file, dependency.line, problem));
            }
        }
    }
    findings.extend(sql_types_in_core(tree));
    findings
}

fn is_crate_manifest(path: &Path) -> bool {
    path.ends_with("Cargo.toml") && path.components().count() > 1
}

fn level(name: &str) -> Option<u8> {
    LEVELS.iter().find(|(known, _)| *known == name).map(|(_, level)| *level)
}

fn problem(owner: &str, owner_level: u8, dependency: &Dependency) -> Option<String> {
    // Tests may use what they need; what they use is in no program.
    if dependency.for_tests {
        return None;
    }
    let name = dependency.name.as_str();
    if name == TESTKIT && owner != "xtask" {
        return Some(format!("{owner} may use {TESTKIT} in its tests only"));
    }
    if let Some(level) = level(name) {
        return (level >= owner_level)
            .then(|| format!("{owner} may not depend on {name}: arrows lead down only"));
    }
    let (_, users, reason) = RESERVED.iter().find(|(reserved, ..)| *reserved == name)?;
    (!users.contains(&owner)).then(|| format!("{owner} may not depend on {name}: {reason}"))
}

/// The manifest rules cannot see a re-export, so core's sources are looked at as well.
fn sql_types_in_core(tree: &Tree) -> impl Iterator<Item = Finding> {
    let sources = tree
        .files
        .iter()
        .filter(|file| file.starts_with("crates/conveyor-core/src") && file.has_extension("rs"));
    sources.flat_map(|file| {
        let lines = file.text.lines().enumerate();
        let named = lines.filter(|(_, line)| line.contains("rusqlite::") || line.contains("clap::"));
        named.map(|(index, _)| {
            Finding::at(file, index + 1, "core names a type of the database or the command line")
        })
    })
}

struct Manifest {
    name: String,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    line: usize,
    for_tests: bool,
}

impl Manifest {
    /// Reads the small part of TOML in which our manifests are written.
    fn read(text: &str) -> Self {
        let mut manifest = Self { name: String::new(), dependencies: Vec::new() };
        let mut table = String::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                header.trim_matches('[').clone_into(&mut table);
                // `[dependencies.name]`
                if let Some((of, name)) = table.rsplit_once('.')
                    && of.ends_with("dependencies")
                {
                    manifest.push(name, index, of);
                }
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            if table == "package" && key.trim() == "name" {
                value.trim().trim_matches('"').clone_into(&mut manifest.name);
            } else if table.ends_with("dependencies") && !line.starts_with('#') {
                let name = key.trim().split('.').next().unwrap_or_default();
                manifest.push(name.trim_matches('"'), index, &table.clone());
            }
        }
        manifest
    }

    fn push(&mut self, name: &str, index: usize, table: &str) {
        let for_tests = table.ends_with("dev-dependencies");
        self.dependencies.push(Dependency { name: name.to_owned(), line: index + 1, for_tests });
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{shown, tree};
    use super::*;

    fn manifest(name: &str, rest: &str) -> String {
        format!("[package]\nname = \"{name}\"\n{rest}")
    }

    #[test]
    fn arrows_that_lead_down_pass() {
        let core = manifest(
            "conveyor-core",
            "[dependencies]\nconveyor-store.workspace = true\nserde = \"1\"\n[dev-dependencies]\nconveyor-testkit.workspace = true\nrusqlite = \"1\"\n",
        );
        let store = manifest("conveyor-store", "[dependencies]\nrusqlite.workspace = true\n");
        let task = manifest("xtask", "[dependencies]\nconveyor-testkit.workspace = true\n");
        let tree = tree(&[
            ("Cargo.toml", "[workspace.dependencies]\nclap = \"4\"\n"),
            ("crates/conveyor-core/Cargo.toml", &core),
            ("crates/conveyor-store/Cargo.toml", &store),
            ("xtask/Cargo.toml", &task),
        ]);
        assert_eq!(shown(&check(&tree)), [""; 0]);
    }

    #[test]
    fn arrows_that_lead_up_or_aside_are_found() {
        let agents = manifest("conveyor-agents", "[dependencies]\nconveyor-store = { path = \"../x\" }\n");
        let core = manifest(
            "conveyor-core",
            "[dependencies.conveyor]\nworkspace = true\n[target.'cfg(unix)'.dependencies]\nconveyor-testkit.workspace = true\n",
        );
        let tree = tree(&[
            ("crates/conveyor-agents/Cargo.toml", &agents),
            ("crates/conveyor-core/Cargo.toml", &core),
        ]);
        assert_eq!(
            shown(&check(&tree)),
            [
                "crates/conveyor-agents/Cargo.toml:4: conveyor-agents may not depend on conveyor-store: arrows lead down only",
                "crates/conveyor-core/Cargo.toml:3: conveyor-core may not depend on conveyor: arrows lead down only",
                "crates/conveyor-core/Cargo.toml:6: conveyor-core may use conveyor-testkit in its tests only",
            ]
        );
    }

    #[test]
    fn reserved_libraries_and_unknown_crates_are_found() {
        let core =
            manifest("conveyor-core", "[dependencies]\npostgres.workspace = true\nclap.workspace = true\n");
        let new = manifest("conveyor-new", "");
        let tree = tree(&[
            ("crates/conveyor-core/Cargo.toml", &core),
            ("crates/conveyor-core/src/lib.rs", "//! Core.\nuse rusqlite::Row;\n"),
            ("crates/conveyor-new/Cargo.toml", &new),
        ]);
        assert_eq!(
            shown(&check(&tree)),
            [
                "crates/conveyor-core/Cargo.toml:4: conveyor-core may not depend on postgres: SQL is the store's business",
                "crates/conveyor-core/Cargo.toml:5: conveyor-core may not depend on clap: the command line is the program's business",
                "crates/conveyor-new/Cargo.toml: crate conveyor-new has no place among the others",
                "crates/conveyor-core/src/lib.rs:2: core names a type of the database or the command line",
            ]
        );
    }
}
