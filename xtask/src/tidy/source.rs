//! Rules about source files: their size, their openings, and what does not belong into them.

use super::{Finding, SourceFile, Tree};

/// What fits into one head and one screenful of outline.
const MAX_LINES: usize = 600;

/// Marks of unfinished work, put together so that this file is not a finding itself.
const MARKERS: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("todo", "!"),
    concat!("dbg", "!"),
];

/// The beginnings of SQL statements, as they stand after an opening quotation mark.
const SQL: [&str; 9] = [
    "select ",
    "insert into ",
    "insert or ",
    "update ",
    "delete from ",
    "create table ",
    "create index ",
    "create unique index ",
    "pragma ",
];

/// Directories that exist on somebody's machine only. `/home/ann`, `/home/dev` and `/home/user`
/// are the examples of tests and documents.
const MACHINE_DIRS: [&str; 4] =
    [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/Us", "ers/"), concat!("/ho", "me/")];
const EXAMPLE_USERS: [&str; 3] = ["ann", "dev", "user"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.written_by_us() {
        if is_code(file) {
            markers(file, &mut findings);
        }
        if is_code(file) || file.has_extension("md") {
            machine_paths(file, &mut findings);
        }
        if file.has_extension("rs") {
            size(file, &mut findings);
            crate_docs(file, &mut findings);
            sql(file, &mut findings);
        }
    }
    findings
}

fn is_code(file: &SourceFile) -> bool {
    ["rs", "toml", "sh"].into_iter().any(|extension| file.has_extension(extension))
        || file.starts_with("scripts")
        || file.starts_with(".ci")
        || file.path.ends_with("Makefile")
}

fn size(file: &SourceFile, findings: &mut Vec<Finding>) {
    let lines = file.text.lines().count();
    if lines > MAX_LINES && !file.is_below("tests") {
        findings.push(Finding::in_file(file, format!("{lines} lines; split it, {MAX_LINES} is the limit")));
    }
}

fn crate_docs(file: &SourceFile, findings: &mut Vec<Finding>) {
    let is_root = file.path.ends_with("src/lib.rs") || file.path.ends_with("xtask/src/main.rs");
    if is_root {
        let first = file.text.lines().next().unwrap_or_default();
        if !first.starts_with("//! ") || first == "//! placeholder" {
            findings.push(Finding::at(file, 1, "the crate does not begin with its documentation (//! …)"));
        }
    }
}

fn markers(file: &SourceFile, findings: &mut Vec<Finding>) {
    for (index, line) in file.text.lines().enumerate() {
        for marker in MARKERS.into_iter().filter(|marker| contains_word(line, marker)) {
            findings.push(Finding::at(file, index + 1, format!("{marker}: finish it or open an issue")));
        }
    }
}

/// SQL stands in the store only, so that no other crate depends on how the ledger is stored.
/// Tests may look behind the curtain.
fn sql(file: &SourceFile, findings: &mut Vec<Finding>) {
    let exempt = !file.starts_with("crates")
        || file.starts_with("crates/conveyor-store")
        || file.starts_with("crates/conveyor-testkit")
        || file.is_below("tests")
        || file.path.ends_with("tests.rs");
    if exempt {
        return;
    }
    // Unit tests stand at the end of a file.
    let product = file.text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    for (index, line) in product.enumerate() {
        let is_comment = line.trim_start().starts_with("//");
        if !is_comment && line.split('"').skip(1).any(begins_like_sql) {
            findings.push(Finding::at(file, index + 1, "SQL belongs into conveyor-store"));
        }
    }
}

fn begins_like_sql(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    // "update " begins sentences, too.
    SQL.iter()
        .any(|beginning| text.starts_with(beginning) && (*beginning != "update " || text.contains(" set ")))
}

fn machine_paths(file: &SourceFile, findings: &mut Vec<Finding>) {
    for (index, line) in file.text.lines().enumerate() {
        for dir in MACHINE_DIRS {
            let found = line.match_indices(dir).any(|(at, _)| {
                let begins = !line[..at]
                    .ends_with(|before: char| before.is_alphanumeric() || "._-/}".contains(before));
                let rest = &line[at + dir.len()..];
                let is_example = EXAMPLE_USERS.iter().any(|user| {
                    rest.strip_prefix(user).is_some_and(|end| !end.starts_with(char::is_alphanumeric))
                });
                begins && !is_example
            });
            if found {
                findings.push(Finding::at(
                    file,
                    index + 1,
                    format!("{dir}… is a path of somebody's machine"),
                ));
            }
        }
    }
}

fn contains_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let joins = |letter: char| letter.is_alphanumeric() || letter == '_';
        !line[..at].ends_with(joins) && (word.ends_with('!') || !line[at + word.len()..].starts_with(joins))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{shown, tree};
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        shown(&check(&tree(&[(path, text)])))
    }

    #[test]
    fn long_files_are_found_outside_of_tests() {
        let long = "//! Long.\n".repeat(MAX_LINES + 1);
        assert_eq!(
            findings("crates/x/src/a.rs", &long),
            ["crates/x/src/a.rs: 601 lines; split it, 600 is the limit"]
        );
        assert!(findings("crates/x/tests/a.rs", &long).is_empty());
        assert!(findings("crates/x/src/a.rs", &"//! Long.\n".repeat(MAX_LINES)).is_empty());
    }

    #[test]
    fn marks_of_unfinished_work_are_found_as_words() {
        for marker in MARKERS {
            assert_eq!(findings("scripts/run", &format!("# {marker} later\n")).len(), 1, "{marker}");
        }
        assert!(findings("scripts/run", concat!("mktemp -d x-X", "XXXXX\n")).is_empty());
        assert!(findings("docs/a.md", concat!("TO", "DO lists\n")).is_empty(), "documents may speak of them");
        assert!(findings("crates/x/tests/fixtures/a.rs", concat!("// TO", "DO\n")).is_empty());
    }

    #[test]
    fn a_crate_begins_with_its_documentation() {
        assert!(findings("crates/x/src/lib.rs", "//! What it is.\n").is_empty());
        assert_eq!(findings("crates/x/src/lib.rs", "pub mod a;\n").len(), 1);
        assert_eq!(findings("xtask/src/main.rs", "//! placeholder\n").len(), 1);
        assert!(findings("crates/x/src/a.rs", "pub mod b;\n").is_empty(), "a module may do without");
    }

    #[test]
    fn sql_is_found_outside_of_the_store_and_of_tests() {
        let statement = "fn f() { tx.all(\"SELECT id from tasks\"); }\n";
        assert_eq!(
            findings("crates/conveyor-core/src/a.rs", statement),
            ["crates/conveyor-core/src/a.rs:1: SQL belongs into conveyor-store"]
        );
        assert!(findings("crates/conveyor-store/src/a.rs", statement).is_empty());
        assert!(findings("crates/conveyor/tests/it/a.rs", statement).is_empty());
        assert!(
            findings("crates/conveyor-core/src/a.rs", &format!("#[cfg(test)]\nmod t {{ {statement} }}"))
                .is_empty()
        );
        assert!(findings("crates/conveyor-core/src/a.rs", "let help = \"update the task\";\n").is_empty());
        assert_eq!(
            findings("crates/conveyor-core/src/a.rs", "let q = \"update tasks set x = 1\";\n").len(),
            1
        );
        assert!(findings("crates/conveyor-core/src/a.rs", "// \"select 1\" would do\n").is_empty());
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        for dir in MACHINE_DIRS {
            assert_eq!(findings("docs/a.md", &format!("see `{dir}project`\n")).len(), 1, "{dir}");
        }
        assert!(
            findings("docs/a.md", concat!("in /ho", "me/ann/project and target/wo", "rk/x\n")).is_empty()
        );
        assert!(findings("docs/a.md", concat!("at https://x.org/wo", "rk/a\n")).is_empty());
    }
}
