//! Every command line that we tell somebody to type is understood by the program: in skills,
//! documents, prompts, help texts, hints of errors and the output of every command.

mod arriving;
mod extract;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arriving::ARRIVING;
use extract::{Line, of_json, of_source, of_text};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The files below a directory that end like this, in order.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_str().unwrap().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn exists(name: &str) -> bool {
    conveyor::COMMANDS.iter().any(|spec| spec.name == name)
}

/// What names a way to do something in the answer of `manager-config --questions`, for good.
const NAMES_A_WAY: &str = "manager-config --interactive";

/// What is wrong with a line; `None` when a user could type it.
fn complaint(line: &Line) -> Option<String> {
    let (name, rest) = line.words.split_first()?;
    // Any command is meant, or the program itself, or one of its own that nobody types.
    if extract::is_placeholder(name) || !name.starts_with(char::is_alphabetic) {
        return None;
    }
    let arriving = ARRIVING.iter().find(|(arriving, _)| arriving == name);
    let is_arriving = |options: &[&str]| rest.iter().any(|word| options.contains(&word.as_str()));
    if arriving.is_some_and(|(_, options)| !exists(name) || is_arriving(options)) {
        return None;
    }
    let Err(said) = conveyor::check(&extract::fill(&line.words)) else { return None };
    let typed = line.words.join(" ");
    // A mention in a sentence need not be complete.
    let is_short = said.starts_with(&format!("`{name}` needs "))
        || rest.last().is_some_and(|last| said == format!("{last} requires a value"));
    let may_be_short = line.mention || typed == NAMES_A_WAY;
    (!(is_short && may_be_short)).then(|| format!("{typed}\n    {said}"))
}

/// Checks the lines of some sources; there must be at least so many.
#[track_caller]
fn check(at_least: usize, sources: Vec<(String, Vec<Line>)>) {
    let count: usize = sources.iter().map(|(_, lines)| lines.len()).sum();
    assert!(count >= at_least, "only {count} command lines were found");
    let mut wrong: BTreeMap<String, String> = BTreeMap::new();
    for (source, lines) in &sources {
        for complaint in lines.iter().filter_map(complaint) {
            wrong.entry(complaint).or_insert_with(|| source.clone());
        }
    }
    let told: Vec<String> =
        wrong.iter().map(|(complaint, source)| format!("{source}: {complaint}")).collect();
    assert!(told.is_empty(), "\n{}", told.join("\n"));
}

fn named(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap_or(path).display().to_string()
}

#[test]
fn documents_and_skills() {
    let root = repository();
    let mut paths = vec![root.join("README.md")];
    // The reference is made from the help texts, which are checked themselves.
    paths.extend(
        files(&root.join("docs"), ".md").into_iter().filter(|path| !path.ends_with("cli-reference.md")),
    );
    paths.extend(files(&root.join("skills"), ""));
    check(80, paths.iter().map(|path| (named(path), of_text(&read(path)))).collect());
}

/// Options that stand alone in backquotes belong to some command.
#[test]
fn options_in_sentences() {
    let root = repository();
    let mut paths = files(&root.join("docs"), ".md");
    paths.extend([root.join("README.md"), root.join("skills/manage-codex-workers/SKILL.md")]);
    let arriving = |option: &str| ARRIVING.iter().any(|(_, options)| options.contains(&option));
    let known = |option: &str| conveyor::COMMANDS.iter().any(|spec| extract::has_option(spec.name, option));
    let mut count = 0;
    let mut wrong = Vec::new();
    for path in paths.iter().filter(|path| !path.ends_with("docs/performance.md")) {
        let text = read(path);
        for option in text.split('`').filter_map(|span| span.split([' ', '=', '\n']).next()) {
            let is_option =
                option.strip_prefix("--").is_some_and(|name| name.starts_with(char::is_alphabetic));
            if is_option && option != "--help" {
                count += 1;
                wrong.extend(
                    (!known(option) && !arriving(option)).then(|| format!("{}: {option}", named(path))),
                );
            }
        }
    }
    assert!(count > 30, "only {count} options were found");
    assert!(wrong.is_empty(), "no command has these options:\n{}", wrong.join("\n"));
}

#[test]
fn help_texts() {
    let texts = conveyor::COMMANDS.iter().map(|spec| (spec.name.to_owned(), of_text(spec.help)));
    check(60, texts.collect());
}

#[test]
fn first_prompts() {
    use conveyor_core::prompts::{ManagerFacts, manager_bootstrap, worker};
    let facts = |task| ManagerFacts {
        cwd: "/srv/demo",
        ledger: "/srv/my demo/x.db",
        manager: "m",
        task,
        goal: None,
        worker: None,
        config: None,
    };
    let prompts = [
        manager_bootstrap(&facts(None)),
        manager_bootstrap(&facts(Some("it's"))),
        worker("Do it.", "it's", "postgres://db/x"),
    ];
    check(17, prompts.iter().map(|prompt| ("first prompt".to_owned(), of_text(prompt))).collect());
}

/// What every command prints in the tests: prompts, recipes, suggestions, hints.
#[test]
fn outputs() {
    let snapshots = files(&repository().join("crates/conveyor/tests/it/snapshots"), ".snap");
    let lines = |path: &PathBuf| {
        let text = read(path);
        // A snapshot begins with a head between two lines of dashes.
        let body = text.splitn(3, "---\n").nth(2).unwrap_or_default();
        match serde_json::from_str(body) {
            Ok(value) => of_json(&value),
            Err(_) => {
                // Rows of the ledger are shown as JSON inside text; it is the JSON of other snapshots.
                let plain: Vec<&str> = body.lines().filter(|line| !line.contains("{\"")).collect();
                of_text(&plain.join("\n"))
            }
        }
    };
    check(100, snapshots.iter().map(|path| (named(path), lines(path))).collect());
}

#[test]
fn hints_in_the_source() {
    let crates = ["conveyor", "conveyor-core", "conveyor-store", "conveyor-agents"];
    let paths =
        crates.iter().flat_map(|name| files(&repository().join("crates").join(name).join("src"), ".rs"));
    check(20, paths.map(|path| (named(&path), of_source(&read(&path)))).collect());
}

#[test]
fn what_has_arrived_is_checked_in_full() {
    let mut arrived = Vec::new();
    for (name, options) in ARRIVING {
        arrived.extend((options.is_empty() && exists(name)).then(|| (*name).to_owned()));
        let options = options.iter().filter(|option| extract::has_option(name, option));
        arrived.extend(options.map(|option| format!("{name} {option}")));
    }
    assert!(arrived.is_empty(), "remove from the list: {}", arrived.join(", "));
}

#[test]
fn what_cannot_be_typed_is_found() {
    let told = |text: &str| -> Vec<String> { of_text(text).iter().filter_map(complaint).collect() };
    assert_eq!(
        told("Run `conveyor tasks --active`, then:\n  conveyor unbind --task <task> # the old one\n"),
        [""; 0]
    );
    for text in [
        "conveyor frobnicate demo",
        "See `conveyor taskz`.",
        "conveyor tasks --goul 'x'",
        "Say `conveyor tasks --goul`.",
        "Say `tasks --goul`.",
        "conveyor unbind",
        "conveyor unbind --task",
        "conveyor unbind --task a b",
        "conveyor dispatch --type everything",
        "then run: conveyor dispatch --limit many --path '/x y.db'",
    ] {
        assert_eq!(told(text).len(), 1, "{text}");
    }
}
