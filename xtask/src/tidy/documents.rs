//! Rules about documents: which must exist, and that their links lead somewhere.

use std::path::{Component, Path, PathBuf};

use super::{Finding, SourceFile, Tree};

/// What a visitor looks for first.
const REQUIRED: [&str; 5] = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "LICENSE", "CONTRIBUTING.md"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let missing = REQUIRED.iter().filter(|name| !exists(tree, Path::new(name)));
    let mut findings: Vec<Finding> = missing
        .map(|name| Finding { path: PathBuf::from(name), line: None, message: "is missing".into() })
        .collect();
    for file in tree.written_by_us().filter(|file| file.has_extension("md")) {
        links(tree, file, &mut findings);
    }
    findings
}

fn links(tree: &Tree, file: &SourceFile, findings: &mut Vec<Finding>) {
    let mut in_code = false;
    for (index, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for target in targets(line) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let place = if path.is_empty() { file.path.clone() } else { resolve(&file.path, path) };
            if !exists(tree, &place) {
                findings.push(Finding::at(file, index + 1, format!("the link to {path} leads nowhere")));
            } else if !anchor.is_empty() && !has_heading(tree, &place, anchor) {
                findings.push(Finding::at(
                    file,
                    index + 1,
                    format!("{} has no heading #{anchor}", place.display()),
                ));
            }
        }
    }
}

/// The targets of the links in a line, except those to other sites.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let ends = line.match_indices("](").map(|(at, mark)| &line[at + mark.len()..]);
    ends.filter_map(|rest| rest.split([')', ' ']).next())
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
}

fn resolve(from: &Path, target: &str) -> PathBuf {
    let mut place = from.parent().unwrap_or(Path::new("")).to_owned();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => drop(place.pop()),
            Component::CurDir => {}
            other => place.push(other),
        }
    }
    place
}

fn exists(tree: &Tree, place: &Path) -> bool {
    tree.files.iter().any(|file| file.path.starts_with(place)) || tree.root.join(place).exists()
}

fn has_heading(tree: &Tree, place: &Path, anchor: &str) -> bool {
    let Some(file) = tree.files.iter().find(|file| file.path == place) else { return true };
    // Line numbers of code and such are not headings.
    if !file.has_extension("md") {
        return true;
    }
    let headings = file.text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| slug(line.trim_start_matches('#'))).any(|slug| slug == anchor)
}

/// The anchor that a forge makes of a heading.
fn slug(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{shown, tree};
    use super::*;

    #[test]
    fn the_documents_of_a_project_must_exist() {
        let tree =
            tree(&[("README.md", ""), ("CHANGELOG.md", ""), ("LICENSE", ""), ("docs/CONTRIBUTING.md", "")]);
        assert_eq!(shown(&check(&tree)), ["ARCHITECTURE.md: is missing", "CONTRIBUTING.md: is missing"]);
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let mut files: Vec<(&str, &str)> = REQUIRED.iter().map(|name| (*name, "")).collect();
        files.push((
            "docs/guide.md",
            "# A `guide`, briefly\n[up](../README.md), [dir](../docs), [web](https://x.org), [here](#a-guide-briefly)\n\
             ```\n[code](nowhere.md)\n```\n[gone](gone.md#x) and [bad](#elsewhere)\n",
        ));
        assert_eq!(
            shown(&check(&tree(&files))),
            [
                "docs/guide.md:6: the link to gone.md leads nowhere",
                "docs/guide.md:6: docs/guide.md has no heading #elsewhere",
            ]
        );
    }
}
